/* The k-th OpenCL call of making a layer's plan, of packing its weights and of its call fails, for
 * every k, once and for ever: a clean status, nothing given, nothing leaked, and the next try
 * works.
 */
#include "failure_run.h"
#include "layer_case.h"

#include <criterion/criterion.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

/* What struct run has no room for. Criterion gives each test a process of its own. */
static struct layer_data layer;
static struct layer_outputs expected;
static uint64_t packed_layout; /* of the weights that were packed */
static int unmerged_plans;     /* that say why they do without what merges two stages */

static struct layer_case make_case(uint64_t flags, const char *projection_variant) {
    return (struct layer_case){
        .attention = {.variant = "reference",
                      .batch = 2,
                      .q_heads = 2,
                      .kv_heads = 2,
                      .seqlen_q = 3,
                      .seqlen_kv = 5,
                      .head_dim_qk = 8,
                      .head_dim_v = 8,
                      .seed = 21},
        .flags = flags,
        .embed_q = 6,
        .embed_k = 7,
        .embed_v = 9,
        .embed_out = 10,
        .projection_variant = projection_variant,
    };
}

static void forget_y(const struct run *run) {
    const struct test_buffer *y = layer.y.buffer;
    device_check(clEnqueueWriteBuffer(run->device->queue, y->mem, CL_TRUE, 0, y->bytes, y->image, 0,
                                      NULL, NULL),
                 "clEnqueueWriteBuffer");
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

/* With call number `fail_at` failing; 0: none. */
static mha_status enqueue(struct run *run, int fail_at, mha_error *e) {
    const bool has_events = run->gives & EVENTS, has_wait = run->gives & WAIT;
    cl_event gate = NULL, event = has_events ? (cl_event)run : NULL, first = event;
    cl_int code = CL_SUCCESS;
    forget_y(run);
    if (has_wait)
        gate = clCreateUserEvent(run->device->context, &code);
    run_expect(run, !code, "clCreateUserEvent: %d", (int)code);
    layer.args.first_event = has_events ? &first : NULL;
    memset(e, 0xa5, sizeof(*e));
    faults_arm(fail_at, run->is_forever, run->code);
    const mha_status status =
        mha_enqueue_layer(run->plan, run->queue, &layer.args, has_wait, has_wait ? &gate : NULL,
                          has_events ? &event : NULL, e);
    const struct fault_report report = faults_disarm();
    if (fail_at)
        run->report = report;
    if (gate) {
        code = clSetUserEventStatus(gate, CL_COMPLETE);
        run_expect(run, !code, "clSetUserEventStatus: %d", (int)code);
        clReleaseEvent(gate);
    }
    /* Also where a call failed midway, what was enqueued completes. */
    code = clFinish(run->queue);
    run_expect(run, !code, "clFinish: %d", (int)code);
    check_events(run, status, event, first);
    return status;
}

/* A call in which nothing fails: it works, and gives the numbers that the first such call gave, if
 * kernels are the same. */
static void call_well(struct run *run) {
    struct layer_outputs outputs = {.y = NULL};
    char failure[FAILURE_BYTES] = "";
    mha_error e;
    const mha_status status = enqueue(run, 0, &e);
    run_expect(run, !status, "the next try: %.400s", e.message);
    run_expect(run, layer_take(&layer, run->device, &outputs, failure), "%.400s", failure);
    if (!expected.y || run->has_other_kernels) {
        run_expect(run, layer_compare(&layer, &outputs, failure), "%.400s", failure);
        layer_outputs_release(&expected);
        expected = outputs;
        return;
    }
    run_expect(run, layer_outputs_are_equal(&layer, &outputs, &expected),
               "the numbers differ from those of the first run");
    layer_outputs_release(&outputs);
}

static bool attempt_call(struct run *run) {
    mha_error e;
    const mha_status status = enqueue(run, run->fail_at, &e);
    const bool is_reached = run_check_status(run, status, &e, false);
    call_well(run);
    return is_reached;
}

static bool attempt_pack(struct run *run) {
    const mha_memory packed = view_memory(&layer.packed);
    cl_event event = (cl_event)run;
    mha_error e;
    memset(&e, 0xa5, sizeof(e));
    faults_arm(run->fail_at, run->is_forever, run->code);
    mha_status status = mha_enqueue_layer_pack(run->plan, run->queue, &layer.call_weights, &packed,
                                               0, NULL, &event, &e);
    run->report = faults_disarm();
    clFinish(run->queue);
    const bool is_reached = run_check_status(run, status, &e, false);
    run_expect(run, !event == (status != MHA_SUCCESS), "the event is %p", (void *)event);
    if (event)
        clReleaseEvent(event);
    status = mha_enqueue_layer_pack(run->plan, run->queue, &layer.call_weights, &packed, 0, NULL,
                                    NULL, &e);
    run_expect(run, !status, "the next try: %.400s", e.message);
    clFinish(run->queue);
    call_well(run);
    return is_reached;
}

static mha_engine *make_engine(const struct test_device *device) {
    mha_engine_desc desc = MHA_ENGINE_DESC_INIT;
    mha_engine *engine = NULL;
    mha_error e;
    desc.flags = MHA_ENGINE_HERMETIC;
    desc.context = device->context;
    desc.device = device->id;
    cr_assert_eq(mha_engine_create(&desc, &engine, &e), MHA_SUCCESS, "%s", e.message);
    return engine;
}

static mha_plan_info get_info(const mha_plan *plan) {
    mha_plan_info info = MHA_PLAN_INFO_INIT;
    mha_error e;
    cr_assert_eq(mha_plan_get_info(plan, &info, &e), MHA_SUCCESS, "%s", e.message);
    return info;
}

static bool attempt_plan(struct run *run) {
    mha_engine *engine = make_engine(run->device);
    mha_error e;
    memset(&e, 0xa5, sizeof(e));
    run->plan = (mha_plan *)run;
    faults_arm(run->fail_at, run->is_forever, run->code);
    mha_status status = mha_layer_plan_create(engine, &layer.desc, &run->plan, &e);
    run->report = faults_disarm();
    /* Where kernels take smaller work-groups than the device, what fails once is tried again. */
    const bool may_heal = !run->is_forever && run->report.least_group < run->device_group;
    const bool is_reached = run_check_status(run, status, &e, may_heal || run->has_other_kernels);
    run_expect(run, !run->plan == (status != MHA_SUCCESS), "the plan is %p", (void *)run->plan);
    /* Another variant than the first choice wants other packed weights. */
    if (!status) {
        const mha_plan_info info = get_info(run->plan);
        unmerged_plans += strstr(info.reason, "panel_qkv failed") != NULL;
        if (info.packed_layout == packed_layout)
            call_well(run);
    }
    mha_plan_destroy(&run->plan);
    status = mha_layer_plan_create(engine, &layer.desc, &run->plan, &e);
    run_expect(run, !status, "the next try: %.400s", e.message);
    if (!status)
        call_well(run);
    mha_plan_destroy(&run->plan);
    mha_engine_destroy(&engine);
    return is_reached;
}

static void open_run(struct run *run, struct test_device *device, const char *name,
                     const struct layer_case *test) {
    char failure[FAILURE_BYTES] = "";
    mha_error e;
    *run = (struct run){
        .name = name,
        .title = test->projection_variant ? test->projection_variant : "auto",
        .device = device,
    };
    device_open(device);
    run->queue = device->queue;
    run->has_provider = !strcmp(run->title, "clblast");
    clGetDeviceInfo(device->id, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof(run->device_group),
                    &run->device_group, NULL);
    layer_init(&layer, test);
    const mha_status status = mha_layer_plan_create(device->engine, &layer.desc, &run->plan, &e);
    if (status == MHA_ERR_VARIANT) {
        fprintf(stderr, "failures/%s %s: 0 passed, 0 failed, 1 skipped\n", name, run->title);
        cr_skip_test("%s", e.message);
    }
    cr_assert_eq(status, MHA_SUCCESS, "%s", e.message);
    cr_assert(layer_upload(&layer, device, run->plan, failure), "%s", failure);
    packed_layout = get_info(run->plan).packed_layout;
}

static void close_run(struct run *run) {
    mha_plan_destroy(&run->plan);
    layer_outputs_release(&expected);
    layer_release(&layer);
    device_close(run->device);
}

#define ALL_FLAGS (MHA_LAYER_QKV_BIAS | MHA_LAYER_OUTPUT | MHA_LAYER_OUTPUT_BIAS | MHA_LAYER_PACKED)

static void run_calls(const char *variant) {
    const struct layer_case test = make_case(ALL_FLAGS & ~MHA_LAYER_PACKED, variant);
    struct test_device device;
    struct run run;
    open_run(&run, &device, "layer", &test);
    for (int order = 0; order < 2; ++order)
        for (unsigned gives = 0; gives < 4; ++gives) {
            run.queue = order ? device.out_of_order : device.queue;
            run.name = order ? "layer-out-of-order" : "layer-in-order";
            run.gives = gives;
            run.passed = run.failed = 0;
            if (!run.queue) {
                fprintf(stderr, "failures/%s %s: 0 passed, 0 failed, 1 skipped\n", run.name,
                        variant);
                break;
            }
            call_well(&run);
            run_all(&run, attempt_call);
        }
    close_run(&run);
}

Test(failures, layer_reference, .timeout = 300) {
    run_calls("gemm_reference");
}

/* Two kernels for each projection: weights are packed first. */
Test(failures, layer_panel, .timeout = 300) {
    run_calls("gemm_panel");
}

/* Another library's OpenCL calls, which it also reports on stderr. */
Test(failures, layer_clblast, .timeout = 300) {
    run_calls("clblast");
}

Test(failures, layer_pack, .timeout = 300) {
    const struct layer_case test = make_case(ALL_FLAGS, "gemm_panel");
    struct test_device device;
    struct run run;
    open_run(&run, &device, "layer-pack", &test);
    run_all(&run, attempt_pack);
    close_run(&run);
}

Test(failures, layer_plan, .timeout = 600) {
    const struct layer_case test =
        make_case(MHA_LAYER_FUSED_QKV | MHA_LAYER_OUTPUT, "gemm_reference");
    struct test_device device;
    struct run run;
    struct layer_case equal = test;
    equal.attention.seqlen_q = equal.attention.seqlen_kv;
    open_run(&run, &device, "layer-plan", &equal);
    mha_plan_destroy(&run.plan);
    run_all(&run, attempt_plan);
    close_run(&run);
}

/* OpenCL calls that making a plan takes. */
static int count_plan_calls(struct run *run) {
    mha_engine *engine = make_engine(run->device);
    mha_error e;
    faults_arm(INT_MAX, false, CL_OUT_OF_RESOURCES);
    const mha_status status = mha_layer_plan_create(engine, &layer.desc, &run->plan, &e);
    const int calls = faults_disarm().calls;
    cr_assert_eq(status, MHA_SUCCESS, "%s", e.message);
    mha_plan_destroy(&run->plan);
    mha_engine_destroy(&engine);
    return calls;
}

/* The last of a plan's calls on a CPU make a kernel that merges two stages; it does without. Some
 * of them: compilers take long. */
Test(failures, layer_merged_plan, .timeout = 600) {
    struct layer_case test =
        make_case(MHA_LAYER_FUSED_QKV | MHA_LAYER_OUTPUT | MHA_LAYER_PACKED, NULL);
    struct test_device device;
    struct run run;
    device_open(&device);
    cl_uint units = 1;
    clGetDeviceInfo(device.id, CL_DEVICE_MAX_COMPUTE_UNITS, sizeof(units), &units, NULL);
    device_close(&device);
    test.attention.variant = NULL;
    test.attention.batch = units;
    test.attention.seqlen_q = test.attention.seqlen_kv = 48;
    test.attention.head_dim_qk = test.attention.head_dim_v = 48;
    open_run(&run, &device, "layer-merged-plan", &test);
    const bool is_merged = strstr(get_info(run.plan).reason, "panel_qkv projects");
    mha_plan_destroy(&run.plan);
    run.has_other_kernels = true;
    run.step = 4;
    run.first = count_plan_calls(&run) - 32;
    cr_assert_geq(run.first, 0);
    run_all(&run, attempt_plan);
    cr_expect_eq(unmerged_plans > 0, is_merged);
    close_run(&run);
}
