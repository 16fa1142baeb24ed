/* What a model or a graph may ask for before it is refused: a small file must not cost memory and time without end. One
 * list, of which the struct, its defaults, the flags of the command and the errors are made.
 *
 *     veer_compile_options_t options = {.limits = {.max_nodes = 4 << 20}};   // what is 0 keeps its default
 */
#ifndef VEER_LIMITS_H
#define VEER_LIMITS_H

#include <stdint.h>

/* X(NAME, field, flag, default, the most it can be raised to, what is counted, doc) */
#define VEER_LIMITS(X)                                                                                                 \
    X(MAX_DEPTH, max_depth, "max-depth", 100, 500, "levels of nesting",                                                \
      "how deep functions, branches and loops may stand in one another (100)")                                         \
    X(MAX_NODES, max_nodes, "max-nodes", 1 << 20, 1 << 28, "nodes",                                                    \
      "nodes of a model and of the graph made of it, loops unrolled (1048576)")                                        \
    X(MAX_TENSOR_BYTES, max_tensor_bytes, "max-tensor-bytes", (int64_t)1 << 34, (int64_t)1 << 40, "bytes of a tensor", \
      "bytes of any one tensor (16 GiB)")                                                                              \
    X(MAX_CONSTANT_BYTES, max_constant_bytes, "max-constant-bytes", (int64_t)1 << 32, (int64_t)1 << 40,                \
      "bytes of copied or computed constants",                                                                         \
      "bytes of constants that are copied or computed while a model is read (4 GiB); those used in their file are "    \
      "free")                                                                                                          \
    X(MAX_MESSAGE_BYTES, max_message_bytes, "max-message-bytes", (int64_t)1 << 30, (int64_t)1 << 40,                   \
      "bytes of messages", "memory for what a model file says besides its weights (1 GiB)")

/* 0: the default. */
typedef struct veer_limits_s {
#define VEER_LIMIT_FIELD(NAME, field, ...) int64_t field;
    VEER_LIMITS(VEER_LIMIT_FIELD)
#undef VEER_LIMIT_FIELD
} veer_limits_t;

#endif
