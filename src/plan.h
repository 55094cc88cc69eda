/* A validated problem with its variant, compiled. */
#ifndef MHA_PLAN_H
#define MHA_PLAN_H

#include "program.h"

struct mha_plan {
    mha_engine *engine; /* holds a reference */
    struct problem problem;
    struct selection selection;
    size_t workspace_bytes;
    size_t packed_elements, packed_bytes; /* of weights; see variants.h */
    uint64_t packed_layout;
    struct layer *layer;  /* NULL but for a layer, which has no kernels itself */
    pthread_mutex_t lock; /* kernel arguments are state of the kernel objects */
    cl_kernel kernels[MHA_MAX_KERNELS];
};

/* Whether there is a plan, and of this operation. */
mha_status mha_plan_check(const struct mha_plan *plan, enum operation operation, mha_error *error);

/* Selection without compiling. */
mha_status mha_plan_supported(const mha_engine *engine, const struct problem *problem,
                              mha_error *error);

/* What every call that takes an engine begins with. */
mha_status mha_plan_check_engine(const mha_engine *engine, mha_error *error);

/* A plan without kernels; NULL where there is no memory. */
mha_plan *mha_plan_allocate(mha_engine *engine, const struct problem *problem, mha_error *error);

/* A plan with kernels, of attention or a linear projection; *plan must be NULL. */
mha_status mha_plan_make(mha_engine *engine, const struct problem *problem, mha_plan **plan,
                         mha_error *error);

/* The same for a choice already made: no other takes its place. */
mha_status mha_plan_make_selected(mha_engine *engine, const struct problem *problem,
                                  const struct selection *selection, mha_plan **plan,
                                  mha_error *error);

#endif
