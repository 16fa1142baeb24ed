#include "veer/veer.h" /* public */
