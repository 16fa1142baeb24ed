#include "ir/print.h"

#include "ir/base/text.h"
#include "ir/literal.h"
#include "ir/symbols.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

typedef struct printer_s {
    const veer_graph_t *g;
    veer_func_t func;
    veer_text_t out;
    veer_arena_t scratch;
    veer_symbols_t visible; /* names in use where we are */
    uint32_t *number;       /* by value id: its number plus 1, 0 where it has its own name */
    uint32_t next_number;
    size_t splat_bytes; /* so far */
    bool anonymous;     /* neither names, origins nor strands */
} printer_t;

/* ---- words ---- */

/* What needs no quotes. A name of digits only would be read as "no name". */
static bool is_plain(const char *name) {
    if (!isalpha((unsigned char)*name) && *name != '_') return false;
    for (const char *c = name; *c; c++)
        if (!isalnum((unsigned char)*c) && *c != '_' && *c != '.') return false;
    return strcmp(name, "_") != 0;
}

static void print_quoted(printer_t *p, const char *s) {
    veer_text_add_bytes(&p->out, "\"", 1);
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\')
            veer_text_add(&p->out, "\\%c", c);
        else if (c == '\n')
            veer_text_add_bytes(&p->out, "\\n", 2);
        else if (c < ' ' || c == 127)
            veer_text_add(&p->out, "\\x%02x", c);
        else
            veer_text_add_bytes(&p->out, s, 1);
    }
    veer_text_add_bytes(&p->out, "\"", 1);
}

static void print_word(printer_t *p, const char *sigil, const char *name) {
    veer_text_add(&p->out, "%s", sigil);
    if (is_plain(name))
        veer_text_add(&p->out, "%s", name);
    else
        print_quoted(p, name);
}

static void print_type(printer_t *p, const veer_type_t *type) {
    char text[VEER_TYPE_TEXT_BYTES];
    veer_text_add(&p->out, "%s", veer_type_text(type, text));
}

static void indent(printer_t *p, int depth) {
    veer_text_add(&p->out, "%*s", depth * 4, "");
}

/* ---- values ---- */

/* A value keeps its name where no visible value has it; the others are numbered in the order of printing. */
static veer_status_t define(printer_t *p, veer_value_t value) {
    const char *name = veer_value_name(p->g, value);
    size_t length = p->anonymous ? 0 : strlen(name);
    if (length && !veer_symbols_find(&p->visible, name, length))
        return veer_symbols_put(&p->visible, name, length, value.i);
    p->number[value.i] = ++p->next_number;
    return veer_ok();
}

static void print_value(printer_t *p, veer_value_t value) {
    if (!value.i)
        veer_text_add(&p->out, "_");
    else if (p->number[value.i])
        veer_text_add(&p->out, "%%%" PRIu32, p->number[value.i] - 1);
    else if (*veer_value_name(p->g, value))
        print_word(p, "%", veer_value_name(p->g, value));
    else
        veer_text_add(&p->out, "%%?%" PRIu32, value.i); /* used before its definition: a broken graph */
}

static veer_status_t print_args(printer_t *p, veer_region_t region) {
    veer_text_add(&p->out, "(");
    for (int i = 0; i < veer_region_arg_count(p->g, region); i++) {
        veer_value_t arg = veer_region_arg(p->g, region, i);
        VEER_TRY(define(p, arg));
        if (i) veer_text_add(&p->out, ", ");
        print_value(p, arg);
        veer_text_add(&p->out, ": ");
        print_type(p, veer_value_type(p->g, arg));
    }
    veer_text_add(&p->out, ")");
    return veer_ok();
}

/* ---- attributes ---- */

static bool is_default(const veer_attr_def_t *def, const veer_attr_t *attr) {
    if (attr->kind == VEER_ATTR_NONE) return true;
    if (def->required) return false;
    switch (attr->kind) {
    case VEER_ATTR_INT: return attr->as.i == def->default_int;
    case VEER_ATTR_FLOAT: return !memcmp(&attr->as.f, &def->default_float, sizeof(double));
    case VEER_ATTR_INTS: return attr->as.ints.n == 0;
    case VEER_ATTR_FLOATS: return attr->as.floats.n == 0;
    case VEER_ATTR_STRING: return !strcmp(attr->as.s ? attr->as.s : "", def->default_string ? def->default_string : "");
    default: return false;
    }
}

/* The attributes that hold a veer_dtype_t read better by its name; the reader takes names for any integer. */
static bool is_dtype(const veer_attr_def_t *def, int64_t i) {
    return (!strcmp(def->name, "to") || !strcmp(def->name, "dtype")) && i > VEER_DTYPE_NONE && i < VEER_DTYPE_COUNT;
}

static void print_attr(printer_t *p, const veer_attr_def_t *def, const veer_attr_t *attr) {
    char text[VEER_LITERAL_BYTES];
    switch (attr->kind) {
    case VEER_ATTR_INT:
        if (is_dtype(def, attr->as.i))
            veer_text_add(&p->out, "%s", veer_dtype_name((veer_dtype_t)attr->as.i));
        else
            veer_text_add(&p->out, "%" PRId64, attr->as.i);
        break;
    case VEER_ATTR_FLOAT: veer_text_add(&p->out, "%s", veer_literal_double(attr->as.f, text)); break;
    case VEER_ATTR_INTS:
        for (int i = 0; i < attr->as.ints.n; i++)
            veer_text_add(&p->out, "%s%" PRId64, i ? ", " : "[", attr->as.ints.v[i]);
        veer_text_add(&p->out, attr->as.ints.n ? "]" : "[]");
        break;
    case VEER_ATTR_FLOATS:
        for (int i = 0; i < attr->as.floats.n; i++)
            veer_text_add(&p->out, "%s%s", i ? ", " : "[", veer_literal_double(attr->as.floats.v[i], text));
        veer_text_add(&p->out, attr->as.floats.n ? "]" : "[]");
        break;
    case VEER_ATTR_STRING: print_quoted(p, attr->as.s ? attr->as.s : ""); break;
    default: break;
    }
}

static void print_attrs(printer_t *p, veer_node_t node) {
    const veer_op_def_t *def = veer_op_def(veer_node_op(p->g, node));
    int printed = 0;
    for (int i = 0; i < VEER_OP_MAX_ATTRS && def->attrs[i].name; i++) {
        const veer_attr_t *attr = veer_node_attr(p->g, node, i);
        if (is_default(&def->attrs[i], attr)) continue;
        veer_text_add(&p->out, "%s%s = ", printed++ ? ", " : " {", def->attrs[i].name);
        print_attr(p, &def->attrs[i], attr);
    }
    if (printed) veer_text_add(&p->out, "}");
}

/* ---- constants ---- */

static void print_base64(printer_t *p, const unsigned char *b, size_t size_bytes) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *at = veer_text_extend(&p->out, (size_bytes + 2) / 3 * 4);
    if (!at) return;
    for (size_t i = 0; i < size_bytes; i += 3) {
        size_t left = size_bytes - i;
        unsigned v = (unsigned)b[i] << 16 | (left > 1 ? (unsigned)b[i + 1] << 8 : 0) | (left > 2 ? b[i + 2] : 0u);
        *at++ = digits[v >> 18];
        *at++ = digits[v >> 12 & 63];
        *at++ = left > 1 ? digits[v >> 6 & 63] : '=';
        *at++ = left > 2 ? digits[v & 63] : '=';
    }
}

static bool is_splat(const char *bytes, size_t size_bytes, size_t element) {
    /* equal to itself moved by one element = every element equals the next */
    return !memcmp(bytes, bytes + element, size_bytes - element);
}

static void print_const_data(printer_t *p, const veer_type_t *type, const veer_attr_t *data) {
    const char *bytes = data->as.data.bytes;
    size_t element = veer_dtype_size(type->dtype), size_bytes = data->as.data.size_bytes;
    int64_t count = veer_type_count(type);
    char text[VEER_LITERAL_BYTES];
    if (count <= VEER_PRINT_INLINE_ELEMENTS) {
        for (int64_t i = 0; i < count; i++)
            veer_text_add(&p->out, "%s%s",
                          i            ? ", "
                          : type->rank ? "["
                                       : "",
                          veer_literal_element(type->dtype, bytes + (size_t)i * element, text));
        veer_text_add(&p->out, count == 0 ? "[]" : type->rank ? "]" : "");
    } else if (data->as.data.source.path) {
        veer_text_add(&p->out, "@");
        print_quoted(p, data->as.data.source.path);
        veer_text_add(&p->out, "+%" PRId64 " #%016" PRIx64, data->as.data.source.offset,
                      veer_literal_hash(bytes, size_bytes));
    } else if (p->splat_bytes + size_bytes <= VEER_TEXT_SPLAT_BYTES && is_splat(bytes, size_bytes, element)) {
        p->splat_bytes += size_bytes;
        veer_text_add(&p->out, "splat %s", veer_literal_element(type->dtype, bytes, text));
    } else {
        veer_text_add(&p->out, "base64 \"");
        print_base64(p, data->as.data.bytes, size_bytes);
        veer_text_add(&p->out, "\"");
    }
}

static void print_const(printer_t *p, veer_node_t node) {
    const veer_type_t *type = veer_value_type(p->g, veer_node_out(p->g, node, 0));
    veer_text_add(&p->out, " ");
    print_type(p, type);
    veer_text_add(&p->out, " ");
    print_const_data(p, type, veer_node_attr(p->g, node, veer_op_attr_index(VEER_OP_CONST, "value")));
}

/* ---- nodes ---- */

static void print_operands(printer_t *p, veer_node_t node) {
    bool region = veer_node_body(p->g, node).i, top = veer_node_op(p->g, node) == VEER_OP_RETURN;
    int count = veer_node_in_count(p->g, node);
    while (count && !veer_node_in(p->g, node, count - 1).i) count--; /* absent ones at the end go without saying */
    if (region) veer_text_add(&p->out, " (");
    for (int i = 0; i < count; i++) {
        veer_text_add(&p->out, i ? ", " : region ? "" : " ");
        print_value(p, veer_node_in(p->g, node, i));
        const char *name = top ? veer_func_result_name(p->g, p->func, i) : "";
        if (*name) {
            veer_text_add(&p->out, " ");
            print_quoted(p, name);
        }
    }
    if (region) veer_text_add(&p->out, ")");
}

static void print_origins(printer_t *p, veer_node_t node) {
    int count = p->anonymous ? 0 : veer_node_origin_count(p->g, node);
    for (int i = 0; i < count; i++) {
        veer_text_add(&p->out, i ? ", " : " from [");
        print_quoted(p, veer_node_origin(p->g, node, i));
    }
    if (count) veer_text_add(&p->out, "]");
}

static veer_status_t print_node(printer_t *p, veer_node_t node, int depth);

static veer_status_t print_body(printer_t *p, veer_region_t region, int depth) {
    veer_text_add(&p->out, " {\n");
    VEER_FOR_EACH_NODE(p->g, region, node) VEER_TRY(print_node(p, node, depth + 1));
    indent(p, depth);
    veer_text_add(&p->out, "}");
    return veer_ok();
}

/* A fused body captures nothing, so its names may be those of the outside. */
static veer_status_t print_region(printer_t *p, veer_node_t node, int depth) {
    veer_symbols_t outside = p->visible;
    size_t mark = veer_symbols_mark(&outside);
    bool closed = veer_node_op(p->g, node) == VEER_OP_FUSED;
    if (closed) p->visible = veer_symbols_make(&p->scratch);
    veer_text_add(&p->out, " ");
    VEER_TRY(print_args(p, veer_node_body(p->g, node)));
    VEER_TRY(print_body(p, veer_node_body(p->g, node), depth));
    if (closed) p->visible = outside;
    veer_symbols_reset(&p->visible, mark);
    return veer_ok();
}

static veer_status_t print_node(printer_t *p, veer_node_t node, int depth) {
    int out_count = veer_node_out_count(p->g, node);
    veer_op_t op = veer_node_op(p->g, node);
    indent(p, depth);
    for (int i = 0; i < out_count; i++) {
        VEER_TRY(define(p, veer_node_out(p->g, node, i)));
        if (i) veer_text_add(&p->out, ", ");
        print_value(p, veer_node_out(p->g, node, i));
    }
    veer_text_add(&p->out, "%s%s", out_count ? " = " : "", veer_op_name(op));
    if (op == VEER_OP_CONST) {
        print_const(p, node);
    } else {
        print_operands(p, node);
        print_attrs(p, node);
        if (veer_node_body(p->g, node).i) VEER_TRY(print_region(p, node, depth));
        for (int i = 0; i < out_count; i++) {
            veer_text_add(&p->out, i ? ", " : " : ");
            print_type(p, veer_value_type(p->g, veer_node_out(p->g, node, i)));
        }
    }
    if (veer_node_strand(p->g, node) && !p->anonymous)
        veer_text_add(&p->out, " strand %d", veer_node_strand(p->g, node));
    print_origins(p, node);
    veer_text_add(&p->out, "\n");
    return veer_ok();
}

static veer_status_t print_func(printer_t *p, veer_func_t func) {
    p->func = func;
    p->next_number = 0;
    veer_text_add(&p->out, "graph ");
    print_word(p, "@", veer_func_name(p->g, func));
    VEER_TRY(print_args(p, veer_func_body(p->g, func)));
    VEER_TRY(print_body(p, veer_func_body(p->g, func), 0));
    veer_text_add(&p->out, "\n");
    veer_symbols_reset(&p->visible, 0);
    return veer_ok();
}

static veer_status_t print_graph(printer_t *p) {
    p->number = veer_arena_array(&p->scratch, veer_graph_value_limit(p->g), sizeof *p->number);
    if (!p->number) return veer_out_of_memory();
    for (veer_func_t f = veer_graph_first_func(p->g); f.i; f = veer_graph_next_func(p->g, f)) {
        if (p->out.length) veer_text_add(&p->out, "\n");
        VEER_TRY(print_func(p, f));
    }
    return veer_ok();
}

/* "(f32[4,8], const f32[8,8])", and from now on the operands have numbers. */
static veer_status_t print_node_operands(printer_t *p, veer_node_t node) {
    for (int i = 0; i < veer_node_in_count(p->g, node); i++) {
        veer_value_t in = veer_node_in(p->g, node, i);
        veer_text_add(&p->out, i ? ", " : "(");
        if (!in.i) {
            veer_text_add(&p->out, "_");
            continue;
        }
        veer_node_t def = veer_value_def(p->g, in);
        if (!p->number[in.i]) VEER_TRY(define(p, in));
        print_value(p, in);
        veer_text_add(&p->out, def.i && veer_node_op(p->g, def) == VEER_OP_CONST ? ": const " : ": ");
        print_type(p, veer_value_type(p->g, in));
    }
    veer_text_add(&p->out, ")\n");
    return veer_ok();
}

static veer_status_t print_one(printer_t *p, veer_node_t node) {
    p->number = veer_arena_array(&p->scratch, veer_graph_value_limit(p->g), sizeof *p->number);
    if (!p->number) return veer_out_of_memory();
    VEER_TRY(print_node_operands(p, node));
    return print_node(p, node, 0);
}

/* Without a node: the whole graph. */
static veer_status_t print_text(const veer_graph_t *g, veer_node_t node, veer_allocator_t allocator, char **out_text) {
    printer_t p = {.g = g, .out = veer_text_make(allocator), .anonymous = node.i != 0};
    locale_t locale = veer_literal_locale_enter();
    veer_arena_init(&p.scratch, allocator);
    p.visible = veer_symbols_make(&p.scratch);
    veer_status_t status = node.i ? print_one(&p, node) : print_graph(&p);
    if (!status) status = veer_text_take(&p.out, out_text);
    veer_text_deinit(&p.out);
    veer_arena_deinit(&p.scratch);
    veer_literal_locale_leave(locale);
    return status;
}

veer_status_t veer_print(const veer_graph_t *g, veer_allocator_t allocator, char **out_text) {
    return print_text(g, (veer_node_t){0}, allocator, out_text);
}

veer_status_t veer_print_signature(const veer_graph_t *g, veer_node_t node, veer_allocator_t allocator,
                                   char **out_text) {
    return print_text(g, node, allocator, out_text);
}
