/* Constants that a formula computes in double (interpolation matrices, window counts), rounded once to the dtype. */
#ifndef VEER_IR_TABLE_H
#define VEER_IR_TABLE_H

#include "ir/builder.h"

/* A float constant of type `type`, from veer_type_count(&type) doubles, which are copied. */
veer_value_t veer_const_table(veer_builder_t *b, veer_type_t type, const double *values);

#endif
