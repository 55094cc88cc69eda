/* A layer's calls: token by token into a cache, plan info, events and wait lists. */
#include "layer_case.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static mha_plan *make_plan(mha_engine *engine, const mha_layer_desc *desc) {
    mha_plan *plan = NULL;
    mha_error e;
    cr_assert_eq(mha_layer_plan_create(engine, desc, &plan, &e), MHA_SUCCESS, "%s", e.message);
    return plan;
}

static struct layer_case base_case(uint64_t flags) {
    return (struct layer_case){
        .attention = {.batch = 2,
                      .q_heads = 4,
                      .kv_heads = 2,
                      .seqlen_q = 9,
                      .seqlen_kv = 9,
                      .head_dim_qk = 16,
                      .head_dim_v = 16,
                      .seed = 11},
        .flags = flags,
        .embed_q = 24,
        .embed_k = 20,
        .embed_v = 31,
        .embed_out = 22,
    };
}

/* ---- Caches --------------------------------------------------------------------------------- */

/* What a decoder keeps: room for more tokens than there will be. */
#define SPARE_TOKENS 3

/* Replaces the cache of the case by one with room, in which nobody has written. */
static void add_cache(struct layer_data *data) {
    const struct test_case *t = &data->test.attention;
    struct test_view *const views[] = {&data->attention.k, &data->attention.v};
    const char *const names[] = {"cache of k", "cache of v"};
    const int64_t room = t->seqlen_kv + SPARE_TOKENS, heads = t->kv_heads;
    for (int n = 0; n < 2; ++n) {
        const int64_t width = n ? t->head_dim_v : t->head_dim_qk;
        const bool is_bnhd = t->layout == LAYOUT_BNHD;
        *views[n] = guarded_add(&data->guarded, names[n], (enum number)t->dtype,
                                (int64_t[]){t->batch, heads, room, width},
                                (int64_t[]){heads * room * width, is_bnhd ? width : room * width,
                                            is_bnhd ? heads * width : width, 1},
                                1);
        views[n]->extent[2] = t->seqlen_kv;
    }
}

static void advance(mha_tensor *tensor, int64_t tokens, mha_dtype dtype) {
    tensor->memory.offset_bytes +=
        (size_t)(tokens * tensor->stride_token) * number_bytes((enum number)dtype);
}

/* Projects and attends token t of every sequence. */
static bool call_step(const struct layer_data *data, const struct test_device *device,
                      mha_plan *plan, int64_t t, char failure[FAILURE_BYTES]) {
    const mha_dtype dtype = data->test.attention.dtype;
    mha_layer_args args = data->args;
    mha_attention_args attention = data->attention_args;
    mha_error e;
    attention.seqlen_q = 1;
    attention.seqlen_kv = t + 1;
    attention.position_offset = data->attention.desc.alignment == MHA_EXPLICIT ? t : 0;
    args.attention = &attention;
    args.seqlen_past = t;
    advance(&args.query, t, dtype);
    advance(&args.y, t, dtype);
    if (!(data->test.flags & MHA_LAYER_FUSED_QKV)) {
        advance(&args.key, t, dtype);
        advance(&args.value, t, dtype);
    }
    if (!mha_enqueue_layer(plan, device->queue, &args, 0, NULL, NULL, &e))
        return true;
    snprintf(failure, FAILURE_BYTES, "token %lld: %.300s", (long long)t, e.message);
    return false;
}

/* Only the first tokens of y and of the cache have been written. */
static bool check_step(struct layer_data *data, const struct test_device *device, int64_t tokens,
                       char failure[FAILURE_BYTES]) {
    struct guarded *g = &data->guarded;
    struct test_view views[] = {data->y, data->attention.k, data->attention.v, data->workspace};
    struct taken taken[4];
    for (int n = 0; n < 4; ++n) {
        if (n < 3)
            views[n].extent[2] = tokens;
        taken[n] = (struct taken){&views[n], NULL};
    }
    return buffers_take(device, g->buffers, g->count, g->names, taken, 4, failure);
}

static void forget(struct test_buffer *buffer, const struct test_device *device) {
    device_check(clEnqueueWriteBuffer(device->queue, buffer->mem, CL_TRUE, 0, buffer->bytes,
                                      buffer->image, 0, NULL, NULL),
                 "clEnqueueWriteBuffer");
}

static bool run_tokens(struct layer_data *data, const struct test_device *device, mha_plan *plan,
                       char failure[FAILURE_BYTES]) {
    struct layer_outputs whole = {.y = NULL}, steps = {.y = NULL};
    add_cache(data);
    bool is_ok = layer_upload(data, device, plan, failure);
    data->attention_args.k = view_tensor(&data->attention.k);
    data->attention_args.v = view_tensor(&data->attention.v);
    is_ok = is_ok && layer_call(data, device, plan, &whole, failure) &&
            layer_compare(data, &whole, failure);
    forget(data->y.buffer, device);
    forget(data->attention.k.buffer, device);
    forget(data->attention.v.buffer, device);
    for (int64_t t = 0; t < data->test.attention.seqlen_kv && is_ok; ++t)
        is_ok =
            call_step(data, device, plan, t, failure) && check_step(data, device, t + 1, failure);
    is_ok =
        is_ok && layer_take(data, device, &steps, failure) && layer_compare(data, &steps, failure);
    layer_outputs_release(&whole);
    layer_outputs_release(&steps);
    return is_ok;
}

static enum outcome attempt_tokens(const struct test_device *device, const void *test,
                                   char text[FAILURE_BYTES]) {
    static struct layer_data data;
    layer_init(&data, test);
    mha_plan *plan = make_plan(device->engine, &data.desc);
    const bool is_ok = run_tokens(&data, device, plan, text);
    layer_release(&data);
    mha_plan_destroy(&plan);
    return is_ok ? OUTCOME_PASSED : OUTCOME_FAILED;
}

/* Every token alone, with the past in a cache, gives what all at once give. */
Test(layer, token_by_token, .timeout = 600) {
    static const mha_alignment alignments[] = {MHA_BOTTOM_RIGHT, MHA_EXPLICIT};
    static const uint64_t flags[] = {MHA_LAYER_QKV_BIAS | MHA_LAYER_OUTPUT,
                                     MHA_LAYER_FUSED_QKV | MHA_LAYER_OUTPUT |
                                         MHA_LAYER_OUTPUT_BIAS | MHA_LAYER_PACKED};
    struct test_device device;
    struct tally tally = {.suite = "layer", .title = "token_by_token"};
    device_open(&device);
    for (int n = 0; n < 32; ++n) {
        const int layout = n & 1, which = n >> 1 & 1, alignment = n >> 2 & 1;
        const mha_dtype dtype = (mha_dtype)(n >> 3);
        if ((dtype == MHA_F64 && !device.has_fp64) || (device_is_slow() && n % 5))
            continue;
        struct layer_case test = base_case(flags[which] | MHA_LAYER_KV_CACHE);
        test.attention.dtype = test.weight_dtype = dtype;
        test.attention.flags = MHA_CAUSAL;
        test.attention.alignment = alignments[alignment];
        test.attention.layout = layout ? LAYOUT_BNHD : LAYOUT_BHND;
        snprintf(test.attention.name, sizeof(test.attention.name), "tokens/%s/%s/%s/%s",
                 number_name((enum number)dtype), layout ? "bnhd" : "bhnd",
                 which ? "fused" : "separate", alignment ? "explicit" : "bottom_right");
        harness_attempt(&device, test.attention.name, dtype, attempt_tokens, &test, &tally);
    }
    device_close(&device);
    tally_finish(&tally);
}

/* ---- Plans ---------------------------------------------------------------------------------- */

static mha_plan_info get_info(const mha_plan *plan) {
    mha_plan_info info = MHA_PLAN_INFO_INIT;
    mha_error e;
    cr_assert_eq(mha_plan_get_info(plan, &info, &e), MHA_SUCCESS, "%s", e.message);
    return info;
}

/* The plan's stages are `names`, and together do what the plan says that it does. */
static void check_stages(struct test_device *device, const struct layer_case *test,
                         const char *const *names) {
    static struct layer_data data;
    layer_init(&data, test);
    mha_plan *plan = make_plan(device->engine, &data.desc);
    const mha_plan_info whole = get_info(plan);
    double flops = 0, bytes = 0;
    size_t packed = 0, scratch = 0, count = 0;
    const char *name;
    for (const mha_plan *stage; (stage = mha_plan_stage(plan, count, &name)); ++count) {
        const mha_plan_info info = get_info(stage);
        cr_assert(names[count], "there is a stage %s too many", name);
        cr_expect_str_eq(name, names[count]);
        cr_expect_eq(stage, mha_plan_stage(plan, count, NULL));
        cr_expect_null(mha_plan_stage(stage, 0, NULL), "a stage of a stage");
        flops += info.flops;
        bytes += info.bytes;
        packed += info.packed_bytes;
        scratch = info.workspace_bytes > scratch ? info.workspace_bytes : scratch;
        const bool has_weights = strcmp(name, "attention") != 0;
        cr_expect(has_weights == (info.packed_bytes > 0) &&
                  has_weights == (info.packed_layout > 0));
        if (!strcmp(name, "attention"))
            cr_expect(!strcmp(info.variant, whole.variant) && !strcmp(info.reason, whole.reason));
    }
    cr_expect_null(names[count], "stage %s is missing", names[count]);
    cr_expect_null(name, "a name beyond the last stage");
    cr_expect(whole.flops == flops && flops > 0, "%g flops, but %g in stages", whole.flops, flops);
    cr_expect(whole.bytes == bytes && bytes > 0, "%g bytes, but %g in stages", whole.bytes, bytes);
    cr_expect(whole.packed_bytes >= packed && whole.workspace_bytes >= scratch);
    mha_plan_destroy(&plan);
    layer_release(&data);
}

Test(layer, info) {
    static const char *const fused[] = {"qkv", "attention", "output", NULL};
    static const char *const cross[] = {"q", "k", "v", "attention", NULL};
    struct test_device device;
    device_open(&device);
    struct layer_case test = base_case(MHA_LAYER_FUSED_QKV | MHA_LAYER_OUTPUT);
    check_stages(&device, &test, fused);
    test.flags = MHA_LAYER_QKV_BIAS | MHA_LAYER_PACKED;
    check_stages(&device, &test, cross);

    static struct layer_data data;
    test = base_case(0);
    layer_init(&data, &test);
    mha_plan *plan = make_plan(device.engine, &data.desc), *attention = NULL;
    /* 2 rows of 9 tokens: q, k and v from 24, 20 and 31 wide inputs, then 4 heads of 9 x 9. */
    cr_expect_eq(get_info(plan).flops,
                 2.0 * 18 * (64 * 24 + 32 * 20 + 32 * 31) + 2.0 * 2 * 4 * 9 * 9 * 32);
    cr_expect_null(mha_plan_stage(NULL, 0, NULL));
    cr_assert_eq(mha_plan_create(device.engine, &data.attention.desc, &attention, NULL),
                 MHA_SUCCESS);
    const char *name = "";
    cr_expect_null(mha_plan_stage(attention, 0, &name));
    cr_expect_null(name);
    mha_plan_destroy(&attention);
    mha_plan_destroy(&plan);
    layer_release(&data);
    device_close(&device);
}

/* Another size needs no other program; a call and a packing never do. */
Test(layer, nothing_is_compiled_twice, .timeout = 600) {
    static struct layer_data data;
    struct test_device device;
    mha_engine_info info = MHA_ENGINE_INFO_INIT;
    device_open(&device);
    for (size_t n = 0; mha_linear_variant_name(n); ++n) {
        struct layer_outputs outputs = {.y = NULL};
        char failure[FAILURE_BYTES] = "";
        struct layer_case test = base_case(MHA_LAYER_OUTPUT | MHA_LAYER_PACKED);
        test.projection_variant = mha_linear_variant_name(n);
        test.attention.slack = 1;
        layer_init(&data, &test);
        if (mha_layer_supported(device.engine, &data.desc, NULL) == MHA_ERR_VARIANT) {
            layer_release(&data);
            continue;
        }
        mha_plan *plan = make_plan(device.engine, &data.desc);
        mha_engine_get_info(device.engine, &info, NULL);
        const uint64_t compiled = info.programs_compiled;
        mha_plan *same = make_plan(device.engine, &data.desc);
        mha_plan_destroy(&same);
        cr_expect(layer_upload(&data, &device, plan, failure) &&
                      layer_call(&data, &device, plan, &outputs, failure),
                  "%s", failure);
        mha_engine_get_info(device.engine, &info, NULL);
        cr_expect_eq(info.programs_compiled, compiled, "%s compiled again",
                     test.projection_variant);
        layer_outputs_release(&outputs);
        layer_release(&data);
        mha_plan_destroy(&plan);
    }
    device_close(&device);
}

/* A plan for single tokens takes the weights that one for prompts packed, if their layouts are
 * equal; and has those of its stages. */
Test(layer, shared_weights, .timeout = 600) {
    static struct layer_data data;
    struct test_device device;
    char failure[FAILURE_BYTES] = "";
    device_open(&device);
    for (size_t n = 0; n == 0 || mha_linear_variant_name(n - 1); ++n) {
        struct layer_outputs outputs = {.y = NULL};
        struct layer_case test =
            base_case(MHA_LAYER_OUTPUT | MHA_LAYER_OUTPUT_BIAS | MHA_LAYER_PACKED);
        test.projection_variant = n ? mha_linear_variant_name(n - 1) : NULL;
        test.attention.seqlen_q = 1;
        layer_init(&data, &test);
        mha_layer_desc prompt_desc = data.desc;
        mha_attention_desc attention = data.attention.desc;
        prompt_desc.attention = &attention;
        prompt_desc.flags &= ~MHA_LAYER_PACKED;
        attention.flags |= MHA_LSE;
        attention.max_seqlen_q = 50;
        if (mha_layer_supported(device.engine, &data.desc, NULL)) {
            layer_release(&data);
            continue;
        }
        mha_plan *token = make_plan(device.engine, &data.desc);
        mha_plan *prompt = make_plan(device.engine, &prompt_desc);
        const bool is_equal = get_info(token).packed_layout == get_info(prompt).packed_layout;
        cr_expect(get_info(token).packed_layout && (n == 0 || is_equal), "%s",
                  test.projection_variant);
        if (is_equal) {
            cr_expect_eq(get_info(token).packed_bytes, get_info(prompt).packed_bytes);
            cr_expect(layer_upload(&data, &device, prompt, failure), "%s", failure);
            /* Its workspace is the smaller one. */
            cr_expect_leq(get_info(token).workspace_bytes, get_info(prompt).workspace_bytes);
            cr_expect(layer_call(&data, &device, token, &outputs, failure) &&
                          layer_compare(&data, &outputs, failure),
                      "%s", failure);
            layer_outputs_release(&outputs);
        }
        layer_release(&data);
        mha_plan_destroy(&token);
        mha_plan_destroy(&prompt);
    }
    device_close(&device);
}

/* ---- Events --------------------------------------------------------------------------------- */

static cl_int get_state(cl_event event) {
    cl_int state = CL_QUEUED;
    clGetEventInfo(event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof(state), &state, NULL);
    return state;
}

/* Mesa's rusticl completes the events of a call one by one, in a thread of its own, not in order.
 */
static void expect_complete(cl_event event) {
    for (int waits = 0; waits < 2000 && get_state(event) != CL_COMPLETE; ++waits)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    cr_expect_eq(get_state(event), CL_COMPLETE, "the last event came before the first");
}

/* The call waits for what the application completes last, and may outlive its plan and engine. */
static void run_gated(struct test_device *device, const struct layer_case *test,
                      cl_command_queue queue) {
    static struct layer_data data;
    struct layer_outputs outputs = {.y = NULL};
    char failure[FAILURE_BYTES] = "";
    mha_error e;
    cl_int code;
    cl_event gate = clCreateUserEvent(device->context, &code), done = NULL, first = NULL;
    device_check(code, "clCreateUserEvent");
    layer_init(&data, test);
    mha_engine *engine = device_make_engine(device);
    mha_plan *plan = make_plan(engine, &data.desc);
    cr_assert(layer_upload(&data, device, plan, failure), "%s", failure);
    data.args.first_event = &first;
    cr_assert_eq(mha_enqueue_layer(plan, queue, &data.args, 1, &gate, &done, &e), MHA_SUCCESS, "%s",
                 e.message);
    clFlush(queue);
    mha_engine_destroy(&engine);
    mha_plan_destroy(&plan);
    cr_expect_neq(get_state(done), CL_COMPLETE, "the wait list was ignored");
    cr_expect_neq(get_state(first), CL_COMPLETE, "the wait list was ignored");
    clSetUserEventStatus(gate, CL_COMPLETE);
    device_check(clWaitForEvents(1, &done), "clWaitForEvents");
    expect_complete(first);
    const bool is_ok =
        layer_take(&data, device, &outputs, failure) && layer_compare(&data, &outputs, failure);
    cr_expect(is_ok, "%s", failure);
    clReleaseEvent(first);
    clReleaseEvent(done);
    clReleaseEvent(gate);
    layer_outputs_release(&outputs);
    layer_release(&data);
}

Test(layer, waits, .timeout = 600) {
    struct test_device device;
    device_open(&device);
    const cl_command_queue queues[] = {device.queue, device.out_of_order};
    for (int order = 0; order < 2 && queues[order]; ++order)
        for (size_t n = 0; n == 0 || mha_linear_variant_name(n - 1); ++n) {
            struct layer_case test = base_case(MHA_LAYER_OUTPUT | MHA_LAYER_QKV_BIAS);
            test.projection_variant = n ? mha_linear_variant_name(n - 1) : NULL;
            test.attention.slack = 1;
            if (n && !strcmp(test.projection_variant, "clblast"))
                test.flags &= ~MHA_LAYER_QKV_BIAS; /* so that a barrier comes first */
            static struct layer_data data;
            layer_init(&data, &test);
            const bool is_supported =
                mha_layer_supported(device.engine, &data.desc, NULL) == MHA_SUCCESS;
            layer_release(&data);
            if (is_supported)
                run_gated(&device, &test, queues[order]);
            test.attention.batch = 0;
            if (!n)
                run_gated(&device, &test, queues[order]);
        }
    device_close(&device);
}

static cl_ulong get_time(cl_event event, cl_profiling_info what) {
    cl_ulong time = 0;
    device_check(clGetEventProfilingInfo(event, what, sizeof(time), &time, NULL),
                 "clGetEventProfilingInfo");
    return time;
}

enum { BEFORE, FIRST, LAST, AFTER, COUNT };

/* Each begins when the one before has ended. */
static void check_order(const cl_event *events) {
    for (int n = BEFORE; n < AFTER; ++n)
        cr_expect_geq(get_time(events[n + 1], CL_PROFILING_COMMAND_START),
                      get_time(events[n], CL_PROFILING_COMMAND_END), "event %d overlaps the next",
                      n);
}

/* The profile covers all the stages and nothing before or after them. */
Test(layer, profile, .timeout = 600) {
    static struct layer_data data;
    struct test_device device;
    cl_event events[COUNT] = {NULL};
    char failure[FAILURE_BYTES] = "";
    mha_error e;
    device_open(&device);
    struct layer_case test = base_case(MHA_LAYER_OUTPUT);
    layer_init(&data, &test);
    mha_plan *plan = make_plan(device.engine, &data.desc);
    cr_assert(layer_upload(&data, &device, plan, failure), "%s", failure);
    const struct test_buffer *buffer = data.query.buffer;
    data.args.first_event = &events[FIRST];
    device_check(clEnqueueWriteBuffer(device.queue, buffer->mem, CL_FALSE, 0, buffer->bytes,
                                      buffer->image, 0, NULL, &events[BEFORE]),
                 "clEnqueueWriteBuffer");
    cr_assert_eq(mha_enqueue_layer(plan, device.queue, &data.args, 0, NULL, &events[LAST], &e),
                 MHA_SUCCESS, "%s", e.message);
    device_check(clEnqueueWriteBuffer(device.queue, buffer->mem, CL_FALSE, 0, buffer->bytes,
                                      buffer->image, 0, NULL, &events[AFTER]),
                 "clEnqueueWriteBuffer");
    clFinish(device.queue);
    cr_expect_neq(events[FIRST], events[LAST]);
    cr_expect_gt(mha_profile_span(events[FIRST], events[LAST]), 0, "no profile");
    cr_expect_eq(mha_profile_span(events[FIRST], events[LAST]),
                 get_time(events[LAST], CL_PROFILING_COMMAND_END) -
                     get_time(events[FIRST], CL_PROFILING_COMMAND_START));
    /* Mesa's rusticl gives commands that it submits together overlapping times. */
    if (!strstr(device.name, "llvmpipe"))
        check_order(events);
    for (int n = 0; n < COUNT; ++n)
        clReleaseEvent(events[n]);
    mha_plan_destroy(&plan);
    layer_release(&data);
    device_close(&device);
}
