/* In: a journal's file. Out: its last run with an evaluation, shape by shape. */
#include "trace.h"

#include "config_json.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LINE_BYTES 65536
#define MAX_STUDIES 1024

/* Times, rates and errors beyond these come from no device: they are unknown. */
#define LEAST_NUMBER 1e-21
#define MOST_NUMBER 1e21

/* What is read so far. A run counts once it has an evaluation; until then the one before does. */
struct reader {
    struct trace current, previous;
    bool is_in_run;
    size_t line, skipped;
    char first_skipped[160];
};

static void release_studies(struct trace *trace) {
    for (size_t i = 0; i < trace->count; ++i)
        free(trace->studies[i].trials);
    free(trace->studies);
    trace->studies = NULL;
    trace->count = 0;
}

void trace_release(struct trace *trace) {
    release_studies(trace);
    *trace = (struct trace){0};
}

/* Shapes whose lines were all skipped have no trials. */
static void drop_empty(struct trace *trace) {
    size_t kept = 0;
    for (size_t i = 0; i < trace->count; ++i)
        if (trace->studies[i].count)
            trace->studies[kept++] = trace->studies[i];
    trace->count = kept;
}

/* Leaves one of them, in `previous`: the later one with an evaluation. */
static void keep_later(struct reader *reader) {
    drop_empty(&reader->current);
    struct trace *loser = reader->current.count ? &reader->previous : &reader->current;
    trace_release(loser);
    if (loser == &reader->previous)
        reader->previous = reader->current;
    reader->current = (struct trace){0};
}

/* Text from a journal goes into files whose lines count, and onto pictures. */
static void copy_text(char *out, size_t bytes, const char *text) {
    size_t n = 0;
    for (; *text && n + 1 < bytes; ++text)
        out[n++] = iscntrl((unsigned char)*text) ? ' ' : *text;
    /* A cut may not fall within a character of several bytes. */
    if (*text && ((unsigned char)*text & 0xc0) == 0x80) {
        while (n && ((unsigned char)out[n - 1] & 0xc0) == 0x80)
            --n;
        n -= n ? 1 : 0;
    }
    out[n] = '\0';
}

static void copy_member(char *out, size_t bytes, const json_t *object, const char *name) {
    const char *text = json_string_value(json_object_get(object, name));
    copy_text(out, bytes, text ? text : "");
}

/* 0 for a member that is missing, of another type or impossible. */
static double number_of(const json_t *object, const char *name) {
    const double value = json_number_value(json_object_get(object, name));
    return value >= LEAST_NUMBER && value <= MOST_NUMBER ? value : 0;
}

/* Counts the line as left out. */
static bool skip(struct reader *reader, const char *why) {
    if (!reader->skipped++)
        snprintf(reader->first_skipped, sizeof(reader->first_skipped), "line %zu: %s", reader->line,
                 why);
    return true;
}

static bool begin_run(struct reader *reader, const json_t *json) {
    struct trace *trace = &reader->current;
    char why[120];
    keep_later(reader);
    reader->is_in_run = true;
    copy_member(trace->library, sizeof(trace->library), json, "library");
    copy_member(trace->date, sizeof(trace->date), json, "date");
    copy_member(trace->budget, sizeof(trace->budget), json, "budget");
    trace->seed = number_of(json, "seed");
    trace->rates.flops = number_of(json_object_get(json, "rates"), "flops");
    trace->rates.bytes = number_of(json_object_get(json, "rates"), "bytes");
    if (mha_config_read_device(json_object_get(json, "device"), &trace->device, why, sizeof(why)))
        return true;
    trace->device = (struct config_device){.name = "unknown device"};
    return skip(reader, why);
}

/* NULL when memory runs out or there are too many. */
static struct study *find_study(struct trace *trace, const struct shape *shape) {
    char text[SHAPE_TEXT_BYTES];
    shape_print(shape, text);
    for (size_t i = 0; i < trace->count; ++i)
        if (!strcmp(trace->studies[i].text, text))
            return &trace->studies[i];
    if (trace->count == MAX_STUDIES)
        return NULL;
    struct study *studies = realloc(trace->studies, (trace->count + 1) * sizeof(*studies));
    if (!studies)
        return NULL;
    trace->studies = studies;
    struct study *study = &studies[trace->count++];
    *study = (struct study){.shape = *shape};
    strcpy(study->text, text);
    return study;
}

static bool is_name(const char *text) {
    size_t n = strlen(text);
    for (const char *p = text; *p; ++p)
        if (!isalnum((unsigned char)*p) && *p != '_')
            return false;
    return n && n < TRACE_NAME_BYTES;
}

int study_find_variant(const struct study *study, const char *name) {
    for (int i = 0; i < study->variant_count; ++i)
        if (!strcmp(study->variants[i].name, name))
            return i;
    return -1;
}

static int add_variant(struct study *study, const char *name) {
    int i = study_find_variant(study, name);
    if (i >= 0 || study->variant_count == TRACE_MAX_VARIANTS)
        return i;
    struct trace_variant *variant = &study->variants[study->variant_count];
    *variant = (struct trace_variant){0};
    strcpy(variant->name, name);
    return study->variant_count++;
}

/* {"VEC": 16, ...}: the first such object tells a variant's parameters, the others must agree. */
static bool read_values(const json_t *params, struct trace_variant *variant,
                        struct trace_trial *trial, const char **why) {
    const char *name;
    json_t *value;
    *why = "params is no object of integers";
    if (!json_is_object(params) || json_object_size(params) > SPACE_MAX_PARAMETERS)
        return false;
    struct trace_variant told = {.has_parameters = true};
    json_object_foreach((json_t *)params, name, value) {
        const json_int_t number = json_integer_value(value);
        if (!json_is_integer(value) || number < INT32_MIN || number > INT32_MAX || !is_name(name))
            return false;
        strcpy(told.parameters[told.count++], name);
    }
    if (!variant->has_parameters) {
        strcpy(told.name, variant->name);
        *variant = told;
    }
    *why = "params are not those of the variant";
    if (told.count != variant->count)
        return false;
    for (int i = 0; i < variant->count; ++i) {
        value = json_object_get(params, variant->parameters[i]);
        if (!value)
            return false;
        trial->point.value[i] = (int)json_integer_value(value);
    }
    return trial->has_values = true;
}

static bool read_result(const json_t *json, enum remote_result *result) {
    const char *name = json_string_value(json_object_get(json, "result"));
    for (int i = 0; name && i < REMOTE_RESULTS; ++i)
        if (!strcmp(name, remote_result_names[i])) {
            *result = (enum remote_result)i;
            return true;
        }
    return false;
}

static bool add_trial(struct study *study, const struct trace_trial *trial) {
    if (study->count == study->capacity) {
        const size_t capacity = study->capacity ? 2 * study->capacity : 64;
        struct trace_trial *trials = realloc(study->trials, capacity * sizeof(*trials));
        if (!trials)
            return false;
        study->trials = trials;
        study->capacity = capacity;
    }
    study->trials[study->count++] = *trial;
    return true;
}

/* False only when memory runs out. */
static bool read_end(struct reader *reader, const json_t *json, struct study *study) {
    struct trace *trace = &reader->current;
    const json_t *variant = json_object_get(json, "variant");
    const json_t *params = json_object_get(json, "params");
    const char *name = variant && !json_is_null(variant) ? json_string_value(variant) : "default";
    const char *why;
    struct trace_trial trial = {.ns = INFINITY,
                                .build_ns = number_of(json, "build_ns"),
                                .max_error = number_of(json, "max_error"),
                                .end_seconds = number_of(json, "time"),
                                .is_default = json_is_true(json_object_get(json, "default"))};
    if (!read_result(json, &trial.result))
        return skip(reader, "no result of that name");
    if (trial.result == REMOTE_STOPPED)
        return true;
    if (!name || !is_name(name) || (trial.variant = add_variant(study, name)) < 0)
        return skip(reader, "no variant's name");
    if (params && !json_is_null(params) &&
        !read_values(params, &study->variants[trial.variant], &trial, &why))
        return skip(reader, why);
    if (trial.result == REMOTE_OK) {
        trial.ns = number_of(json, "ns");
        trial.mad_ns = number_of(json, "mad_ns");
        if (trial.ns == 0)
            return skip(reader, "ns is no time");
    }
    if (trial.end_seconds > trace->end_seconds) {
        trial.in_seconds = trial.end_seconds - trace->end_seconds;
        trace->end_seconds = trial.end_seconds;
    }
    return add_trial(study, &trial);
}

static bool read_final(struct reader *reader, const json_t *json, struct study *study) {
    const char *status = json_string_value(json_object_get(json, "status"));
    if (!status || (strcmp(status, "tuned") != 0 && strcmp(status, "default") != 0))
        return skip(reader, "status is neither tuned nor default");
    study->final = (struct study_final){.is_there = true,
                                        .is_tuned = !strcmp(status, "tuned"),
                                        .ns = number_of(json, "ns"),
                                        .default_ns = number_of(json, "default_ns")};
    return true;
}

static bool read_line(struct reader *reader, const char *text, size_t bytes) {
    json_error_t error;
    struct shape shape;
    char why[120];
    bool ok = true;
    json_t *json = bytes <= MAX_LINE_BYTES ? json_loadb(text, bytes, 0, &error) : NULL;
    const char *event = json_string_value(json_object_get(json, "event"));
    const bool is_end = event && !strcmp(event, "end"), is_final = event && !strcmp(event, "final");
    if (!json) {
        ok = skip(reader, bytes <= MAX_LINE_BYTES ? "no JSON" : "too long");
    } else if (!event) {
        ok = skip(reader, "no event");
    } else if (!strcmp(event, "run")) {
        ok = begin_run(reader, json);
    } else if (is_end || is_final) {
        if (!reader->is_in_run) {
            ok = skip(reader, "outside of a run");
        } else if (!mha_config_read_shape(json_object_get(json, "shape"), &shape, why,
                                          sizeof(why))) {
            ok = skip(reader, why);
        } else {
            struct study *study = find_study(&reader->current, &shape);
            if (!study)
                ok = reader->current.count == MAX_STUDIES && skip(reader, "too many shapes");
            else
                ok = is_end ? read_end(reader, json, study) : read_final(reader, json, study);
        }
    }
    json_decref(json);
    return ok;
}

static bool read_lines(struct reader *reader, FILE *file, char *why, size_t why_bytes) {
    char *text = NULL;
    size_t capacity = 0;
    ssize_t bytes;
    bool ok = true;
    while (ok && (bytes = getline(&text, &capacity, file)) >= 0) {
        ++reader->line;
        /* A last line without its end was not fully written. */
        if (bytes > 1 && text[bytes - 1] == '\n')
            ok = read_line(reader, text, (size_t)bytes);
    }
    free(text);
    if (!ok)
        snprintf(why, why_bytes, "out of memory");
    else if (ferror(file))
        snprintf(why, why_bytes, "it can't be read: %s", strerror(errno));
    return ok && !ferror(file);
}

bool trace_read(struct trace *trace, const char *path, char *why, size_t why_bytes) {
    struct reader reader = {.line = 0};
    FILE *file = fopen(path, "r");
    *trace = (struct trace){0};
    if (!file) {
        snprintf(why, why_bytes, "%s: %s", path, strerror(errno));
        return false;
    }
    char reason[120];
    bool ok = read_lines(&reader, file, reason, sizeof(reason));
    fclose(file);
    keep_later(&reader);
    *trace = reader.previous;
    trace->skipped = reader.skipped;
    strcpy(trace->first_skipped, reader.first_skipped);
    if (!ok)
        snprintf(why, why_bytes, "%s: %s", path, reason);
    else if (!trace->count)
        snprintf(why, why_bytes, "%s: no evaluation in it%s%s", path, reader.skipped ? "; " : "",
                 reader.first_skipped);
    if (ok && trace->count)
        return true;
    trace_release(trace);
    return false;
}

const struct study *trace_find(const struct trace *trace, const struct shape *shape) {
    char text[SHAPE_TEXT_BYTES];
    shape_print(shape, text);
    for (size_t i = 0; i < trace->count; ++i)
        if (!strcmp(trace->studies[i].text, text))
            return &trace->studies[i];
    return NULL;
}

ptrdiff_t study_best(const struct study *study, int variant) {
    ptrdiff_t best = -1;
    for (size_t i = 0; i < study->count; ++i)
        if (isfinite(study->trials[i].ns) && (variant < 0 || study->trials[i].variant == variant) &&
            (best < 0 || study->trials[i].ns < study->trials[best].ns))
            best = (ptrdiff_t)i;
    return best;
}

double study_default_ns(const struct study *study) {
    double ns = study->final.default_ns;
    for (size_t i = 0; i < study->count; ++i)
        if (study->trials[i].is_default && isfinite(study->trials[i].ns))
            ns = study->trials[i].ns;
    return ns;
}
