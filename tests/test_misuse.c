/* Every way to get a descriptor, an engine or an info struct wrong has its own status and says
 * what was wrong. */
#include "device.h"
#include "misuse.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- Attention descriptors ------------------------------------------------------------------ */

#define DESC(member, kind, v) EDIT(mha_attention_desc, member, kind, v)
#define HUGE_SIZE ((int64_t)1 << 40)

static const struct misuse desc_misuses[] = {
    {"struct_size 0", MHA_ERR_STRUCT_SIZE, "0", {DESC(struct_size, i64, 0)}},
    {"struct_size 4", MHA_ERR_STRUCT_SIZE, "4", {DESC(struct_size, i64, 4)}},
    {"struct_size huge", MHA_ERR_STRUCT_SIZE, NULL, {DESC(struct_size, i64, INT64_MAX)}},
    {"unknown flag", MHA_ERR_FLAGS, "0x4000", {DESC(flags, i64, 1 << 14)}},
    {"highest flag", MHA_ERR_FLAGS, NULL, {DESC(flags, i64, INT64_MIN)}},
    {"scale without flag", MHA_ERR_FLAGS, "scale", {DESC(scale, f64, 0.5)}},
    {"softcap without flag", MHA_ERR_FLAGS, "softcap", {DESC(softcap, f64, 0.5)}},
    {"bias_dtype without flag", MHA_ERR_FLAGS, "bias_dtype", {DESC(bias_dtype, i32, MHA_F16)}},
    {"window_left without flag", MHA_ERR_FLAGS, "window_left", {DESC(window_left, i64, 3)}},
    {"window_right without flag", MHA_ERR_FLAGS, "window_right", {DESC(window_right, i64, -1)}},
    {"alignment without flag",
     MHA_ERR_FLAGS,
     "alignment",
     {DESC(alignment, i32, MHA_BOTTOM_RIGHT)}},
    {"scores_stage without flag",
     MHA_ERR_FLAGS,
     "scores_stage",
     {DESC(scores_stage, i32, MHA_STAGE_MASKED)}},
    {"dtype 4", MHA_ERR_DTYPE, "4", {DESC(dtype, i32, 4)}},
    {"dtype -1", MHA_ERR_DTYPE, "-1", {DESC(dtype, i32, -1)}},
    {"bias_dtype 9", MHA_ERR_DTYPE, "9", {DESC(flags, i64, MHA_BIAS), DESC(bias_dtype, i32, 9)}},
    {"bias f64 for f32",
     MHA_ERR_DTYPE,
     "3",
     {DESC(flags, i64, MHA_BIAS), DESC(bias_dtype, i32, MHA_F64)}},
    {"q_heads 0", MHA_ERR_SHAPE, "q_heads is 0", {DESC(q_heads, i64, 0)}},
    {"q_heads -7", MHA_ERR_SHAPE, "-7", {DESC(q_heads, i64, -7)}},
    {"kv_heads 0", MHA_ERR_SHAPE, "kv_heads is 0", {DESC(kv_heads, i64, 0)}},
    {"kv_heads 4 for q_heads 6",
     MHA_ERR_SHAPE,
     "6",
     {DESC(q_heads, i64, 6), DESC(kv_heads, i64, 4)}},
    {"more kv_heads than q_heads", MHA_ERR_SHAPE, "4", {DESC(kv_heads, i64, 4)}},
    {"head_dim_qk 0", MHA_ERR_SHAPE, "head_dim_qk", {DESC(head_dim_qk, i64, 0)}},
    {"head_dim_v 0", MHA_ERR_SHAPE, "head_dim_v", {DESC(head_dim_v, i64, 0)}},
    {"max_batch -1", MHA_ERR_SHAPE, "max_batch is -1", {DESC(max_batch, i64, -1)}},
    {"max_seqlen_q -1", MHA_ERR_SHAPE, "max_seqlen_q", {DESC(max_seqlen_q, i64, -1)}},
    {"max_seqlen_kv -1", MHA_ERR_SHAPE, "max_seqlen_kv", {DESC(max_seqlen_kv, i64, INT64_MIN)}},
    {"head_dim_qk huge", MHA_ERR_OVERFLOW, "head_dim_qk", {DESC(head_dim_qk, i64, HUGE_SIZE)}},
    {"max_batch huge", MHA_ERR_OVERFLOW, "max_batch", {DESC(max_batch, i64, INT64_MAX)}},
    {"product of sizes",
     MHA_ERR_OVERFLOW,
     "max_seqlen_q",
     {DESC(max_batch, i64, 1 << 28), DESC(max_seqlen_q, i64, 1 << 28),
      DESC(max_seqlen_kv, i64, 1 << 28)}},
    {"scale NaN", MHA_ERR_VALUE, "nan", {DESC(flags, i64, MHA_SCALE), DESC(scale, f64, NAN)}},
    {"scale inf", MHA_ERR_VALUE, "inf", {DESC(flags, i64, MHA_SCALE), DESC(scale, f64, INFINITY)}},
    {"softcap 0", MHA_ERR_VALUE, "softcap 0", {DESC(flags, i64, MHA_SOFTCAP)}},
    {"softcap -2", MHA_ERR_VALUE, "-2", {DESC(flags, i64, MHA_SOFTCAP), DESC(softcap, f64, -2)}},
    {"softcap NaN", MHA_ERR_VALUE, "nan", {DESC(flags, i64, MHA_SOFTCAP), DESC(softcap, f64, NAN)}},
    {"window_left -2",
     MHA_ERR_VALUE,
     "-2",
     {DESC(flags, i64, MHA_WINDOW), DESC(window_left, i64, -2)}},
    {"window_right min",
     MHA_ERR_VALUE,
     "window_right",
     {DESC(flags, i64, MHA_WINDOW), DESC(window_right, i64, INT64_MIN)}},
    {"alignment 4", MHA_ERR_VALUE, "4", {DESC(flags, i64, MHA_CAUSAL), DESC(alignment, i32, 4)}},
    {"scores_stage 4",
     MHA_ERR_VALUE,
     "4",
     {DESC(flags, i64, MHA_SCORES), DESC(scores_stage, i32, 4)}},
    {"no such variant", MHA_ERR_VARIANT, "fastest", {DESC(variant, pointer, "fastest")}},
    {"long variant",
     MHA_ERR_VARIANT,
     "quite",
     {DESC(variant, pointer, "a-variant-of-quite-some-name-that-no-table-would-have-room-for")}},
    {"empty variant", MHA_ERR_VARIANT, NULL, {DESC(variant, pointer, "")}},
    {"variant without scores",
     MHA_ERR_VARIANT,
     "flash",
     {DESC(flags, i64, MHA_SCORES), DESC(variant, pointer, "flash")}},
};

static mha_attention_desc valid_desc(void) {
    mha_attention_desc desc = MHA_ATTENTION_DESC_INIT;
    desc.q_heads = desc.kv_heads = 2;
    desc.head_dim_qk = desc.head_dim_v = 16;
    desc.max_batch = 2;
    desc.max_seqlen_q = desc.max_seqlen_kv = 8;
    return desc;
}

Test(misuse, descriptors) {
    struct test_device device;
    int failures = 0;
    device_open(&device);
    for (size_t n = 0; n < sizeof(desc_misuses) / sizeof(*desc_misuses); ++n) {
        mha_attention_desc desc = valid_desc();
        mha_error error;
        mha_plan *plan = (mha_plan *)&desc;
        memset(&error, 0x5a, sizeof(error));
        misuse_apply(&desc_misuses[n], &desc);
        mha_status status = mha_attention_supported(device.engine, &desc, &error);
        failures += !misuse_check(&desc_misuses[n], "supported", status, &error);
        memset(&error, 0x5a, sizeof(error));
        status = mha_plan_create(device.engine, &desc, &plan, &error);
        failures += !misuse_check(&desc_misuses[n], "plan_create", status, &error);
        cr_expect_null(plan, "%s: a plan in spite of the failure", desc_misuses[n].name);
        cr_expect_eq(mha_plan_create(device.engine, &desc, &plan, NULL), status);
    }
    device_close(&device);
    cr_assert_eq(failures, 0);
}

static void expect_null(const char *call, mha_status status, const mha_error *error) {
    const struct misuse misuse = {"NULL", MHA_ERR_NULL, "NULL", {{0}}};
    cr_expect(misuse_check(&misuse, call, status, error));
}

Test(misuse, null_pointers) {
    struct test_device device;
    const mha_attention_desc desc = valid_desc();
    mha_engine_desc engine_desc = MHA_ENGINE_DESC_INIT;
    mha_engine_info engine_info = {.struct_size = sizeof(engine_info)};
    mha_plan_info plan_info = {.struct_size = sizeof(plan_info)};
    mha_plan *plan = NULL;
    mha_engine *engine = NULL;
    mha_error e;
    char text[4];
    device_open(&device);
    expect_null("engine_create", mha_engine_create(NULL, &engine, &e), &e);
    expect_null("engine_create", mha_engine_create(&engine_desc, NULL, &e), &e);
    expect_null("engine_get_info", mha_engine_get_info(NULL, &engine_info, &e), &e);
    expect_null("engine_get_info", mha_engine_get_info(device.engine, NULL, &e), &e);
    expect_null("supported", mha_attention_supported(NULL, &desc, &e), &e);
    expect_null("supported", mha_attention_supported(device.engine, NULL, &e), &e);
    expect_null("plan_create", mha_plan_create(NULL, &desc, &plan, &e), &e);
    expect_null("plan_create", mha_plan_create(device.engine, NULL, &plan, &e), &e);
    expect_null("plan_create", mha_plan_create(device.engine, &desc, NULL, &e), &e);
    expect_null("plan_get_info", mha_plan_get_info(NULL, &plan_info, &e), &e);
    cr_assert_eq(mha_plan_create(device.engine, &desc, &plan, &e), MHA_SUCCESS, "%s", e.message);
    cr_expect(e.status == MHA_SUCCESS && !e.message[0], "an error was left on success");
    expect_null("plan_get_info", mha_plan_get_info(plan, NULL, &e), &e);
    mha_plan_destroy(&plan);
    cr_expect_null(plan);
    mha_plan_destroy(&plan);
    mha_plan_destroy(NULL);
    mha_engine_destroy(&engine);
    mha_engine_destroy(NULL);
    cr_expect_eq(mha_engine_build_log(device.engine, NULL, 0), 1, "a log without a failed build");
    cr_expect_eq(mha_engine_build_log(device.engine, text, sizeof(text)), 1);
    cr_expect_eq(text[0], 0);
    cr_expect_eq(mha_profile_span(NULL, NULL), 0);
    device_close(&device);
}

/* ---- Struct sizes --------------------------------------------------------------------------- */

Test(misuse, struct_sizes) {
    struct test_device device;
    struct {
        mha_attention_desc desc;
        char unknown[16];
    } longer = {.desc = valid_desc()};
    mha_error e;
    device_open(&device);
    longer.desc.struct_size = sizeof(longer);
    cr_expect_eq(mha_attention_supported(device.engine, &longer.desc, &e), MHA_SUCCESS, "%s",
                 e.message);
    longer.unknown[15] = 1;
    cr_expect_eq(mha_attention_supported(device.engine, &longer.desc, &e), MHA_ERR_UNSUPPORTED);
    /* The first version's struct is the least there can be. */
    longer.unknown[15] = 0;
    longer.desc.struct_size = offsetof(mha_attention_desc, variant);
    cr_expect_eq(mha_attention_supported(device.engine, &longer.desc, &e), MHA_ERR_STRUCT_SIZE);

    mha_plan *plan;
    const mha_attention_desc desc = valid_desc();
    cr_assert_eq(mha_plan_create(device.engine, &desc, &plan, &e), MHA_SUCCESS, "%s", e.message);
    struct larger_plan_info {
        mha_plan_info info;
        char unknown[16], beyond[16];
    } plan_info;
    struct larger_engine_info {
        mha_engine_info info;
        char unknown[16], beyond[16];
    } engine_info;
    const size_t sizes[] = {0, sizeof(size_t) - 1};
    for (size_t n = 0; n < sizeof(sizes) / sizeof(*sizes); ++n) {
        plan_info.info.struct_size = engine_info.info.struct_size = sizes[n];
        cr_expect_eq(mha_plan_get_info(plan, &plan_info.info, &e), MHA_ERR_STRUCT_SIZE);
        cr_expect_eq(mha_engine_get_info(device.engine, &engine_info.info, &e),
                     MHA_ERR_STRUCT_SIZE);
    }
    memset(&plan_info, 0x5a, sizeof(plan_info));
    memset(&engine_info, 0x5a, sizeof(engine_info));
    plan_info.info.struct_size = offsetof(struct larger_plan_info, beyond);
    engine_info.info.struct_size = offsetof(struct larger_engine_info, beyond);
    cr_expect_eq(mha_plan_get_info(plan, &plan_info.info, &e), MHA_SUCCESS, "%s", e.message);
    cr_expect_eq(mha_engine_get_info(device.engine, &engine_info.info, &e), MHA_SUCCESS, "%s",
                 e.message);
    for (int n = 0; n < 16; ++n) {
        cr_expect(plan_info.unknown[n] == 0 && engine_info.unknown[n] == 0,
                  "byte %d of a newer member is not zero", n);
        cr_expect(plan_info.beyond[n] == 0x5a && engine_info.beyond[n] == 0x5a,
                  "byte %d beyond struct_size was written", n);
    }
    cr_expect(plan_info.info.variant[0] && plan_info.info.source[0] &&
              engine_info.info.device_name[0]);
    /* 2 * batch * heads * 8 * 8 * (16 + 16); q, o of 2 * 2 * 8 rows and k, v of as many. */
    cr_expect_eq(plan_info.info.flops, 2.0 * 2 * 2 * 8 * 8 * 32);
    cr_expect_eq(plan_info.info.bytes, 2.0 * 2 * 2 * 8 * 32 * 4);
    mha_plan_destroy(&plan);
    device_close(&device);
}

/* ---- Engines -------------------------------------------------------------------------------- */

static void *allocate(void *user, size_t bytes) {
    (void)user;
    return malloc(bytes);
}

static void release(void *user, void *memory) {
    (void)user;
    free(memory);
}

static size_t load_nothing(void *user, const char *key, void *data, size_t bytes) {
    (void)user, (void)key, (void)data, (void)bytes;
    return 0;
}

static void store_nothing(void *user, const char *key, const void *data, size_t bytes) {
    (void)user, (void)key, (void)data, (void)bytes;
}

Test(misuse, engines) {
    struct test_device device;
    device_open(&device);
    mha_engine_desc halves[4];
    for (int n = 0; n < 4; ++n)
        halves[n] = (mha_engine_desc){.struct_size = sizeof(mha_engine_desc),
                                      .flags = MHA_ENGINE_HERMETIC,
                                      .context = device.context,
                                      .device = device.id};
    halves[0].allocate = allocate;
    halves[1].release = release;
    halves[2].cache_load = load_nothing;
    halves[3].cache_store = store_nothing;
    mha_engine *engine;
    mha_error e;
    for (int n = 0; n < 4; ++n) {
        engine = (mha_engine *)&e;
        cr_expect_eq(mha_engine_create(&halves[n], &engine, &e), MHA_ERR_NULL, "half %d", n);
        cr_expect_null(engine);
    }
#define ENGINE(member, kind, v) EDIT(mha_engine_desc, member, kind, v)
    const struct misuse misuses[] = {
        {"struct_size 0", MHA_ERR_STRUCT_SIZE, "0", {ENGINE(struct_size, i64, 0)}},
        {"unknown flag", MHA_ERR_FLAGS, "0x8", {ENGINE(flags, i64, 8)}},
        {"no context", MHA_ERR_NULL, "context", {ENGINE(context, pointer, NULL)}},
        {"no device", MHA_ERR_NULL, "device", {ENGINE(device, pointer, NULL)}},
        {"a folder, but hermetic", MHA_ERR_FLAGS, "cache_dir", {ENGINE(cache_dir, pointer, "x")}},
        {"kernels, but hermetic", MHA_ERR_FLAGS, "kernel_dir", {ENGINE(kernel_dir, pointer, "x")}},
        {"tuned, but hermetic", MHA_ERR_FLAGS, "tuning_path", {ENGINE(tuning_path, pointer, "x")}},
        {"tuned, but untuned",
         MHA_ERR_FLAGS,
         "tuning_text",
         {ENGINE(flags, i64, MHA_ENGINE_UNTUNED), ENGINE(tuning_text, pointer, "x")}},
    };
    for (size_t n = 0; n < sizeof(misuses) / sizeof(*misuses); ++n) {
        mha_engine_desc desc = {.struct_size = sizeof(desc),
                                .flags = MHA_ENGINE_HERMETIC,
                                .context = device.context,
                                .device = device.id};
        misuse_apply(&misuses[n], &desc);
        engine = (mha_engine *)&e;
        const mha_status status = mha_engine_create(&desc, &engine, &e);
        cr_expect(misuse_check(&misuses[n], "engine_create", status, &e));
        cr_expect_null(engine);
    }
    device_close(&device);
}

Test(misuse, after_fork) {
    struct test_device device;
    const mha_attention_desc desc = valid_desc();
    mha_plan *plan = NULL, *other = NULL;
    mha_error e;
    device_open(&device);
    cr_assert_eq(mha_plan_create(device.engine, &desc, &plan, &e), MHA_SUCCESS, "%s", e.message);
    const pid_t child = fork();
    if (child == 0) {
        const mha_attention_args args = MHA_ATTENTION_ARGS_INIT;
        const bool is_ok =
            mha_plan_create(device.engine, &desc, &other, &e) == MHA_ERR_FORKED && !other &&
            mha_enqueue_attention(plan, device.queue, &args, 0, NULL, NULL, &e) == MHA_ERR_FORKED;
        _exit(is_ok ? 0 : 1);
    }
    int result = -1;
    cr_assert_eq(waitpid(child, &result, 0), child);
    cr_expect_eq(result, 0, "a child process may not use its parent's engine");
    mha_plan_destroy(&plan);
    device_close(&device);
}

Test(misuse, names) {
    for (int status = MHA_ERR_PLAN; status <= MHA_SUCCESS; ++status) {
        const char *name = mha_status_name((mha_status)status);
        cr_expect(status ? !strncmp(name, "MHA_ERR_", 8) : !strcmp(name, "MHA_SUCCESS"), "%s",
                  name);
    }
    cr_expect_not_null(mha_status_name((mha_status)99));
    cr_expect_eq(mha_version(), MHA_VERSION);
    cr_expect_not_null(mha_variant_name(0));
    cr_expect_null(mha_variant_name(SIZE_MAX));
}
