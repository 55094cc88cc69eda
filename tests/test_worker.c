/* Workers that crash, hang, lie or talk nonsense: each fault gives the result that it should, in
 * time, and the next request is served by a new process. */
#include "caps_json.h"
#include "remote.h"
#include "worker.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const struct remote_limits short_limits = {
    .build_seconds = 1,
    .run_seconds = 0.5,
    .incumbents = 20,
    .first_seconds = 1,
    .retry_seconds = 0.01,
};

/* What a request may take beyond its time-out, on a machine that has other things to do. */
#define SLACK_SECONDS 4

static const struct shape shape = {
    .operation = OPERATION_ATTENTION,
    .batch = 4,
    .q_heads = 12,
    .kv_heads = 12,
    .head_dim_qk = 64,
    .head_dim_v = 64,
    .seqlen_q = 197,
    .seqlen_kv = 197,
};

static const struct measure_options options = {.limit_ns = 1e6};

static struct candidate sound(void) {
    return (struct candidate){.variant = mha_variant_find(OPERATION_ATTENTION, "reference")};
}

/* One that faults befall. */
static struct candidate unsound(int block_q) {
    return (struct candidate){
        .variant = mha_variant_find(OPERATION_ATTENTION, "panel"),
        .tuning = {.value = {[VEC] = 16,
                             [LANE_VECTORS] = 1,
                             [MICRO_Q] = 12,
                             [MICRO_D] = 2,
                             [BLOCK_Q] = block_q,
                             [BLOCK_KV] = 208}},
    };
}

static int count_descriptors(void) {
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    cr_assert_not_null(folder);
    while (readdir(folder))
        ++count;
    closedir(folder);
    return count;
}

static void expect_no_children(void) {
    cr_expect(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD, "a process is left");
}

static struct remote *open_fake(const char *const *argv) {
    char why[200];
    struct remote *remote = remote_open_limited(argv, NULL, &short_limits, why, sizeof(why));
    cr_assert_not_null(remote, "%s", why);
    return remote;
}

/* ---- Faults of one candidate ----------------------------------------------------------------- */

static const struct {
    const char *fault;
    enum remote_result result;
    const char *why; /* a part of the reason */
} faults[] = {
    {"crash", REMOTE_CRASH, "about to crash"},
    {"exit", REMOTE_CRASH, "exit code 3: last ?[31mline"},
    {"close", REMOTE_CRASH, "ended"},
    {"hang", REMOTE_TIMEOUT, "no answer in time"},
    {"half", REMOTE_TIMEOUT, "no answer in time"},
    {"flood", REMOTE_TIMEOUT, "no answer in time"},
    {"slow-build", REMOTE_TIMEOUT, "no answer in time"},
    {"garbage", REMOTE_NONSENSE, "no JSON object"},
    {"array", REMOTE_NONSENSE, "no JSON object"},
    {"huge", REMOTE_NONSENSE, "too long"},
    {"id", REMOTE_NONSENSE, "another request"},
    {"text", REMOTE_NONSENSE, "no number"},
    {"missing", REMOTE_NONSENSE, "no number"},
    {"error", REMOTE_NONSENSE, "max_error"},
    {"variant", REMOTE_NONSENSE, "another variant"},
    {"values", REMOTE_NONSENSE, "other values"},
    {"say-crash", REMOTE_NONSENSE, "no result"},
    {"say-splendid", REMOTE_NONSENSE, "no result"},
    {"zero", REMOTE_IMPLAUSIBLE, "not above zero"},
    {"negative", REMOTE_IMPLAUSIBLE, "not above zero"},
    {"say-implausible", REMOTE_IMPLAUSIBLE, "implausible"},
    {"say-illegal", REMOTE_ILLEGAL, "illegal"},
    {"say-wrong", REMOTE_WRONG, "wrong"},
    {"say-opencl", REMOTE_OPENCL, "opencl"},
    {"build", REMOTE_BUILD, "error: "},
    {"twice", REMOTE_OK, ""},
    {"chatter", REMOTE_OK, ""},
};

static void try_fault(size_t i) {
    const char *const argv[] = {FAKE_WORKER, faults[i].fault, NULL};
    const int descriptors = count_descriptors();
    struct remote *remote = open_fake(argv);
    const struct candidate good = sound(), bad = unsound(96);
    for (int n = 0; n < 2; ++n) {
        const double begun = worker_clock();
        struct measurement m = remote_evaluate(remote, &shape, &bad, &options);
        const double seconds = worker_clock() - begun;
        cr_expect_eq(m.result, faults[i].result, "%s: %s, %s", faults[i].fault,
                     remote_result_names[m.result], m.why);
        cr_expect(strstr(m.why, faults[i].why), "%s: %s", faults[i].fault, m.why);
        cr_expect_lt(seconds, short_limits.build_seconds + SLACK_SECONDS, "%s: %.1f s",
                     faults[i].fault, seconds);
        m = remote_evaluate(remote, &shape, &good, &options);
        cr_expect_eq(m.result, REMOTE_OK, "after %s: %s", faults[i].fault, m.why);
        cr_expect_eq(m.ns, 1e7, "after %s: %g", faults[i].fault, m.ns);
        cr_expect_not(remote_is_lost(remote));
    }
    remote_close(remote);
    expect_no_children();
    cr_expect_eq(count_descriptors(), descriptors, "%s leaves descriptors open", faults[i].fault);
}

Test(worker, faults_have_their_results) {
    for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); ++i)
        try_fault(i);
}

Test(worker, no_fault) {
    const char *const argv[] = {FAKE_WORKER, NULL};
    struct remote *remote = open_fake(argv);
    const struct candidate candidates[] = {unsound(96), unsound(208), {.variant = NULL}};
    struct measurement m[3];
    double ns[3][5];
    for (int i = 0; i < 3; ++i) {
        m[i] = remote_evaluate(remote, &shape, &candidates[i], &options);
        cr_assert_eq(m[i].result, REMOTE_OK, "%s", m[i].why);
        cr_expect_gt(m[i].ns, 0);
    }
    cr_expect_neq(m[0].ns, m[1].ns);
    cr_expect_str_eq(m[0].variant->name, "panel");
    cr_expect_str_eq(m[2].variant->name, "reference");
    /* What ran was fitted to the lengths. */
    cr_expect_lt(m[0].tuning.value[BLOCK_Q], 96);
    const struct measurement check = remote_check(remote, &shape, &candidates[0]);
    cr_expect_eq(check.result, REMOTE_OK, "%s", check.why);
    cr_expect_eq(check.max_error, 1e-6);
    /* In alternating order, but each candidate has its own times. */
    const struct measurement compared =
        remote_compare(remote, &shape, candidates, 3, 5, 1, &options, ns[0]);
    cr_assert_eq(compared.result, REMOTE_OK, "%s", compared.why);
    for (int i = 0; i < 3; ++i)
        for (int round = 0; round < 5; ++round)
            cr_expect_eq(ns[i][round], m[i].ns, "candidate %d, round %d: %g", i, round,
                         ns[i][round]);
    struct device_rates rates;
    char why[200];
    cr_expect_eq(remote_rates(remote, &rates, why, sizeof(why)), REMOTE_OK, "%s", why);
    cr_expect_eq(rates.flops, 1e12);
    cr_expect_eq(rates.bytes, 5e10);
    remote_close(remote);
}

/* A share of all candidates has faults of several kinds, always the same ones. */
Test(worker, many_faults_at_once) {
    const char *const argv[] = {FAKE_WORKER, "crash:20", "say-wrong:40",
                                "zero:60",   "noise:30", NULL};
    static const int blocks[] = {16, 32, 64, 96, 128, 160, 208, 272, 512};
    int counts[REMOTE_RESULTS] = {0};
    struct remote *remote = open_fake(argv);
    for (int again = 0; again < 2; ++again)
        for (size_t i = 0; i < sizeof(blocks) / sizeof(*blocks); ++i) {
            static enum remote_result before[sizeof(blocks) / sizeof(*blocks)];
            const struct candidate candidate = unsound(blocks[i]);
            const struct measurement m = remote_evaluate(remote, &shape, &candidate, &options);
            ++counts[m.result];
            cr_expect(!again || m.result == before[i]);
            before[i] = m.result;
        }
    cr_expect_eq(counts[REMOTE_OK] + counts[REMOTE_CRASH] + counts[REMOTE_WRONG] +
                     counts[REMOTE_IMPLAUSIBLE],
                 2 * (int)(sizeof(blocks) / sizeof(*blocks)));
    cr_expect_gt(counts[REMOTE_OK], 0);
    remote_close(remote);
}

/* ---- Faults of the process ------------------------------------------------------------------- */

static void expect_no_remote(const char *const *argv, const char *part) {
    const int descriptors = count_descriptors();
    char why[200];
    struct remote *remote = remote_open_limited(argv, "fake", &short_limits, why, sizeof(why));
    cr_expect_null(remote);
    cr_expect(strstr(why, part), "%s", why);
    remote_close(remote);
    expect_no_children();
    cr_expect_eq(count_descriptors(), descriptors);
}

Test(worker, no_worker_at_all) {
    expect_no_remote((const char *const[]){FAKE_WORKER, "die", NULL}, "exit code 1: no driver");
    expect_no_remote((const char *const[]){FAKE_WORKER, "mute", NULL}, "no answer in time");
    expect_no_remote((const char *const[]){"/no/such/program", NULL}, "can't start");
    expect_no_remote((const char *const[]){"true", NULL}, "exit code 0");
}

/* A device that can't be opened again is no candidate's fault. */
Test(worker, lost_device) {
    char path[] = "/tmp/mha-fake-XXXXXX", fault[64], why[200];
    const int descriptor = mkstemp(path);
    cr_assert_geq(descriptor, 0);
    close(descriptor);
    unlink(path);
    snprintf(fault, sizeof(fault), "once:%s", path);
    const char *const argv[] = {FAKE_WORKER, "crash", fault, NULL};
    struct remote *remote = open_fake(argv);
    const struct candidate bad = unsound(96), good = sound();
    struct device_rates rates;
    cr_expect_eq(remote_evaluate(remote, &shape, &bad, &options).result, REMOTE_CRASH);
    cr_expect_not(remote_is_lost(remote));
    const struct measurement m = remote_evaluate(remote, &shape, &good, &options);
    cr_expect_eq(m.result, REMOTE_STOPPED);
    cr_expect(strstr(m.why, "the device is gone"), "%s", m.why);
    cr_expect(remote_is_lost(remote));
    cr_expect_eq(remote_rates(remote, &rates, why, sizeof(why)), REMOTE_STOPPED);
    remote_close(remote);
    expect_no_children();
    unlink(path);
}

/* Memory lies elsewhere in another process: a comparison of several parts begins one for each. */
Test(worker, parts_have_processes_of_their_own) {
    char path[] = "/tmp/mha-fake-XXXXXX", fault[64];
    const int descriptor = mkstemp(path);
    cr_assert_geq(descriptor, 0);
    close(descriptor);
    unlink(path);
    snprintf(fault, sizeof(fault), "once:%s", path);
    const char *const once[] = {FAKE_WORKER, fault, NULL}, *const always[] = {FAKE_WORKER, NULL};
    const struct candidate candidates[2] = {sound(), sound()};
    double ns[2][6];
    for (int is_lasting = 0; is_lasting < 2; ++is_lasting) {
        struct remote *remote = open_fake(is_lasting ? always : once);
        cr_expect_eq(remote_compare(remote, &shape, candidates, 2, 6, 1, &options, ns[0]).result,
                     REMOTE_OK);
        cr_expect_eq(remote_compare(remote, &shape, candidates, 2, 6, 3, &options, ns[0]).result,
                     is_lasting ? REMOTE_OK : REMOTE_STOPPED);
        remote_close(remote);
    }
    unlink(path);
}

/* No request suffers from a worker that ended while it had nothing to do. */
Test(worker, dies_between_requests) {
    const char *const argv[] = {FAKE_WORKER, NULL};
    const struct timespec moment = {.tv_nsec = 200000000};
    struct worker *worker = worker_create(argv);
    char why[200];
    for (int n = 1; n < 4; ++n) {
        json_t *request = json_pack("{s:s, s:b}", "op", "list", "last", 1), *answer;
        cr_expect_eq(worker_ask(worker, request, 5, &answer, why, sizeof(why)), WORKER_OK, "%s",
                     why);
        cr_expect_eq(worker_generation(worker), n);
        json_decref(answer);
        nanosleep(&moment, NULL);
    }
    worker_stop(worker);
    expect_no_children();
    worker_destroy(worker);
}

/* Requests and answers that no pipe takes at once. */
Test(worker, long_lines) {
    const char *const argv[] = {FAKE_WORKER, NULL};
    const size_t bytes = (size_t)4 << 20;
    struct worker *worker = worker_create(argv);
    char *text = malloc(bytes + 1), why[200] = "";
    json_t *answer;
    cr_assert_not_null(text);
    memset(text, 'x', bytes);
    text[bytes] = 0;
    for (int n = 0; n < 3; ++n) {
        json_t *request = json_pack("{s:s, s:s}", "op", "echo", "text", text);
        cr_assert_eq(worker_ask(worker, request, 30, &answer, why, sizeof(why)), WORKER_OK, "%s",
                     why);
        cr_expect_str_eq(json_string_value(json_object_get(answer, "text")), text);
        json_decref(answer);
    }
    cr_expect_eq(worker_generation(worker), 1);
    free(text);
    worker_destroy(worker);
}

/* It reads to the end of its input, which is the end of its parent. */
Test(worker, ends_with_its_parent) {
    const char *const argv[] = {FAKE_WORKER, NULL};
    int ends[2];
    char byte;
    cr_assert_eq(pipe(ends), 0);
    const pid_t parent = fork();
    if (parent == 0) {
        /* The worker inherits the pipe's end, which is open as long as anybody has it. */
        char why[200];
        struct worker *worker = worker_create(argv);
        worker_start(worker, why, sizeof(why));
        kill(getpid(), SIGKILL);
    }
    close(ends[1]);
    const double begun = worker_clock();
    cr_expect_eq(read(ends[0], &byte, 1), 0);
    cr_expect_lt(worker_clock() - begun, SLACK_SECONDS);
    waitpid(parent, NULL, 0);
    close(ends[0]);
}

/* ---- Time and interrupts --------------------------------------------------------------------- */

Test(worker, deadline) {
    const char *const argv[] = {FAKE_WORKER, "hang", NULL};
    struct remote_limits limits = short_limits;
    char why[200];
    limits.run_seconds = limits.first_seconds = 600;
    struct remote *remote = remote_open_limited(argv, NULL, &limits, why, sizeof(why));
    cr_assert_not_null(remote, "%s", why);
    const struct candidate bad = unsound(96), good = sound();
    const double begun = worker_clock();
    remote_set_deadline(remote, begun + 0.5);
    cr_expect_eq(remote_evaluate(remote, &shape, &bad, &options).result, REMOTE_STOPPED);
    cr_expect_eq(remote_evaluate(remote, &shape, &good, &options).result, REMOTE_STOPPED);
    cr_expect_lt(worker_clock() - begun, 0.5 + SLACK_SECONDS);
    cr_expect_not(remote_is_lost(remote));
    remote_set_deadline(remote, INFINITY);
    cr_expect_eq(remote_evaluate(remote, &shape, &good, &options).result, REMOTE_OK);
    remote_close(remote);
    expect_no_children();
}

static struct remote *interrupted;

static void interrupt_now(int number) {
    (void)number;
    remote_interrupt(interrupted);
}

Test(worker, interrupt) {
    const char *const argv[] = {FAKE_WORKER, "hang", NULL};
    const struct itimerval soon = {.it_value = {.tv_usec = 300000}};
    struct remote_limits limits = short_limits;
    char why[200];
    limits.run_seconds = limits.first_seconds = 600;
    interrupted = remote_open_limited(argv, NULL, &limits, why, sizeof(why));
    cr_assert_not_null(interrupted, "%s", why);
    const struct candidate bad = unsound(96), good = sound();
    const double begun = worker_clock();
    signal(SIGALRM, interrupt_now);
    setitimer(ITIMER_REAL, &soon, NULL);
    cr_expect_eq(remote_evaluate(interrupted, &shape, &bad, &options).result, REMOTE_STOPPED);
    cr_expect_lt(worker_clock() - begun, SLACK_SECONDS);
    cr_expect_eq(remote_evaluate(interrupted, &shape, &good, &options).result, REMOTE_STOPPED);
    remote_close(interrupted);
    expect_no_children();
}

/* ---- Devices --------------------------------------------------------------------------------- */

static void count_device(void *user, const struct remote_device *device) {
    ++*(int *)user;
    cr_expect_str_eq(device->caps.name, "Fake device");
    cr_expect_str_eq(device->identity.platform, "Fake platform");
    cr_expect_eq(device->cache_bytes, 1 << 25);
}

Test(worker, lists_devices) {
    const char *const argv[] = {FAKE_WORKER, NULL}, *const none[] = {FAKE_WORKER, "die", NULL};
    char why[200];
    int count = 0;
    cr_expect(remote_list(argv, count_device, &count, why, sizeof(why)), "%s", why);
    cr_expect_eq(count, 1);
    cr_expect_not(remote_list(none, count_device, &count, why, sizeof(why)));
    cr_expect(strstr(why, "no driver"), "%s", why);
    expect_no_children();
}

Test(worker, device_facts_survive) {
    struct device_caps caps = {.name = "cut \xe2\x84", .driver = "Radeon\xe2\x84\xa2"}, read;
    char why[200] = "";
    caps.is_local_dedicated = caps.has_fp64 = true;
    caps.compute_units = caps.float_vector = caps.vendor_id = CL_UINT_MAX;
    caps.max_work_group = SIZE_MAX;
    caps.max_parameter_bytes = 1;
    caps.local_bytes = CL_ULONG_MAX;
    caps.max_loops = INFINITY;
    for (int n = 0; n < 2; ++n) {
        json_t *json = caps_write(&caps);
        cr_assert(caps_read(json, &read, why, sizeof(why)), "%s", why);
        cr_expect_str_eq(read.name, "cut ??");
        cr_expect_str_eq(read.driver, caps.driver);
        cr_expect(read.is_local_dedicated && read.has_fp64 && !read.is_cpu);
        cr_expect_eq(read.compute_units, CL_UINT_MAX);
        cr_expect_eq(read.vendor_id, CL_UINT_MAX);
        cr_expect_eq(read.max_work_group, SIZE_MAX);
        cr_expect_eq(read.local_bytes, CL_ULONG_MAX);
        cr_expect_eq(read.max_loops, caps.max_loops);
        caps.max_loops = 65535;
        json_object_del(json, n ? "platform" : "max_loops");
        cr_expect_not(caps_read(json, &read, why, sizeof(why)));
        cr_expect(strstr(why, n ? "platform" : "max_loops"), "%s", why);
        json_decref(json);
    }
}
