/* What compiling found out on this machine, kept in files for the next time: compiled objects, and which implementation
 * was the fastest for a shape. A value is found by the whole of its key, so an entry is never wrong, at worst absent.
 *
 *     veer_cache_t *cache;
 *     VEER_TRY(veer_cache_open(NULL, allocator, &cache));        // NULL: the usual folder; cache may be NULL after it
 *     if (!veer_cache_find(cache, key, key_bytes, &value, &value_bytes)) veer_cache_store(cache, key, ..., value, ...);
 *     veer_cache_close(cache);
 *
 * One file per entry, written aside and renamed: processes and threads may share a folder without locks. A broken or
 * foreign file counts as absent. Nothing here fails a compilation: a full disk means that nothing is kept.
 */
#ifndef VEER_API_CACHE_H
#define VEER_API_CACHE_H

#include "ir/base/allocator.h"
#include "ir/base/status.h"

typedef struct veer_cache_s veer_cache_t;

/* `folder`: a path, made if it is not there (VEER_ERR_CONFIG where that cannot be); "none": *out_cache is NULL, which
 * finds and keeps nothing; NULL: $VEER_CACHE_DIR in the same way, else $XDG_CACHE_HOME/veer, else $HOME/.cache/veer,
 * and no cache where these cannot be made. */
VEER_MUST_USE veer_status_t veer_cache_open(const char *folder, veer_allocator_t allocator, veer_cache_t **out_cache);
/* Removes the entries that were not used for longest where they take more than VEER_CACHE_BYTES. NULL is allowed. */
void veer_cache_close(veer_cache_t *cache);
#define VEER_CACHE_BYTES ((int64_t)512 << 20)

/* A copy of the value, the caller's to free with the cache's allocator. All pointers may be used by several threads. */
bool veer_cache_find(veer_cache_t *cache, const void *key, size_t key_bytes, void **out_value, size_t *out_bytes);
void veer_cache_store(veer_cache_t *cache, const void *key, size_t key_bytes, const void *value, size_t value_bytes);
/* The same unless the key has a value already: of several processes that keep different values at once the first one's
 * stays, and all find that one afterwards. */
void veer_cache_store_first(veer_cache_t *cache, const void *key, size_t key_bytes, const void *value,
                            size_t value_bytes);

#endif
