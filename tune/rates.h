/* How fast a device can be at all: multiply-adds, and reading memory. */
#ifndef TUNE_RATES_H
#define TUNE_RATES_H

#include "target.h"

/* Measures target->rates.flops or .bytes where they are not known yet. False with a reason. */
bool rates_measure_flops(struct target *target, char *why, size_t why_bytes);
bool rates_measure_bytes(struct target *target, char *why, size_t why_bytes);

#endif
