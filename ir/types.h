#include "veer/types.h" /* public */
