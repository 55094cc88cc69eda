/* In: a plan and a linear projection's arguments. Out: its kernels on the caller's queue. */
#include "linear.h"

#include <string.h>

/* Of version 0.1: what every caller has. Never to change. */
#define FIRST_ARGS_BYTES (offsetof(mha_linear_args, first_event) + sizeof(cl_event *))

void mha_linear_call_init(const struct mha_plan *plan, int64_t batch, int64_t tokens,
                          struct call *call) {
    *call = (struct call){.sizes = plan->problem};
    call->sizes.rows = (int32_t)(batch * tokens);
    mha_kernel_args_init(&call->sizes, &call->args);
    call->args.gemm.tokens = (mha_int)(tokens > 0 ? tokens : 1);
}

mha_status mha_linear_add_weights(const struct mha_plan *plan, const char *weight_name,
                                  const mha_memory *weight, const char *bias_name,
                                  const mha_memory *bias, struct regions *regions,
                                  struct call *call, mha_error *error) {
    const struct problem *p = &plan->problem;
    const size_t bytes = mha_dtype_bytes(p->weight_dtype);
    int64_t weight_offset = 0, bias_offset = 0;
    mha_status status;
    if ((status = mha_add_region(weight_name, weight, (int64_t)p->in_features * p->out_features,
                                 bytes, ACCESS_READ, regions, &weight_offset, error)))
        return status;
    if (p->flags & MHA_LINEAR_BIAS) {
        if ((status = mha_add_region(bias_name, bias, p->out_features, bytes, ACCESS_READ, regions,
                                     &bias_offset, error)))
            return status;
    } else if (mha_memory_is_set(bias)) {
        return mha_fail(error, MHA_ERR_FLAGS, "%s is set but the plan has no bias", bias_name);
    }
    call->buffers[GEMM_WEIGHT] = weight->buffer;
    call->buffers[GEMM_BIAS] = bias->buffer;
    call->args.gemm.weight_offset = weight_offset;
    call->args.gemm.bias_offset = bias_offset;
    return MHA_SUCCESS;
}

void mha_linear_set_packed(const struct mha_plan *plan, cl_mem buffer, int64_t offset,
                           struct call *call) {
    struct mha_gemm_args *args = &call->args.gemm;
    call->buffers[GEMM_PACKED] = buffer;
    args->packed_offset = offset;
    args->packed_bias_offset = offset + (int64_t)plan->packed_elements;
    if (call->sizes.is_packing)
        return;
    /* Variants that take W as it is find it where it was packed to. */
    call->buffers[GEMM_WEIGHT] = call->buffers[GEMM_BIAS] = buffer;
    args->weight_offset = args->packed_offset;
    args->bias_offset = args->packed_bias_offset;
}

void mha_linear_set_workspace(const struct mha_plan *plan, cl_mem buffer, int64_t offset_bytes,
                              struct call *call) {
    const int64_t offset = offset_bytes / (int64_t)mha_dtype_bytes(plan->problem.weight_dtype);
    call->workspace = buffer;
    call->workspace_offset_bytes = offset_bytes;
    if (plan->problem.flags & MHA_LINEAR_PACKED)
        return;
    call->buffers[GEMM_PACKED] = buffer;
    call->args.gemm.packed_offset = offset;
    call->args.gemm.packed_bias_offset = offset + (int64_t)plan->packed_elements;
}

void mha_linear_set_x(struct call *call, cl_mem buffer, const struct mha_tensor_args *x) {
    call->buffers[GEMM_X] = buffer;
    call->args.gemm.x_offset = x->offset;
    call->args.gemm.x_stride_batch = x->stride_batch;
    call->args.gemm.x_stride_token = x->stride_token;
}

void mha_linear_set_y(struct call *call, int segment, cl_mem buffer,
                      const struct mha_tensor_args *y) {
    call->buffers[GEMM_Y + segment] = buffer;
    call->args.gemm.y[segment] = *y;
}

/* Batch entries that follow one another in x and in y are one. */
static bool is_one_entry(const struct mha_gemm_args *a) {
    if (a->x_stride_batch != a->tokens * a->x_stride_token)
        return false;
    for (int s = 0; s < MHA_MAX_SEGMENTS; ++s)
        if (a->y[s].stride_batch != a->tokens * a->y[s].stride_token)
            return false;
    return true;
}

/* Segments that are neighbouring columns of one matrix are one. */
static void merge_segments(struct call *call) {
    struct mha_gemm_args *a = &call->args.gemm;
    for (int s = 0; s < MHA_MAX_SEGMENTS && a->head_dim[s]; ++s) {
        const int begin = s ? a->segment_end[s - 1] : 0;
        if (a->y[s].stride_head != a->head_dim[s] && a->segment_end[s] - begin != a->head_dim[s])
            return;
        if (call->buffers[GEMM_Y + s] != call->buffers[GEMM_Y] ||
            a->y[s].offset != a->y[0].offset + begin ||
            a->y[s].stride_batch != a->y[0].stride_batch ||
            a->y[s].stride_token != a->y[0].stride_token)
            return;
    }
    for (int s = 0; s < MHA_MAX_SEGMENTS; ++s)
        a->segment_end[s] = a->out_features;
    a->head_dim[0] = a->out_features;
    a->y[0].stride_head = a->out_features;
}

/* The largest index of an element of x and y; strides were checked to stay within 64 bits. */
static int64_t largest_index(const struct mha_gemm_args *a) {
    const int64_t entries = (a->rows - 1) / a->tokens, tokens = a->tokens - 1;
    int64_t largest =
        a->x_offset + entries * a->x_stride_batch + tokens * a->x_stride_token + a->in_features;
    for (int s = 0; s < MHA_MAX_SEGMENTS && a->head_dim[s]; ++s) {
        const int64_t columns = a->segment_end[s] - (s ? a->segment_end[s - 1] : 0);
        const int64_t index = a->y[s].offset + entries * a->y[s].stride_batch +
                              tokens * a->y[s].stride_token +
                              columns / a->head_dim[s] * a->y[s].stride_head;
        largest = index > largest ? index : largest;
    }
    return largest;
}

mha_status mha_linear_finish(const struct mha_plan *plan, struct call *call, mha_error *error) {
    struct mha_gemm_args *args = &call->args.gemm;
    const struct variant *variant = plan->selection.variant;
    merge_segments(call);
    if (args->rows > args->tokens && is_one_entry(args))
        args->tokens = args->rows;
    mha_call_fill_buffers(call);
    if (variant->counts_in_32_bits && args->rows > 0 && largest_index(args) > INT32_MAX)
        return mha_fail(error, MHA_ERR_OVERFLOW,
                        "variant %s counts elements in 32 bits; a tensor reaches element %lld",
                        variant->name, (long long)largest_index(args));
    return MHA_SUCCESS;
}

enum access mha_linear_y_access(const struct mha_plan *plan) {
    return plan->selection.variant->accumulates && plan->problem.flags & MHA_LINEAR_BIAS
               ? ACCESS_READ_WRITE
               : ACCESS_WRITE;
}

static mha_status add_matrix(const char *name, const mha_matrix *matrix, int64_t rows,
                             int64_t columns, mha_dtype dtype, enum access access,
                             struct regions *regions, struct mha_tensor_args *args,
                             mha_error *error) {
    const mha_tensor tensor = {.memory = matrix->memory, .stride_token = matrix->stride_row};
    const struct extents extents = {1, 1, rows, columns, false, "row"};
    return mha_add_tensor(name, &tensor, &extents, dtype, access, regions, args, error);
}

static mha_status check_rows(const struct problem *p, int64_t rows, mha_error *error) {
    if (rows < 0)
        return mha_fail(error, MHA_ERR_SHAPE, "rows is %lld, less than 0", (long long)rows);
    if (rows > p->rows)
        return mha_fail(error, MHA_ERR_LIMIT, "rows is %lld, the plan's maximum is %d",
                        (long long)rows, (int)p->rows);
    return MHA_SUCCESS;
}

static mha_status init_call(const struct mha_plan *plan, const mha_linear_args *args,
                            struct call *call, mha_error *error) {
    const struct problem *p = &plan->problem;
    const size_t weight_bytes = mha_dtype_bytes(p->weight_dtype);
    mha_linear_args a;
    struct regions regions = {.engine = plan->engine};
    struct mha_tensor_args x, y;
    int64_t offset = 0;
    mha_status status;
    if (!args)
        return mha_fail(error, MHA_ERR_NULL, "args is NULL");
    if ((status =
             mha_read_struct(&a, sizeof(a), FIRST_ARGS_BYTES, args, "mha_linear_args", error)) ||
        (status = check_rows(p, a.rows, error)))
        return status;
    mha_linear_call_init(plan, 1, a.rows, call);
    if (!a.rows)
        return MHA_SUCCESS;
    if ((status = add_matrix("x", &a.x, a.rows, p->in_features, p->dtype, ACCESS_READ, &regions, &x,
                             error)) ||
        (status = add_matrix("y", &a.y, a.rows, p->out_features, p->dtype,
                             mha_linear_y_access(plan), &regions, &y, error)) ||
        (status = mha_add_workspace(&a.workspace, plan->workspace_bytes, weight_bytes, &regions,
                                    &offset, error)))
        return status;
    mha_linear_set_x(call, a.x.memory.buffer, &x);
    mha_linear_set_y(call, 0, a.y.memory.buffer, &y);
    mha_linear_set_workspace(plan, a.workspace.buffer, offset * (int64_t)weight_bytes, call);
    if (!(p->flags & MHA_LINEAR_PACKED)) {
        status = mha_linear_add_weights(plan, "weight", &a.weight, "bias", &a.bias, &regions, call,
                                        error);
    } else if (mha_memory_is_set(&a.bias)) {
        status = mha_fail(error, MHA_ERR_FLAGS, "bias is set but the plan's weights are packed");
    } else if (!(status = mha_add_region("weight", &a.weight,
                                         (int64_t)(plan->packed_bytes / weight_bytes), weight_bytes,
                                         false, &regions, &offset, error))) {
        mha_linear_set_packed(plan, a.weight.buffer, offset, call);
    }
    if (status)
        return status;
    if ((status = mha_linear_finish(plan, call, error)))
        return status;
    return mha_check_aliases(&regions, error);
}

mha_status mha_enqueue_linear(mha_plan *plan, cl_command_queue queue, const mha_linear_args *args,
                              cl_uint n_wait, const cl_event *wait, cl_event *event,
                              mha_error *error) {
    struct request request = {.queue = queue, .n_wait = n_wait, .wait = wait, .event = event};
    struct step step = {.plan = plan};
    mha_status status;
    if (event)
        *event = NULL;
    if (args && args->struct_size >= sizeof(mha_linear_args) && args->first_event) {
        request.first_event = args->first_event;
        *request.first_event = NULL;
    }
    if ((status = mha_plan_check(plan, OPERATION_LINEAR, error)) ||
        (status = mha_request_check(&request, plan->engine, error)) ||
        (status = init_call(plan, args, &step.call, error)))
        return status;
    return mha_dispatch(plan, &request, &step, step.call.sizes.rows > 0, error);
}

static mha_status init_pack(const struct mha_plan *plan, const mha_memory *weight,
                            const mha_memory *bias, const mha_memory *packed, struct call *call,
                            mha_error *error) {
    static const mha_memory none = {.offset_bytes = 0};
    const size_t bytes = mha_dtype_bytes(plan->problem.weight_dtype);
    struct regions regions = {.engine = plan->engine};
    int64_t offset = 0;
    mha_status status;
    if (!weight || !packed)
        return mha_fail(error, MHA_ERR_NULL, "%s is NULL", weight ? "packed" : "weight");
    mha_linear_call_init(plan, 1, 1, call);
    call->sizes.is_packing = true;
    if ((status = mha_linear_add_weights(plan, "weight", weight, "bias", bias ? bias : &none,
                                         &regions, call, error)) ||
        (status = mha_add_region("packed", packed, (int64_t)(plan->packed_bytes / bytes), bytes,
                                 ACCESS_WRITE, &regions, &offset, error)))
        return status;
    mha_linear_set_packed(plan, packed->buffer, offset, call);
    if ((status = mha_linear_finish(plan, call, error)))
        return status;
    return mha_check_aliases(&regions, error);
}

mha_status mha_enqueue_linear_pack(mha_plan *plan, cl_command_queue queue, const mha_memory *weight,
                                   const mha_memory *bias, const mha_memory *packed, cl_uint n_wait,
                                   const cl_event *wait, cl_event *event, mha_error *error) {
    struct request request = {.queue = queue, .n_wait = n_wait, .wait = wait, .event = event};
    struct step step = {.plan = plan};
    mha_status status;
    if (event)
        *event = NULL;
    if ((status = mha_plan_check(plan, OPERATION_LINEAR, error)) ||
        (status = mha_request_check(&request, plan->engine, error)) ||
        (status = init_pack(plan, weight, bias, packed, &step.call, error)))
        return status;
    return mha_dispatch(plan, &request, &step, 1, error);
}
