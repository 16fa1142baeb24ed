/* libveer: guided diffusion compiled from ONNX files.
 *
 *     veer_settings_t *s;
 *     VEER_TRY(veer_settings_create(veer_allocator_system(), &s));
 *     VEER_TRY(veer_settings_set(s, "class", "3")); // the flags of `veer sample`, by name
 *     VEER_TRY(veer_settings_set(s, "steps", "50"));
 *     veer_sampling_t *sampling; // imports, differentiates, optimises, compiles:
 *     VEER_TRY(veer_sampling_create("examples/digits", s, NULL, &sampling));
 *     veer_samples_t samples;
 *     VEER_TRY(veer_sampling_run(sampling, NULL, &samples));
 *     ... samples.x_0.data: f32 [num-samples, ...] ...
 *
 * Every function returns NULL or a status that the caller owns (see status.h). The library never prints, exits or
 * aborts. Objects are not thread-safe; distinct objects are independent.
 */
#ifndef VEER_VEER_H
#define VEER_VEER_H

#include "veer/allocator.h"
#include "veer/limits.h"
#include "veer/status.h"
#include "veer/types.h"
#include "veer/plan.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default) /* what is declared here is what the library exports */

/* "0.1.0", and what it was built with, a line each: "oneDNN 2.6.3", "LLVM 19.1.7". Static; the second for the
 * calling thread, as long as it lives. */
const char *veer_version(void);
const char *veer_version_details(void);

/* ---- one model, or its gradient ---- */

typedef struct veer_compiled_s veer_compiled_t;

typedef struct veer_named_dim_s {
    const char *name; /* a symbolic dimension, or "input.axis" */
    int64_t value;
} veer_named_dim_t;

typedef struct veer_compile_options_s {
    veer_allocator_t allocator; /* unset: the system's */
    const veer_named_dim_t *dims;
    int dim_count;
    const char *backend; /* "auto" (NULL) or "reference" */
    /* "default" (NULL): a layer may be off by 2e-5 of its largest result. "strict": no algorithm with more than four
     * times the direct one's error bound, nor numbers of fewer bits than f32's. */
    const char *precision;
    /* Whether the fastest implementation of a shape is found by measuring: "on" (NULL), "cached" (only what an earlier
     * compilation measured), "off" (a fixed order, the same on every machine). */
    const char *tune;
    /* The folder that keeps measurements and compiled code between runs; "none": nothing is kept; NULL:
     * $VEER_CACHE_DIR, else $XDG_CACHE_HOME/veer, else $HOME/.cache/veer. */
    const char *cache;
    /* Bytes that the arena may take: values are computed again instead of kept until it does. 0: as many as it likes.
     * Outside of the arena are weights, inputs, outputs and the kernels' scratch. */
    int64_t memory_budget;
    const char *passes; /* a pipeline instead of the usual one, as `veer opt --passes` takes it; NULL: the usual one */
    /* Inputs that become constants, for models whose shapes depend on them: names and tensors. */
    const char *const *bound_names;
    const veer_tensor_t *bound_tensors;
    int bound_count;
    veer_limits_t limits;  /* what files may ask for; 0: the defaults */
    bool straight_through; /* gradients pass QuantizeLinear, DequantizeLinear as if nothing were rounded */
    /* Called with the graph's text after each pass named in dump_after ("fold,cse", "all"; NULL: none). */
    const char *dump_after;
    void (*dump)(void *user, const char *pass, const char *text);
    void *dump_user;
} veer_compile_options_t;

/* `options` may be NULL. VEER_ERR_FILE, VEER_ERR_UNSUPPORTED (all unsupported nodes at once), VEER_ERR_CONFIG (a
 * dimension without a value). */
VEER_MUST_USE veer_status_t veer_compile_model(const char *path, const veer_compile_options_t *options,
                                               veer_compiled_t **out_compiled);

/* What is differentiated by what. */
typedef struct veer_gradient_request_s {
    const char *of; /* an output, or one element of its last axes: "logits", "logits[3]"; NULL: the only output */
    const char *const *wrt; /* input names; gradients come out as grad_<name> */
    int wrt_count;
    /* "softmax" (new input `label` i64[batch]), "bernoulli" (new input `phi`), "sum", "vjp" (new input `d_<output>`);
     * NULL: "sum" for a scalar or an indexed output, else "vjp". */
    const char *head;
} veer_gradient_request_t;
/* The model's outputs, then the gradients. */
VEER_MUST_USE veer_status_t veer_compile_gradient(const char *path, const veer_gradient_request_t *request,
                                                  const veer_compile_options_t *options,
                                                  veer_compiled_t **out_compiled);
/* The same as an ordinary ONNX model in a file of its own. */
VEER_MUST_USE veer_status_t veer_export_gradient(const char *path, const veer_gradient_request_t *request,
                                                 const veer_compile_options_t *options, const char *out_path);
/* VEER_OK, or one VEER_ERR_UNSUPPORTED error per node on the path that has no gradient. */
VEER_MUST_USE veer_status_t veer_check_gradient(const char *path, const veer_gradient_request_t *request,
                                                const veer_compile_options_t *options);

/* "1500", "64K", "60M", "2G" (powers of 1000): VEER_ERR_CONFIG where it is no positive number of bytes. */
VEER_MUST_USE veer_status_t veer_bytes_parse(const char *text, int64_t *out_bytes);

void veer_compiled_destroy(veer_compiled_t *compiled); /* NULL is allowed */
/* Its plan, for names, types, calls and memory: veer_plan_*. Borrowed. */
const veer_plan_t *veer_compiled_plan(const veer_compiled_t *compiled);
/* The optimised graph as text; the caller releases it with veer_free of the options' allocator. */
VEER_MUST_USE veer_status_t veer_compiled_text(const veer_compiled_t *compiled, char **out_text);
/* One evaluation. `in` and `out` have one tensor per input and output of the plan; in[i].type must be equal to the
 * plan's, out[i].data is the caller's, large enough for the plan's type. `options` may be NULL. */
VEER_MUST_USE veer_status_t veer_compiled_run(veer_compiled_t *compiled, const veer_tensor_t *in, veer_tensor_t *out,
                                              const veer_run_options_t *options);

/* ---- settings: the flags of `veer sample` ---- */

typedef struct veer_settings_s veer_settings_t;

typedef struct veer_setting_info_s {
    const char *name;  /* "classifier-scale" */
    const char *value; /* "L", what the value is called in a usage text; "" for a switch */
    bool repeatable;   /* every veer_settings_set adds one */
    const char *doc;
} veer_setting_info_t;
int veer_setting_count(void);
veer_setting_info_t veer_setting_info(int i);

VEER_MUST_USE veer_status_t veer_settings_create(veer_allocator_t allocator, veer_settings_t **out_settings);
void veer_settings_destroy(veer_settings_t *settings);
/* `_` and `-` are the same in names. For a switch the value is "" or NULL. Replaces an earlier value unless repeatable.
 * VEER_ERR_CONFIG where there is no such setting (with a suggestion) or the value does not parse. */
VEER_MUST_USE veer_status_t veer_settings_set(veer_settings_t *settings, const char *name, const char *value);
/* The text that was set, NULL where none was. Borrowed. */
const char *veer_settings_get(const veer_settings_t *settings, const char *name);

/* ---- sampling ---- */

typedef struct veer_sampling_s veer_sampling_t;

/* Everything that `veer sample` does before the first step. `folder` may be NULL (all parts come from the settings);
 * settings are copied where they are kept. `options` may be NULL; of it the allocator, passes and dump fields count. */
VEER_MUST_USE veer_status_t veer_sampling_create(const char *folder, const veer_settings_t *settings,
                                                 const veer_compile_options_t *options, veer_sampling_t **out_sampling);
void veer_sampling_destroy(veer_sampling_t *sampling);
const veer_plan_t *veer_sampling_plan(const veer_sampling_t *sampling);
VEER_MUST_USE veer_status_t veer_sampling_text(const veer_sampling_t *sampling, char **out_text);
/* Keys of configuration files that have no effect, and the like, a line each; "" where there are none. Borrowed. */
const char *veer_sampling_notes(const veer_sampling_t *sampling);

/* What a run gives. Released with veer_samples_deinit. */
typedef struct veer_samples_s {
    veer_tensor_t x_0;        /* f32 [count, ...]: raw, before rounding and scaling */
    veer_tensor_t tokens;     /* i64 [count, length], with embeddings; else data NULL */
    veer_tensor_t trajectory; /* f32 [steps, count, ...], with `record`; else data NULL */
    veer_tensor_t labels;     /* i64 [count]: the classes asked for; else data NULL */
    int64_t count;            /* finished samples: fewer than asked for after an interruption */
    int64_t steps;
    uint64_t seed;
    double seconds;
    veer_allocator_t allocator;
} veer_samples_t;

/* Samples all of `num-samples`, a batch at a time. options->progress sees the steps of all batches in one count. When
 * it stops the run, the status is VEER_ERR_INTERRUPTED and *out holds the batches that were finished. */
VEER_MUST_USE veer_status_t veer_sampling_run(veer_sampling_t *sampling, const veer_run_options_t *options,
                                              veer_samples_t *out);
void veer_samples_deinit(veer_samples_t *samples);
/* The words of sample i, up to END, without PAD; owned by the caller (veer_free). VEER_ERR_CONFIG without a vocabulary.
 */
VEER_MUST_USE veer_status_t veer_sampling_words(const veer_sampling_t *sampling, const veer_samples_t *samples,
                                                int64_t i, char **out_text);
/* Writes by the file's ending: .npy, .npz, .png, .jsonl (see docs/cli.md); whole or not at all. */
VEER_MUST_USE veer_status_t veer_sampling_save(const veer_sampling_t *sampling, const veer_samples_t *samples,
                                               const char *path);
/* The trajectory as `x` in an .npz; needs the setting `record`. */
VEER_MUST_USE veer_status_t veer_sampling_save_record(const veer_sampling_t *sampling, const veer_samples_t *samples,
                                                      const char *path);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
