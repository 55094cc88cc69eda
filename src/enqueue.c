/* In: a plan and a call's arguments. Out: the call's kernels on the caller's queue, one event. */
#include "args.h"

#include <string.h>

#define ASSERT_SAME(flag) _Static_assert(FLAG_##flag == MHA_##flag, #flag)
ASSERT_SAME(SOFTCAP);
ASSERT_SAME(BIAS);
ASSERT_SAME(MASK);
ASSERT_SAME(ALIBI);
ASSERT_SAME(CAUSAL);
ASSERT_SAME(WINDOW);
ASSERT_SAME(SINKS);
ASSERT_SAME(KV_LENGTHS);
ASSERT_SAME(RAGGED_Q);
ASSERT_SAME(RAGGED_KV);
ASSERT_SAME(LSE);
ASSERT_SAME(SCORES);
_Static_assert(DTYPE_F16 == (int)MHA_F16 && DTYPE_BF16 == (int)MHA_BF16 &&
                   DTYPE_F64 == (int)MHA_F64,
               "dtype");
_Static_assert(ALIGN_BOTTOM_RIGHT == (int)MHA_BOTTOM_RIGHT && ALIGN_EXPLICIT == (int)MHA_EXPLICIT &&
                   ALIGN_EXPLICIT_PER_BATCH == (int)MHA_EXPLICIT_PER_BATCH,
               "alignment");
_Static_assert(STAGE_SCALED == (int)MHA_STAGE_SCALED && STAGE_SOFTCAP == (int)MHA_STAGE_SOFTCAP &&
                   STAGE_MASKED == (int)MHA_STAGE_MASKED,
               "stage");

/* -1, which every call refuses as a stride, where the product leaves 64 bits. */
static int64_t product(int64_t a, int64_t b, int64_t c) {
    int64_t result;
    if (a < 0 || b < 0 || c < 0 || !mha_add_product(&result, 0, a, b) ||
        !mha_add_product(&result, 0, result, c))
        return -1;
    return result;
}

mha_tensor mha_tensor_bhnd(cl_mem buffer, size_t offset_bytes, int64_t heads, int64_t tokens,
                           int64_t head_dim) {
    return (mha_tensor){
        .memory = {.kind = MHA_BUFFER, .buffer = buffer, .offset_bytes = offset_bytes},
        .stride_batch = product(heads, tokens, head_dim),
        .stride_head = product(tokens, head_dim, 1),
        .stride_token = head_dim,
    };
}

mha_tensor mha_tensor_bnhd(cl_mem buffer, size_t offset_bytes, int64_t heads, int64_t tokens,
                           int64_t head_dim) {
    return (mha_tensor){
        .memory = {.kind = MHA_BUFFER, .buffer = buffer, .offset_bytes = offset_bytes},
        .stride_batch = product(tokens, heads, head_dim),
        .stride_head = head_dim,
        .stride_token = product(heads, head_dim, 1),
    };
}

mha_tensor mha_tensor_qkv(cl_mem buffer, size_t offset_bytes, mha_dtype dtype, int part,
                          int64_t heads, int64_t tokens, int64_t head_dim) {
    const size_t element_bytes = (unsigned)dtype <= MHA_F64 ? mha_dtype_bytes(dtype) : 0;
    const size_t part_bytes = (size_t)heads * (size_t)head_dim * element_bytes;
    return (mha_tensor){
        .memory = {.kind = MHA_BUFFER,
                   .buffer = buffer,
                   .offset_bytes = offset_bytes + (size_t)part * part_bytes},
        .stride_batch = product(product(3, heads, head_dim), tokens, 1),
        .stride_head = head_dim,
        .stride_token = product(3, heads, head_dim),
    };
}

/* Where the next dispatch goes and what it waits for. On an in-order queue only the call's first
 * dispatch waits for the caller's events and only its last gives one; on an out-of-order queue
 * each waits for the one before. */
struct dispatcher {
    cl_command_queue queue;
    bool is_in_order;
    cl_uint n_wait;
    const cl_event *wait;
    cl_event previous;     /* out-of-order: owned */
    cl_event *first_event; /* where the first dispatch's event goes; NULL: nowhere */
    bool has_begun;
    bool has_buffers[MHA_MAX_KERNELS]; /* kernels whose buffers are set */
};

static mha_status check_queue(const mha_engine *engine, cl_command_queue queue, bool *is_in_order,
                              mha_error *error) {
    cl_context context = NULL;
    cl_device_id device = NULL;
    cl_command_queue_properties properties = 0;
    if (!queue)
        return mha_fail(error, MHA_ERR_NULL, "queue is NULL");
    cl_int code;
    if ((code = clGetCommandQueueInfo(queue, CL_QUEUE_CONTEXT, sizeof(context), &context, NULL)) ||
        (code = clGetCommandQueueInfo(queue, CL_QUEUE_DEVICE, sizeof(device), &device, NULL)) ||
        (code = clGetCommandQueueInfo(queue, CL_QUEUE_PROPERTIES, sizeof(properties), &properties,
                                      NULL)))
        return mha_fail_code(error, MHA_ERR_QUEUE, code, "queue is no OpenCL command queue");
    if (context != engine->context || device != engine->device)
        return mha_fail(error, MHA_ERR_QUEUE, "the queue's %s is not the engine's",
                        context != engine->context ? "context" : "device");
    *is_in_order = !(properties & CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE);
    return MHA_SUCCESS;
}

static mha_status check_wait_list(const mha_engine *engine, cl_uint n_wait, const cl_event *wait,
                                  mha_error *error) {
    if ((n_wait > 0) != (wait != NULL))
        return mha_fail(error, MHA_ERR_WAIT_LIST, "n_wait is %u but wait is %s", n_wait,
                        wait ? "not NULL" : "NULL");
    for (cl_uint i = 0; i < n_wait; ++i) {
        cl_context context = NULL;
        cl_int code = CL_SUCCESS;
        if (!wait[i] ||
            (code = clGetEventInfo(wait[i], CL_EVENT_CONTEXT, sizeof(context), &context, NULL)) ||
            context != engine->context)
            return mha_fail_code(error, MHA_ERR_WAIT_LIST, code,
                                 "wait[%u] is not an event of the engine's context", i);
    }
    return MHA_SUCCESS;
}

static cl_int give_first_event(struct dispatcher *d, cl_event event) {
    if (!d->first_event)
        return CL_SUCCESS;
    const cl_int code = clRetainEvent(event);
    if (!code)
        *d->first_event = event;
    return code;
}

/* One dispatch; `event` is where the call's event goes if this is its last, else NULL. */
static cl_int dispatch(const struct mha_plan *plan, struct dispatcher *d,
                       const struct launch *launch, const struct mha_kernel_args *args,
                       int64_t blocks, bool is_last, cl_event *event) {
    const bool is_first = !d->has_begun;
    const bool waits_for_caller = is_first;
    const bool waits_for_previous = !is_first && !d->is_in_order;
    const bool is_wanted =
        (is_first && d->first_event) || (is_last && event) || (!is_last && !d->is_in_order);
    cl_event own = NULL;
    cl_int code = mha_kernel_dispatch(plan, d->queue, launch, args, blocks,
                                      waits_for_caller     ? d->n_wait
                                      : waits_for_previous ? 1
                                                           : 0,
                                      waits_for_caller     ? d->wait
                                      : waits_for_previous ? &d->previous
                                                           : NULL,
                                      is_wanted ? &own : NULL);
    if (code)
        return code;
    d->has_begun = true;
    if (is_first && (code = give_first_event(d, own))) {
        if (own)
            clReleaseEvent(own);
        return code;
    }
    if (d->previous) {
        clReleaseEvent(d->previous);
        d->previous = NULL;
    }
    if (is_last && event)
        *event = own;
    else if (!is_last && !d->is_in_order)
        d->previous = own;
    else if (own)
        clReleaseEvent(own);
    return CL_SUCCESS;
}

static cl_int dispatch_launch(const struct mha_plan *plan, struct dispatcher *d,
                              const struct call *call, const struct launch *launch,
                              struct mha_kernel_args *args, bool is_last_launch, cl_event *event) {
    const int64_t step =
        mha_blocks_per_dispatch(&plan->engine->caps, plan->selection.variant, launch);
    cl_int code = CL_SUCCESS;
    if (!d->has_buffers[launch->kernel])
        code = mha_kernel_set_buffers(plan, launch->kernel, call->buffers);
    d->has_buffers[launch->kernel] = true;
    args->blocks = launch->blocks;
    for (int64_t first = 0; !code && first < launch->blocks; first += step) {
        const int64_t rest = launch->blocks - first;
        args->first_block = first;
        code = dispatch(plan, d, launch, args, rest < step ? rest : step,
                        is_last_launch && rest <= step, event);
    }
    return code;
}

static cl_int dispatch_call(const struct mha_plan *plan, struct dispatcher *d, struct call *call,
                            cl_event *event) {
    const struct variant *variant = plan->selection.variant;
    struct launch launch, next;
    /* A launch may leave values in the arguments: each has its own copy. */
    struct mha_kernel_args args = call->args, next_args = call->args;
    bool has_next = variant->launch(&plan->problem, &call->sizes, &plan->engine->caps,
                                    &plan->selection.tuning, 0, &next, &next_args);
    cl_int code = CL_SUCCESS;
    for (int64_t i = 1; !code && has_next; ++i) {
        launch = next;
        args = next_args;
        next_args = call->args;
        has_next = variant->launch(&plan->problem, &call->sizes, &plan->engine->caps,
                                   &plan->selection.tuning, i, &next, &next_args);
        code = dispatch_launch(plan, d, call, &launch, &args, !has_next, event);
    }
    return code;
}

/* Nothing to compute, but the wait list and the event are still honoured. A marker without a wait
 * list would wait for all that is on an out-of-order queue: there an event is complete at once. */
static cl_int dispatch_nothing(const mha_engine *engine, struct dispatcher *d, cl_event *event) {
    cl_event own = NULL;
    cl_int code;
    if (!d->is_in_order && !d->n_wait) {
        if (!event && !d->first_event)
            return CL_SUCCESS;
        own = clCreateUserEvent(engine->context, &code);
        if (!code && (code = clSetUserEventStatus(own, CL_COMPLETE)))
            clReleaseEvent(own);
    } else {
        code = clEnqueueMarkerWithWaitList(d->queue, d->n_wait, d->wait, &own);
    }
    if (code)
        return code;
    if ((code = give_first_event(d, own))) {
        clReleaseEvent(own);
        return code;
    }
    if (event)
        *event = own;
    else
        clReleaseEvent(own);
    return CL_SUCCESS;
}

mha_status mha_enqueue_attention(mha_plan *plan, cl_command_queue queue,
                                 const mha_attention_args *args, cl_uint n_wait,
                                 const cl_event *wait, cl_event *event, mha_error *error) {
    struct call call;
    struct dispatcher d = {.queue = queue, .n_wait = n_wait, .wait = wait};
    mha_status status;
    if (event)
        *event = NULL;
    if (args && args->struct_size >= sizeof(mha_attention_args) && args->first_event) {
        d.first_event = args->first_event;
        *d.first_event = NULL;
    }
    if (!plan)
        return mha_fail(error, MHA_ERR_NULL, "plan is NULL");
    if ((status = mha_engine_check(plan->engine, error)) ||
        (status = check_queue(plan->engine, queue, &d.is_in_order, error)) ||
        (status = check_wait_list(plan->engine, n_wait, wait, error)) ||
        (status = mha_call_init(plan, args, &call, error)))
        return status;
    cl_int code;
    if (mha_call_has_work(&call)) {
        pthread_mutex_lock(&plan->lock);
        code = dispatch_call(plan, &d, &call, event);
        pthread_mutex_unlock(&plan->lock);
    } else {
        code = dispatch_nothing(plan->engine, &d, event);
    }
    if (!code)
        return mha_succeed(error);
    /* Midway: what was enqueued completes, but no event is given. */
    if (d.previous)
        clReleaseEvent(d.previous);
    if (d.first_event && *d.first_event) {
        clReleaseEvent(*d.first_event);
        *d.first_event = NULL;
    }
    return mha_fail_cl(error, code, "enqueue");
}

uint64_t mha_profile_span(cl_event first, cl_event last) {
    cl_ulong start = 0, end = 0;
    if (!first || !last ||
        clGetEventProfilingInfo(first, CL_PROFILING_COMMAND_START, sizeof(start), &start, NULL) ||
        clGetEventProfilingInfo(last, CL_PROFILING_COMMAND_END, sizeof(end), &end, NULL) ||
        end < start)
        return 0;
    return end - start;
}
