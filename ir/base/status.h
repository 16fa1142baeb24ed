#include "veer/status.h" /* public */
