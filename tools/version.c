/* veer version. */
#include "api/veer.h"
#include "tools/verb.h"

#include <string.h>

static veer_status_t run_version(veer_command_t *c) {
    veer_report_t *r = &c->report;
    json_t *root = veer_report_object(r), *details = veer_report_array(r);
    for (const char *line = veer_version_details(); *line;) {
        size_t n = strcspn(line, "\n");
        if (n) veer_append(r, details, json_stringn(line, n));
        line += n + (line[n] == '\n');
    }
    veer_put_text(r, root, "version", veer_version());
    veer_put(r, root, "built_with", details);
    if (!veer_report_json(r, root)) {
        veer_report_print(r, "veer %s\n", veer_version());
        for (size_t i = 0; i < json_array_size(details); i++)
            veer_report_print(r, "%s\n", json_string_value(json_array_get(details, i)));
    }
    json_decref(root);
    return veer_ok();
}

const veer_verb_t veer_verb_version = {
    .name = "version",
    .operands = "",
    .summary = "the version of veer and of what it was built with",
    .example = "  veer version",
    .run = run_version,
};
