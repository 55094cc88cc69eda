/* Calls of a linear projection, alone or within a layer. */
#ifndef MHA_LINEAR_H
#define MHA_LINEAR_H

#include "dispatch.h"
#include "regions.h"

/* A call on batch * tokens rows; x, y and weights are still to be set. */
void mha_linear_call_init(const struct mha_plan *plan, int64_t batch, int64_t tokens,
                          struct call *call);

/* Weights as the application has them. weight_name and bias_name are for messages. */
mha_status mha_linear_add_weights(const struct mha_plan *plan, const char *weight_name,
                                  const mha_memory *weight, const char *bias_name,
                                  const mha_memory *bias, struct regions *regions,
                                  struct call *call, mha_error *error);

/* Packed weights lie, or with call->sizes.is_packing will lie, `offset` elements into `buffer`. */
void mha_linear_set_packed(const struct mha_plan *plan, cl_mem buffer, int64_t offset,
                           struct call *call);

/* What the plan's kernels do with y. */
enum access mha_linear_y_access(const struct mha_plan *plan);

/* Where the plan's workspace lies. */
void mha_linear_set_workspace(const struct mha_plan *plan, cl_mem buffer, int64_t offset_bytes,
                              struct call *call);

/* To be called last: the call is complete. */
mha_status mha_linear_finish(const struct mha_plan *plan, struct call *call, mha_error *error);

/* x and one segment of y. */
void mha_linear_set_x(struct call *call, cl_mem buffer, const struct mha_tensor_args *x);
void mha_linear_set_y(struct call *call, int segment, cl_mem buffer,
                      const struct mha_tensor_args *y);

#endif
