#include "ir/op.h"

#include <string.h>

#define VEER_OP(ENUM, name) extern const veer_op_def_t veer_op_##name;
#include "ir/ops.def"
#undef VEER_OP

static const veer_op_def_t *const defs[VEER_OP_COUNT] = {
#define VEER_OP(ENUM, name) [VEER_OP_##ENUM] = &veer_op_##name,
#include "ir/ops.def"
#undef VEER_OP
};

static const veer_op_def_t none = {.name = "none", .doc = "a removed node"};

const veer_op_def_t *veer_op_def(veer_op_t op) {
    return op > VEER_OP_NONE && op < VEER_OP_COUNT ? defs[op] : &none;
}
const char *veer_op_name(veer_op_t op) {
    return veer_op_def(op)->name;
}

veer_op_t veer_op_from_name(const char *name, size_t length) {
    for (veer_op_t op = VEER_OP_NONE + 1; op < VEER_OP_COUNT; op++)
        if (strlen(defs[op]->name) == length && !memcmp(defs[op]->name, name, length)) return op;
    return VEER_OP_NONE;
}

int veer_op_attr_index(veer_op_t op, const char *name) {
    const veer_op_def_t *def = veer_op_def(op);
    for (int i = 0; i < VEER_OP_MAX_ATTRS && def->attrs[i].name; i++)
        if (!strcmp(def->attrs[i].name, name)) return i;
    return -1;
}
