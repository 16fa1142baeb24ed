/* A model of one node, from text: what `veer ops` asks about, and what tests run.
 *
 *     veer_onnx_form_t form = {.op_type = "LeakyRelu", .opset = 16, .attrs = "alpha=0.25f", .operands = "x:2,5"};
 *     VEER_TRY(veer_onnx_form_operands(&form, VEER_DTYPE_F32, seed, &arena, operands, &count));
 *     VEER_TRY(veer_onnx_form_write(&form, operands, count, &model));      // the bytes of an ONNX file
 *
 * Operands, separated by blanks: x:2,3 numbers of either sign · p:2,3 positive · u:2,3 between -0.9 and 0.9 · g:2,3
 * between 1.2 and 3 · d:2,3 all different · c:2,3 as x · i4:2,3 whole numbers from 0 to 3 · o:2,3 uint8 · b:2,3 bool ·
 * l:1,-1 this list of int64, l2:... in two columns · f:0.5,1 and f2:... the same of numbers · t:1,0 of bool · n:0.5
 * this number · s:3 this int64 · z:7 this uint8 · e:2,3 float8 (E4M3FN) · w:2,3 int4 · _ absent. x, p, u, g, d and what
 * has a ! before it are inputs of the model, the others constants. What has a & before it is an input of the model, but
 * not of the node: nested graphs read it.
 *
 * Attributes, separated by blanks: axis=1, alpha=0.5f, scales=0.5f, (a list of one), mode=linear; lists where the
 * operator wants one. body={k,c,v>c,w|Add:v,v>w} is a graph: inputs, outputs, nodes. |Mul:x0,x0>z is no attribute but a
 * node before this one. */
#ifndef VEER_FRONTEND_ONNX_FORM_H
#define VEER_FRONTEND_ONNX_FORM_H

#include "ir/base/arena.h"
#include "ir/base/text.h"
#include "ir/types.h"

typedef struct veer_onnx_form_s {
    const char *op_type, *domain; /* domain NULL: the default one */
    int opset;
    const char *attrs, *operands;
} veer_onnx_form_t;

enum { VEER_ONNX_FORM_OPERANDS = 10 };
typedef struct veer_onnx_form_operand_s {
    char kind;                  /* '_': absent */
    bool is_input, is_captured; /* captured: not an operand of the node */
    veer_tensor_t tensor;       /* in the arena */
} veer_onnx_form_operand_t;

/* Numbers are of dtype `real`, f32 or f64. VEER_ERR_CONFIG for text that says nothing. */
VEER_MUST_USE veer_status_t veer_onnx_form_operands(const veer_onnx_form_t *form, veer_dtype_t real, uint64_t seed,
                                                    veer_arena_t *arena,
                                                    veer_onnx_form_operand_t out[VEER_ONNX_FORM_OPERANDS],
                                                    int *out_count);
/* The model: inputs x0, x1, ... (operand numbers), output y. */
VEER_MUST_USE veer_status_t veer_onnx_form_write(const veer_onnx_form_t *form, const veer_onnx_form_operand_t *operands,
                                                 int count, veer_text_t *out_bytes);

#endif
