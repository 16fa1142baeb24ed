/* A folder of its own for a test that writes files, and the checks that such tests share. */
#ifndef VEER_TESTS_UNIT_TEMP_FOLDER_H
#define VEER_TESTS_UNIT_TEMP_FOLDER_H

#include "ir/base/status.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char temp_folder[64];

static inline int temp_folder_create(void **state) {
    (void)state;
    strcpy(temp_folder, "/tmp/veer-test-XXXXXX");
    return mkdtemp(temp_folder) ? 0 : -1;
}

/* "<folder>/<name>", valid until the fourth call after this one. */
static inline const char *temp_path(const char *name) {
    static char paths[4][400];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", temp_folder, name);
    return path;
}

/* Number of files, not counting "." and ".."; removes them when asked. */
static inline int temp_folder_count(bool remove_them) {
    int count = 0;
    DIR *dir = opendir(temp_folder);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        count++;
        if (remove_them) unlink(temp_path(e->d_name));
    }
    if (dir) closedir(dir);
    return count;
}

static inline int temp_folder_remove(void **state) {
    (void)state;
    temp_folder_count(true);
    return rmdir(temp_folder);
}

static inline void write_file(const char *path, const void *bytes, size_t size) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

static inline size_t read_file(const char *path, void *bytes, size_t size) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(bytes, 1, size, f);
    fclose(f);
    return n;
}

static inline void assert_ok(veer_status_t status) {
    if (status) fail_msg("%s\n%s", veer_status_message(status, 0), veer_status_details(status, 0));
}

/* The code, and a part of the message or of its notes and helps. Releases the status. */
static inline void assert_error(veer_status_t status, veer_code_t code, const char *part) {
    if (!status) fail_msg("all went well, expected '%s'", part);
    if (veer_status_code(status) != code ||
        !(strstr(veer_status_message(status, 0), part) || strstr(veer_status_details(status, 0), part)))
        fail_msg("'%s' (%d), expected '%s' (%d)", veer_status_message(status, 0), veer_status_code(status), part, code);
    veer_status_free(status);
}

#endif
