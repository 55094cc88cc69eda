/* In: the steps of a call. Out: their kernels on the caller's queue, one event. */
#include "dispatch.h"

#include "provider.h"

#include <string.h>

/* Where the next dispatch goes and what it waits for. On an in-order queue only the call's first
 * dispatch waits for the caller's events and only its last gives one; on an out-of-order queue
 * each waits for the one before. */
struct dispatcher {
    const struct request *request;
    cl_event previous; /* out-of-order: owned */
    bool has_begun;
    bool has_buffers[MHA_MAX_KERNELS]; /* kernels of this step whose buffers are set */
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
    if (!d->request->first_event)
        return CL_SUCCESS;
    const cl_int code = clRetainEvent(event);
    if (!code)
        *d->request->first_event = event;
    return code;
}

/* What the next command waits for. */
struct wait_list {
    cl_uint count;
    const cl_event *events;
};

static struct wait_list get_wait_list(const struct dispatcher *d) {
    const struct request *r = d->request;
    if (!d->has_begun)
        return (struct wait_list){r->n_wait, r->wait};
    if (!r->is_in_order)
        return (struct wait_list){1, &d->previous};
    return (struct wait_list){0, NULL};
}

static bool wants_event(const struct dispatcher *d, bool is_last) {
    const struct request *r = d->request;
    return (!d->has_begun && r->first_event) || (is_last && r->event) ||
           (!is_last && !r->is_in_order);
}

/* Takes `own`, the event of the command just enqueued, NULL where none was wanted. */
static cl_int keep_event(struct dispatcher *d, cl_event own, bool is_last) {
    const struct request *r = d->request;
    const bool is_first = !d->has_begun;
    cl_int code;
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
    if (is_last && r->event)
        *r->event = own;
    else if (!is_last && !r->is_in_order)
        d->previous = own;
    else if (own)
        clReleaseEvent(own);
    return CL_SUCCESS;
}

/* One dispatch; is_last: of the whole call. */
static cl_int dispatch(const struct mha_plan *plan, struct dispatcher *d,
                       const struct launch *launch, const union kernel_args *args, int64_t blocks,
                       bool is_last) {
    const struct wait_list wait = get_wait_list(d);
    cl_event own = NULL;
    const cl_int code =
        mha_kernel_dispatch(plan, d->request->queue, launch, args, blocks, wait.count, wait.events,
                            wants_event(d, is_last) ? &own : NULL);
    return code ? code : keep_event(d, own, is_last);
}

/* A kernel with nothing to do, for the event of a call's beginning: a barrier without a wait list
 * would wait for all that is on the queue. */
static cl_int dispatch_start(const struct step *step, struct dispatcher *d,
                             const struct launch *launch) {
    const struct mha_plan *plan = step->plan;
    const struct launch start = {.kernel = launch->product.idle_kernel, .local_size = 1};
    const union kernel_args args = {.grid = {.blocks = 0}};
    const cl_int code = mha_kernel_set_buffers(plan, start.kernel, step->call.buffers);
    return code ? code : dispatch(plan, d, &start, &args, 1, false);
}

/* CLBlast takes no wait list: a barrier before it has one. */
static cl_int dispatch_clblast(const struct step *step, struct dispatcher *d,
                               const struct launch *launch, const struct mha_gemm_args *args,
                               bool is_last) {
    const struct mha_plan *plan = step->plan;
    const struct problem *p = &plan->problem;
    const struct product *part = &launch->product;
    const struct mha_tensor_args *y = &args->y[part->segment];
    const int begin = part->segment ? args->segment_end[part->segment - 1] : 0;
    const int head_dim = args->head_dim[part->segment], column = part->column - begin;
    const int batch = part->row / args->tokens, token = part->row % args->tokens;
    const struct clblast_product product = {
        .dtype = p->dtype,
        .rows = (size_t)part->rows,
        .columns = (size_t)part->columns,
        .depth = (size_t)p->in_features,
        .a = step->call.buffers[GEMM_X],
        .b = step->call.buffers[GEMM_WEIGHT],
        .c = step->call.buffers[GEMM_Y + part->segment],
        .workspace = step->call.workspace,
        .a_offset =
            (size_t)(args->x_offset + batch * args->x_stride_batch + token * args->x_stride_token),
        /* A single row has no stride to speak of: the caller's may be anything. */
        .a_stride = (size_t)(part->rows > 1 ? args->x_stride_token : p->in_features),
        .b_offset = (size_t)(args->weight_offset + (int64_t)part->column * p->in_features),
        .b_stride = (size_t)p->in_features,
        .c_offset = (size_t)(y->offset + batch * y->stride_batch + token * y->stride_token +
                             column / head_dim * y->stride_head + column % head_dim),
        .c_stride = (size_t)(part->rows > 1 ? y->stride_token : part->columns),
        .workspace_offset_bytes = (size_t)step->call.workspace_offset_bytes,
        .workspace_bytes = plan->workspace_bytes,
        .accumulate = p->flags & MHA_LINEAR_BIAS,
    };
    cl_event own = NULL;
    cl_int code;
    if (!d->has_begun && d->request->first_event && (code = dispatch_start(step, d, launch)))
        return code;
    const struct wait_list wait = get_wait_list(d);
    if (wait.count) {
        if ((code = clEnqueueBarrierWithWaitList(d->request->queue, wait.count, wait.events,
                                                 wants_event(d, false) ? &own : NULL)) ||
            (code = keep_event(d, own, false)))
            return code;
        own = NULL;
    }
    code = mha_clblast_enqueue(plan, d->request->queue, &product,
                               wants_event(d, is_last) ? &own : NULL);
    return code ? code : keep_event(d, own, is_last);
}

static cl_int dispatch_launch(const struct step *step, struct dispatcher *d,
                              const struct launch *launch, union kernel_args *args,
                              bool is_last_launch) {
    const struct mha_plan *plan = step->plan;
    if (launch->kernel == KERNEL_CLBLAST)
        return dispatch_clblast(step, d, launch, &args->gemm, is_last_launch);
    const int64_t most =
        mha_blocks_per_dispatch(&plan->engine->caps, plan->selection.variant, launch);
    cl_int code = CL_SUCCESS;
    if (!d->has_buffers[launch->kernel])
        code = mha_kernel_set_buffers(plan, launch->kernel, step->call.buffers);
    d->has_buffers[launch->kernel] = true;
    args->grid.blocks = launch->blocks;
    for (int64_t first = 0; !code && first < launch->blocks; first += most) {
        const int64_t rest = launch->blocks - first;
        args->grid.first_block = first;
        code = dispatch(plan, d, launch, args, rest < most ? rest : most,
                        is_last_launch && rest <= most);
    }
    return code;
}

static cl_int dispatch_step(const struct step *step, struct dispatcher *d, bool is_last_step) {
    const struct mha_plan *plan = step->plan;
    const struct call *call = &step->call;
    const struct variant *variant = plan->selection.variant;
    struct launch launches[2];
    union kernel_args args[2]; /* a launch may leave values in the arguments */
    bool has_next = true;
    cl_int code = CL_SUCCESS;
    memset(d->has_buffers, 0, sizeof(d->has_buffers));
    /* One ahead, to know the last. */
    for (int64_t i = 0; !code && has_next; ++i) {
        const int next = i % 2, now = 1 - next;
        args[next] = call->args;
        has_next = variant->launch(&plan->problem, &call->sizes, &plan->engine->caps,
                                   &plan->selection.tuning, i, &launches[next], &args[next]);
        if (i > 0)
            code = dispatch_launch(step, d, &launches[now], &args[now], is_last_step && !has_next);
    }
    return code;
}

/* Nothing to compute, but the wait list and the event are still honoured. A marker without a wait
 * list would wait for all that is on an out-of-order queue: there an event is complete at once. */
static cl_int dispatch_nothing(const mha_engine *engine, struct dispatcher *d) {
    const struct request *r = d->request;
    cl_event own = NULL;
    cl_int code;
    if (!r->is_in_order && !r->n_wait) {
        if (!r->event && !r->first_event)
            return CL_SUCCESS;
        own = clCreateUserEvent(engine->context, &code);
        if (!code && (code = clSetUserEventStatus(own, CL_COMPLETE)))
            clReleaseEvent(own);
    } else {
        code = clEnqueueMarkerWithWaitList(r->queue, r->n_wait, r->wait, &own);
    }
    if (code)
        return code;
    if ((code = give_first_event(d, own))) {
        clReleaseEvent(own);
        return code;
    }
    if (r->event)
        *r->event = own;
    else
        clReleaseEvent(own);
    return CL_SUCCESS;
}

mha_status mha_request_check(struct request *request, const mha_engine *engine, mha_error *error) {
    mha_status status;
    if ((status = mha_engine_check(engine, error)) ||
        (status = check_queue(engine, request->queue, &request->is_in_order, error)) ||
        (status = check_wait_list(engine, request->n_wait, request->wait, error)))
        return status;
    return MHA_SUCCESS;
}

mha_status mha_dispatch(struct mha_plan *plan, const struct request *request,
                        const struct step *steps, int count, mha_error *error) {
    struct dispatcher d = {.request = request};
    cl_int code = CL_SUCCESS;
    pthread_mutex_lock(&plan->lock);
    if (!count)
        code = dispatch_nothing(plan->engine, &d);
    for (int i = 0; !code && i < count; ++i)
        code = dispatch_step(&steps[i], &d, i == count - 1);
    pthread_mutex_unlock(&plan->lock);
    if (!code)
        return mha_succeed(error);
    /* Midway: what was enqueued completes, but no event is given. */
    if (d.previous)
        clReleaseEvent(d.previous);
    if (request->first_event && *request->first_event) {
        clReleaseEvent(*request->first_event);
        *request->first_event = NULL;
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
