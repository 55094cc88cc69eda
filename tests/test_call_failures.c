/* The k-th OpenCL call of an enqueue fails, for every k, once and for ever: a clean status with a
 * message, no event, nothing leaked, a queue that can be finished, and the next try works. */
#include "failure_run.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void run_make_case(struct run *run, const char *variant, uint64_t flags, int64_t seqlen_q,
                   int64_t seqlen_kv) {
    const struct test_case test = {
        .variant = variant,
        .flags = flags,
        .scores_stage = flags & MHA_SCORES ? MHA_STAGE_SCALED : MHA_STAGE_WEIGHTS,
        .batch = 2,
        .q_heads = 2,
        .kv_heads = 2,
        .seqlen_q = seqlen_q,
        .seqlen_kv = seqlen_kv,
        .slack = 1,
        .head_dim_qk = 16,
        .head_dim_v = 16,
        .seed = 3,
    };
    case_init(run->data, &test);
}

void run_release_case(struct run *run) {
    case_release_buffers(run->data);
    case_release(run->data);
    free(run->expected);
    run->expected = NULL;
}

static mha_status enqueue(struct run *run, cl_event *event, cl_event *first, mha_error *e) {
    cl_event gate = NULL;
    cl_int code = CL_SUCCESS;
    const bool has_events = run->gives & EVENTS, has_wait = run->gives & WAIT;
    const struct test_buffer *o = run->data->o.buffer;
    if (o && clEnqueueWriteBuffer(run->device->queue, o->mem, CL_TRUE, 0, o->bytes, o->image, 0,
                                  NULL, NULL))
        run_expect(run, false, "can't write o");
    if (has_wait)
        gate = clCreateUserEvent(run->device->context, &code);
    run_expect(run, !code, "clCreateUserEvent: %d", (int)code);
    *event = *first = has_events ? (cl_event)run : NULL;
    run->args->first_event = has_events ? first : NULL;
    memset(e, 0xa5, sizeof(*e));
    faults_arm(run->fail_at, run->is_forever, run->code);
    const mha_status status =
        mha_enqueue_attention(run->plan, run->queue, run->args, has_wait, has_wait ? &gate : NULL,
                              has_events ? event : NULL, e);
    run->report = faults_disarm();
    if (gate) {
        code = clSetUserEventStatus(gate, CL_COMPLETE);
        run_expect(run, !code, "clSetUserEventStatus: %d", (int)code);
        clReleaseEvent(gate);
    }
    /* Also where a call failed midway, what was enqueued completes. */
    code = clFinish(run->queue);
    run_expect(run, !code, "clFinish: %d", (int)code);
    return status;
}

static void check_events(struct run *run, mha_status status, cl_event event, cl_event first) {
    if (!(run->gives & EVENTS))
        return;
    run_expect(run, !event == (status != MHA_SUCCESS), "the event is %p", (void *)event);
    run_expect(run, !first == (status != MHA_SUCCESS), "first_event is %p", (void *)first);
    if (event)
        clReleaseEvent(event);
    if (first)
        clReleaseEvent(first);
}

/* The same numbers as ever; the first time, they are only kept. */
static void check_numbers(struct run *run) {
    const struct test_buffer *o = run->data->o.buffer;
    unsigned char *found = calloc(1, o->bytes);
    const cl_int code =
        clEnqueueReadBuffer(run->device->queue, o->mem, CL_TRUE, 0, o->bytes, found, 0, NULL, NULL);
    run_expect(run, !code, "clEnqueueReadBuffer: %d", (int)code);
    run_expect(run, !run->expected || !memcmp(found, run->expected, o->bytes),
               "o differs from that of the first run");
    if (run->expected) {
        free(found);
        return;
    }
    run->expected = found;
    const bool is_empty = !run->data->test.seqlen_q;
    run_expect(run, !memcmp(found, o->image, o->bytes) == is_empty,
               "o is not what the call writes");
}

void run_enqueue_well(struct run *run) {
    const int fail_at = run->fail_at;
    const struct fault_report report = run->report;
    cl_event event, first;
    mha_error e;
    run->fail_at = 0;
    const mha_status status = enqueue(run, &event, &first, &e);
    run->fail_at = fail_at;
    run->report = report;
    run_expect(run, !status, "the next try: %.400s", e.message);
    check_events(run, status, event, first);
    check_numbers(run);
}

static bool attempt_call(struct run *run) {
    cl_event event, first;
    mha_error e;
    const mha_status status = enqueue(run, &event, &first, &e);
    const bool is_reached = run_check_status(run, status, &e, false);
    check_events(run, status, event, first);
    run_enqueue_well(run);
    return is_reached;
}

static void run_calls(const char *variant, uint64_t flags, int64_t seqlen_q, int64_t seqlen_kv) {
    struct test_device device;
    struct case_data data;
    mha_attention_args args;
    mha_plan_info info = MHA_PLAN_INFO_INIT;
    mha_plan *plan = NULL;
    mha_error e;
    device_open(&device);
    struct run run = {.title = variant, .device = &device, .data = &data, .args = &args};
    for (int64_t queries = seqlen_q; queries >= 0; queries -= seqlen_q) {
        run_make_case(&run, variant, flags, queries, seqlen_kv);
        const mha_status status = mha_plan_create(device.engine, &data.desc, &plan, &e);
        if (status == MHA_ERR_VARIANT) {
            fprintf(stderr, "failures/call %s: 0 passed, 0 failed, 1 skipped\n", variant);
            cr_skip_test("%s", e.message);
        }
        cr_assert_eq(status, MHA_SUCCESS, "%s", e.message);
        cr_assert_eq(mha_plan_get_info(plan, &info, &e), MHA_SUCCESS);
        case_upload(&data, &device, info.workspace_bytes, &args);
        run.plan = plan;
        for (int order = 0; order < 2; ++order)
            for (run.gives = 0; run.gives < 4; ++run.gives) {
                run.queue = order ? device.out_of_order : device.queue;
                run.name = queries ? (order ? "call-out-of-order" : "call-in-order")
                                   : (order ? "empty-out-of-order" : "empty-in-order");
                run.passed = run.failed = 0;
                if (!run.queue) {
                    fprintf(stderr, "failures/%s %s: 0 passed, 0 failed, 1 skipped\n", run.name,
                            variant);
                    fprintf(stderr, "    the device has no out-of-order queue\n");
                    break;
                }
                run_enqueue_well(&run);
                run_all(&run, attempt_call);
            }
        mha_plan_destroy(&plan);
        run_release_case(&run);
    }
    device_close(&device);
}

Test(failures, call_reference, .timeout = 300) {
    run_calls("reference", 0, 3, 8);
}

Test(failures, call_staged, .timeout = 300) {
    run_calls("staged", MHA_SCORES, 3, 8);
}

/* Long enough to be split: two kernels. */
Test(failures, call_panel_split, .timeout = 300) {
    run_calls("panel_split", 0, 1, 1100);
}
