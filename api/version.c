#include "api/veer.h"

#include <stdio.h>

#ifdef VEER_WITH_LLVM
#include "backends/llvm/llvm.h"
#endif
#ifdef VEER_WITH_ONEDNN
#include "backends/onednn/onednn.h"
#endif

const char *veer_version(void) {
    return "0.1.0";
}

const char *veer_version_details(void) {
    static _Thread_local char text[96];
    int at = 0;
    text[0] = 0;
#ifdef VEER_WITH_ONEDNN
    at += snprintf(text + at, sizeof text - (size_t)at, "oneDNN %s\n", veer_onednn_version());
#endif
#ifdef VEER_WITH_LLVM
    at += snprintf(text + at, sizeof text - (size_t)at, "LLVM %s\n", veer_llvm_version());
#endif
    (void)at;
    return text;
}
