/* Work on the caller's queue: its wait list, its order, its events. */
#ifndef MHA_DISPATCH_H
#define MHA_DISPATCH_H

#include "launch.h"

/* What an enqueue call was asked for. */
struct request {
    cl_command_queue queue;
    bool is_in_order; /* set by mha_request_check() */
    cl_uint n_wait;
    const cl_event *wait;
    cl_event *event;       /* NULL or, so far, *event NULL */
    cl_event *first_event; /* the same */
};

/* A part of a call: at least one launch, of the call's plan, of a stage of it or of what merges
 * two. Each step sees what those before it wrote. */
struct step {
    const struct mha_plan *plan;
    struct call call;
};

/* Whether the queue and the wait list are the engine's. */
mha_status mha_request_check(struct request *request, const mha_engine *engine, mha_error *error);

/* Enqueues the steps of a call of `plan`; none: only the wait list and the events are honoured.
 * Calls of one plan do not interleave. */
mha_status mha_dispatch(struct mha_plan *plan, const struct request *request,
                        const struct step *steps, int count, mha_error *error);

#endif
