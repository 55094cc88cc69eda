/* Handles, events and threads: any order of destruction, work in flight, many threads at once. */
#include "harness.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct test_case plain = {
    .flags = MHA_LSE,
    .batch = 2,
    .q_heads = 2,
    .kv_heads = 2,
    .seqlen_q = 21,
    .seqlen_kv = 33,
    .head_dim_qk = 16,
    .head_dim_v = 16,
    .seed = 3,
};

static mha_plan *make_plan(mha_engine *engine, const mha_attention_desc *desc) {
    mha_plan *plan = NULL;
    mha_error e;
    cr_assert_eq(mha_plan_create(engine, desc, &plan, &e), MHA_SUCCESS, "%s", e.message);
    return plan;
}

static cl_int get_state(cl_event event) {
    cl_int state = CL_QUEUED;
    clGetEventInfo(event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof(state), &state, NULL);
    return state;
}

/* The call waits for an event that the application completes last: it returns at once, and what it
 * was made with may be destroyed before it runs. */
Test(misuse, destruction_in_flight, .timeout = 120) {
    struct test_device device;
    struct case_data data;
    mha_plan_info info = {.struct_size = sizeof(info)};
    mha_attention_args args;
    mha_error e;
    cl_int code;
    device_open(&device);
    for (int order = 0; order < 2; ++order)
        for (int queries = 0; queries < 2; ++queries) { /* 0: nothing to compute */
            struct test_case test = plain;
            cl_event gate = clCreateUserEvent(device.context, &code), done = NULL, first = NULL;
            device_check(code, "clCreateUserEvent");
            test.slack = 1;
            test.seqlen_q *= queries;
            case_init(&data, &test);
            mha_engine *engine = device_make_engine(&device);
            mha_plan *plan = make_plan(engine, &data.desc);
            mha_plan_get_info(plan, &info, NULL);
            case_upload(&data, &device, info.workspace_bytes, &args);
            args.first_event = &first;
            cr_assert_eq(mha_enqueue_attention(plan, device.queue, &args, 1, &gate, &done, &e),
                         MHA_SUCCESS, "%s", e.message);
            clFlush(device.queue);
            if (order)
                mha_engine_destroy(&engine);
            mha_plan_destroy(&plan);
            mha_engine_destroy(&engine);
            cr_expect_neq(get_state(done), CL_COMPLETE, "the wait list was ignored");
            clSetUserEventStatus(gate, CL_COMPLETE);
            device_check(clWaitForEvents(1, &done), "clWaitForEvents");
            cr_expect_eq(get_state(done), CL_COMPLETE);
            cr_assert_not_null(first);
            if (queries)
                cr_expect_gt(mha_profile_span(first, done), 0, "no profile");
            clReleaseEvent(first);
            clReleaseEvent(done);
            clReleaseEvent(gate);
            case_release_buffers(&data);
            case_release(&data);
        }
    device_close(&device);
}

/* Another length, batch, stride or bound needs no other program; a call never does. */
Test(misuse, nothing_is_compiled_twice) {
    struct test_device device;
    mha_engine_info info = {.struct_size = sizeof(info)};
    device_open(&device);
    for (size_t n = 0; n < harness_variant_count(); ++n) {
        mha_engine *engine = device_make_engine(&device);
        struct test_case test = plain;
        mha_attention_desc desc;
        test.variant = harness_variant(n);
        case_get_desc(&test, &desc);
        mha_plan *plan = make_plan(engine, &desc), *other;
        mha_engine_get_info(engine, &info, NULL);
        const uint64_t compiled = info.programs_compiled;
        cr_expect_gt(compiled, 0);
        desc.max_batch += 1;
        other = make_plan(engine, &desc);
        mha_plan_destroy(&other);
        struct case_data data;
        mha_plan_info plan_info = {.struct_size = sizeof(plan_info)};
        mha_attention_args args;
        mha_error e;
        mha_plan_get_info(plan, &plan_info, NULL);
        for (int64_t length = 1; length <= plain.seqlen_kv; length += 8) {
            test.seqlen_kv = length;
            test.seqlen_q = 1 + length / 2;
            case_init(&data, &test);
            case_upload(&data, &device, plan_info.workspace_bytes, &args);
            cr_expect_eq(mha_enqueue_attention(plan, device.queue, &args, 0, NULL, NULL, &e),
                         MHA_SUCCESS, "%s", e.message);
            clFinish(device.queue);
            case_release_buffers(&data);
            case_release(&data);
        }
        mha_engine_get_info(engine, &info, NULL);
        cr_expect_eq(info.programs_compiled, compiled, "%s compiled again",
                     harness_variant_title(n));
        mha_plan_destroy(&plan);
        mha_engine_destroy(&engine);
    }
    device_close(&device);
}

/* ---- Threads -------------------------------------------------------------------------------- */

#define THREADS 16
#define CALLS 8

struct worker {
    pthread_t thread;
    struct test_device *device;
    mha_plan *plan;
    int number;
    char failure[FAILURE_BYTES];
};

static void *work(void *user) {
    struct worker *worker = user;
    for (int n = 0; n < CALLS && !worker->failure[0]; ++n) {
        struct test_case test = plain;
        struct case_data data;
        struct outputs outputs = {0};
        mha_error e;
        mha_plan *own = NULL;
        test.seed = (uint64_t)(worker->number * CALLS + n);
        test.seqlen_q = 1 + (worker->number + n) % plain.seqlen_q;
        case_init(&data, &test);
        if (n % 4 == 3 && mha_plan_create(worker->device->engine, &data.desc, &own, &e))
            snprintf(worker->failure, FAILURE_BYTES, "plan_create: %.300s", e.message);
        else if (harness_execute(worker->device, own ? own : worker->plan, &data, &outputs,
                                 worker->failure))
            harness_compare(&data, &outputs, worker->failure);
        outputs_release(&outputs);
        mha_plan_destroy(&own);
        case_release(&data);
    }
    return NULL;
}

Test(misuse, threads, .timeout = 600) {
    struct test_device device;
    struct worker workers[THREADS];
    mha_attention_desc desc;
    device_open(&device);
    /* Buffers that one thread creates from host memory hold another's bytes now and then. */
    if (strstr(device.name, "llvmpipe")) {
        device_close(&device);
        cr_skip_test("Mesa's rusticl is not safe with threads that share a context");
    }
    case_get_desc(&plain, &desc);
    mha_plan *plan = make_plan(device.engine, &desc);
    for (int n = 0; n < THREADS; ++n) {
        workers[n] = (struct worker){.device = &device, .plan = plan, .number = n};
        cr_assert_eq(pthread_create(&workers[n].thread, NULL, work, &workers[n]), 0);
    }
    for (int n = 0; n < THREADS; ++n) {
        pthread_join(workers[n].thread, NULL);
        cr_expect(!workers[n].failure[0], "thread %d: %s", n, workers[n].failure);
    }
    mha_plan_destroy(&plan);
    device_close(&device);
}

/* ---- Helpers of the interface --------------------------------------------------------------- */

Test(misuse, tensor_helpers) {
    const cl_mem buffer = (cl_mem)&plain;
    const mha_tensor bhnd = mha_tensor_bhnd(buffer, 12, 3, 5, 7);
    const mha_tensor bnhd = mha_tensor_bnhd(buffer, 12, 3, 5, 7);
    cr_expect(bhnd.memory.buffer == buffer && bhnd.memory.offset_bytes == 12);
    cr_expect(bhnd.stride_batch == 105 && bhnd.stride_head == 35 && bhnd.stride_token == 7);
    cr_expect(bnhd.stride_batch == 105 && bnhd.stride_head == 7 && bnhd.stride_token == 21);
    const mha_tensor rows = mha_tensor_rows(buffer, 12, 7);
    const mha_memory memory = mha_buffer(buffer, 12);
    cr_expect(memory.kind == MHA_BUFFER && memory.buffer == buffer && memory.offset_bytes == 12);
    cr_expect(rows.memory.buffer == buffer && rows.memory.offset_bytes == 12);
    cr_expect(!rows.stride_batch && !rows.stride_head && rows.stride_token == 7);
    for (int part = 0; part < 3; ++part) {
        const mha_tensor qkv = mha_tensor_qkv(buffer, 12, MHA_BF16, part, 3, 5, 7);
        cr_expect_eq(qkv.memory.offset_bytes, 12 + (size_t)part * 21 * 2);
        cr_expect(qkv.stride_batch == 315 && qkv.stride_head == 7 && qkv.stride_token == 63);
    }
}
