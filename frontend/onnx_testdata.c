#include "frontend/onnx_testdata.h"
#include "frontend/onnx_pb.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_VALUES = 4096 };

static veer_status_t value_path(const char *folder, const char *kind, int i, char out[PATH_MAX]) {
    int n = snprintf(out, PATH_MAX, "%s/%s_%d.pb", folder, kind, i);
    return n < PATH_MAX ? veer_ok() : veer_error(VEER_ERR_CONFIG, "%s: the path is too long", folder);
}

/* Counts the files kind_0.pb, kind_1.pb, ... up to the first that is missing. */
static veer_status_t count_values(const char *folder, const char *kind, int *out_count) {
    char path[PATH_MAX];
    for (*out_count = 0; *out_count < MAX_VALUES; ++*out_count) {
        VEER_TRY(value_path(folder, kind, *out_count, path));
        if (access(path, F_OK)) break;
    }
    return veer_ok();
}

static veer_status_t read_values(veer_allocator_t allocator, const char *folder, const char *kind,
                                 veer_onnx_testvalue_t **values, int *count) {
    char path[PATH_MAX];
    int files;
    VEER_TRY(count_values(folder, kind, &files));
    *values = veer_alloc_array(allocator, (size_t)files + 1, sizeof **values);
    if (!*values) return veer_out_of_memory();
    for (; *count < files; ++*count) {
        veer_onnx_testvalue_t *value = &(*values)[*count];
        VEER_TRY(value_path(folder, kind, *count, path));
        VEER_TRY(veer_onnx_pb_read(path, allocator, &value->tensor, &value->name));
    }
    return veer_ok();
}

veer_status_t veer_onnx_testdata_read(veer_allocator_t allocator, const char *folder, veer_onnx_testdata_t *out_data) {
    veer_onnx_testdata_t data = {.allocator = allocator};
    veer_status_t status = read_values(allocator, folder, "input", &data.inputs, &data.input_count);
    if (!status) status = read_values(allocator, folder, "output", &data.outputs, &data.output_count);
    if (!status && !data.output_count) status = veer_error(VEER_ERR_FILE, "%s: there is no output_0.pb", folder);
    if (status)
        veer_onnx_testdata_deinit(&data);
    else
        *out_data = data;
    return status;
}

static void free_values(veer_allocator_t allocator, veer_onnx_testvalue_t *values, int count) {
    for (int i = 0; i < count; i++) {
        veer_free(allocator, values[i].tensor.data);
        veer_free(allocator, values[i].name);
    }
    if (values) veer_free(allocator, values);
}

void veer_onnx_testdata_deinit(veer_onnx_testdata_t *data) {
    free_values(data->allocator, data->inputs, data->input_count);
    free_values(data->allocator, data->outputs, data->output_count);
    *data = (veer_onnx_testdata_t){0};
}

/* ---- folders ---- */

static int by_text(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static veer_status_t add_name(veer_allocator_t allocator, char ***names, size_t *count, size_t *capacity,
                              const char *name) {
    if (*count == *capacity) {
        size_t wanted = *capacity ? 2 * *capacity : 64;
        char **larger = veer_alloc_array(allocator, wanted, sizeof *larger);
        if (!larger) return veer_out_of_memory();
        if (*count) memcpy(larger, *names, *count * sizeof *larger);
        veer_free(allocator, *names);
        *names = larger;
        *capacity = wanted;
    }
    char *copy = veer_strdup(allocator, name);
    if (!copy) return veer_out_of_memory();
    (*names)[(*count)++] = copy;
    return veer_ok();
}

veer_status_t veer_onnx_testdata_names(veer_allocator_t allocator, const char *folder, char ***out_names,
                                       size_t *out_count) {
    char **names = NULL;
    size_t count = 0, capacity = 0;
    veer_status_t status = NULL;
    DIR *dir = opendir(folder);
    if (!dir) return veer_error(VEER_ERR_FILE, "%s: %s", folder, strerror(errno));
    for (struct dirent *entry; !status && (entry = readdir(dir));)
        if (*entry->d_name != '.') status = add_name(allocator, &names, &count, &capacity, entry->d_name);
    closedir(dir);
    if (status) {
        veer_onnx_testdata_names_free(allocator, names, count);
        return status;
    }
    if (count) qsort(names, count, sizeof *names, by_text);
    *out_names = names;
    *out_count = count;
    return veer_ok();
}

void veer_onnx_testdata_names_free(veer_allocator_t allocator, char **names, size_t count) {
    for (size_t i = 0; i < count; i++) veer_free(allocator, names[i]);
    veer_free(allocator, names);
}
