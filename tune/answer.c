/* In: a worker's answer. Out: what it says, or that it makes no sense. */
#include "answer.h"

#include "caps_json.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

const char *const remote_result_names[REMOTE_RESULTS] = {
    [REMOTE_OK] = "ok",
    [REMOTE_ILLEGAL] = "illegal",
    [REMOTE_BUILD] = "build",
    [REMOTE_WRONG] = "wrong",
    [REMOTE_OPENCL] = "opencl",
    [REMOTE_IMPLAUSIBLE] = "implausible",
    [REMOTE_CRASH] = "crash",
    [REMOTE_TIMEOUT] = "timeout",
    [REMOTE_NONSENSE] = "nonsense",
    [REMOTE_STOPPED] = "stopped",
};

static bool fail(struct measurement *m, enum remote_result result, const char *why) {
    m->result = result;
    snprintf(m->why, sizeof(m->why), "%s", why);
    return false;
}

enum remote_result answer_result(const json_t *answer, char *why, size_t why_bytes) {
    const char *name = json_string_value(json_object_get(answer, "result"));
    const char *reason = json_string_value(json_object_get(answer, "why"));
    for (int r = REMOTE_OK; name && r < REMOTE_CRASH; ++r)
        if (!strcmp(name, remote_result_names[r])) {
            text_copy(why, why_bytes, r == REMOTE_OK ? "" : reason ? reason : name);
            return (enum remote_result)r;
        }
    snprintf(why, why_bytes, "its answer has no result");
    return REMOTE_NONSENSE;
}

/* A finite number of at least zero. */
static bool read_number(const json_t *answer, const char *name, double *value) {
    const json_t *json = json_object_get(answer, name);
    *value = json_number_value(json);
    return json_is_number(json) && isfinite(*value) && *value >= 0;
}

static bool read_tuning(const json_t *params, const struct variant *variant,
                        struct tuning *tuning) {
    *tuning = (struct tuning){{0}};
    for (int i = 0; i < TUNABLE_COUNT && variant->tunables[i].values[0]; ++i) {
        const enum tunable tunable = variant->tunables[i].tunable;
        const json_t *value = json_object_get(params, mha_tunable_names[tunable]);
        if (!json_is_integer(value) || json_integer_value(value) < 1 ||
            json_integer_value(value) > INT_MAX)
            return false;
        tuning->value[tunable] = (int)json_integer_value(value);
    }
    return true;
}

bool answer_build(const json_t *answer, const struct shape *shape, const struct device_caps *caps,
                  const struct candidate *candidate, struct measurement *m) {
    const char *name = json_string_value(json_object_get(answer, "variant"));
    struct problem problem;
    mha_error error;
    char why[160] = "";
    if (!read_number(answer, "build_ns", &m->build_ns))
        return fail(m, REMOTE_NONSENSE, "its answer has no build_ns");
    m->variant = name ? mha_variant_find(shape->operation, name) : NULL;
    if (!m->variant || (candidate->variant && m->variant != candidate->variant))
        return fail(m, REMOTE_NONSENSE, "it built another variant");
    if (mha_shape_problem(shape, &problem, &error) ||
        !read_tuning(json_object_get(answer, "params"), m->variant, &m->tuning))
        return fail(m, REMOTE_NONSENSE, "its answer has no params of this variant");
    if (candidate->variant) {
        struct tuning expected = candidate->tuning;
        mha_tuning_fit(candidate->variant, &problem, &expected);
        if (memcmp(&expected, &m->tuning, sizeof(expected)) != 0)
            return fail(m, REMOTE_NONSENSE, "it built other values");
    }
    if (m->variant->legal(&problem, caps, &m->tuning, why, sizeof(why)))
        return true;
    return fail(m, REMOTE_NONSENSE, "it built values that are not legal");
}

bool answer_check(const json_t *answer, struct measurement *m) {
    return read_number(answer, "max_error", &m->max_error) ||
           fail(m, REMOTE_NONSENSE, "its answer has no max_error");
}

bool answer_time(const json_t *json, double *ns, struct measurement *m) {
    *ns = json_number_value(json);
    if (!json_is_number(json) || !isfinite(*ns))
        return fail(m, REMOTE_NONSENSE, "its time is no number");
    return *ns > 0 || fail(m, REMOTE_IMPLAUSIBLE, "its time is not above zero");
}

bool answer_times(const json_t *answer, struct measurement *m) {
    if (!answer_time(json_object_get(answer, "ns"), &m->ns, m))
        return false;
    return read_number(answer, "mad_ns", &m->mad_ns) ||
           fail(m, REMOTE_NONSENSE, "its answer has no mad_ns");
}

bool answer_device(const json_t *json, struct remote_device *device, char *why, size_t why_bytes) {
    if (!caps_read(json_object_get(json, "caps"), &device->caps, why, why_bytes))
        return false;
    device->identity = mha_config_device(&device->caps);
    if (read_number(json, "cache_bytes", &device->cache_bytes))
        return true;
    snprintf(why, why_bytes, "the device's cache_bytes is missing or makes no sense");
    return false;
}

bool answer_rates(const json_t *answer, struct device_rates *rates, char *why, size_t why_bytes) {
    if (read_number(answer, "flops", &rates->flops) && rates->flops > 0 &&
        read_number(answer, "bytes", &rates->bytes) && rates->bytes > 0)
        return true;
    snprintf(why, why_bytes, "its rates are not above zero");
    return false;
}
