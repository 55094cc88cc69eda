/* An operation of the library, tried with each of its OpenCL calls failing. */
#ifndef TESTS_FAILURE_RUN_H
#define TESTS_FAILURE_RUN_H

#include "cases.h"
#include "opencl_faults.h"

struct run {
    const char *name, *title;
    struct test_device *device;
    int fail_at;
    bool is_forever, is_bad;
    bool has_provider; /* CLBlast, which gives codes of its own, below -1000, now and then */
    cl_int code;
    struct fault_report report;
    int first, step; /* of the failing calls, counted from 0; steps of 0 are 1 */
    int passed, failed;
    /* plans */
    size_t device_group;    /* the largest work-group of the device */
    bool has_other_kernels; /* a plan may do without what fails, and then gives other bits */
    struct entry *entry;    /* of a program cache; NULL: none */
    /* calls */
    struct case_data *data;
    mha_plan *plan;
    mha_attention_args *args;
    cl_command_queue queue;
    unsigned gives; /* WAIT, EVENTS */
    unsigned char *expected;
};

#define WAIT 1u
#define EVENTS 2u

/* Notes and prints what is wrong with the current try, unless is_true. */
void run_expect(struct run *run, bool is_true, const char *format, ...);

/* Calls `attempt` with each k, once and for ever, until it says that call k was not reached; counts
 * objects; prints the tally and fails the Criterion test by it. */
void run_all(struct run *run, bool (*attempt)(struct run *run));

/* The status of an operation in which a call failed, `may_heal` if it may succeed all the same.
 * Returns whether that call was reached. */
bool run_check_status(struct run *run, mha_status status, const mha_error *e, bool may_heal);

/* A case with MHA_STAGE_SCALED if it gives scores; its buffers are still to be made. */
void run_make_case(struct run *run, const char *variant, uint64_t flags, int64_t seqlen_q,
                   int64_t seqlen_kv);
void run_release_case(struct run *run);

/* A call in which nothing fails: it works, and gives the numbers that the first such call gave. */
void run_enqueue_well(struct run *run);

#endif
