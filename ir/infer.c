#include "ir/infer.h"

#include <assert.h>

veer_status_t veer_infer_same(veer_infer_t *c) {
    c->out[0] = c->in[0];
    return veer_ok();
}

veer_status_t veer_infer_broadcast(veer_infer_t *c) {
    veer_type_t out = c->in[0];
    for (int i = 1; i < c->in_count; i++) {
        if (c->in[i].dtype == VEER_DTYPE_NONE) continue;
        if (c->in[i].dtype != out.dtype)
            return veer_error(VEER_ERR_UNSUPPORTED, "operands of dtypes %s and %s; they must agree",
                              veer_dtype_name(out.dtype), veer_dtype_name(c->in[i].dtype));
        char a[VEER_TYPE_TEXT_BYTES], b[VEER_TYPE_TEXT_BYTES];
        if (!veer_type_broadcast(&out, &c->in[i], &out))
            return veer_error(VEER_ERR_UNSUPPORTED, "shapes %s and %s do not broadcast", veer_type_text(&out, a),
                              veer_type_text(&c->in[i], b));
    }
    c->out[0] = out;
    return veer_ok();
}

veer_status_t veer_infer_axis(const char *what, int64_t axis, int rank, int *out_axis) {
    if (axis < -rank || axis >= rank)
        return veer_error(VEER_ERR_UNSUPPORTED, "%s is %lld, expected %d to %d for a tensor of rank %d", what,
                          (long long)axis, -rank, rank - 1, rank);
    *out_axis = (int)(axis < 0 ? axis + rank : axis);
    return veer_ok();
}

const veer_attr_t *veer_infer_attr(const veer_infer_t *c, const char *name) {
    int i = veer_op_attr_index(c->op, name);
    assert(i >= 0);
    return &c->attrs[i];
}
