/* The k-th OpenCL call of making an engine or a plan fails, for every k, once and for ever: a clean
 * status with a message, nothing given, nothing leaked, and the next try works. */
#include "failure_run.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Engines -------------------------------------------------------------------------------- */

static mha_engine_desc make_desc(const struct test_device *device) {
    mha_engine_desc desc = MHA_ENGINE_DESC_INIT;
    desc.flags = MHA_ENGINE_HERMETIC;
    desc.context = device->context;
    desc.device = device->id;
    return desc;
}

static bool attempt_engine(struct run *run) {
    const mha_engine_desc desc = make_desc(run->device);
    mha_engine *engine = (mha_engine *)run;
    mha_error e;
    memset(&e, 0xa5, sizeof(e));
    faults_arm(run->fail_at, run->is_forever, run->code);
    mha_status status = mha_engine_create(&desc, &engine, &e);
    run->report = faults_disarm();
    /* A device that doesn't know of fp64 has none. */
    const bool may_heal = run->report.what == CL_DEVICE_DOUBLE_FP_CONFIG;
    const bool is_reached = run_check_status(run, status, &e, may_heal);
    run_expect(run, !engine == (status != MHA_SUCCESS), "the engine is %p", (void *)engine);
    mha_engine_destroy(&engine);
    status = mha_engine_create(&desc, &engine, &e);
    run_expect(run, !status, "the next try: %.400s", e.message);
    mha_engine_destroy(&engine);
    return is_reached;
}

Test(failures, engine, .timeout = 120) {
    struct test_device device;
    device_open(&device);
    struct run run = {.name = "engine", .title = "create", .device = &device};
    run_all(&run, attempt_engine);
    device_close(&device);
}

/* What a device must have; each lack is named. */
Test(failures, device_lacks, .timeout = 120) {
    static const cl_bool no = CL_FALSE;
    static const cl_device_fp_config fp = CL_FP_DENORM | CL_FP_ROUND_TO_NEAREST;
    static const size_t parameter_bytes = 256;
    static const struct {
        cl_device_info what;
        const void *value;
        size_t bytes;
        const char *text;
    } lacks[] = {
        {CL_DEVICE_AVAILABLE, &no, sizeof(no), "available"},
        {CL_DEVICE_COMPILER_AVAILABLE, &no, sizeof(no), "compiler"},
        {CL_DEVICE_SINGLE_FP_CONFIG, &fp, sizeof(fp), "NaN"},
        {CL_DEVICE_MAX_PARAMETER_SIZE, &parameter_bytes, sizeof(parameter_bytes), "256 bytes"},
        {CL_DEVICE_PROFILE, "EMBEDDED_PROFILE", 17, "64-bit"},
    };
    const int lack_count = sizeof(lacks) / sizeof(*lacks);
    struct test_device device;
    int failed = 0;
    device_open(&device);
    for (int i = 0; i < lack_count; ++i) {
        const mha_engine_desc desc = make_desc(&device);
        mha_engine *engine = (mha_engine *)&device;
        mha_error e;
        faults_fake_device(lacks[i].what, lacks[i].value, lacks[i].bytes);
        const mha_status status = mha_engine_create(&desc, &engine, &e);
        faults_fake_device(0, NULL, 0);
        const bool is_right = status == MHA_ERR_DEVICE && e.status == status && !engine &&
                              strstr(e.message, lacks[i].text);
        cr_expect(is_right, "\"%s\": %s, %s", lacks[i].text, mha_status_name(status), e.message);
        failed += !is_right;
        if (!status)
            mha_engine_destroy(&engine);
    }
    fprintf(stderr, "failures/device lacks: %d passed, %d failed, 0 skipped\n", lack_count - failed,
            failed);
    device_close(&device);
}

/* ---- Plans ---------------------------------------------------------------------------------- */

/* A program cache that keeps one entry. */
struct entry {
    unsigned char *data;
    size_t bytes;
};

static size_t load_entry(void *user, const char *key, void *data, size_t bytes) {
    const struct entry *entry = user;
    (void)key;
    if (bytes)
        memcpy(data, entry->data, entry->bytes < bytes ? entry->bytes : bytes);
    return entry->bytes;
}

static void store_entry(void *user, const char *key, const void *data, size_t bytes) {
    struct entry *entry = user;
    (void)key;
    free(entry->data);
    entry->data = malloc(bytes);
    entry->bytes = bytes;
    memcpy(entry->data, data, bytes);
}

static mha_engine *make_engine(struct run *run, struct entry *entry) {
    mha_engine_desc desc = make_desc(run->device);
    mha_engine *engine = NULL;
    mha_error e;
    if (entry) {
        desc.cache_load = load_entry;
        desc.cache_store = store_entry;
        desc.cache_user = entry;
    }
    cr_assert_eq(mha_engine_create(&desc, &engine, &e), MHA_SUCCESS, "%s", e.message);
    return engine;
}

/* Whether a plan may be made although this call failed. */
static bool may_plan_heal(const struct run *run) {
    const char *name = run->report.name;
    if (!name)
        return false;
    /* A program that can't be stored is only compiled again another time. */
    if (!strcmp(name, "clGetProgramInfo"))
        return true;
    /* What else fails once is tried again where the program came from a cache, and where its
     * kernels take smaller work-groups than the device. */
    return !run->is_forever &&
           ((run->entry && run->entry->bytes) || run->report.least_group < run->device_group);
}

static bool attempt_plan(struct run *run) {
    /* Each try finds the cache as it was. */
    struct entry entry = {NULL, 0};
    if (run->entry && run->entry->bytes)
        store_entry(&entry, NULL, run->entry->data, run->entry->bytes);
    mha_engine *engine = make_engine(run, run->entry ? &entry : NULL);
    mha_plan *plan = (mha_plan *)run;
    mha_error e;
    memset(&e, 0xa5, sizeof(e));
    faults_arm(run->fail_at, run->is_forever, run->code);
    mha_status status = mha_plan_create(engine, &run->data->desc, &plan, &e);
    run->report = faults_disarm();
    const bool is_reached = run_check_status(run, status, &e, may_plan_heal(run));
    run_expect(run, !plan == (status != MHA_SUCCESS), "the plan is %p", (void *)plan);
    if (!status) { /* healed plans compute too */
        run->plan = plan;
        run_enqueue_well(run);
    }
    mha_plan_destroy(&plan);
    status = mha_plan_create(engine, &run->data->desc, &plan, &e);
    run_expect(run, !status, "the next try: %.400s", e.message);
    if (!status) {
        run->plan = plan;
        run_enqueue_well(run);
    }
    mha_plan_destroy(&plan);
    mha_engine_destroy(&engine);
    free(entry.data);
    return is_reached;
}

static void run_plans(const char *name, struct entry *entry, bool is_filled) {
    struct test_device device;
    struct case_data data;
    mha_attention_args args;
    device_open(&device);
    struct run run = {.name = name,
                      .title = "reference",
                      .device = &device,
                      .data = &data,
                      .args = &args,
                      .queue = device.queue,
                      .gives = EVENTS};
    run_make_case(&run, "reference", 0, 3, 8);
    clGetDeviceInfo(device.id, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof(run.device_group),
                    &run.device_group, NULL);
    if (is_filled) {
        mha_engine *engine = make_engine(&run, entry);
        mha_plan *plan = NULL;
        mha_error e;
        cr_assert_eq(mha_plan_create(engine, &data.desc, &plan, &e), MHA_SUCCESS, "%s", e.message);
        mha_plan_destroy(&plan);
        mha_engine_destroy(&engine);
    }
    case_upload(&data, &device, 0, &args);
    run.entry = entry;
    run_all(&run, attempt_plan);
    run_release_case(&run);
    device_close(&device);
}

Test(failures, plan, .timeout = 300) {
    run_plans("plan", NULL, false);
}

Test(failures, plan_stored, .timeout = 300) {
    struct entry entry = {NULL, 0};
    run_plans("plan-stored", &entry, false);
    cr_expect(!entry.data);
}

Test(failures, plan_loaded, .timeout = 300) {
    struct entry entry = {NULL, 0};
    run_plans("plan-loaded", &entry, true);
    cr_expect(entry.data);
    free(entry.data);
}
