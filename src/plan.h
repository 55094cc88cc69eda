/* A validated problem with its variant, compiled. */
#ifndef MHA_PLAN_H
#define MHA_PLAN_H

#include "program.h"

struct mha_plan {
    mha_engine *engine; /* holds a reference */
    struct problem problem;
    struct selection selection;
    size_t workspace_bytes;
    pthread_mutex_t lock; /* kernel arguments are state of the kernel objects */
    cl_kernel kernels[MHA_MAX_KERNELS];
};

#endif
