#include "veer/allocator.h" /* public */
