/* Measures where several makers could compute a node, and remembers which was the fastest.
 *
 *     veer_tuning_t *tuning;
 *     VEER_TRY(veer_tune(g, body, VEER_TUNE_ON, &makers, &tuning));
 *     veer_maker_t first = veer_tuning_choice(tuning, node, &why);         // VEER_MAKER_NONE: makers' own order
 *     veer_tuning_destroy(tuning);
 *
 * What is measured is one execution on one thread, spread evenly over the machine's cores in thought: the choice
 * depends on the node's shape and the machine, never on the number of threads, so results do not either.
 */
#ifndef VEER_API_TUNE_H
#define VEER_API_TUNE_H

#include "api/choose.h"

typedef enum veer_tune_mode_e {
    VEER_TUNE_OFF,    /* the makers' order: the same choice on every run and machine */
    VEER_TUNE_CACHED, /* what the cache knows; nothing is measured */
    VEER_TUNE_ON /* what the cache does not know is measured and kept there; as off where there is no cache, so that
                    the same run gives the same bits again */
} veer_tune_mode_t;

/* "off", "cached", "on"; VEER_ERR_CONFIG otherwise. */
VEER_MUST_USE veer_status_t veer_tune_parse(const char *name, veer_tune_mode_t *out_mode);

typedef struct veer_tuning_s veer_tuning_t;

/* Looks at the nodes in the loops of `body`, or at all where it has none: what runs once is not worth a measurement.
 * `makers` are asked what they would take, and say the cache; those that are measured are others like them. */
VEER_MUST_USE veer_status_t veer_tune(const veer_graph_t *g, veer_region_t body, veer_tune_mode_t mode,
                                      const veer_makers_t *makers, veer_tuning_t **out_tuning);
/* `*out_why` says what was measured, borrowed. */
veer_maker_t veer_tuning_choice(const veer_tuning_t *tuning, veer_node_t n, const char **out_why);
void veer_tuning_destroy(veer_tuning_t *tuning); /* NULL is allowed */

#endif
