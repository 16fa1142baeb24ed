#include "veer/plan.h" /* public */
