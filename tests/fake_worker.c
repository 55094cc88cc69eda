/* A worker of mha-tune without a device, which misbehaves on demand.
 *
 *   fake-worker [FAULT[:N]]...
 *
 * Times are a function of a candidate's values. A fault befalls N % (100 without N) of all
 * candidates, the same ones in every process, but never those of the reference variants and never
 * the heuristic's choice, which is the reference. "noise:N": every time is up to N % longer, at
 * random. "pace:N": each takes N ms to be measured. "mute", "die" and "once:FILE" befall the
 * process: it says nothing, ends at once, or opens the device only as long as FILE does not
 * exist. */
#include "caps_json.h"
#include "config_json.h"
#include "remote.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct fake {
    char **faults;
    int fault_count;
};

/* ---- Faults ---------------------------------------------------------------------------------- */

/* Its number after the colon in *value, 100 without one; NULL: it was not asked for. */
static const char *find_fault(const struct fake *f, const char *name, const char **value) {
    const size_t length = strlen(name);
    for (int i = 0; i < f->fault_count; ++i)
        if (!strncmp(f->faults[i], name, length) &&
            (f->faults[i][length] == ':' || !f->faults[i][length])) {
            *value = f->faults[i][length] ? f->faults[i] + length + 1 : "100";
            return f->faults[i];
        }
    return NULL;
}

static unsigned hash_candidate(const struct variant *variant, const struct tuning *tuning) {
    unsigned hash = 2166136261u; /* FNV-1a */
    for (const char *c = variant->name; *c; ++c)
        hash = (hash ^ (unsigned char)*c) * 16777619u;
    for (int i = 0; i < TUNABLE_COUNT; ++i)
        hash = (hash ^ (unsigned)tuning->value[i]) * 16777619u;
    return hash >> 8;
}

static bool has_fault(const struct fake *f, const char *name, const struct variant *variant,
                      const struct tuning *tuning) {
    const char *percent;
    return !strstr(variant->name, "reference") && find_fault(f, name, &percent) &&
           hash_candidate(variant, tuning) % 100 < (unsigned)atoi(percent);
}

static void sleep_forever(void) {
    for (;;)
        pause();
}

static void write_forever(FILE *file) {
    while (fputs("0123456789", file) >= 0)
        continue;
}

/* What ends or blocks the process, or breaks the protocol. */
static void misbehave(const struct fake *f, const struct variant *variant,
                      const struct tuning *tuning) {
    if (has_fault(f, "crash", variant, tuning)) {
        fprintf(stderr, "about to crash\n\n");
        abort();
    }
    if (has_fault(f, "exit", variant, tuning)) {
        fprintf(stderr, "first line\nlast \x1b[31mline\n");
        exit(3);
    }
    if (has_fault(f, "hang", variant, tuning))
        sleep_forever();
    if (has_fault(f, "close", variant, tuning)) {
        close(STDIN_FILENO);
        close(STDOUT_FILENO);
        sleep_forever();
    }
    if (has_fault(f, "half", variant, tuning)) {
        printf("{\"id\":1,\"result\":");
        fflush(stdout);
        sleep_forever();
    }
    if (has_fault(f, "garbage", variant, tuning))
        puts("Segmentation fault (core dumped)");
    if (has_fault(f, "array", variant, tuning))
        puts("[1]");
    if (has_fault(f, "huge", variant, tuning))
        write_forever(stdout);
    if (has_fault(f, "flood", variant, tuning))
        write_forever(stderr);
    if (has_fault(f, "chatter", variant, tuning))
        for (int i = 0; i < 100000; ++i)
            fprintf(stderr, "warning %d\n", i);
}

/* ---- Answers --------------------------------------------------------------------------------- */

static json_t *say(const char *result) {
    return json_pack("{s:s}", "result", result);
}

static json_t *write_device(void) {
    const struct device_caps caps = {
        .name = "Fake device",
        .driver = "1.0",
        .platform = "Fake platform",
        .is_cpu = true,
        .has_fp64 = true,
        .compute_units = 8,
        .clock_mhz = 2000,
        .address_bits = 64,
        .base_align_bits = 1024,
        .float_vector = 16,
        .max_work_group = 4096,
        .max_work_item = 4096,
        .max_parameter_bytes = 1024,
        .local_bytes = 1 << 20,
        .max_alloc_bytes = (cl_ulong)1 << 32,
        .max_loops = INFINITY,
    };
    return json_pack("{s:o, s:i}", "caps", caps_write(&caps), "cache_bytes", 1 << 25);
}

static json_t *open_device(const struct fake *f) {
    const char *path;
    if (find_fault(f, "once", &path)) {
        if (!access(path, F_OK))
            return json_pack("{s:s, s:s}", "result", "opencl", "why", "the device is gone");
        fclose(fopen(path, "w"));
    }
    json_t *json = say("ok"), *device = write_device();
    json_object_update(json, device);
    json_decref(device);
    return json;
}

/* Best where each value is near one that depends on the tunable, ten times slower elsewhere. */
static double time_of(const struct fake *f, const struct variant *variant,
                      const struct tuning *tuning) {
    const char *percent;
    double ns = strstr(variant->name, "reference") ? 1e7 : 1e5;
    for (int i = 0; i < TUNABLE_COUNT && variant->tunables[i].values[0]; ++i) {
        const enum tunable tunable = variant->tunables[i].tunable;
        const double best = 2 + (double)(tunable * 5 % 7) / 2;
        const double distance = log2(tuning->value[tunable]) - best;
        ns *= 1 + distance * distance / 20;
    }
    if (find_fault(f, "noise", &percent))
        ns *= 1 + atof(percent) / 100 * drand48();
    return ns;
}

static json_t *write_values(const struct variant *variant, const struct tuning *tuning, int more) {
    json_t *json = json_object();
    for (int i = 0; i < TUNABLE_COUNT && variant->tunables[i].values[0]; ++i) {
        const enum tunable tunable = variant->tunables[i].tunable;
        json_object_set_new(json, mha_tunable_names[tunable],
                            json_integer(tuning->value[tunable] + more));
    }
    return json;
}

static json_t *build(const struct fake *f, const struct shape *shape, const struct variant *variant,
                     const struct tuning *tuning) {
    const struct variant *built = variant;
    struct tuning fitted = *tuning;
    struct problem problem;
    if (mha_shape_problem(shape, &problem, NULL))
        return say("illegal");
    if (has_fault(f, "build", variant, tuning))
        return json_pack("{s:s, s:s}", "result", "build", "why",
                         "error: \xe2\x80\x98x\xe2\x80\x99");
    if (has_fault(f, "slow-build", variant, tuning))
        sleep_forever();
    if (has_fault(f, "variant", variant, tuning))
        built = mha_variant_find(shape->operation, "reference");
    mha_tuning_fit(variant, &problem, &fitted);
    return json_pack("{s:s, s:i, s:s, s:o}", "result", "ok", "build_ns", 1000, "variant",
                     built->name, "params",
                     write_values(built, &fitted, has_fault(f, "values", variant, tuning)));
}

static json_t *evaluate(const struct fake *f, const struct variant *variant,
                        const struct tuning *tuning) {
    static const char *const results[] = {"illegal",     "wrong", "opencl",
                                          "implausible", "crash", "splendid"};
    for (size_t i = 0; i < sizeof(results) / sizeof(*results); ++i) {
        char name[32];
        snprintf(name, sizeof(name), "say-%s", results[i]);
        if (has_fault(f, name, variant, tuning))
            return say(results[i]);
    }
    json_t *json = json_pack("{s:s, s:f, s:f, s:f}", "result", "ok", "ns",
                             time_of(f, variant, tuning), "mad_ns", 10.0, "max_error", 1e-6);
    if (has_fault(f, "zero", variant, tuning))
        json_object_set_new(json, "ns", json_integer(0));
    if (has_fault(f, "negative", variant, tuning))
        json_object_set_new(json, "ns", json_real(-5e5));
    if (has_fault(f, "text", variant, tuning))
        json_object_set_new(json, "ns", json_string("NaN"));
    if (has_fault(f, "missing", variant, tuning))
        json_object_del(json, "ns");
    if (has_fault(f, "error", variant, tuning))
        json_object_set_new(json, "max_error", json_real(-1));
    return json;
}

/* ---- Requests -------------------------------------------------------------------------------- */

/* The heuristic's choice is the reference. */
static bool read_candidate(const json_t *json, const struct shape *shape,
                           const struct variant **variant, struct tuning *tuning) {
    const char *name = json_string_value(json_object_get(json, "variant"));
    char why[200];
    const char *reference = shape->operation == OPERATION_LINEAR ? "gemm_reference" : "reference";
    *variant = mha_variant_find(shape->operation, name ? name : reference);
    *tuning = (struct tuning){{0}};
    return *variant && (!name || mha_config_read_tuning(json_object_get(json, "params"), *variant,
                                                        tuning, why, sizeof(why)));
}

static json_t *compare(const struct fake *f, const json_t *request, const struct shape *shape) {
    const json_t *candidates = json_object_get(request, "candidates");
    json_t *times = json_array();
    for (size_t i = 0; i < json_array_size(candidates); ++i) {
        const struct variant *variant;
        struct tuning tuning;
        if (!read_candidate(json_array_get(candidates, i), shape, &variant, &tuning))
            return say("illegal");
        json_array_append_new(times, json_real(time_of(f, variant, &tuning)));
    }
    return json_pack("{s:s, s:o}", "result", "ok", "ns", times);
}

static json_t *serve(const struct fake *f, const json_t *request) {
    const char *op = json_string_value(json_object_get(request, "op"));
    const struct variant *variant;
    struct shape shape;
    struct tuning tuning;
    char why[200];
    if (!strcmp(op, "list"))
        return json_pack("{s:s, s:[o]}", "result", "ok", "devices", write_device());
    if (!strcmp(op, "open"))
        return open_device(f);
    if (!strcmp(op, "rates"))
        return json_pack("{s:s, s:f, s:f}", "result", "ok", "flops", 1e12, "bytes", 5e10);
    if (!strcmp(op, "echo"))
        return json_pack("{s:s, s:O}", "result", "ok", "text", json_object_get(request, "text"));
    if (!mha_config_read_shape(json_object_get(request, "shape"), &shape, why, sizeof(why)))
        return say("illegal");
    if (!strcmp(op, "compare"))
        return compare(f, request, &shape);
    if (!read_candidate(request, &shape, &variant, &tuning))
        return say("illegal");
    if (!strcmp(op, "build"))
        return build(f, &shape, variant, &tuning);
    misbehave(f, variant, &tuning);
    const char *ms;
    if (find_fault(f, "pace", &ms))
        usleep((useconds_t)(1000 * atoi(ms)));
    json_t *json = evaluate(f, variant, &tuning);
    json_t *id = json_object_get(request, "id");
    json_object_set(json, "id", id);
    if (has_fault(f, "id", variant, &tuning))
        json_object_set_new(json, "id", json_integer(json_integer_value(id) - 1));
    /* An answer too many: it must not be taken for that of the next request. */
    if (has_fault(f, "twice", variant, &tuning)) {
        json_dumpf(json, stdout, JSON_COMPACT);
        putchar('\n');
    }
    return json;
}

int main(int argc, char **argv) {
    const struct fake fake = {argv + 1, argc - 1};
    const char *value;
    char *line = NULL;
    size_t bytes = 0;
    srand48((long)time(NULL) ^ (long)getpid());
    if (find_fault(&fake, "die", &value)) {
        fprintf(stderr, "no driver\n");
        return 1;
    }
    if (find_fault(&fake, "mute", &value))
        sleep_forever();
    while (getline(&line, &bytes, stdin) > 0) {
        json_t *request = json_loads(line, 0, NULL);
        json_t *json = serve(&fake, request);
        if (!json_object_get(json, "id"))
            json_object_set(json, "id", json_object_get(request, "id"));
        json_dumpf(json, stdout, JSON_COMPACT);
        putchar('\n');
        fflush(stdout);
        const bool is_last = json_is_true(json_object_get(request, "last"));
        json_decref(json);
        json_decref(request);
        if (is_last)
            break;
    }
    free(line);
    return 0;
}
