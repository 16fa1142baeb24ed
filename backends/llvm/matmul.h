/* Matrix products as kernels of our own: what one computes (a problem), how it is cut (a blocking), and its IR.
 *
 *     y[l, m, n] = f(sum over k of a[l, m, k] * b[l, k, n], operands)
 *
 * f is a straight-line program of elementwise ops, run on each tile while it is in registers or the first cache.
 * Behind y there may be two further results, for the norm that reads it: of each block of moment_rows rows and each
 * column the mean m and the mean of (y - m)^2.
 *
 * A constant b is packed once, in panels of a few vectors of columns: panel after panel, in each the rows k. A tile is
 * some rows by one panel; its accumulators stay in registers over all of k. Each element is one chain of fused
 * multiply-adds in the order of k, so the cut has no influence on its bits.
 *
 *     matmul_match.c: node -> problem    matmul.c: blocking, packing    matmul_emit.{h,c}: IR */
#ifndef VEER_BACKENDS_LLVM_MATMUL_H
#define VEER_BACKENDS_LLVM_MATMUL_H

#include "backends/llvm/jit.h"

enum { VEER_MM_MAX_STEPS = 40, VEER_MM_MAX_VECTORS = 4, VEER_MM_MAX_ROWS = 14 };

/* A part of an operand's offset: (row / div) % mod * stride, in elements; mod 0: no wrap. */
typedef struct veer_mm_term_s {
    int64_t div, mod, stride;
} veer_mm_term_t;

typedef enum veer_mm_kind_e {
    VEER_MM_PRODUCT, /* the sum over k */
    VEER_MM_CONST,   /* bits, in every lane */
    VEER_MM_LOAD,    /* of an operand, f32 */
    VEER_MM_OP       /* elementwise, of earlier steps */
} veer_mm_kind_t;

typedef struct veer_mm_step_s {
    veer_mm_kind_t kind;
    veer_op_t op;
    veer_dtype_t out, in[3];
    int arg_count, args[3];
    int64_t flag; /* gelu, mod */
    uint64_t bits;
    int buf;
    int column_stride; /* 1, or 0 for one value per row */
    int term_count;
    veer_mm_term_t terms[VEER_MAX_RANK];
} veer_mm_step_t;

/* Plain data without holes of unknown content: its bytes tell kernels apart. */
typedef struct veer_mm_problem_s {
    int64_t leads, m, k, n;
    int64_t a_lead, a_row, a_k; /* strides in elements */
    int64_t b_lead, b_k, b_n;
    int64_t a_buf, b_buf, y_buf;
    int64_t b_constant;
    const float *b_data; /* borrowed; not part of the key */
    int64_t result;      /* the step that y gets */
    int64_t moment_rows; /* y is followed by mean and variance of each column of so many rows; 0: it is not */
    int64_t step_count;
    veer_mm_step_t steps[VEER_MM_MAX_STEPS];
} veer_mm_problem_t;

/* Whether a node is a product that can be done here; says why not. */
bool veer_mm_match(const veer_graph_t *g, veer_node_t node, veer_mm_problem_t *out, char *reason, size_t reason_bytes);

/* ---- parts, for other contractions whose result is rows of columns in the order of memory ---- */

/* An operand of the node (buf) or a constant of the body (data), as dims of dense memory. */
typedef struct veer_mm_source_s {
    veer_type_t type;
    int buf;
    const float *data; /* NULL: not constant */
    bool broadcast;
} veer_mm_source_t;

/* The contraction: the node itself, or the only one of its kind in the fused node's body, which has one result or, with
 * moments, three. */
bool veer_mm_find_core(const veer_graph_t *g, veer_node_t node, bool (*is_core)(veer_op_t op), veer_node_t *out_core,
                       char *reason, size_t reason_bytes);
bool veer_mm_match_operand(const veer_graph_t *g, veer_node_t node, veer_node_t core, int i, veer_mm_source_t *out,
                           char *reason, size_t reason_bytes);
/* The program behind the core, whose result is `rows` rows of p->n columns, into p->steps (none yet), p->result and
 * p->moment_rows, which a kernel that takes no moments has to decline.
 * `bias`: the core's operand that is added to every row; -1: none. */
bool veer_mm_match_program(const veer_graph_t *g, veer_node_t node, veer_node_t core, int bias, int64_t rows,
                           veer_mm_problem_t *p, char *reason, size_t reason_bytes);

/* How a problem is cut, by its shape and the target's registers alone. */
typedef struct veer_mm_blocking_s {
    int lanes;        /* of one vector */
    int vectors;      /* columns of a panel */
    int tail_vectors; /* of the last panel; `vectors` where it is full */
    int tail_lanes;   /* of the last panel's last vector that are columns of y */
    int64_t panels;
    int64_t tiles, tile_rows, long_tiles; /* per lead; the first `long_tiles` have one row more */
    int64_t groups;                       /* of tiles; an item is a group by a panel */
    int64_t blocks, depth;                /* of k, where b's panel is long: each but the last `depth` long */
    int64_t fetch_tiles;                  /* tiles that fetch the next block of b together, each a part; 0: none */
    int prefetch;                         /* lines of it per step of the loop over k */
    int fetch_step;                       /* floats to the next step's lines; 0: they follow each other */
    bool panels_outer;                    /* items of one panel follow each other; else those of one group */
} veer_mm_blocking_t;

enum { VEER_MM_MOST_UNROLLED = 8 };
/* Steps of k in one go. A block has a multiple of it, but for the last, which has at least as many. */
int veer_mm_unroll(int accumulators);
/* Estimated cycles per k of a tile. */
double veer_mm_tile_cycles(int64_t rows, int vectors, int lanes);
/* `registers`: vector registers of the target. */
veer_mm_blocking_t veer_mm_cut(const veer_mm_problem_t *p, int lanes, int registers);

/* Operations of a product with what follows it, and bytes that it reads and writes. */
void veer_mm_measures(const veer_mm_problem_t *p, double *out_flops, double *out_bytes);

/* Writes the body of a kernel that does items [begin, end). */
void veer_mm_emit(veer_jit_kernel_t *jit, const veer_mm_problem_t *p, const veer_mm_blocking_t *b);

#endif
