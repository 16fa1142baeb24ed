#include "models/guide.h"

#include <string.h>

static const struct {
    const char *name, *target;
} heads[] = {[VEER_HEAD_SOFTMAX] = {"softmax", "label"},
             [VEER_HEAD_BERNOULLI] = {"bernoulli", "phi"},
             [VEER_HEAD_LOGP] = {"logp", ""}};

veer_status_t veer_head_parse(const char *name, veer_head_t *out_head) {
    for (veer_head_t h = VEER_HEAD_SOFTMAX; h <= VEER_HEAD_LOGP; h++)
        if (!strcmp(heads[h].name, name)) {
            *out_head = h;
            return veer_ok();
        }
    return veer_status_help(veer_error(VEER_ERR_CONFIG, "unknown classifier head '%s'", name),
                            "use softmax, bernoulli or logp");
}

const char *veer_head_target_name(veer_head_t head) {
    return heads[head].target;
}

veer_status_t veer_head_target_type(veer_head_t head, const veer_type_t *output, veer_type_t *out_type) {
    char text[VEER_TYPE_TEXT_BYTES];
    if (!veer_dtype_is_float(output->dtype))
        return veer_error(VEER_ERR_CONFIG, "head %s needs a floating-point output, this one is %s", heads[head].name,
                          veer_type_text(output, text));
    if (head == VEER_HEAD_SOFTMAX) {
        if (output->rank != 2)
            return veer_error(VEER_ERR_CONFIG, "head softmax needs logits [batch, classes], the output is %s",
                              veer_type_text(output, text));
        *out_type = VEER_TYPE(VEER_DTYPE_I64, output->dims[0]);
        return veer_ok();
    }
    bool one_each = output->rank == 1 || (output->rank == 2 && output->dims[1] == 1);
    if (head == VEER_HEAD_BERNOULLI) {
        if (!one_each)
            return veer_error(VEER_ERR_CONFIG,
                              "head bernoulli needs one logit per sample, [batch] or [batch, 1]; the output is %s",
                              veer_type_text(output, text));
        *out_type = VEER_TYPE(output->dtype, output->dims[0]);
        return veer_ok();
    }
    if (!one_each && output->rank != 0)
        return veer_error(VEER_ERR_CONFIG,
                          "head logp needs one value per sample, [batch], [batch, 1] or a scalar; the output is %s",
                          veer_type_text(output, text));
    *out_type = (veer_type_t){0};
    return veer_ok();
}

veer_value_t veer_head_log_p(veer_builder_t *b, veer_head_t head, veer_value_t output, veer_value_t target) {
    if (!veer_builder_ok(b)) return VEER_NO_VALUE;
    veer_type_t type = *veer_builder_type(b, output), target_type;
    veer_builder_fail(b, veer_head_target_type(head, &type, &target_type));
    if (head == VEER_HEAD_SOFTMAX) { /* (6) */
        veer_value_t log_p = veer_build(b, VEER_OP_LOG_SOFTMAX, VEER_IN(output), VEER_ATTRS(VEER_INT("axis", 1)));
        veer_value_t index = veer_reshape(b, target, VEER_DIMS(type.dims[0], 1));
        veer_value_t picked =
            veer_build(b, VEER_OP_GATHER_ELEMENTS, VEER_IN(log_p, index), VEER_ATTRS(VEER_INT("axis", 1)));
        return veer_reduce_all(b, VEER_OP_REDUCE_SUM, picked);
    }
    if (head == VEER_HEAD_BERNOULLI) { /* (7): phi log sigmoid(f) + (1-phi) log sigmoid(-f) = phi f - softplus(f) */
        veer_value_t f = veer_reshape_like(b, output, &target_type);
        return veer_reduce_all(b, VEER_OP_REDUCE_SUM, veer_sub(b, veer_mul(b, target, f), veer_softplus(b, f)));
    }
    return veer_reduce_all(b, VEER_OP_REDUCE_SUM, output); /* (8) */
}
