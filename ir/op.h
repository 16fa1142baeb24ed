/* What an operator is: one definition with everything about it in one place. ops.def lists them; ir/ops/<family>.c
 * defines them; generic code (parser, printer, verifier, CSE, hoisting, documentation) reads the definition, never the
 * name. */
#ifndef VEER_IR_OP_H
#define VEER_IR_OP_H

#include "ir/base/status.h"
#include "ir/types.h"

typedef enum veer_op_e {
    VEER_OP_NONE,
#define VEER_OP(ENUM, name) VEER_OP_##ENUM,
#include "ir/ops.def"
#undef VEER_OP
    VEER_OP_COUNT
} veer_op_t;

struct veer_graph_s;
struct veer_builder_s;
typedef struct veer_op_def_s veer_op_def_t;

/* ---- attributes ---- */
typedef enum veer_attr_kind_e {
    VEER_ATTR_NONE,
    VEER_ATTR_INT,   /* also booleans, 0 or 1, and dtypes (veer_dtype_t) */
    VEER_ATTR_FLOAT, /* held in double */
    VEER_ATTR_INTS,
    VEER_ATTR_FLOATS,
    VEER_ATTR_STRING,
    VEER_ATTR_DATA /* a constant's bytes */
} veer_attr_kind_t;

/* Where a constant's bytes came from, so that text can name the place instead of repeating them. */
typedef struct veer_data_source_s {
    const char *path; /* NULL: the bytes are the graph's own */
    int64_t offset;
} veer_data_source_t;

typedef struct veer_attr_s {
    veer_attr_kind_t kind; /* VEER_ATTR_NONE: not given and no default */
    union {
        int64_t i;
        double f;
        const char *s;
        struct {
            const int64_t *v;
            int n;
        } ints;
        struct {
            const double *v;
            int n;
        } floats;
        struct {
            const void *bytes;
            size_t size_bytes;
            veer_data_source_t source;
        } data;
    } as;
} veer_attr_t;

/* What a builder call gives: VEER_INT("axis", 1), VEER_INTS("perm", v, n) ... An empty name ends a list. */
typedef struct veer_named_attr_s {
    const char *name;
    veer_attr_t attr;
} veer_named_attr_t;
#define VEER_INT(n, x)       ((veer_named_attr_t){n, {VEER_ATTR_INT, {.i = (x)}}})
#define VEER_FLOAT(n, x)     ((veer_named_attr_t){n, {VEER_ATTR_FLOAT, {.f = (x)}}})
#define VEER_STRING(n, x)    ((veer_named_attr_t){n, {VEER_ATTR_STRING, {.s = (x)}}})
#define VEER_INTS(n, x, c)   ((veer_named_attr_t){n, {VEER_ATTR_INTS, {.ints = {(x), (c)}}}})
#define VEER_FLOATS(n, x, c) ((veer_named_attr_t){n, {VEER_ATTR_FLOATS, {.floats = {(x), (c)}}}})

typedef struct veer_attr_def_s {
    const char *name;
    veer_attr_kind_t kind;
    bool required;
    /* Used where the attribute is not given and not required; an INTS or FLOATS default is the empty list. */
    int64_t default_int;
    double default_float;
    const char *default_string;
    const char *doc;
} veer_attr_def_t;

/* ---- traits ---- */
typedef enum veer_trait_e {
    VEER_PURE = 1 << 0,        /* same inputs, same outputs, no effect: may be removed, merged, moved */
    VEER_ELEMENTWISE = 1 << 1, /* out[i] depends on in[i] only, operands broadcast as NumPy's do */
    VEER_COMMUTATIVE = 1 << 2, /* the first two operands may be exchanged */
    VEER_REDUCTION = 1 << 3,   /* reduces the axes of attribute `axes` */
    VEER_ROWWISE = 1 << 4,     /* works along the axes of attribute `axis`.. (softmax, norms): rows are independent */
    VEER_MOVES = 1 << 5,       /* only moves or copies elements (reshape, transpose, slice, ...) */
    VEER_CONTRACTION = 1 << 6, /* matmul, conv: a backend library's business */
    VEER_TERMINATOR = 1 << 7,
    VEER_REGION = 1 << 8,   /* has a body */
    VEER_COMPOSITE = 1 << 9 /* has `expand`: can be spelled out in simpler ops */
} veer_trait_t;

/* Operand and result kinds, checked by the verifier before `infer` runs. */
typedef enum veer_operand_kind_e {
    VEER_ANY = 1,
    VEER_FLOAT_ONLY,
    VEER_NUMERIC,
    VEER_INTEGER,
    VEER_BOOLEAN,
    VEER_INDEX, /* i32 or i64 */
    VEER_BITS   /* an integer or a bool */
} veer_operand_kind_t;

typedef struct veer_operand_def_s {
    const char *name;
    veer_operand_kind_t kind;
    bool optional; /* may be VEER_NO_VALUE */
    bool variadic; /* last operand only: one or more */
} veer_operand_def_t;

enum { VEER_OP_MAX_OPERANDS = 8, VEER_OP_MAX_ATTRS = 12, VEER_OP_MAX_RESULTS = 4 };

/* What `infer` sees: operand types (dtype NONE where an optional operand is absent) and attributes in definition order.
 */
typedef struct veer_infer_s {
    veer_op_t op;
    int in_count;
    const veer_type_t *in;
    const veer_attr_t *attrs;
    int out_count;    /* set by the definition's result count; variadic-result ops may change it */
    veer_type_t *out; /* VEER_OP_MAX_RESULTS entries, to fill */
} veer_infer_t;

/* ---- gradients ---- (the ids of graph.h are uint32_t wrappers; op.h is included first, so they are forward types
 * here) */
typedef struct veer_grad_s veer_grad_t;
typedef struct veer_expand_s veer_expand_t;

struct veer_op_def_s {
    const char *name;
    const char *doc; /* one or more sentences: formula, shapes */
    veer_operand_def_t in[VEER_OP_MAX_OPERANDS];
    veer_operand_def_t out[VEER_OP_MAX_RESULTS]; /* results; `variadic`: any number */
    veer_attr_def_t attrs[VEER_OP_MAX_ATTRS];
    unsigned traits;
    /* Fills out[].type from operand types and attributes; checks everything that can be wrong with them. The message
     * names thing, actual and expected; the caller adds node and op. Runs on every node ever made. */
    veer_status_t (*infer)(veer_infer_t *ctx);
    /* Builds the gradient: see ir/gradient.h. veer_grad_none where the derivative is zero or does not exist (index
     * results, comparisons); NULL means forgotten and fails test_op_table. */
    veer_status_t (*grad)(struct veer_builder_s *b, veer_grad_t *g);
    /* Spells a composite op out in simpler ones: used for ONNX export, for backends without an implementation. */
    veer_status_t (*expand)(struct veer_builder_s *b, veer_expand_t *e);
    /* How far an f32 implementation may be from the reference one: |got - want| <= abs + rel * |want|. */
    struct {
        double abs, rel;
    } tol_f32;
};

/* The table; every op of ops.def has an entry, a missing one is a link error. */
const veer_op_def_t *veer_op_def(veer_op_t op);
const char *veer_op_name(veer_op_t op);
/* VEER_OP_NONE where the name is unknown. */
veer_op_t veer_op_from_name(const char *name, size_t length);
static inline bool veer_op_has(veer_op_t op, unsigned traits) {
    return (veer_op_def(op)->traits & traits) == traits;
}
/* Its result may look into its operand's memory when the program runs, at no cost. */
static inline bool veer_op_may_be_view(veer_op_t op) {
    return op == VEER_OP_RESHAPE || op == VEER_OP_SLICE || op == VEER_OP_STEP_SLICE;
}
/* Index of an attribute in the definition, -1 where the op has none of that name. */
int veer_op_attr_index(veer_op_t op, const char *name);

#endif
