/* Guides: functions log p(y|x, t) built on an imported classifier, whose gradient steers the sampler (spec "Guidance
 * gradients"). */
#ifndef VEER_MODELS_GUIDE_H
#define VEER_MODELS_GUIDE_H

#include "ir/builder.h"

typedef enum veer_head_e {
    VEER_HEAD_SOFTMAX,   /* (6): log_softmax(f)[y], logits [N, K], target label i64[N] */
    VEER_HEAD_BERNOULLI, /* (7): phi f - softplus(f), one logit per sample ([N] or [N, 1]), target phi f32[N] */
    VEER_HEAD_LOGP       /* (8): the result is log p itself, [N], [N, 1] or a scalar; no target */
} veer_head_t;

/* "softmax", "bernoulli", "logp"; VEER_ERR_CONFIG otherwise. */
VEER_MUST_USE veer_status_t veer_head_parse(const char *name, veer_head_t *out_head);
/* What the target argument is called: "label", "phi", or "" for VEER_HEAD_LOGP. */
const char *veer_head_target_name(veer_head_t head);

/* log p of `output` under the head, summed over the batch: a scalar [] (rows are independent, so each row's gradient is
 * its own). `target` is VEER_NO_VALUE for VEER_HEAD_LOGP. Shape errors are VEER_ERR_CONFIG in the builder. */
veer_value_t veer_head_log_p(veer_builder_t *b, veer_head_t head, veer_value_t output, veer_value_t target);
/* Type of the target that fits `output`; VEER_ERR_CONFIG where the output does not fit the head. */
VEER_MUST_USE veer_status_t veer_head_target_type(veer_head_t head, const veer_type_t *output, veer_type_t *out_type);

#endif
