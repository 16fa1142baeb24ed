#include "frontend/onnx_pb.h"
#include "frontend/onnx_file.h"
#include "frontend/onnx_wire.h"

typedef struct {
    veer_arena_t arena;
} messages_t;

static void *message_alloc(void *user, size_t size_bytes) {
    return veer_arena_alloc(&((messages_t *)user)->arena, size_bytes);
}
static void message_free(void *user, void *memory) {
    (void)user, (void)memory;
}

static veer_status_t read_tensor(const VeerOnnx__TensorProto *proto, veer_allocator_t allocator, veer_tensor_t *out,
                                 char **out_name) {
    veer_onnx_tensor_t tensor = veer_onnx_tensor_of(proto);
    veer_tensor_t result;
    VEER_TRY(veer_onnx_tensor_type(&tensor, &result.type));
    if (tensor.external) return veer_error(VEER_ERR_FILE, "external data in a file of one tensor");
    VEER_TRY(veer_onnx_tensor_check(&tensor, &result.type));
    result.data = veer_alloc(allocator, veer_type_bytes(&result.type));
    char *name = veer_strdup(allocator, proto->name ? proto->name : "");
    if (!result.data || !name) {
        veer_free(allocator, result.data);
        veer_free(allocator, name);
        return veer_out_of_memory();
    }
    veer_onnx_tensor_values(&tensor, &result.type, result.data);
    *out = result;
    *out_name = name;
    return veer_ok();
}

veer_status_t veer_onnx_pb_read(const char *path, veer_allocator_t allocator, veer_tensor_t *out_tensor,
                                char **out_name) {
    veer_mapped_file_t *file;
    messages_t messages;
    VEER_TRY(veer_mapped_file_open(allocator, path, &file));
    veer_arena_init(&messages.arena, allocator);
    ProtobufCAllocator give = {message_alloc, message_free, &messages};
    veer_status_t status = veer_wire_check(file->bytes, file->size_bytes, &veer_onnx__tensor_proto__descriptor, NULL);
    if (!status) {
        VeerOnnx__TensorProto *proto = veer_onnx__tensor_proto__unpack(&give, file->size_bytes, file->bytes);
        status = proto ? read_tensor(proto, allocator, out_tensor, out_name)
                       : veer_error(VEER_ERR_FILE, "is no tensor (TensorProto)");
    }
    status = veer_status_where(status, "%s", path);
    veer_arena_deinit(&messages.arena);
    veer_mapped_file_close(file);
    return status;
}
