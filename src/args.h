/* The arguments of a call, checked against the plan and against OpenCL. */
#ifndef MHA_ARGS_H
#define MHA_ARGS_H

#include "launch.h"

/* Validates *args and fills *call; nothing is enqueued. A call without work (zero batch or zero
 * queries) needs no buffers and leaves call->buffers NULL. */
mha_status mha_call_init(const struct mha_plan *plan, const mha_attention_args *args,
                         struct call *call, mha_error *error);

bool mha_call_has_work(const struct call *call);

#endif
