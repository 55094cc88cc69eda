/* In: a plan, buffers, arguments. Out: dispatched kernels. */
#include "launch.h"

#include "provider.h"

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

static struct mha_attention_kernel_args init_attention(const struct problem *sizes) {
    return (struct mha_attention_kernel_args){
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

static struct mha_gemm_args init_gemm(const struct problem *sizes) {
    struct mha_gemm_args args = {
        .flags = sizes->flags & MHA_LINEAR_BIAS ? FLAG_LINEAR_BIAS : 0,
        .rows = sizes->rows,
        .tokens = sizes->rows > 0 ? sizes->rows : 1,
        .in_features = sizes->in_features,
        .out_features = sizes->out_features,
    };
    mha_int end = 0;
    for (int s = 0; s < MHA_MAX_SEGMENTS; ++s) {
        end += sizes->segments[s].heads * sizes->segments[s].head_dim;
        args.segment_end[s] = end;
        args.head_dim[s] = sizes->segments[s].head_dim;
    }
    return args;
}

void mha_kernel_args_init(const struct problem *sizes, union kernel_args *args) {
    if (sizes->operation == OPERATION_LINEAR)
        args->gemm = init_gemm(sizes);
    else
        args->attention = init_attention(sizes);
}

/* What the kernels of each operation take. */
static const struct {
    cl_uint buffers;
    size_t args_bytes;
} signatures[] = {
    [OPERATION_ATTENTION] = {BUFFER_COUNT, sizeof(struct mha_attention_kernel_args)},
    [OPERATION_LINEAR] = {GEMM_BUFFER_COUNT, sizeof(struct mha_gemm_args)},
    [OPERATION_PROJECTED_ATTENTION] = {PROJECTED_BUFFER_COUNT, sizeof(struct mha_panel_qkv_args)},
};

void mha_call_fill_buffers(struct call *call) {
    cl_mem any = NULL;
    for (int i = 0; i < BUFFER_COUNT; ++i)
        any = any ? any : call->buffers[i];
    for (int i = 0; i < BUFFER_COUNT; ++i)
        if (!call->buffers[i])
            call->buffers[i] = any;
}

cl_int mha_kernel_set_buffers(const struct mha_plan *plan, int kernel, const cl_mem *buffers) {
    const struct variant *variant = plan->selection.variant;
    const cl_uint count = signatures[variant->operation].buffers;
    for (cl_uint i = 0; i < count; ++i) {
        const cl_int code = clSetKernelArg(plan->kernels[kernel], i, sizeof(cl_mem), &buffers[i]);
        if (code)
            return code;
    }
    if (!variant->kernels[kernel].has_local)
        return CL_SUCCESS;
    return clSetKernelArg(plan->kernels[kernel], count + 1,
                          variant->local_bytes(&plan->problem, &plan->selection.tuning), NULL);
}

cl_int mha_kernel_dispatch(const struct mha_plan *plan, cl_command_queue queue,
                           const struct launch *launch, const union kernel_args *args,
                           int64_t blocks, cl_uint n_wait, const cl_event *wait, cl_event *event) {
    const enum operation operation = plan->selection.variant->operation;
    const cl_kernel kernel = plan->kernels[launch->kernel];
    const size_t global = (size_t)blocks * launch->local_size;
    const cl_int code = clSetKernelArg(kernel, signatures[operation].buffers,
                                       signatures[operation].args_bytes, args);
    if (code)
        return code;
    return clEnqueueNDRangeKernel(queue, kernel, 1, NULL, &global, &launch->local_size, n_wait,
                                  wait, event);
}

double mha_flops_per_dispatch(const struct device_caps *caps, const struct variant *variant) {
    /* Intel counts execution units of 8 to 16 lanes, the others whole multiprocessors. */
    const bool is_intel = caps->vendor_id == 0x8086;
    const double lanes = caps->is_cpu ? 4.0 * caps->float_vector : is_intel ? 16 : 128;
    const double clock = caps->clock_mhz ? caps->clock_mhz * 1e6 : 5e8;
    return caps->compute_units * clock * lanes * variant->efficiency * MAX_DISPATCH_SECONDS;
}

int64_t mha_blocks_per_dispatch(const struct device_caps *caps, const struct variant *variant,
                                const struct launch *launch) {
    /* No display waits for a CPU, and at the end of each dispatch some of its cores would wait. */
    const double parts =
        caps->is_cpu ? 1 : ceil(launch->flops / mha_flops_per_dispatch(caps, variant));
    /* A grid must fit size_t on devices of 32-bit addresses; and PoCL compiles a kernel once more
     * for grids of 2^16 - 1 work-items and more, at the first such launch. */
    const int64_t most = (caps->is_cpu ? UINT16_MAX - 1 : INT32_MAX) / (int64_t)launch->local_size;
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

/* What a kernel may use is known only once it is compiled. */
static mha_status check_kernel(const struct mha_plan *plan, const struct launch *launch,
                               size_t *group_limit, mha_error *error) {
    size_t max_size = 0;
    const cl_int code =
        clGetKernelWorkGroupInfo(plan->kernels[launch->kernel], plan->engine->device,
                                 CL_KERNEL_WORK_GROUP_SIZE, sizeof(max_size), &max_size, NULL);
    if (code)
        return mha_fail_cl(error, code, "clGetKernelWorkGroupInfo");
    if (max_size < *group_limit)
        *group_limit = max_size;
    if (max_size < launch->local_size)
        return mha_fail(error, MHA_ERR_BUILD,
                        "kernel %s takes work-groups of %zu on %s, %zu are needed",
                        plan->selection.variant->kernels[launch->kernel].name, max_size,
                        plan->engine->caps.name, launch->local_size);
    return MHA_SUCCESS;
}

/* Every kernel that calls of these sizes launch, once; blocks 0: each work-group returns at once.
 */
static mha_status warm_up_call(const struct mha_plan *plan, const struct problem *sizes,
                               cl_command_queue queue, const cl_mem *buffers, bool *is_warm,
                               size_t *group_limit, mha_error *error) {
    const struct variant *variant = plan->selection.variant;
    struct launch launch;
    union kernel_args args = {.grid = {.blocks = 0}};
    mha_kernel_args_init(sizes, &args);
    for (int64_t i = 0; variant->launch(&plan->problem, sizes, &plan->engine->caps,
                                        &plan->selection.tuning, i, &launch, &args);
         ++i) {
        cl_int code;
        mha_status status;
        if (launch.kernel == KERNEL_CLBLAST) {
            code = mha_clblast_warm_up(plan, queue);
            return code ? fail_variant(plan, code, error) : MHA_SUCCESS;
        }
        if (is_warm[launch.kernel])
            continue;
        is_warm[launch.kernel] = true;
        args.grid.blocks = 0;
        if ((status = check_kernel(plan, &launch, group_limit, error)))
            return status;
        if ((code = mha_kernel_set_buffers(plan, launch.kernel, buffers)) ||
            (code = mha_kernel_dispatch(plan, queue, &launch, &args, 1, 0, NULL, NULL)))
            return fail_variant(plan, code, error);
    }
    return MHA_SUCCESS;
}

mha_status mha_plan_warm_up(const struct mha_plan *plan, size_t *group_limit, mha_error *error) {
    const mha_engine *engine = plan->engine;
    mha_status status;
    cl_int code;
    cl_mem buffer = NULL, buffers[MAX_BUFFER_COUNT];
    bool is_warm[MHA_MAX_KERNELS] = {false};
    /* Sizes of 1: nothing divides by zero. */
    struct problem one = plan->problem;
    one.batch = one.seqlen_q = one.seqlen_kv = one.rows = 1;
    cl_command_queue queue = clCreateCommandQueue(engine->context, engine->device, 0, &code);
    if (code)
        return mha_fail_cl(error, code, "clCreateCommandQueue");
    buffer = clCreateBuffer(engine->context, CL_MEM_READ_WRITE, 64, NULL, &code);
    if (code) {
        status = mha_fail_cl(error, code, "clCreateBuffer");
        goto done;
    }
    for (int i = 0; i < MAX_BUFFER_COUNT; ++i)
        buffers[i] = buffer;
    status = warm_up_call(plan, &one, queue, buffers, is_warm, group_limit, error);
    one.is_packing = true;
    if (!status && one.operation == OPERATION_LINEAR)
        status = warm_up_call(plan, &one, queue, buffers, is_warm, group_limit, error);
    if ((code = clFinish(queue)) && !status)
        status = fail_variant(plan, code, error);
done:
    if (buffer)
        clReleaseMemObject(buffer);
    clReleaseCommandQueue(queue);
    return status;
}
