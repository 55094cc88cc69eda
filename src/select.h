/* Problem + device facts -> variant + values. Pure: makes no OpenCL call. */
#ifndef MHA_SELECT_H
#define MHA_SELECT_H

#include "variants.h"

struct selection {
    const struct variant *variant;
    struct tuning tuning;
    const char *source; /* where the values came from */
    char reason[256];
};

/* The best legal variant after `skip` better ones (for falling back when one does not build). */
mha_status mha_select(const struct problem *problem, const struct device_caps *caps, int skip,
                      struct selection *selection, mha_error *error);

#endif
