/* Kernel arguments and dispatches, for plan creation (warming up) and for enqueues. */
#ifndef MHA_LAUNCH_H
#define MHA_LAUNCH_H

#include "plan.h"

/* The buffers every attention kernel takes, in the order of ATTENTION_BUFFERS in problem.cl. */
enum attention_buffer {
    BUFFER_Q,
    BUFFER_K,
    BUFFER_V,
    BUFFER_O,
    BUFFER_BIAS,
    BUFFER_MASK,
    BUFFER_SLOPES,
    BUFFER_SINKS,
    BUFFER_KV_LENGTHS,
    BUFFER_CU_SEQLENS_Q,
    BUFFER_CU_SEQLENS_KV,
    BUFFER_POSITIONS,
    BUFFER_LSE,
    BUFFER_SCORES,
    BUFFER_SCRATCH,
    BUFFER_COUNT
};

/* The same for the kernels of a linear projection: GEMM_BUFFERS in gemm.cl. */
enum gemm_buffer {
    GEMM_X,
    GEMM_WEIGHT,
    GEMM_BIAS,
    GEMM_Y, /* of the first segment; the others follow */
    GEMM_PACKED = GEMM_Y + MHA_MAX_SEGMENTS,
    GEMM_BUFFER_COUNT
};

/* A projected attention takes those of an attention, then these. */
enum projected_buffer { PROJECTED_X = BUFFER_COUNT, PROJECTED_PACKED, PROJECTED_BUFFER_COUNT };
#define MAX_BUFFER_COUNT PROJECTED_BUFFER_COUNT
_Static_assert((int)GEMM_BUFFER_COUNT <= (int)MAX_BUFFER_COUNT, "struct call has room");

/* One call, validated: what its kernels are given. */
struct call {
    struct problem sizes;             /* the plan's problem with the actual sizes */
    cl_mem buffers[MAX_BUFFER_COUNT]; /* those of the operation */
    union kernel_args args;
    cl_mem workspace; /* of a linear projection, where its plan has any */
    int64_t workspace_offset_bytes;
};

/* *args as far as the problem fixes them; sizes from `sizes`. */
void mha_kernel_args_init(const struct problem *sizes, union kernel_args *args);

/* Kernels take every buffer of their operation; those that a call does not use are never touched,
 * but there must be one. */
void mha_call_fill_buffers(struct call *call);

/* Sets the buffers, and the local memory where the kernel takes some. */
cl_int mha_kernel_set_buffers(const struct mha_plan *plan, int kernel, const cl_mem *buffers);

/* Dispatches `blocks` work-groups from args->grid.first_block on. */
cl_int mha_kernel_dispatch(const struct mha_plan *plan, cl_command_queue queue,
                           const struct launch *launch, const union kernel_args *args,
                           int64_t blocks, cl_uint n_wait, const cl_event *wait, cl_event *event);

/* Runs every kernel of the plan once with no work, so that nothing is left to compile. *group_limit
 * falls to the largest work-group that every kernel takes. */
mha_status mha_plan_warm_up(const struct mha_plan *plan, size_t *group_limit, mha_error *error);

/* Floating-point operations that a dispatch may be predicted to do before a display's watchdog
 * takes the device for hung. */
double mha_flops_per_dispatch(const struct device_caps *caps, const struct variant *variant);

/* Work-groups for one dispatch, so that none is predicted to run longer than a display's watchdog
 * tolerates; a CPU has none. */
int64_t mha_blocks_per_dispatch(const struct device_caps *caps, const struct variant *variant,
                                const struct launch *launch);

#endif
