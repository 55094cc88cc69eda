/* In: attempts. Out: what is wrong with each, a tally. */
#include "failure_run.h"

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void run_expect(struct run *run, bool is_true, const char *format, ...) {
    char text[700];
    va_list values;
    if (is_true)
        return;
    va_start(values, format);
    vsnprintf(text, sizeof(text), format, values);
    va_end(values);
    fprintf(stderr, "FAILED failures/%s %s: call %d (%s 0x%x), error %d %s: %s\n", run->name,
            run->title, run->fail_at, run->report.name ? run->report.name : "not reached",
            run->report.what, (int)run->code, run->is_forever ? "for ever" : "once", text);
    run->is_bad = true;
}

void run_all(struct run *run, bool (*attempt)(struct run *run)) {
    static const cl_int codes[] = {CL_OUT_OF_HOST_MEMORY, CL_OUT_OF_RESOURCES, CL_INVALID_VALUE};
    static const char *const kinds[OBJECT_KINDS] = {"contexts", "devices", "queues", "buffers",
                                                    "programs", "kernels", "events"};
    for (int forever = 0; forever < 2; ++forever) {
        bool is_reached = true;
        const int step = run->step ? run->step : 1;
        for (int k = run->first + forever * (step / 2) + 1; is_reached; k += step) {
            int before[OBJECT_KINDS], after[OBJECT_KINDS];
            run->fail_at = k;
            run->is_forever = forever;
            run->code = codes[(k + forever) % 3];
            run->is_bad = false;
            faults_count_objects(before);
            is_reached = attempt(run);
            faults_count_objects(after);
            for (int i = 0; i < OBJECT_KINDS; ++i)
                run_expect(run, before[i] == after[i], "%d references to %s leak",
                           after[i] - before[i], kinds[i]);
            run->is_bad ? ++run->failed : ++run->passed;
        }
    }
    fprintf(stderr, "failures/%s %s: %d passed, %d failed, 0 skipped\n", run->name, run->title,
            run->passed, run->failed);
    cr_expect_eq(run->failed, 0);
    cr_expect_gt(run->passed, 2, "%s made no OpenCL call", run->name);
}

bool run_check_status(struct run *run, mha_status status, const mha_error *e, bool may_heal) {
    const bool is_reached = run->report.calls >= run->fail_at;
    run_expect(run, memchr(e->message, 0, sizeof(e->message)), "the message has no end");
    run_expect(run, e->status == status, "returned %s, but mha_error says %s",
               mha_status_name(status), mha_status_name(e->status));
    if (!is_reached || (may_heal && status == MHA_SUCCESS)) {
        run_expect(run, status == MHA_SUCCESS && !e->message[0] && !e->cl_error, "%s: %.400s",
                   mha_status_name(status), e->message);
        return is_reached;
    }
    /* Where a question about an object fails, the object is what the library names. */
    const bool is_object =
        status == MHA_ERR_CONTEXT || status == MHA_ERR_QUEUE || status == MHA_ERR_WAIT_LIST;
    run_expect(run,
               is_object || status == MHA_ERR_DEVICE_MEMORY || status == MHA_ERR_OPENCL ||
                   status == MHA_ERR_BUILD,
               "%s: %.400s", mha_status_name(status), e->message);
    run_expect(run, e->message[0], "no message");
    run_expect(run, e->cl_error == run->code || (run->has_provider && e->cl_error < -1000),
               "mha_error.cl_error is %d", (int)e->cl_error);
    return is_reached;
}
