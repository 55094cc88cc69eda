/* In: options, or a journal. Out: struct assignment; and the journal's line of it. */
#include "assignment.h"

#include "benchmark.h"
#include "config_json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct budget {
    const char *name;
    int evaluations; /* a shape */
    double seconds;  /* in all */
    enum search_method method;
} budgets[] = {
    {"quick", 40, 90, SEARCH_LOCAL},
    {"standard", 200, 300, SEARCH_LOCAL},
    {"patient", 400, 1200, SEARCH_LOCAL},
    {"exhaustive", INT32_MAX, INFINITY, SEARCH_EXHAUSTIVE},
};

static const struct {
    const char *name;
    enum path_seeds seeds;
} seed_kinds[] = {
    {"all", SEEDS_ALL}, {"safe", SEEDS_SAFE}, {"heuristic", SEEDS_HEURISTIC}, {"none", SEEDS_NONE}};

static const struct budget *find_budget(const char *name) {
    for (size_t i = 0; i < sizeof(budgets) / sizeof(*budgets); ++i)
        if (!strcmp(budgets[i].name, name ? name : "standard"))
            return &budgets[i];
    return NULL;
}

static const char *name_of(enum path_seeds seeds) {
    size_t i = 0;
    while (seed_kinds[i].seeds != seeds)
        ++i;
    return seed_kinds[i].name;
}

static bool find_seeds(const char *name, enum path_seeds *seeds) {
    for (size_t i = 0; i < sizeof(seed_kinds) / sizeof(*seed_kinds); ++i)
        if (!strcmp(seed_kinds[i].name, name ? name : "all")) {
            *seeds = seed_kinds[i].seeds;
            return true;
        }
    return false;
}

static void add_shape(struct assignment *a, const struct shape *shape, int weight) {
    if (a->shape_count == MAX_SHAPES)
        return;
    a->shapes[a->shape_count] = *shape;
    a->weights[a->shape_count++] = weight;
    a->weight += weight;
}

static bool fail(char *why, size_t why_bytes, const char *reason) {
    snprintf(why, why_bytes, "%s", reason);
    return false;
}

/* ---- From the command line ------------------------------------------------------------------- */

bool assignment_read(const struct options *options, struct assignment *a, struct session *s,
                     char *why, size_t why_bytes) {
    const struct budget *budget = find_budget(options->budget);
    struct shape shape;
    char ignored[200];
    *a = (struct assignment){.shape_count = 0};
    if (!budget)
        return fail(why, why_bytes, "a budget is quick, standard, patient or exhaustive");
    if (!find_seeds(options->seed_from, &s->seeds))
        return fail(why, why_bytes, "--seed-from is all, safe, heuristic or none");
    s->limits = (struct path_limits){options->variant, options->space};
    if (!path_check_limits(&s->limits, why, why_bytes) ||
        !options_folder(options, a->folder, sizeof(a->folder), why, why_bytes))
        return false;
    for (int i = 0; i < options->shape_count; ++i)
        add_shape(a, &options->shapes[i], 1);
    for (const struct benchmark_shape *b = benchmark_shapes; !options->shape_count && b->text; ++b)
        if (shape_parse(b->text, &shape, ignored, sizeof(ignored)))
            add_shape(a, &shape, b->weight);
    a->rigor = budget->name;
    s->method = budget->method;
    s->seed = options->seed ? options->seed : 1;
    s->is_warm = options->is_warm;
    s->most_evaluations = options->evaluations
                              ? options->evaluations
                              : (int)fmin((double)budget->evaluations * a->shape_count, INT32_MAX);
    s->begun = session_now();
    s->deadline = s->begun + (options->seconds > 0 ? options->seconds : budget->seconds);
    return true;
}

/* ---- Into the journal ------------------------------------------------------------------------ */

json_t *assignment_write(const struct assignment *a, const struct session *s) {
    json_t *shapes = json_array(), *weights = json_array();
    for (int i = 0; i < a->shape_count; ++i) {
        json_array_append_new(shapes, mha_config_write_shape(&a->shapes[i]));
        json_array_append_new(weights, json_integer(a->weights[i]));
    }
    json_t *options =
        json_pack("{s:s, s:b, s:s?, s:s?}", "seed_from", name_of(s->seeds), "warm", s->is_warm,
                  "variant", s->limits.variant, "space", s->limits.values);
    return json_pack("{s:s, s:i, s:o, s:s, s:s, s:I, s:i, s:f, s:o, s:o}", "event", "run",
                     "version", 1, "options", options, "budget", a->rigor, "folder", a->folder,
                     "seed", (json_int_t)s->seed, "evaluations", s->most_evaluations, "seconds",
                     isfinite(s->deadline) ? s->deadline - s->begun : 0.0, "shapes", shapes,
                     "weights", weights);
}

/* ---- From the journal ------------------------------------------------------------------------ */

static const char *text_of(const json_t *line, const char *name) {
    const char *text = json_string_value(json_object_get(line, name));
    return text ? text : "";
}

/* One that the deadline stopped is none. */
static bool is_evaluation(const json_t *line) {
    return !strcmp(text_of(line, "event"), "end") && text_of(line, "result")[0] &&
           strcmp(text_of(line, "result"), remote_result_names[REMOTE_STOPPED]) != 0;
}

/* The texts stay the journal's. */
static bool recall_options(const json_t *run, struct session *s) {
    const json_t *options = json_object_get(run, "options");
    char why[200];
    s->is_warm = json_is_true(json_object_get(options, "warm"));
    s->limits.variant = json_string_value(json_object_get(options, "variant"));
    s->limits.values = json_string_value(json_object_get(options, "space"));
    return find_seeds(json_string_value(json_object_get(options, "seed_from")), &s->seeds) &&
           path_check_limits(&s->limits, why, sizeof(why));
}

static void recall_shapes(const json_t *run, struct assignment *a) {
    const json_t *shapes = json_object_get(run, "shapes"), *json;
    const json_t *weights = json_object_get(run, "weights");
    struct shape shape;
    char why[160];
    size_t i;
    json_array_foreach(shapes, i, json) {
        const json_int_t weight = json_integer_value(json_array_get(weights, i));
        if (mha_config_read_shape(json, &shape, why, sizeof(why)))
            add_shape(a, &shape, weight < 1 || weight > 100 ? 1 : (int)weight);
    }
}

static void mark_done(struct assignment *a, const struct shape *done) {
    char text[SHAPE_TEXT_BYTES], other[SHAPE_TEXT_BYTES];
    shape_print(done, text);
    for (int n = 0; n < a->shape_count; ++n) {
        shape_print(&a->shapes[n], other);
        a->is_done[n] = a->is_done[n] || !strcmp(text, other);
    }
}

/* Which shapes are done, and what that has cost; returns the run's seconds so far. *evaluations:
 * those of unfinished shapes included. */
static double recall_progress(const json_t *lines, struct assignment *a, struct session *s,
                              int *evaluations) {
    double used = 0;
    *evaluations = 0;
    for (size_t i = a->first_line; i < json_array_size(lines); ++i) {
        const json_t *line = json_array_get(lines, i);
        struct shape done;
        char why[160];
        used = fmax(used, json_number_value(json_object_get(line, "time")));
        *evaluations += is_evaluation(line);
        /* A search that was interrupted goes on. */
        if (strcmp(text_of(line, "event"), "final") != 0 ||
            json_is_false(json_object_get(line, "complete")) ||
            !mha_config_read_shape(json_object_get(line, "shape"), &done, why, sizeof(why)))
            continue;
        /* Those of the shape in progress are counted when it goes on, against its own share. */
        s->evaluations = *evaluations;
        mark_done(a, &done);
    }
    return used;
}

bool assignment_recall(const struct options *options, struct assignment *a, struct session *s,
                       char *why, size_t why_bytes) {
    const json_t *lines = journal_lines(s->journal), *run = NULL;
    *a = (struct assignment){.shape_count = 0};
    if (options->shape_count || options->budget || options->variant || options->space ||
        options->seed_from || options->seed || options->is_warm)
        return fail(why, why_bytes,
                    "resume goes on with the run as it was; only --time and --evals may change");
    for (size_t i = 0; i < json_array_size(lines); ++i)
        if (!strcmp(text_of(json_array_get(lines, i), "event"), "run")) {
            run = json_array_get(lines, i);
            a->first_line = i;
        }
    if (!run)
        return fail(why, why_bytes, "the journal holds no run to resume");
    const struct budget *budget = find_budget(json_string_value(json_object_get(run, "budget")));
    const char *folder = text_of(run, "folder");
    const double seconds = json_number_value(json_object_get(run, "seconds"));
    s->most_evaluations = (int)json_integer_value(json_object_get(run, "evaluations"));
    s->seed = (uint64_t)json_integer_value(json_object_get(run, "seed"));
    recall_shapes(run, a);
    if (!budget || !a->shape_count || !recall_options(run, s) || s->most_evaluations < 1 ||
        seconds < 0 || strlen(folder) >= sizeof(a->folder))
        return fail(why, why_bytes, "the journal's last run can't be read");
    a->rigor = budget->name;
    s->method = budget->method;
    if (!options->config && folder[0])
        snprintf(a->folder, sizeof(a->folder), "%s", folder);
    else if (!options_folder(options, a->folder, sizeof(a->folder), why, why_bytes))
        return false;
    int evaluations;
    const double used = recall_progress(lines, a, s, &evaluations), now = session_now();
    s->begun = now - used;
    s->deadline = options->seconds > 0 ? now + options->seconds
                  : seconds > 0        ? s->begun + seconds
                                       : INFINITY;
    if (options->evaluations)
        s->most_evaluations = evaluations + options->evaluations;
    return true;
}
