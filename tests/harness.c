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
                           const char *name, const char *failure) {
    fprintf(stderr,
            "FAILED %s: %s\n  repeat: MHA_TEST_DEVICE='%.40s' MHA_TEST_CASE='%s' "
            "mha-tests --filter '%s/*'\n",
            name, failure, device->name, name, tally->suite);
}

bool harness_may_refuse(const struct test_device *device, const char *variant, mha_dtype dtype,
                        const mha_error *refusal, mha_status created, char text[FAILURE_BYTES]) {
    const mha_status expected = variant ? MHA_ERR_VARIANT : MHA_ERR_UNSUPPORTED;
    const bool is_expected = refusal->status == expected || refusal->status == MHA_ERR_DEVICE ||
                             refusal->status == MHA_ERR_UNSUPPORTED;
    const bool is_allowed = is_expected && (variant || (dtype == MHA_F64 && !device->has_fp64));
    if (created != refusal->status)
        snprintf(text, FAILURE_BYTES, "supported says %s, plan_create %s",
                 mha_status_name(refusal->status), mha_status_name(created));
    else if (!is_allowed)
        snprintf(text, FAILURE_BYTES, "refused: %s: %.300s", mha_status_name(created),
                 refusal->message);
    else
        snprintf(text, FAILURE_BYTES, "%.390s", refusal->message);
    return created == refusal->status && is_allowed;
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

static enum outcome attempt_attention(const struct test_device *device, const void *test,
                                      char text[FAILURE_BYTES]) {
    static struct case_data data;
    const struct test_case *t = test;
    enum outcome outcome = OUTCOME_PASSED;
    mha_error error, ignored;
    case_init(&data, t);
    if (!mha_attention_supported(device->engine, &data.desc, &error)) {
        outcome = run_plan(device, &data, text) ? OUTCOME_PASSED : OUTCOME_FAILED;
    } else {
        mha_plan *plan = NULL;
        const mha_status created = mha_plan_create(device->engine, &data.desc, &plan, &ignored);
        outcome = harness_may_refuse(device, t->variant, t->dtype, &error, created, text)
                      ? OUTCOME_SKIPPED
                      : OUTCOME_FAILED;
        mha_plan_destroy(&plan);
    }
    case_release(&data);
    return outcome;
}

void harness_attempt(const struct test_device *device, const char *name, mha_dtype dtype,
                     attempt_fn attempt, const void *test, struct tally *tally) {
    static const char *const titles[] = {"ok", "failed", "skipped"};
    int *const counts[] = {tally->passed, tally->failed, tally->skipped};
    if (!is_wanted(name))
        return;
    const double start = seconds();
    char text[FAILURE_BYTES] = "";
    if (getenv("MHA_TEST_VERBOSE"))
        fprintf(stderr, "%s ... ", name);
    watch(name);
    const enum outcome outcome = attempt(device, test, text);
    alarm(0);
    if (outcome == OUTCOME_FAILED)
        report_failure(device, tally, name, text);
    if (outcome == OUTCOME_SKIPPED)
        note_reason(tally, text);
    ++counts[outcome][dtype];
    if (getenv("MHA_TEST_VERBOSE"))
        fprintf(stderr, "%s (%.0f ms)\n", titles[outcome], 1e3 * (seconds() - start));
}

void harness_run(const struct test_device *device, const struct test_case *test,
                 struct tally *tally) {
    harness_attempt(device, test->name, test->dtype, attempt_attention, test, tally);
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
