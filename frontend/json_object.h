/* JSON objects into plain structs by a table of fields: strict about keys and types, every mistake reported at once.
 * For the readers of this folder; jansson's types stay in here.
 *
 *     static const veer_json_field_t fields[] = {{"beta_start", VEER_JSON_NUMBER, offsetof(config_t, beta_start),
 *                                                offsetof(config_t, given.beta_start)}, ...};
 */
#ifndef VEER_FRONTEND_JSON_OBJECT_H
#define VEER_FRONTEND_JSON_OBJECT_H

#include "frontend/lists.h"
#include "ir/base/arena.h"
#include "ir/base/status.h"

#include <jansson.h>

typedef enum veer_json_kind_e {
    VEER_JSON_BOOL,    /* bool */
    VEER_JSON_INT,     /* int64_t */
    VEER_JSON_NUMBER,  /* double */
    VEER_JSON_STRING,  /* const char *, in the arena */
    VEER_JSON_NUMBERS, /* veer_numbers_t, in the arena: a list, or one number */
    VEER_JSON_INTS     /* veer_integers_t, in the arena: a list, or one integer */
} veer_json_kind_t;

typedef struct veer_json_field_s {
    const char *name;
    veer_json_kind_t kind;
    size_t value_at; /* offset of the value in the struct */
    size_t given_at; /* offset of a bool that says whether the key was there */
} veer_json_field_t;

typedef struct veer_json_fields_s {
    const veer_json_field_t *fields;
    size_t count;
    const char *const *other; /* keys that are known, but of no effect here: each gives a note */
    size_t other_count;
    const char *other_note; /* "key 'x' <other_note>" */
} veer_json_fields_t;

/* VEER_ERR_FILE with line and column where the file is no JSON. Release with json_decref. */
VEER_MUST_USE veer_status_t veer_json_load(const char *path, veer_allocator_t allocator, json_t **out_json);

/* Sets the fields that `object` has; a key that is null counts as absent, one that begins with '_' is left out. The
 * others stay as they are. `notes` is a list of lines in the arena, extended. VEER_ERR_CONFIG for unknown keys and
 * wrong types, all of them joined. */
VEER_MUST_USE veer_status_t veer_json_read_object(const json_t *object, const veer_json_fields_t *fields, void *out,
                                                  veer_arena_t *arena, const char **notes);

/* A copy for messages: at most 60 characters, control characters replaced. */
enum { VEER_JSON_SHOWN_BYTES = 64 };
const char *veer_json_shown(const char *text, char out_text[VEER_JSON_SHOWN_BYTES]);

#endif
