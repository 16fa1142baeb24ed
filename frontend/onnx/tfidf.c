/* TfIdfVectorizer over integers: how often each n-gram of a pool stands in a sequence.
 *
 * All n-grams of one length are compared at once: for every distance s + 1 between their elements, the sequence [B, L]
 * shifted by j (s + 1) is compared with the j-th elements [P], all j together are a hit [B, starts, P], and the hits
 * are summed over the starts. */
#include "frontend/onnx/node.h"

#include <string.h>

enum { MAX_GRAM = 64, MAX_SKIP = 1024, MAX_SLOTS = 1 << 20 };

typedef struct {
    veer_onnx_node_t *n;
    int64_t batch, length;
    veer_value_t x; /* i64 [B, L, 1] */
    const int64_t *pool;
    veer_value_t sum; /* f32 [B, slots] so far */
    const int64_t *slots;
    int64_t slot_count;
} grams_t;

/* Hits of the n-grams pool[from ..], `count` of them: f32 [B, count], or VEER_NO_VALUE where none fits the sequence. */
static veer_value_t count_hits(const grams_t *s, int64_t from, int64_t count, int64_t size, int64_t skip) {
    veer_builder_t *b = s->n->b;
    int64_t starts = s->length - (size - 1) * (skip + 1);
    veer_value_t hit = VEER_NO_VALUE;
    int64_t *values = veer_onnx_scratch(s->n, count, sizeof *values);
    if (starts < 1 || !values) return VEER_NO_VALUE;
    for (int64_t j = 0; j < size; j++) {
        for (int64_t i = 0; i < count; i++) values[i] = s->pool[from + i * size + j];
        veer_value_t grams = veer_const(b, VEER_TYPE(VEER_DTYPE_I64, 1, 1, count), values);
        veer_value_t same = veer_equal(b, veer_slice_axis(b, s->x, 1, j * (skip + 1), starts, 1), grams);
        hit = hit.i ? veer_and(b, hit, same) : same;
    }
    return veer_reduce(b, VEER_OP_REDUCE_SUM, veer_cast(b, hit, VEER_DTYPE_F32), (int64_t[]){1}, 1, false);
}

/* Adds hits to the columns slots[first ..]. */
static void add_hits(grams_t *s, veer_value_t hits, int64_t first, int64_t count) {
    veer_builder_t *b = s->n->b;
    veer_value_t at = veer_const(b, VEER_TYPE(VEER_DTYPE_I64, 1, count), s->slots + first);
    at = veer_broadcast_to(b, at, VEER_DIMS(s->batch, count));
    s->sum = veer_build(b, VEER_OP_SCATTER_ADD, VEER_IN(s->sum, at, hits), VEER_ATTRS(VEER_INT("axis", 1)));
}

static bool read_pool(grams_t *s, const int64_t *starts, int levels, int pool_count, int slot_count) {
    int64_t entries = 0, columns = 0;
    bool good = levels > 0 && levels <= MAX_GRAM;
    for (int i = 0; i < levels && good; i++) {
        int64_t end = i + 1 < levels ? starts[i + 1] : pool_count;
        good = starts[i] >= 0 && starts[i] <= end && end <= pool_count && (end - starts[i]) % (i + 1) == 0;
        if (good) entries += (end - starts[i]) / (i + 1);
    }
    good &= entries == slot_count;
    for (int i = 0; i < slot_count && good; i++) {
        good = s->slots[i] >= 0 && s->slots[i] < MAX_SLOTS;
        if (good && s->slots[i] >= columns) columns = s->slots[i] + 1;
    }
    s->slot_count = columns;
    if (!good) veer_onnx_fail(s->n, VEER_ERR_FILE, "ngram_counts, ngram_indexes and pool_int64s do not fit");
    return good;
}

/* TF: counts; IDF: weights where counted at all; TFIDF: weights times counts. */
static veer_value_t weighted(grams_t *s, const char *mode, int slot_count) {
    veer_builder_t *b = s->n->b;
    int count;
    const float *weights = veer_onnx_attr_floats(s->n, "weights", &count);
    veer_value_t y = s->sum;
    if (!strcmp(mode, "TF")) return y;
    if (!strcmp(mode, "IDF")) y = veer_cast(b, veer_less(b, veer_const_f32(b, 0), y), VEER_DTYPE_F32);
    float *row = weights ? veer_onnx_scratch(s->n, s->slot_count, sizeof *row) : NULL;
    if (weights && count != slot_count)
        veer_onnx_fail(s->n, VEER_ERR_FILE, "%d weights for %d n-grams", count, slot_count);
    if (!row || !veer_onnx_ok(s->n)) return y;
    for (int i = 0; i < count; i++) row[s->slots[i]] = weights[i];
    return veer_mul(b, y, veer_const(b, VEER_TYPE(VEER_DTYPE_F32, s->slot_count), row));
}

void veer_onnx_tf_idf_vectorizer(veer_onnx_node_t *n) {
    veer_type_t x = veer_onnx_in_type(n, 0);
    int levels, pool_count, slot_count;
    const int64_t *starts = veer_onnx_attr_ints(n, "ngram_counts", &levels);
    grams_t s = {.n = n,
                 .pool = veer_onnx_attr_ints(n, "pool_int64s", &pool_count),
                 .slots = veer_onnx_attr_ints(n, "ngram_indexes", &slot_count),
                 .batch = x.rank == 2 ? x.dims[0] : 1,
                 .length = x.rank ? x.dims[x.rank - 1] : 0};
    int64_t shortest = veer_onnx_attr_int(n, "min_gram_length", 1),
            longest = veer_onnx_attr_int(n, "max_gram_length", 1);
    int64_t skips = veer_onnx_attr_int(n, "max_skip_count", 0);
    const char *mode = veer_onnx_attr_string(n, "mode", "TF");
    if (!s.pool || !s.slots || !starts || x.rank < 1 || x.rank > 2 || skips < 0 || skips > MAX_SKIP || shortest < 1 ||
        (strcmp(mode, "TF") && strcmp(mode, "IDF") && strcmp(mode, "TFIDF")) || !veer_dtype_is_integer(x.dtype)) {
        veer_onnx_fail(n, VEER_ERR_UNSUPPORTED, "a pool of strings, or input of rank %d, or mode '%s' is not supported",
                       x.rank, mode);
        return;
    }
    if (!read_pool(&s, starts, levels, pool_count, slot_count)) return;
    s.x = veer_reshape(n->b, veer_cast(n->b, n->in[0], VEER_DTYPE_I64), VEER_DIMS(s.batch, s.length, 1));
    s.sum = veer_zeros(n->b, VEER_TYPE(VEER_DTYPE_F32, s.batch, s.slot_count));
    int64_t first = 0;
    for (int64_t size = 1; size <= levels; size++) {
        int64_t end = size < levels ? starts[size] : pool_count, count = (end - starts[size - 1]) / size;
        int64_t most = size == 1 ? 0 : skips; /* a single element has no distances */
        for (int64_t skip = 0; skip <= most && count && size >= shortest && size <= longest; skip++) {
            veer_value_t hits = count_hits(&s, starts[size - 1], count, size, skip);
            if (hits.i) add_hits(&s, hits, first, count);
        }
        first += count;
    }
    veer_value_t y = weighted(&s, mode, slot_count);
    n->out[0] = x.rank == 2 ? y : veer_reshape(n->b, y, VEER_DIMS(s.slot_count));
}
