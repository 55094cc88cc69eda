/* The worker process. In: requests, a line of JSON each, on standard input. Out: answers on what
 * was standard output. Ends with its input. */
#include "command.h"

#include "caps_json.h"
#include "config_json.h"
#include "measure.h"
#include "rates.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#ifdef __linux__
#include <signal.h>
#include <sys/prctl.h>
#endif

struct server {
    struct target target;
    bool is_open;
    struct workload workload;
    json_t *shape; /* of the workload; NULL: none is open */
};

/* ---- Answers --------------------------------------------------------------------------------- */

static json_t *answer(enum remote_result result, const char *why) {
    json_t *json = json_pack("{s:s}", "result", remote_result_names[result]);
    if (result)
        json_object_set_new(json, "why", text_write(why));
    return json;
}

static json_t *write_device(const struct device_caps *caps, double cache_bytes) {
    return json_pack("{s:o, s:f}", "caps", caps_write(caps), "cache_bytes", cache_bytes);
}

/* Values that were fitted to a problem are of no domain. */
static json_t *write_values(const struct variant *variant, const struct tuning *tuning) {
    json_t *json = json_object();
    for (int i = 0; i < TUNABLE_COUNT && variant->tunables[i].values[0]; ++i) {
        const enum tunable tunable = variant->tunables[i].tunable;
        json_object_set_new(json, mha_tunable_names[tunable], json_integer(tuning->value[tunable]));
    }
    return json;
}

/* ---- Requests -------------------------------------------------------------------------------- */

static void add_device(void *user, const struct device_caps *caps, double cache_bytes) {
    json_array_append_new(user, write_device(caps, cache_bytes));
}

static json_t *list(struct server *s, const json_t *request) {
    json_t *devices = json_array(), *json = answer(REMOTE_OK, "");
    (void)s, (void)request;
    target_list(add_device, devices);
    json_object_set_new(json, "devices", devices);
    return json;
}

static void close_all(struct server *s) {
    workload_close(&s->workload);
    json_decref(s->shape);
    s->shape = NULL;
    target_close(&s->target);
    s->is_open = false;
}

static json_t *open_target(struct server *s, const json_t *request) {
    char why[512];
    close_all(s);
    s->is_open = target_open(&s->target, json_string_value(json_object_get(request, "name")), why,
                             sizeof(why));
    if (!s->is_open)
        return answer(REMOTE_OPENCL, why);
    json_t *json = answer(REMOTE_OK, ""),
           *device = write_device(&s->target.caps, s->target.cache_bytes);
    json_object_update(json, device);
    json_decref(device);
    return json;
}

static json_t *rates(struct server *s, const json_t *request) {
    char why[512];
    (void)request;
    if (!rates_measure_flops(&s->target, why, sizeof(why)) ||
        !rates_measure_bytes(&s->target, why, sizeof(why)))
        return answer(REMOTE_OPENCL, why);
    json_t *json = answer(REMOTE_OK, "");
    json_object_set_new(json, "flops", json_real(s->target.rates.flops));
    json_object_set_new(json, "bytes", json_real(s->target.rates.bytes));
    return json;
}

/* The shape that a request is about becomes the current one. */
static bool use_shape(struct server *s, const json_t *request, char *why, size_t why_bytes) {
    json_t *json = json_object_get(request, "shape");
    struct shape shape;
    if (s->shape && json_equal(s->shape, json))
        return true;
    json_decref(s->shape);
    s->shape = NULL;
    if (!mha_config_read_shape(json, &shape, why, why_bytes) ||
        !workload_open(&s->workload, &s->target, &shape, why, why_bytes))
        return false;
    s->shape = json_incref(json);
    return true;
}

/* The trial of a candidate's members. */
static struct trial *get_trial(struct server *s, const json_t *json, enum remote_result *result,
                               char *why, size_t why_bytes) {
    const char *name = json_string_value(json_object_get(json, "variant"));
    const struct variant *variant =
        name ? mha_variant_find(s->workload.problem.operation, name) : NULL;
    struct candidate candidate = {.variant = variant};
    *result = REMOTE_ILLEGAL;
    if (name && !variant) {
        snprintf(why, why_bytes, "no variant is called %s", name);
        return NULL;
    }
    if (variant && !mha_config_read_tuning(json_object_get(json, "params"), variant,
                                           &candidate.tuning, why, why_bytes))
        return NULL;
    return workload_build(&s->workload, &candidate, result, why, why_bytes);
}

/* Of a request about one shape and one candidate. */
static struct trial *begin(struct server *s, const json_t *request, enum remote_result *result,
                           char *why, size_t why_bytes) {
    *result = REMOTE_ILLEGAL;
    return use_shape(s, request, why, why_bytes) ? get_trial(s, request, result, why, why_bytes)
                                                 : NULL;
}

static json_t *build(struct server *s, const json_t *request) {
    char why[1024];
    enum remote_result result;
    const struct trial *trial = begin(s, request, &result, why, sizeof(why));
    if (!trial)
        return answer(result, why);
    const struct selection *selection = &trial->plan->selection;
    json_t *json = answer(REMOTE_OK, "");
    json_object_set_new(json, "build_ns", json_real(trial->build_ns));
    json_object_set_new(json, "variant", json_string(selection->variant->name));
    json_object_set_new(json, "params", write_values(selection->variant, &selection->tuning));
    return json;
}

static json_t *evaluate(struct server *s, const json_t *request) {
    const json_t *limit = json_object_get(request, "limit_ns");
    const struct measure_options options = {
        .limit_ns = limit ? json_number_value(limit) : INFINITY,
        .is_warm = json_is_true(json_object_get(request, "warm")),
    };
    char why[1024];
    double ns, mad_ns;
    enum remote_result result;
    struct trial *trial = begin(s, request, &result, why, sizeof(why));
    if (!trial || (result = workload_check(&s->workload, trial, why, sizeof(why))) ||
        (result = measure_trial(&s->workload, trial, &options, &ns, &mad_ns, why, sizeof(why))))
        return answer(result, why);
    json_t *json = answer(REMOTE_OK, "");
    json_object_set_new(json, "ns", json_real(ns));
    json_object_set_new(json, "mad_ns", json_real(mad_ns));
    json_object_set_new(json, "max_error", json_real(trial->max_error));
    return json;
}

static json_t *check(struct server *s, const json_t *request) {
    char why[1024];
    double max_error = 0;
    enum remote_result result;
    const struct trial *trial = begin(s, request, &result, why, sizeof(why));
    if (!trial ||
        (result = check_thoroughly(&s->target, trial->plan, &max_error, why, sizeof(why))))
        return answer(result, why);
    json_t *json = answer(REMOTE_OK, "");
    json_object_set_new(json, "max_error", json_real(max_error));
    return json;
}

static json_t *compare(struct server *s, const json_t *request) {
    const json_t *candidates = json_object_get(request, "candidates");
    const bool is_warm = json_is_true(json_object_get(request, "warm"));
    char why[1024];
    if (!use_shape(s, request, why, sizeof(why)))
        return answer(REMOTE_ILLEGAL, why);
    json_t *times = json_array();
    for (size_t i = 0; i < json_array_size(candidates); ++i) {
        enum remote_result result;
        double ns = 0;
        struct trial *trial =
            get_trial(s, json_array_get(candidates, i), &result, why, sizeof(why));
        if (trial)
            result = measure_round(&s->workload, trial, is_warm, &ns, why, sizeof(why));
        if (result) {
            json_decref(times);
            return answer(result, why);
        }
        json_array_append_new(times, json_real(ns));
    }
    json_t *json = answer(REMOTE_OK, "");
    json_object_set_new(json, "ns", times);
    return json;
}

static json_t *serve(struct server *s, const json_t *request) {
    static const struct {
        const char *op;
        json_t *(*function)(struct server *s, const json_t *request);
        bool needs_device;
    } functions[] = {
        {"list", list, false},      {"open", open_target, false}, {"rates", rates, true},
        {"build", build, true},     {"evaluate", evaluate, true}, {"check", check, true},
        {"compare", compare, true},
    };
    const char *op = json_string_value(json_object_get(request, "op"));
    for (size_t i = 0; op && i < sizeof(functions) / sizeof(*functions); ++i)
        if (!strcmp(op, functions[i].op))
            return functions[i].needs_device && !s->is_open
                       ? answer(REMOTE_OPENCL, "no device is open")
                       : functions[i].function(s, request);
    return answer(REMOTE_ILLEGAL, "no such request");
}

/* ---- The process ----------------------------------------------------------------------------- */

/* The protocol gets descriptors of its own, so that a driver that prints can't disturb it, nor a
 * compiler that a driver starts keep it open. */
static bool take_streams(FILE **in, FILE **out) {
    const int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    const int from = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    const int to = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    *in = from < 0 ? NULL : fdopen(from, "r");
    *out = to < 0 ? NULL : fdopen(to, "w");
    return *in && *out && nothing >= 0 && dup2(nothing, STDIN_FILENO) == STDIN_FILENO &&
           dup2(STDERR_FILENO, STDOUT_FILENO) == STDOUT_FILENO;
}

/* No file of a crash, which takes seconds to write; no life after the parent's; and threads of PoCL
 * that stay where they are: two that share a core for a moment take twice as long. */
static void prepare_process(void) {
    setenv("POCL_AFFINITY", "1", 0);
    const struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
#ifdef __linux__
    prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
}

int command_worker(const struct options *options) {
    struct server server = {.is_open = false};
    FILE *in = NULL, *out = NULL;
    char *line = NULL;
    size_t line_bytes = 0;
    (void)options;
    prepare_process();
    bool is_ok = take_streams(&in, &out);
    while (is_ok && getline(&line, &line_bytes, in) > 0) {
        json_t *request = json_loads(line, 0, NULL);
        json_t *json = serve(&server, request);
        json_object_set(json, "id", json_object_get(request, "id"));
        is_ok =
            json && !json_dumpf(json, out, JSON_COMPACT) && fputc('\n', out) != EOF && !fflush(out);
        json_decref(json);
        json_decref(request);
    }
    close_all(&server);
    free(line);
    if (in)
        fclose(in);
    if (out)
        fclose(out);
    return is_ok ? EXIT_TUNED : EXIT_DEVICE;
}
