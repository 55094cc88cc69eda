/* In: test cases. Out: a tally, and a line for each failure that says how to repeat it. */
#include "harness.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const char *harness_variant_title(size_t index) {
    return index ? mha_variant_name(index - 1) : "auto";
}

const char *harness_variant(size_t index) {
    return index ? mha_variant_name(index - 1) : NULL;
}

size_t harness_variant_count(void) {
    size_t count = 0;
    while (harness_variant_title(count))
        ++count;
    return count;
}

/* ---- Plans --------------------------------------------------------------------------------- */

#define MAX_PLANS 32

static struct {
    mha_attention_desc desc;
    mha_plan *plan;
} plans[MAX_PLANS];
static size_t next_plan;

mha_plan *harness_get_plan(const struct test_device *device, const mha_attention_desc *desc,
                           mha_error *error) {
    for (size_t n = 0; n < MAX_PLANS; ++n)
        if (plans[n].plan && !memcmp(&plans[n].desc, desc, sizeof(*desc)))
            return plans[n].plan;
    mha_plan *plan = NULL;
    if (mha_plan_create(device->engine, desc, &plan, error))
        return NULL;
    const size_t slot = next_plan++ % MAX_PLANS;
    mha_plan_destroy(&plans[slot].plan);
    plans[slot].desc = *desc;
    plans[slot].plan = plan;
    return plan;
}

void harness_release_plans(void) {
    for (size_t n = 0; n < MAX_PLANS; ++n)
        mha_plan_destroy(&plans[n].plan);
}

/* ---- Crashes ------------------------------------------------------------------------------- */

/* A case that takes this long hangs. */
#define CASE_SECONDS 300

static const char *running = "";

static void report_crash(int number) {
    static const char text[] = "\nFAILED by a signal or by taking too long: ";
    if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0 ||
        write(STDERR_FILENO, running, strlen(running)) < 0 || write(STDERR_FILENO, "\n", 1) < 0)
        _exit(1);
    signal(number, SIG_DFL);
    raise(number);
}

/* Says which case it was when a crash or a hang ends the process. */
static void watch(const char *name) {
    running = name;
    signal(SIGALRM, report_crash);
    signal(SIGSEGV, report_crash);
    signal(SIGBUS, report_crash);
    signal(SIGFPE, report_crash);
    signal(SIGABRT, report_crash);
    alarm(CASE_SECONDS);
}

/* ---- Tally --------------------------------------------------------------------------------- */

static bool is_wanted(const char *name) {
    const char *wanted = getenv("MHA_TEST_CASE");
    return !wanted || strstr(name, wanted);
}

static void note_reason(struct tally *tally, const char *text) {
    int n = 0;
    while (n < tally->reason_count && strcmp(tally->reasons[n].text, text))
        ++n;
    if (n == (int)(sizeof(tally->reasons) / sizeof(*tally->reasons)))
        return;
    if (n == tally->reason_count) {
        snprintf(tally->reasons[n].text, sizeof(tally->reasons[n].text), "%.199s", text);
        ++tally->reason_count;
    }
    ++tally->reasons[n].count;
}

static void report_failure(const struct test_device *device, const struct tally *tally,
                           const struct test_case *t, const char *failure) {
    fprintf(stderr,
            "FAILED %s: %s\n  repeat: MHA_TEST_DEVICE='%.40s' MHA_TEST_CASE='%s' "
            "mha-tests --filter '%s/*'\n",
            t->name, failure, device->name, t->name, tally->suite);
}

/* Whether the library may refuse this case; `failure` says why not. */
static bool may_refuse(const struct test_device *device, const struct test_case *t,
                       const mha_attention_desc *desc, const mha_error *refusal,
                       char failure[FAILURE_BYTES]) {
    mha_error error;
    mha_plan *plan = NULL;
    const mha_status status = mha_plan_create(device->engine, desc, &plan, &error);
    const mha_status expected = t->variant ? MHA_ERR_VARIANT : MHA_ERR_UNSUPPORTED;
    const bool is_expected = refusal->status == expected || refusal->status == MHA_ERR_DEVICE ||
                             refusal->status == MHA_ERR_UNSUPPORTED;
    if (status != refusal->status || plan)
        snprintf(failure, FAILURE_BYTES, "supported says %s, plan_create %s",
                 mha_status_name(refusal->status), mha_status_name(status));
    else if (!is_expected || (!t->variant && (t->dtype != MHA_F64 || device->has_fp64)))
        snprintf(failure, FAILURE_BYTES, "refused: %s: %.300s", mha_status_name(status),
                 refusal->message);
    else
        return true;
    mha_plan_destroy(&plan);
    return false;
}

static bool run_plan(const struct test_device *device, struct case_data *data,
                     char failure[FAILURE_BYTES]) {
    mha_error error;
    mha_plan *plan = harness_get_plan(device, &data->desc, &error);
    if (!plan) {
        snprintf(failure, FAILURE_BYTES, "supported, but mha_plan_create: %s: %.300s",
                 mha_status_name(error.status), error.message);
        return false;
    }
    mha_plan_info info = {.struct_size = sizeof(info)};
    mha_plan_get_info(plan, &info, NULL);
    if (data->desc.variant && strcmp(info.variant, data->desc.variant)) {
        snprintf(failure, FAILURE_BYTES, "wanted variant %s, got %s: %.250s", data->desc.variant,
                 info.variant, info.reason);
        return false;
    }
    struct outputs outputs = {0};
    bool is_ok = harness_execute(device, plan, data, &outputs, failure) &&
                 harness_compare(data, &outputs, failure);
    if (!is_ok) {
        const size_t used = strlen(failure);
        snprintf(failure + used, FAILURE_BYTES - used, " [%s %.120s]", info.variant,
                 info.parameters);
    }
    outputs_release(&outputs);
    return is_ok;
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void harness_run(const struct test_device *device, const struct test_case *test,
                 struct tally *tally) {
    if (!is_wanted(test->name))
        return;
    const double start = seconds();
    const char *outcome = "ok";
    char failure[FAILURE_BYTES] = "";
    static struct case_data data;
    mha_error error;
    if (getenv("MHA_TEST_VERBOSE"))
        fprintf(stderr, "%s ... ", test->name);
    watch(test->name);
    case_init(&data, test);
    if (mha_attention_supported(device->engine, &data.desc, &error)) {
        if (may_refuse(device, test, &data.desc, &error, failure)) {
            note_reason(tally, error.message);
            outcome = "skipped";
        }
    } else {
        run_plan(device, &data, failure);
    }
    case_release(&data);
    alarm(0);
    if (failure[0]) {
        outcome = "failed";
        report_failure(device, tally, test, failure);
    }
    ++*(outcome[0] == 'f'   ? &tally->failed[test->dtype]
        : outcome[0] == 's' ? &tally->skipped[test->dtype]
                            : &tally->passed[test->dtype]);
    if (getenv("MHA_TEST_VERBOSE"))
        fprintf(stderr, "%s (%.0f ms)\n", outcome, 1e3 * (seconds() - start));
}

void tally_finish(const struct tally *tally) {
    int passed = 0, failed = 0, skipped = 0;
    for (int type = 0; type < 4; ++type) {
        passed += tally->passed[type];
        failed += tally->failed[type];
        skipped += tally->skipped[type];
        fprintf(stderr, "%s/%s %s: %d passed, %d failed, %d skipped\n", tally->suite, tally->title,
                number_name((enum number)type), tally->passed[type], tally->failed[type],
                tally->skipped[type]);
    }
    for (int n = 0; n < tally->reason_count; ++n)
        fprintf(stderr, "  skipped %d: %s\n", tally->reasons[n].count, tally->reasons[n].text);
    cr_assert_eq(failed, 0, "%d of %d cases failed", failed, passed + failed + skipped);
    cr_assert(passed > 0 || skipped > 0 || getenv("MHA_TEST_CASE"), "no case was run");
}
