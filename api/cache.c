#include "api/cache.h"

#include "frontend/outfile.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NAME_BYTES = 64, MAX_ENTRIES = 1 << 16 };
static const char SUFFIX[] = ".veercache";

struct veer_cache_s {
    veer_allocator_t allocator;
    atomic_bool stored; /* something new: the folder's size is looked at when closing */
    char folder[PATH_MAX - NAME_BYTES];
};

/* Stands before the key and the value in a file. */
typedef struct header_s {
    char magic[8];
    uint64_t key_bytes, value_bytes;
    uint64_t checksum; /* of key and value */
} header_t;
static const char MAGIC[8] = "veercach";

/* ---- the folder ---- */

/* Every missing part of the path, for this user only. */
static bool make_folders(char *path) {
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        bool there = !mkdir(path, 0700) || errno == EEXIST;
        *slash = '/';
        if (!there) return false;
    }
    struct stat st;
    return (!mkdir(path, 0700) || errno == EEXIST) && !stat(path, &st) && S_ISDIR(st.st_mode) &&
           !access(path, W_OK | X_OK);
}

static bool usual_folder(char *out, size_t bytes) {
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (xdg && *xdg == '/') return (size_t)snprintf(out, bytes, "%s/veer", xdg) < bytes;
    return home && *home == '/' && (size_t)snprintf(out, bytes, "%s/.cache/veer", home) < bytes;
}

veer_status_t veer_cache_open(const char *folder, veer_allocator_t allocator, veer_cache_t **out_cache) {
    *out_cache = NULL;
    if (!folder) folder = getenv("VEER_CACHE_DIR");
    if (folder && (!*folder || !strcmp(folder, "none"))) return veer_ok();
    veer_cache_t *c = veer_alloc(allocator, sizeof *c);
    if (!c) return veer_out_of_memory();
    c->allocator = allocator;
    bool fits = folder ? (size_t)snprintf(c->folder, sizeof c->folder, "%s", folder) < sizeof c->folder
                       : usual_folder(c->folder, sizeof c->folder);
    if (fits && make_folders(c->folder)) {
        *out_cache = c;
        return veer_ok();
    }
    int reason = errno;
    veer_free(allocator, c);
    if (!folder) return veer_ok();
    return veer_status_help(
        veer_error(VEER_ERR_CONFIG, "no cache in '%s': %s", folder, fits ? strerror(reason) : "the path is too long"),
        "name a folder that can be written, or none");
}

/* ---- entries ---- */

static uint64_t fnv(const void *bytes, size_t count, uint64_t h) {
    const unsigned char *p = bytes;
    for (size_t i = 0; i < count; i++) h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

/* Only a name: find compares the key itself. */
static void path_of(const veer_cache_t *c, const void *key, size_t key_bytes, char out[PATH_MAX]) {
    snprintf(out, PATH_MAX, "%s/%016" PRIx64 "%016" PRIx64 "%s", c->folder, fnv(key, key_bytes, 0xcbf29ce484222325u),
             fnv(key, key_bytes, 0x9e3779b97f4a7c15u), SUFFIX);
}

static uint64_t checksum(const void *key, size_t key_bytes, const void *value, size_t value_bytes) {
    return fnv(value, value_bytes, fnv(key, key_bytes, 0x84222325cbf29ce4u));
}

static bool read_all(int fd, void *out, size_t bytes) {
    for (size_t at = 0; at < bytes;) {
        ssize_t n = read(fd, (char *)out + at, bytes - at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        at += (size_t)n;
    }
    return true;
}

/* The header is read and fits the file and the key. */
static bool read_header(int fd, size_t key_bytes, header_t *out) {
    struct stat st;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode) || !read_all(fd, out, sizeof *out)) return false;
    uint64_t rest = (uint64_t)st.st_size - sizeof *out;
    return !memcmp(out->magic, MAGIC, sizeof MAGIC) && out->key_bytes == key_bytes && rest >= key_bytes &&
           out->value_bytes == rest - key_bytes;
}

static bool read_entry(const veer_cache_t *c, int fd, const void *key, size_t key_bytes, void **out_value,
                       size_t *out_bytes) {
    header_t h;
    if (!read_header(fd, key_bytes, &h)) return false;
    char *found = veer_alloc(c->allocator, key_bytes + 1), *value = veer_alloc(c->allocator, (size_t)h.value_bytes + 1);
    bool good = found && value && read_all(fd, found, key_bytes) && !memcmp(found, key, key_bytes) &&
                read_all(fd, value, (size_t)h.value_bytes) &&
                h.checksum == checksum(key, key_bytes, value, (size_t)h.value_bytes);
    veer_free(c->allocator, found);
    if (!good) {
        veer_free(c->allocator, value);
        return false;
    }
    *out_value = value, *out_bytes = (size_t)h.value_bytes;
    return true;
}

bool veer_cache_find(veer_cache_t *c, const void *key, size_t key_bytes, void **out_value, size_t *out_bytes) {
    if (!c) return false;
    char path[PATH_MAX];
    path_of(c, key, key_bytes, path);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return false;
    bool found = read_entry(c, fd, key, key_bytes, out_value, out_bytes);
    if (found) (void)!futimens(fd, NULL); /* used now; where that is refused it only ages */
    close(fd);
    return found;
}

static veer_status_t write_entry(veer_outfile_t *f, const void *key, size_t key_bytes, const void *value,
                                 size_t value_bytes) {
    header_t h = {
        .key_bytes = key_bytes, .value_bytes = value_bytes, .checksum = checksum(key, key_bytes, value, value_bytes)};
    memcpy(h.magic, MAGIC, sizeof MAGIC);
    VEER_TRY(veer_outfile_write(f, &h, sizeof h));
    VEER_TRY(veer_outfile_write(f, key, key_bytes));
    return veer_outfile_write(f, value, value_bytes);
}

static bool write_file(veer_cache_t *c, const char *path, const void *key, size_t key_bytes, const void *value,
                       size_t value_bytes) {
    veer_outfile_t *f;
    veer_status_t status = veer_outfile_open(path, c->allocator, &f);
    if (!status) status = veer_outfile_close(f, write_entry(f, key, key_bytes, value, value_bytes));
    bool written = !status;
    if (written) atomic_store(&c->stored, true);
    veer_status_free(status);
    return written;
}

void veer_cache_store(veer_cache_t *c, const void *key, size_t key_bytes, const void *value, size_t value_bytes) {
    if (!c) return;
    char path[PATH_MAX];
    path_of(c, key, key_bytes, path);
    write_file(c, path, key, key_bytes, value, value_bytes);
}

static bool has(veer_cache_t *c, const void *key, size_t key_bytes) {
    void *value;
    size_t bytes;
    if (!veer_cache_find(c, key, key_bytes, &value, &bytes)) return false;
    veer_free(c->allocator, value);
    return true;
}

/* A new name for a complete file either becomes the entry or finds one there, in one step. */
void veer_cache_store_first(veer_cache_t *c, const void *key, size_t key_bytes, const void *value, size_t value_bytes) {
    static atomic_uint counter;
    if (!c) return;
    char path[PATH_MAX], mine[PATH_MAX + 32];
    path_of(c, key, key_bytes, path);
    snprintf(mine, sizeof mine, "%s/new-%ld-%u%s", c->folder, (long)getpid(), atomic_fetch_add(&counter, 1), SUFFIX);
    if (!write_file(c, mine, key, key_bytes, value, value_bytes)) return;
    bool taken = link(mine, path) != 0;
    (void)unlink(mine);
    if (taken && !has(c, key, key_bytes)) veer_cache_store(c, key, key_bytes, value, value_bytes); /* it was broken */
}

/* ---- size ---- */

typedef struct entry_s {
    struct timespec used;
    int64_t bytes;
    char name[NAME_BYTES];
} entry_t;

static int by_age(const void *a, const void *b) {
    const entry_t *x = a, *y = b;
    if (x->used.tv_sec != y->used.tv_sec) return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
    return x->used.tv_nsec < y->used.tv_nsec ? -1 : x->used.tv_nsec > y->used.tv_nsec;
}

static bool is_entry(const char *name) {
    size_t n = strlen(name), s = sizeof SUFFIX - 1;
    return n > s && n < NAME_BYTES && !strcmp(name + n - s, SUFFIX);
}

static int list(DIR *dir, entry_t *out) {
    int count = 0;
    for (struct dirent *d; count < MAX_ENTRIES && (d = readdir(dir));) {
        struct stat st;
        if (!is_entry(d->d_name) || fstatat(dirfd(dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode))
            continue;
        out[count] = (entry_t){.used = st.st_mtim, .bytes = st.st_size};
        strcpy(out[count++].name, d->d_name);
    }
    return count;
}

static void prune(const veer_cache_t *c) {
    DIR *dir = opendir(c->folder);
    entry_t *entries = veer_alloc_array(c->allocator, MAX_ENTRIES, sizeof *entries);
    if (dir && entries) {
        int count = list(dir, entries);
        int64_t total = 0;
        for (int i = 0; i < count; i++) total += entries[i].bytes;
        qsort(entries, (size_t)count, sizeof *entries, by_age);
        for (int i = 0; i < count && total > VEER_CACHE_BYTES; i++)
            if (!unlinkat(dirfd(dir), entries[i].name, 0)) total -= entries[i].bytes;
    }
    veer_free(c->allocator, entries);
    if (dir) closedir(dir);
}

void veer_cache_close(veer_cache_t *c) {
    if (!c) return;
    if (atomic_load(&c->stored)) prune(c);
    veer_free(c->allocator, c);
}
