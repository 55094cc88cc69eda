/* In: JSON of a tuning file. Out: entries, or why not; and the way back. jansson allocates with
 * malloc(), not with the application's callbacks: what it makes never outlives a call, and what is
 * kept of it lies in struct config_entry. */
#include "config_json.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const dtype_names[] = {
    [MHA_F32] = "f32", [MHA_F16] = "f16", [MHA_BF16] = "bf16", [MHA_F64] = "f64"};
#define DTYPE_COUNT (sizeof(dtype_names) / sizeof(*dtype_names))

/* ---- Reading -------------------------------------------------------------------------------- */

/* Where a member is read from, and where the reason goes if it can't be. */
struct reader {
    const json_t *object;
    char *why;
    size_t why_bytes;
};

static bool read_integer(const struct reader *r, const char *name, json_int_t least,
                         json_int_t most, json_int_t *value) {
    const json_t *member = json_object_get(r->object, name);
    *value = json_integer_value(member);
    if (json_is_integer(member) && *value >= least && *value <= most)
        return true;
    snprintf(r->why, r->why_bytes, "%s is no integer of %lld to %lld", name, (long long)least,
             (long long)most);
    return false;
}

static bool read_size(const struct reader *r, const char *name, int32_t *value) {
    json_int_t integer;
    const bool is_read = read_integer(r, name, 1, MHA_MAX_POSITION, &integer);
    *value = is_read ? (int32_t)integer : 0;
    return is_read;
}

static bool read_count(const struct reader *r, const char *name, json_int_t least, cl_uint *value) {
    json_int_t integer;
    const bool is_read = read_integer(r, name, least, UINT_MAX, &integer);
    *value = is_read ? (cl_uint)integer : 0;
    return is_read;
}

/* Finite, and not negative. */
static bool read_number(const struct reader *r, const char *name, bool is_zero_allowed,
                        double *value) {
    const json_t *member = json_object_get(r->object, name);
    *value = json_number_value(member);
    if (json_is_number(member) && isfinite(*value) && (*value > 0 || (is_zero_allowed && !*value)))
        return true;
    snprintf(r->why, r->why_bytes, "%s is no finite number %s zero", name,
             is_zero_allowed ? "of at least" : "above");
    return false;
}

static bool read_flag(const struct reader *r, const char *name, bool *value) {
    const json_t *member = json_object_get(r->object, name);
    *value = json_is_true(member);
    if (json_is_boolean(member))
        return true;
    snprintf(r->why, r->why_bytes, "%s is neither true nor false", name);
    return false;
}

/* Printable ASCII only: these texts are shown on terminals and in logs. */
static bool read_text(const struct reader *r, const char *name, char *value, size_t bytes) {
    const json_t *member = json_object_get(r->object, name);
    const char *text = json_string_value(member);
    bool is_read = text && json_string_length(member) < bytes;
    for (const char *c = text; is_read && *c; ++c)
        is_read = *c >= ' ' && *c <= '~';
    if (is_read)
        strcpy(value, text);
    else
        snprintf(r->why, r->why_bytes, "%s is no printable text of fewer than %zu characters", name,
                 bytes);
    return is_read;
}

static bool read_dtype(const struct reader *r, const char *name, mha_dtype *dtype) {
    char text[8];
    if (!read_text(r, name, text, sizeof(text)))
        return false;
    for (size_t i = 0; i < DTYPE_COUNT; ++i)
        if (!strcmp(text, dtype_names[i])) {
            *dtype = (mha_dtype)i;
            return true;
        }
    snprintf(r->why, r->why_bytes, "%s \"%s\" is no storage type", name, text);
    return false;
}

static bool is_date(const char *text) {
    static const char form[] = "dddd-dd-dd";
    for (size_t i = 0; i < sizeof(form); ++i)
        if (form[i] == 'd' ? text[i] < '0' || text[i] > '9' : text[i] != form[i])
            return false;
    return true;
}

static bool is_hash(const char *text) {
    return strlen(text) == 16 && strspn(text, "0123456789abcdef") == 16;
}

/* Reading begins with an object, which `what` names. */
static bool begin(struct reader *r, const json_t *json, const char *what, char *why,
                  size_t why_bytes) {
    *r = (struct reader){json, why, why_bytes};
    if (!json_is_object(json))
        snprintf(why, why_bytes, "%s is no object", what);
    return json_is_object(json);
}

bool mha_config_read_device(const json_t *json, struct config_device *device, char *why,
                            size_t why_bytes) {
    struct reader r;
    char type[16];
    *device = (struct config_device){.is_cpu = false};
    if (!begin(&r, json, "device", why, why_bytes) ||
        !read_text(&r, "name", device->name, sizeof(device->name)) ||
        !read_text(&r, "platform", device->platform, sizeof(device->platform)) ||
        (json_object_get(json, "version") &&
         !read_text(&r, "version", device->version, sizeof(device->version))) ||
        !read_text(&r, "driver", device->driver, sizeof(device->driver)) ||
        !read_text(&r, "type", type, sizeof(type)) ||
        !read_count(&r, "vendor_id", 0, &device->vendor_id) ||
        !read_count(&r, "compute_units", 1, &device->compute_units) ||
        !read_count(&r, "float_vector", 1, &device->float_vector))
        return false;
    device->is_cpu = !strcmp(type, "cpu");
    return true;
}

static bool is_in_domain(const struct variant_tunable *tunable, json_int_t value) {
    for (int i = 0; i < MHA_MAX_VALUES && tunable->values[i]; ++i)
        if (tunable->values[i] == value)
            return true;
    return false;
}

bool mha_config_read_tuning(const json_t *json, const struct variant *variant,
                            struct tuning *tuning, char *why, size_t why_bytes) {
    struct reader r;
    *tuning = (struct tuning){{0}};
    if (!begin(&r, json, "params", why, why_bytes))
        return false;
    for (size_t i = 0; i < TUNABLE_COUNT && variant->tunables[i].values[0]; ++i) {
        const struct variant_tunable *tunable = &variant->tunables[i];
        const char *name = mha_tunable_names[tunable->tunable];
        json_int_t value;
        if (!read_integer(&r, name, 1, INT_MAX, &value))
            return false;
        if (!is_in_domain(tunable, value)) {
            snprintf(why, why_bytes, "%s %lld is not a value that %s has", name, (long long)value,
                     variant->name);
            return false;
        }
        tuning->value[tunable->tunable] = (int)value;
    }
    return true;
}

static bool read_attention(const struct reader *r, struct shape *s) {
    return read_size(r, "batch", &s->batch) && read_size(r, "q_heads", &s->q_heads) &&
           read_size(r, "kv_heads", &s->kv_heads) && read_size(r, "head_dim_qk", &s->head_dim_qk) &&
           read_size(r, "head_dim_v", &s->head_dim_v) && read_size(r, "seqlen_q", &s->seqlen_q) &&
           read_size(r, "seqlen_kv", &s->seqlen_kv) && read_flag(r, "causal", &s->is_causal) &&
           read_flag(r, "scores", &s->gives_scores);
}

static bool read_linear(const struct reader *r, struct shape *s) {
    return read_dtype(r, "weight_dtype", &s->weight_dtype) && read_size(r, "rows", &s->rows) &&
           read_size(r, "in_features", &s->in_features) &&
           read_size(r, "out_features", &s->out_features);
}

bool mha_config_read_shape(const json_t *json, struct shape *shape, char *why, size_t why_bytes) {
    struct reader r;
    char operation[16];
    struct problem problem;
    mha_error error;
    *shape = (struct shape){.operation = OPERATION_ATTENTION};
    if (!begin(&r, json, "shape", why, why_bytes) ||
        !read_text(&r, "operation", operation, sizeof(operation)) ||
        !read_dtype(&r, "dtype", &shape->dtype))
        return false;
    if (!strcmp(operation, "linear"))
        shape->operation = OPERATION_LINEAR;
    else if (strcmp(operation, "attention") != 0) {
        snprintf(why, why_bytes, "operation \"%s\" is not known", operation);
        return false;
    }
    if (!(shape->operation == OPERATION_LINEAR ? read_linear : read_attention)(&r, shape))
        return false;
    /* What no descriptor may ask for was never measured. */
    if (mha_shape_problem(shape, &problem, &error)) {
        snprintf(why, why_bytes, "shape: %s", error.message);
        return false;
    }
    return true;
}

static bool read_measurements(const struct reader *r, struct config_entry *entry) {
    json_int_t evaluations;
    if (!read_number(r, "ns", false, &entry->ns) ||
        !read_number(r, "mad_ns", true, &entry->mad_ns) ||
        !read_number(r, "default_ns", false, &entry->default_ns) ||
        !read_number(r, "max_error", true, &entry->max_error) ||
        !read_number(r, "space", true, &entry->space_size) ||
        !read_integer(r, "evaluations", 0, INT_MAX, &evaluations) ||
        !read_text(r, "rigor", entry->rigor, sizeof(entry->rigor)) ||
        !read_text(r, "library", entry->library, sizeof(entry->library)))
        return false;
    entry->evaluations = (int)evaluations;
    if (!read_text(r, "kernel_hash", entry->kernel_hash, sizeof(entry->kernel_hash)) ||
        !is_hash(entry->kernel_hash)) {
        snprintf(r->why, r->why_bytes, "kernel_hash is not 16 hexadecimal digits");
        return false;
    }
    if (!read_text(r, "date", entry->date, sizeof(entry->date)) || !is_date(entry->date)) {
        snprintf(r->why, r->why_bytes, "date is not of the form YYYY-MM-DD");
        return false;
    }
    return true;
}

bool mha_config_read_entry(const json_t *json, struct config_entry *entry, char *why,
                           size_t why_bytes) {
    struct reader r;
    char variant[32], status[16];
    *entry = (struct config_entry){.variant = NULL};
    if (!begin(&r, json, "entry", why, why_bytes) ||
        !mha_config_read_shape(json_object_get(json, "shape"), &entry->shape, why, why_bytes) ||
        !read_text(&r, "variant", variant, sizeof(variant)) ||
        !read_text(&r, "status", status, sizeof(status)) || !read_measurements(&r, entry))
        return false;
    entry->is_default = !strcmp(status, "default");
    if (!entry->is_default && strcmp(status, "tuned") != 0) {
        snprintf(why, why_bytes, "status \"%s\" is not known", status);
        return false;
    }
    entry->variant = mha_variant_find(entry->shape.operation, variant);
    if (!entry->variant) {
        snprintf(why, why_bytes, "variant \"%s\" is not known", variant);
        return false;
    }
    return entry->is_default ||
           mha_config_read_tuning(json_object_get(json, "params"), entry->variant, &entry->tuning,
                                  why, why_bytes);
}

bool mha_config_read_driver(const json_t *json, struct config_device *device, char *why,
                            size_t why_bytes) {
    const struct reader r = {json, why, why_bytes};
    return !json_object_get(json, "driver") ||
           read_text(&r, "driver", device->driver, sizeof(device->driver));
}

/* The head of a file; its entries are not looked at. */
static enum config_text read_head(const json_t *root, struct config_device *device, char *why,
                                  size_t why_bytes) {
    struct reader r;
    char format[32];
    json_int_t schema;
    if (!begin(&r, root, "the file", why, why_bytes) ||
        !read_text(&r, "format", format, sizeof(format)) ||
        !read_integer(&r, "schema", 1, INT_MAX, &schema))
        return CONFIG_TEXT_BAD;
    if (strcmp(format, CONFIG_FORMAT) != 0) {
        snprintf(why, why_bytes, "format is not \"%s\"", CONFIG_FORMAT);
        return CONFIG_TEXT_BAD;
    }
    if (schema > CONFIG_SCHEMA) {
        snprintf(why, why_bytes, "schema %lld is newer than %d, the newest this version knows",
                 (long long)schema, CONFIG_SCHEMA);
        return CONFIG_TEXT_NEWER;
    }
    if (!json_is_array(json_object_get(root, "entries"))) {
        snprintf(why, why_bytes, "entries is no array");
        return CONFIG_TEXT_BAD;
    }
    return mha_config_read_device(json_object_get(root, "device"), device, why, why_bytes)
               ? CONFIG_TEXT_GOOD
               : CONFIG_TEXT_BAD;
}

/* jansson recurses, and its own bound asks for more stack than a thread of the application may
 * have. As far as the text is JSON, this sees the same strings as jansson does. */
static bool is_shallow(const char *text, size_t bytes) {
    bool is_string = false;
    int depth = 0;
    for (size_t i = 0; i < bytes; ++i) {
        const char c = text[i];
        if (c == '"')
            is_string = !is_string;
        else if (is_string)
            i += c == '\\';
        else if (c == '{' || c == '[')
            ++depth;
        else if (c == '}' || c == ']')
            --depth;
        if (depth > CONFIG_MAX_DEPTH)
            return false;
    }
    return true;
}

enum config_text mha_config_read_text(const char *text, size_t bytes, json_t **root,
                                      struct config_device *device, char *why, size_t why_bytes) {
    json_error_t error;
    *root = NULL;
    if (!is_shallow(text, bytes)) {
        snprintf(why, why_bytes, "more than %d objects and arrays in one another",
                 CONFIG_MAX_DEPTH);
        return CONFIG_TEXT_BAD;
    }
    json_t *json = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &error);
    if (!json && json_error_code(&error) == json_error_out_of_memory)
        return CONFIG_TEXT_NO_MEMORY;
    if (!json) {
        /* Not jansson's words, which quote the file. */
        snprintf(why, why_bytes, "no JSON at line %d, column %d", error.line, error.column);
        return CONFIG_TEXT_BAD;
    }
    const enum config_text result = read_head(json, device, why, why_bytes);
    if (result == CONFIG_TEXT_GOOD)
        *root = json;
    else
        json_decref(json);
    return result;
}

/* ---- Writing -------------------------------------------------------------------------------- */

/* The object, or NULL where a member could not be set. */
static json_t *finish(json_t *object, bool is_complete) {
    if (is_complete)
        return object;
    json_decref(object);
    return NULL;
}

static bool set_text(json_t *object, const char *name, const char *text) {
    return !json_object_set_new(object, name, json_string(text));
}

static bool set_integer(json_t *object, const char *name, json_int_t value) {
    return !json_object_set_new(object, name, json_integer(value));
}

static bool set_number(json_t *object, const char *name, double value) {
    return !json_object_set_new(object, name, json_real(value));
}

/* Times are measured no finer than this. */
static bool set_ns(json_t *object, const char *name, double ns) {
    return set_number(object, name, ns < 1000 ? ns : round(ns));
}

json_t *mha_config_write_device(const struct config_device *device) {
    json_t *o = json_object();
    return finish(
        o, set_text(o, "name", device->name) && set_text(o, "platform", device->platform) &&
               set_text(o, "version", device->version) && set_text(o, "driver", device->driver) &&
               set_text(o, "type", device->is_cpu ? "cpu" : "gpu") &&
               set_integer(o, "vendor_id", device->vendor_id) &&
               set_integer(o, "compute_units", device->compute_units) &&
               set_integer(o, "float_vector", device->float_vector));
}

json_t *mha_config_write_tuning(const struct variant *variant, const struct tuning *tuning) {
    json_t *o = json_object();
    bool is_complete = o;
    for (size_t i = 0; i < TUNABLE_COUNT && variant->tunables[i].values[0]; ++i) {
        const enum tunable t = variant->tunables[i].tunable;
        is_complete = is_complete && set_integer(o, mha_tunable_names[t], tuning->value[t]);
    }
    return finish(o, is_complete);
}

json_t *mha_config_write_shape(const struct shape *s) {
    const bool is_linear = s->operation == OPERATION_LINEAR;
    json_t *o = json_object();
    bool is_complete = set_text(o, "operation", is_linear ? "linear" : "attention") &&
                       set_text(o, "dtype", dtype_names[s->dtype]);
    if (is_linear)
        is_complete = is_complete && set_text(o, "weight_dtype", dtype_names[s->weight_dtype]) &&
                      set_integer(o, "rows", s->rows) &&
                      set_integer(o, "in_features", s->in_features) &&
                      set_integer(o, "out_features", s->out_features);
    else
        is_complete =
            is_complete && set_integer(o, "batch", s->batch) &&
            set_integer(o, "q_heads", s->q_heads) && set_integer(o, "kv_heads", s->kv_heads) &&
            set_integer(o, "head_dim_qk", s->head_dim_qk) &&
            set_integer(o, "head_dim_v", s->head_dim_v) &&
            set_integer(o, "seqlen_q", s->seqlen_q) && set_integer(o, "seqlen_kv", s->seqlen_kv) &&
            !json_object_set_new(o, "causal", json_boolean(s->is_causal)) &&
            !json_object_set_new(o, "scores", json_boolean(s->gives_scores));
    return finish(o, is_complete);
}

json_t *mha_config_write_entry(const struct config_entry *e) {
    json_t *o = json_object();
    bool is_complete = !json_object_set_new(o, "shape", mha_config_write_shape(&e->shape)) &&
                       set_text(o, "variant", e->variant->name);
    if (!e->is_default)
        is_complete =
            is_complete &&
            !json_object_set_new(o, "params", mha_config_write_tuning(e->variant, &e->tuning));
    return finish(
        o, is_complete && set_text(o, "status", e->is_default ? "default" : "tuned") &&
               set_ns(o, "ns", e->ns) && set_ns(o, "mad_ns", e->mad_ns) &&
               set_ns(o, "default_ns", e->default_ns) && set_number(o, "max_error", e->max_error) &&
               set_text(o, "rigor", e->rigor) && set_integer(o, "evaluations", e->evaluations) &&
               set_number(o, "space", e->space_size) &&
               set_text(o, "kernel_hash", e->kernel_hash) &&
               set_text(o, "driver", e->device.driver) && set_text(o, "date", e->date) &&
               set_text(o, "library", e->library));
}
