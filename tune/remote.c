/* In: candidates. Out: what became of each in a worker process. */
#include "remote.h"

#include "answer.h"
#include "config_json.h"
#include "worker.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const struct remote_limits remote_default_limits = {
    .build_seconds = 60,
    .run_seconds = 5,
    .incumbents = 20,
    .first_seconds = 60,
    .retry_seconds = 1,
};

/* To open the device again after a fault: half a minute in all. */
#define ATTEMPTS 6

/* A measurement of a round of remote_compare() takes at least this long. */
#define ROUND_SECONDS 5e-3

/* Drivers keep what they compiled as long as their process lives. */
#define BUILDS_PER_WORKER 256

struct remote {
    struct worker *worker;
    struct remote_limits limits;
    char *name; /* of remote_open(); NULL: any */
    struct remote_device device;
    int generation; /* of the worker process that has opened the device; 0: none has */
    int builds;     /* in that process */
    double deadline;
    bool is_lost;
    atomic_bool is_interrupted;
};

const struct remote_device *remote_device(const struct remote *r) {
    return &r->device;
}

bool remote_is_lost(const struct remote *r) {
    return r->is_lost;
}

void remote_set_deadline(struct remote *r, double deadline) {
    r->deadline = deadline;
}

void remote_interrupt(struct remote *r) {
    atomic_store(&r->is_interrupted, true);
    worker_kill(r->worker);
}

/* ---- One request ----------------------------------------------------------------------------- */

static bool is_stopped(const struct remote *r, char *why, size_t why_bytes) {
    const char *reason = NULL;
    if (atomic_load(&r->is_interrupted))
        reason = "interrupted";
    else if (r->is_lost)
        reason = "the device is lost";
    else if (worker_clock() >= r->deadline)
        reason = "the time is up";
    if (reason)
        snprintf(why, why_bytes, "%s", reason);
    return reason;
}

/* Without opening the device first. A failure is the worker's, or that there is no time left. */
static enum remote_result exchange(struct remote *r, json_t *request, double seconds,
                                   json_t **answer, char *why, size_t why_bytes) {
    static const enum remote_result results[] = {
        [WORKER_CRASH] = REMOTE_CRASH,
        [WORKER_TIMEOUT] = REMOTE_TIMEOUT,
        [WORKER_NONSENSE] = REMOTE_NONSENSE,
    };
    *answer = NULL;
    if (is_stopped(r, why, why_bytes)) {
        json_decref(request);
        return REMOTE_STOPPED;
    }
    const enum worker_result result = worker_ask(
        r->worker, request, fmin(seconds, r->deadline - worker_clock()), answer, why, why_bytes);
    if (result)
        return is_stopped(r, why, why_bytes) ? REMOTE_STOPPED : results[result];
    const enum remote_result said = answer_result(*answer, why, why_bytes);
    if (said) {
        json_decref(*answer);
        *answer = NULL;
    }
    return said;
}

static bool is_same_device(const struct remote_device *a, const struct remote_device *b) {
    return !strcmp(a->caps.name, b->caps.name) && !strcmp(a->caps.platform, b->caps.platform) &&
           !strcmp(a->caps.driver, b->caps.driver) &&
           a->caps.compute_units == b->caps.compute_units;
}

/* In a worker that has not opened it yet. */
static bool open_device(struct remote *r, char *why, size_t why_bytes) {
    struct remote_device device;
    json_t *answer;
    if (exchange(r, json_pack("{s:s, s:s?}", "op", "open", "name", r->name),
                 r->limits.build_seconds, &answer, why, why_bytes))
        return false;
    const bool is_read = answer_device(answer, &device, why, why_bytes);
    json_decref(answer);
    if (!is_read)
        return false;
    if (r->device.caps.compute_units && !is_same_device(&r->device, &device)) {
        snprintf(why, why_bytes, "the device is now another one: %s", device.caps.name);
        return false;
    }
    r->device = device;
    r->generation = worker_generation(r->worker);
    r->builds = 0;
    return true;
}

static void pause_seconds(double seconds) {
    const struct timespec span = {(time_t)seconds, (long)(1e9 * fmod(seconds, 1))};
    nanosleep(&span, NULL);
}

/* A worker with the device open. A driver may need a moment after a fault; what then still fails is
 * no candidate's fault. */
static bool make_ready(struct remote *r, char *why, size_t why_bytes) {
    char failure[200] = "";
    double pause = r->limits.retry_seconds;
    for (int attempt = 0; attempt < ATTEMPTS && !is_stopped(r, why, why_bytes); ++attempt) {
        if (attempt) {
            pause_seconds(fmin(pause, fmax(0, r->deadline - worker_clock())));
            pause *= 2;
        }
        if (worker_start(r->worker, failure, sizeof(failure)) &&
            (worker_generation(r->worker) == r->generation ||
             open_device(r, failure, sizeof(failure))))
            return true;
    }
    if (is_stopped(r, why, why_bytes))
        return false;
    r->is_lost = true;
    snprintf(why, why_bytes, "the device can't be opened again: %.120s", failure);
    return false;
}

static enum remote_result ask(struct remote *r, json_t *request, double seconds, json_t **answer,
                              char *why, size_t why_bytes) {
    *answer = NULL;
    if (!make_ready(r, why, why_bytes)) {
        json_decref(request);
        return REMOTE_STOPPED;
    }
    const enum remote_result result = exchange(r, request, seconds, answer, why, why_bytes);
    /* A kernel that wrote where it must not may have hit the worker itself; and after some errors
     * an OpenCL context is of no use. */
    if (result == REMOTE_WRONG || result == REMOTE_OPENCL)
        worker_stop(r->worker);
    return result;
}

/* A worker whose answer can't be true is not asked again. */
static void end_liar(struct remote *r, enum remote_result result) {
    if (result == REMOTE_NONSENSE)
        worker_stop(r->worker);
}

/* ---- Devices --------------------------------------------------------------------------------- */

struct remote *remote_open_limited(const char *const *worker, const char *name,
                                   const struct remote_limits *limits, char *why,
                                   size_t why_bytes) {
    struct remote *r = calloc(1, sizeof(*r));
    snprintf(why, why_bytes, "no memory");
    if (!r)
        return NULL;
    r->limits = *limits;
    r->deadline = INFINITY;
    r->worker = worker_create(worker);
    if (r->worker && (!name || (r->name = strdup(name))) &&
        worker_start(r->worker, why, why_bytes) && open_device(r, why, why_bytes))
        return r;
    remote_close(r);
    return NULL;
}

struct remote *remote_open(const char *const *worker, const char *name, char *why,
                           size_t why_bytes) {
    return remote_open_limited(worker, name, &remote_default_limits, why, why_bytes);
}

void remote_close(struct remote *r) {
    if (!r)
        return;
    worker_destroy(r->worker);
    free(r->name);
    free(r);
}

bool remote_list(const char *const *worker, void (*found)(void *user, const struct remote_device *),
                 void *user, char *why, size_t why_bytes) {
    struct worker *w = worker_create(worker);
    struct remote_device device;
    json_t *answer = NULL;
    snprintf(why, why_bytes, "no memory");
    bool is_ok = w && !worker_ask(w, json_pack("{s:s}", "op", "list"),
                                  remote_default_limits.build_seconds, &answer, why, why_bytes);
    const json_t *devices = json_object_get(answer, "devices");
    if (is_ok && !json_is_array(devices)) {
        snprintf(why, why_bytes, "its answer has no devices");
        is_ok = false;
    }
    for (size_t i = 0; is_ok && i < json_array_size(devices); ++i) {
        is_ok = answer_device(json_array_get(devices, i), &device, why, why_bytes);
        if (is_ok)
            found(user, &device);
    }
    json_decref(answer);
    worker_destroy(w);
    return is_ok;
}

/* ---- Candidates ------------------------------------------------------------------------------ */

static json_t *write_request(const char *op, const struct shape *shape) {
    return json_pack("{s:s, s:o}", "op", op, "shape", mha_config_write_shape(shape));
}

/* Returns `object`, with the candidate's members. */
static json_t *add_candidate(json_t *object, const struct candidate *candidate) {
    const struct variant *variant = candidate->variant;
    if (variant) {
        json_object_set_new(object, "variant", json_string(variant->name));
        json_object_set_new(object, "params", mha_config_write_tuning(variant, &candidate->tuning));
    }
    return object;
}

/* What measuring may take, for `calls` candidates together. */
static double run_seconds(const struct remote *r, double limit_ns, int calls) {
    if (!isfinite(limit_ns))
        return r->limits.first_seconds;
    return fmax(r->limits.run_seconds, r->limits.incumbents * 1e-9 * limit_ns * calls);
}

static bool build(struct remote *r, const struct shape *shape, const struct candidate *candidate,
                  struct measurement *m) {
    json_t *answer;
    m->result = ask(r, add_candidate(write_request("build", shape), candidate),
                    r->limits.build_seconds, &answer, m->why, sizeof(m->why));
    if (!m->result)
        answer_build(answer, shape, &r->device.caps, candidate, m);
    json_decref(answer);
    end_liar(r, m->result);
    return !m->result;
}

struct measurement remote_evaluate(struct remote *r, const struct shape *shape,
                                   const struct candidate *candidate,
                                   const struct measure_options *options) {
    struct measurement m = {.result = REMOTE_OK};
    json_t *answer;
    if (++r->builds > BUILDS_PER_WORKER)
        worker_stop(r->worker);
    if (!build(r, shape, candidate, &m))
        return m;
    json_t *request = add_candidate(write_request("evaluate", shape), candidate);
    json_object_set_new(request, "warm", json_boolean(options->is_warm));
    if (isfinite(options->limit_ns))
        json_object_set_new(request, "limit_ns", json_real(options->limit_ns));
    m.result = ask(r, request, run_seconds(r, options->limit_ns, 1), &answer, m.why, sizeof(m.why));
    if (!m.result && answer_check(answer, &m))
        answer_times(answer, &m);
    json_decref(answer);
    end_liar(r, m.result);
    return m;
}

struct measurement remote_check(struct remote *r, const struct shape *shape,
                                const struct candidate *candidate) {
    struct measurement m = {.result = REMOTE_OK};
    json_t *answer;
    if (!build(r, shape, candidate, &m))
        return m;
    /* It compiles further plans, with other features. */
    m.result =
        ask(r, add_candidate(write_request("check", shape), candidate),
            r->limits.build_seconds + r->limits.first_seconds, &answer, m.why, sizeof(m.why));
    if (!m.result)
        answer_check(answer, &m);
    json_decref(answer);
    end_liar(r, m.result);
    return m;
}

/* Candidate number `position` of a round. */
static int candidate_at(int round, int position, int count) {
    return round % 2 ? count - 1 - position : position;
}

static void compare_round(struct remote *r, const struct shape *shape,
                          const struct candidate *candidates, int count, int rounds, int round,
                          const struct measure_options *options, double *ns,
                          struct measurement *m) {
    json_t *request = write_request("compare", shape), *list = json_array(), *answer;
    for (int i = 0; i < count; ++i)
        json_array_append_new(
            list, add_candidate(json_object(), &candidates[candidate_at(round, i, count)]));
    json_object_set_new(request, "candidates", list);
    json_object_set_new(request, "warm", json_boolean(options->is_warm));
    const double limit_ns = fmax(options->limit_ns, 1e9 * ROUND_SECONDS);
    m->result = ask(r, request, run_seconds(r, limit_ns, count), &answer, m->why, sizeof(m->why));
    const json_t *times = json_object_get(answer, "ns");
    for (int i = 0; i < count && !m->result; ++i)
        answer_time(json_array_get(times, (size_t)i),
                    &ns[candidate_at(round, i, count) * rounds + round], m);
    json_decref(answer);
    end_liar(r, m->result);
}

struct measurement remote_compare(struct remote *r, const struct shape *shape,
                                  const struct candidate *candidates, int count, int rounds,
                                  int parts, const struct measure_options *options, double *ns) {
    struct measurement m = {.result = REMOTE_OK};
    for (int round = 0; round < rounds && !m.result; ++round) {
        const bool begins_part = round % (rounds / parts) == 0;
        if (begins_part && round)
            worker_stop(r->worker);
        for (int i = 0; i < count && begins_part && !m.result; ++i)
            build(r, shape, &candidates[i], &m);
        if (m.result)
            break;
        compare_round(r, shape, candidates, count, rounds, round, options, ns, &m);
    }
    return m;
}

enum remote_result remote_rates(struct remote *r, struct device_rates *rates, char *why,
                                size_t why_bytes) {
    json_t *answer;
    enum remote_result result =
        ask(r, json_pack("{s:s}", "op", "rates"), r->limits.build_seconds, &answer, why, why_bytes);
    if (!result && !answer_rates(answer, rates, why, why_bytes))
        result = REMOTE_NONSENSE;
    json_decref(answer);
    end_liar(r, result);
    return result;
}
