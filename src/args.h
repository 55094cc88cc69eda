/* The arguments of an attention, checked against the plan and against OpenCL. */
#ifndef MHA_ARGS_H
#define MHA_ARGS_H

#include "dispatch.h"
#include "regions.h"

/* Copies the caller's struct, whatever its version. */
mha_status mha_attention_read_args(mha_attention_args *copy, const mha_attention_args *args,
                                   mha_error *error);

/* Sizes, and members whose flag is off. */
mha_status mha_attention_check_args(const struct mha_plan *plan, const mha_attention_args *args,
                                    mha_error *error);

/* Fills *call from checked arguments. q, k, v, o and the workspace are added to `tensors`, which
 * may be `others`, all else to `others`; whether they overlap is still to be checked. A call
 * without work (zero batch or zero queries) needs no buffers. */
mha_status mha_attention_call_init(const struct mha_plan *plan, const mha_attention_args *args,
                                   struct regions *tensors, struct regions *others,
                                   struct call *call, mha_error *error);

bool mha_attention_has_work(const struct call *call);

#endif
