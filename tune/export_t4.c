/* In: a run. Out: its trials in T4, the format in which auto-tuners share results: version 1.0.0 of
 * the schema results-schema.json in Kernel Tuner (kernel_tuner/schema/T4) and in the T4 branch of
 * github.com/odgaard/TuningSchema. Times are milliseconds. */
#include "export.h"

#include <jansson.h>
#include <math.h>

#define T4_VERSION "1.0.0"

/* The objective of a candidate without a time: a number, as the schema wants one, that readers of
 * Kernel Tuner's files take for a failure. */
#define T4_FAILED 1e20

static const char *const invalidities[REMOTE_RESULTS] = {
    [REMOTE_OK] = "correct",       [REMOTE_ILLEGAL] = "constraints",
    [REMOTE_BUILD] = "compile",    [REMOTE_WRONG] = "correctness",
    [REMOTE_OPENCL] = "runtime",   [REMOTE_IMPLAUSIBLE] = "runtime",
    [REMOTE_CRASH] = "runtime",    [REMOTE_TIMEOUT] = "timeout",
    [REMOTE_NONSENSE] = "runtime", [REMOTE_STOPPED] = "runtime",
};

static double ms(double ns) {
    return ns / 1e6;
}

/* The variant is a parameter like the others, and so is the shape, as a file may have several. */
static json_t *configuration_of(const struct study *study, const struct trace_trial *trial) {
    const struct trace_variant *variant = &study->variants[trial->variant];
    json_t *json = json_pack("{s:s, s:s}", "shape", study->text, "variant", variant->name);
    for (int i = 0; trial->has_values && i < variant->count; ++i)
        json_object_set_new(json, variant->parameters[i], json_integer(trial->point.value[i]));
    return json;
}

/* A journal tells when an evaluation ended and how long it compiled: what is between is reading,
 * checking and measuring together. Parts that are not told apart are 0. The schema names the
 * compilation's time otherwise than the tools do that write and read it. */
static json_t *times_of(const struct trace_trial *trial) {
    const double compilation = ms(trial->build_ns), all = trial->in_seconds * 1e3;
    json_t *runtimes = json_array();
    if (isfinite(trial->ns))
        json_array_append_new(runtimes, json_real(ms(trial->ns)));
    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:o}", "compilation_time", compilation,
                     "compilation", compilation, "benchmark",
                     all > compilation ? all - compilation : 0, "framework", 0.0,
                     "search_algorithm", 0.0, "validation", 0.0, "runtimes", runtimes);
}

static json_t *measurements_of(const struct trace_trial *trial) {
    return json_pack("[{s:s, s:f, s:s}, {s:s, s:f, s:s}, {s:s, s:f, s:s}, {s:s, s:f, s:s}]", "name",
                     "time", "value", isfinite(trial->ns) ? ms(trial->ns) : T4_FAILED, "unit", "ms",
                     "name", "time_mad", "value", ms(trial->mad_ns), "unit", "ms", "name",
                     "max_error", "value", trial->max_error, "unit", "", "name", "elapsed", "value",
                     trial->end_seconds, "unit", "s");
}

static json_t *result_of(const struct trace *trace, const struct study *study,
                         const struct trace_trial *trial) {
    return json_pack("{s:s, s:o, s:o, s:s, s:i, s:o, s:[s]}", "timestamp", trace->date,
                     "configuration", configuration_of(study, trial), "times", times_of(trial),
                     "invalidity", invalidities[trial->result], "correctness",
                     trial->result == REMOTE_OK, "measurements", measurements_of(trial),
                     "objectives", "time");
}

static json_t *metadata_of(const struct trace *trace) {
    const struct config_device *device = &trace->device;
    return json_pack("{s:s, s:{s:s, s:s, s:s, s:i}, s:s, s:s, s:s, s:s, s:I}", "timeunit",
                     "milliseconds", "device", "name", device->name, "platform", device->platform,
                     "driver", device->driver, "compute_units", (int)device->compute_units,
                     "framework", "mha-tune", "version", trace->library, "date", trace->date,
                     "budget", trace->budget, "seed", (json_int_t)trace->seed);
}

static json_t *results_of(const struct export_scope *scope) {
    json_t *results = json_array();
    for (size_t s = 0; s < scope->trace->count; ++s) {
        const struct study *study = &scope->trace->studies[s];
        const int variant = scope->variant ? study_find_variant(study, scope->variant) : -1;
        for (size_t i = 0; export_is_in_scope(scope, study) && i < study->count; ++i) {
            if (scope->variant && study->trials[i].variant != variant)
                continue;
            json_t *result = result_of(scope->trace, study, &study->trials[i]);
            if (json_array_append_new(results, result)) {
                json_decref(results);
                return NULL;
            }
        }
    }
    return results;
}

bool export_t4(const struct export_scope *scope, FILE *out, char *why, size_t why_bytes) {
    json_t *results = results_of(scope);
    json_t *json = results ? json_pack("{s:s, s:o, s:o}", "schema_version", T4_VERSION, "metadata",
                                       metadata_of(scope->trace), "results", results)
                           : NULL;
    const bool ok = json && !json_dumpf(json, out, JSON_INDENT(1)) && fputc('\n', out) != EOF;
    json_decref(json);
    if (!ok)
        snprintf(why, why_bytes,
                 "the results can't be written as JSON: out of memory, or text "
                 "that is no UTF-8");
    return ok;
}
