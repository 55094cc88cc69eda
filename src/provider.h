/* CLBlast as a provider of matrix products, where the build has it. */
#ifndef MHA_PROVIDER_H
#define MHA_PROVIDER_H

#include "launch.h"

extern const bool mha_clblast_is_built;

/* Its indirect kernels take operands padded to multiples of their tiles, in the temporary buffer;
 * no tile of its database is larger. */
#define MHA_CLBLAST_TILE 128

/* Rows that one product has at most: more would meet a watchdog. */
int mha_clblast_rows(const struct problem *problem, const struct device_caps *caps);

/* Workspace for its temporary buffer, for products of so many rows; SIZE_MAX where it can't be
 * counted. */
size_t mha_clblast_workspace(const struct problem *problem, const struct device_caps *caps,
                             const struct tuning *tuning);

/* C = A B^T (+ C with accumulate), row-major; sizes and strides in elements. */
struct clblast_product {
    mha_dtype dtype; /* MHA_F32 or MHA_F64 */
    size_t rows, columns, depth;
    cl_mem a, b, c, workspace;
    size_t a_offset, a_stride, b_offset, b_stride, c_offset, c_stride;
    size_t workspace_offset_bytes, workspace_bytes;
    bool accumulate;
};

/* Enqueues one product, by the values of the plan's tuning (clblast_values.h). It takes no wait
 * list: what is enqueued before must order it. */
cl_int mha_clblast_enqueue(const struct mha_plan *plan, cl_command_queue queue,
                           const struct clblast_product *product, cl_event *event);

/* Has CLBlast compile all that the plan's products need, with the values of its tuning. */
cl_int mha_clblast_warm_up(const struct mha_plan *plan, cl_command_queue queue);

#endif
