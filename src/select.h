/* Problem + device facts + tuning results -> variant + values. Pure: makes no OpenCL call. */
#ifndef MHA_SELECT_H
#define MHA_SELECT_H

#include "config.h"

struct selection {
    const struct variant *variant;
    struct tuning tuning;
    char source[64]; /* where the values came from */
    char reason[256];
};

/* The best legal choice after `skip` better ones (for falling back when one does not build).
 * config: tuning results; NULL for none. */
mha_status mha_select(const struct problem *problem, const struct device_caps *caps,
                      const struct config *config, int skip, struct selection *selection,
                      mha_error *error);

#endif
