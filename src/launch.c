/* In: a plan, buffers, arguments. Out: dispatched kernels. */
#include "launch.h"

#include <math.h>
#include <string.h>

#define MAX_DISPATCH_SECONDS 0.1

static mha_long real_bits(const struct problem *problem, double value) {
    mha_long bits = 0;
    if (problem->dtype == MHA_F64) {
        memcpy(&bits, &value, sizeof(value));
    } else {
        const float single = (float)value;
        cl_int low;
        memcpy(&low, &single, sizeof(single));
        bits = low;
    }
    return bits;
}

struct mha_kernel_args mha_kernel_args_init(const struct problem *sizes) {
    return (struct mha_kernel_args){
        .scale_bits = real_bits(sizes, sizes->scale),
        .softcap_bits = real_bits(sizes, sizes->softcap),
        .flags = (mha_int)sizes->flags,
        .batch = sizes->batch,
        .q_heads = sizes->q_heads,
        .kv_heads = sizes->kv_heads,
        .seqlen_q = sizes->seqlen_q,
        .seqlen_kv = sizes->seqlen_kv,
        .head_dim_qk = sizes->head_dim_qk,
        .head_dim_v = sizes->head_dim_v,
        .alignment = (mha_int)sizes->alignment,
        .window_left = sizes->window_left,
        .window_right = sizes->window_right,
        .bias_dtype = (mha_int)sizes->bias_dtype,
        .scores_stage = (mha_int)sizes->scores_stage,
    };
}

cl_int mha_kernel_set_buffers(const struct mha_plan *plan, int kernel, const cl_mem *buffers) {
    const struct variant *variant = plan->selection.variant;
    for (cl_uint i = 0; i < BUFFER_COUNT; ++i) {
        const cl_int code = clSetKernelArg(plan->kernels[kernel], i, sizeof(cl_mem), &buffers[i]);
        if (code)
            return code;
    }
    if (!variant->kernels[kernel].has_local)
        return CL_SUCCESS;
    return clSetKernelArg(plan->kernels[kernel], BUFFER_COUNT + 1,
                          variant->local_bytes(&plan->problem, &plan->selection.tuning), NULL);
}

cl_int mha_kernel_dispatch(const struct mha_plan *plan, cl_command_queue queue,
                           const struct launch *launch, const struct mha_kernel_args *args,
                           int64_t blocks, cl_uint n_wait, const cl_event *wait, cl_event *event) {
    const cl_kernel kernel = plan->kernels[launch->kernel];
    const size_t global = (size_t)blocks * launch->local_size;
    const cl_int code = clSetKernelArg(kernel, BUFFER_COUNT, sizeof(*args), args);
    if (code)
        return code;
    return clEnqueueNDRangeKernel(queue, kernel, 1, NULL, &global, &launch->local_size, n_wait,
                                  wait, event);
}

int64_t mha_blocks_per_dispatch(const struct device_caps *caps, const struct variant *variant,
                                const struct launch *launch) {
    /* Intel counts execution units of 8 to 16 lanes, the others whole multiprocessors. */
    const bool is_intel = caps->vendor_id == 0x8086;
    const double lanes = caps->is_cpu ? 4.0 * caps->float_vector : is_intel ? 16 : 128;
    const double clock = caps->clock_mhz ? caps->clock_mhz * 1e6 : 5e8;
    const double rate = caps->compute_units * clock * lanes * variant->efficiency;
    const double parts = ceil(launch->flops / rate / MAX_DISPATCH_SECONDS);
    /* A grid must fit size_t on devices of 32-bit addresses; and PoCL compiles a kernel once more
     * for grids of 2^16 work-items, at the first such launch. CPUs lose nothing by smaller ones. */
    const int64_t most = (caps->is_cpu ? UINT16_MAX : INT32_MAX) / (int64_t)launch->local_size;
    int64_t blocks = parts > 1 ? (int64_t)ceil((double)launch->blocks / parts) : launch->blocks;
    if (blocks < 1)
        blocks = 1;
    return blocks < most ? blocks : most;
}

/* A kernel that the device can't run counts as one that it can't compile: out of resources here
 * means registers or local memory. */
static mha_status fail_variant(const struct mha_plan *plan, cl_int code, mha_error *error) {
    return mha_fail_code(error, MHA_ERR_BUILD, code,
                         "variant %s does not run on %s: OpenCL error %d",
                         plan->selection.variant->name, plan->engine->caps.name, (int)code);
}

mha_status mha_plan_warm_up(const struct mha_plan *plan, mha_error *error) {
    const struct variant *variant = plan->selection.variant;
    mha_engine *engine = plan->engine;
    mha_status status = MHA_SUCCESS;
    cl_int code;
    cl_mem buffer = NULL, buffers[BUFFER_COUNT];
    struct problem one = plan->problem;
    bool is_warm[MHA_MAX_KERNELS] = {false};
    struct launch launch;
    struct mha_kernel_args args;
    cl_command_queue queue = clCreateCommandQueue(engine->context, engine->device, 0, &code);
    if (code)
        return mha_fail_cl(error, code, "clCreateCommandQueue");
    buffer = clCreateBuffer(engine->context, CL_MEM_READ_WRITE, 64, NULL, &code);
    if (code) {
        status = mha_fail_cl(error, code, "clCreateBuffer");
        goto done;
    }
    for (int i = 0; i < BUFFER_COUNT; ++i)
        buffers[i] = buffer;
    /* Sizes of 1: nothing divides by zero. args.blocks 0: every work-group returns at once. */
    one.batch = one.seqlen_q = one.seqlen_kv = 1;
    args = mha_kernel_args_init(&one);
    for (int64_t i = 0; variant->launch(&plan->problem, &one, &engine->caps,
                                        &plan->selection.tuning, i, &launch, &args);
         ++i) {
        if (is_warm[launch.kernel])
            continue;
        is_warm[launch.kernel] = true;
        args.blocks = 0;
        if ((code = mha_kernel_set_buffers(plan, launch.kernel, buffers)) ||
            (code = mha_kernel_dispatch(plan, queue, &launch, &args, 1, 0, NULL, NULL))) {
            status = fail_variant(plan, code, error);
            goto done;
        }
    }
    if ((code = clFinish(queue)))
        status = fail_variant(plan, code, error);
done:
    if (buffer)
        clReleaseMemObject(buffer);
    clReleaseCommandQueue(queue);
    return status;
}
