/* In: options. Out: tuning results in the config file, shape by shape, and a journal. */
#include "benchmark.h"
#include "command.h"
#include "config_json.h"
#include "results.h"
#include "session.h"
#include "store.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const struct allocator allocator = {NULL, NULL, NULL};

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

/* What is to be done, on the command line's word or the journal's. */
struct assignment {
    struct shape shapes[MAX_SHAPES];
    int weights[MAX_SHAPES];
    bool is_done[MAX_SHAPES];
    int shape_count, weight;
    const struct budget *budget;
    size_t first_line; /* of the run in the journal */
};

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

static void assign_shapes(const struct options *options, struct assignment *a) {
    char why[200];
    for (int i = 0; i < options->shape_count; ++i) {
        a->shapes[a->shape_count] = options->shapes[i];
        a->weights[a->shape_count++] = 1;
    }
    for (const struct benchmark_shape *b = benchmark_shapes; !options->shape_count && b->text; ++b)
        if (shape_parse(b->text, &a->shapes[a->shape_count], why, sizeof(why)))
            a->weights[a->shape_count++] = b->weight;
    for (int i = 0; i < a->shape_count; ++i)
        a->weight += a->weights[i];
}

/* ---- Journal --------------------------------------------------------------------------------- */

static json_t *write_shapes(const struct assignment *a) {
    json_t *shapes = json_array();
    for (int i = 0; i < a->shape_count; ++i)
        json_array_append_new(shapes, mha_config_write_shape(&a->shapes[i]));
    return shapes;
}

/* What a resumed run must do as the first one did. */
static json_t *write_options(const struct session *s) {
    return json_pack("{s:s, s:b, s:s?, s:s?}", "seed_from", name_of(s->seeds), "warm", s->is_warm,
                     "variant", s->limits.variant, "space", s->limits.values);
}

/* The texts stay the journal's. */
static bool read_options(const json_t *json, struct session *s) {
    char why[200];
    s->is_warm = json_is_true(json_object_get(json, "warm"));
    s->limits.variant = json_string_value(json_object_get(json, "variant"));
    s->limits.values = json_string_value(json_object_get(json, "space"));
    return find_seeds(json_string_value(json_object_get(json, "seed_from")), &s->seeds) &&
           path_check_limits(&s->limits, why, sizeof(why));
}

static void append(const struct session *s, json_t *line) {
    char why[200];
    if (line && !journal_write(s->journal, line, why, sizeof(why)))
        results_complain(why);
    json_decref(line);
}

static void journal_run(const struct session *s, const struct assignment *a,
                        const struct device_rates *rates) {
    char date[32], version[32];
    const time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", &utc);
    snprintf(version, sizeof(version), "%d.%d.%d", MHA_VERSION_MAJOR, MHA_VERSION_MINOR,
             MHA_VERSION_PATCH);
    append(s, json_pack(
                  "{s:s, s:i, s:s, s:s, s:o, s:{s:f, s:f}, s:o, s:s, s:I, s:i, s:f, s:o}", "event",
                  "run", "version", 1, "date", date, "library", version, "device",
                  mha_config_write_device(&s->device->identity), "rates", "flops", rates->flops,
                  "bytes", rates->bytes, "options", write_options(s), "budget", a->budget->name,
                  "seed", (json_int_t)s->seed, "evaluations", s->most_evaluations, "seconds",
                  isfinite(s->deadline) ? s->deadline - s->begun : 0.0, "shapes", write_shapes(a)));
}

static void journal_final(const struct session *s, const struct config_entry *e) {
    json_t *entry = mha_config_write_entry(e);
    json_t *line = json_pack("{s:s, s:f, s:f}", "event", "final", "gain", e->default_ns / e->ns,
                             "time", session_now() - s->begun);
    if (entry && line)
        json_object_update(line, entry);
    json_decref(entry);
    append(s, line);
}

static const char *event_of(const json_t *line) {
    const char *event = json_string_value(json_object_get(line, "event"));
    return event ? event : "";
}

/* One that the deadline stopped is none. */
static bool is_evaluation(const json_t *line) {
    const char *result = json_string_value(json_object_get(line, "result"));
    return !strcmp(event_of(line), "end") && result &&
           strcmp(result, remote_result_names[REMOTE_STOPPED]) != 0;
}

/* The last run of the journal, with what it has done; false with a reason. */
static bool recall_run(const struct journal *journal, struct session *s, struct assignment *a,
                       char *why, size_t why_bytes) {
    const json_t *lines = journal_lines(journal), *run = NULL, *shape;
    size_t i;
    for (i = 0; i < json_array_size(lines); ++i)
        if (!strcmp(event_of(json_array_get(lines, i)), "run")) {
            run = json_array_get(lines, i);
            a->first_line = i;
        }
    if (!run) {
        snprintf(why, why_bytes, "the journal holds no run to resume");
        return false;
    }
    *a = (struct assignment){.first_line = a->first_line};
    a->budget = find_budget(json_string_value(json_object_get(run, "budget")));
    s->most_evaluations = (int)json_integer_value(json_object_get(run, "evaluations"));
    s->seed = (uint64_t)json_integer_value(json_object_get(run, "seed"));
    const double seconds = json_number_value(json_object_get(run, "seconds"));
    json_array_foreach(json_object_get(run, "shapes"), i, shape) {
        if (a->shape_count < MAX_SHAPES &&
            mha_config_read_shape(shape, &a->shapes[a->shape_count], why, why_bytes)) {
            a->weights[a->shape_count++] = 1;
            ++a->weight;
        }
    }
    if (!a->budget || !a->shape_count || !read_options(json_object_get(run, "options"), s) ||
        s->most_evaluations < 1 || seconds < 0) {
        snprintf(why, why_bytes, "the journal's last run can't be read");
        return false;
    }
    double used = 0;
    int evaluations = 0;
    for (i = a->first_line; i < json_array_size(lines); ++i) {
        const json_t *line = json_array_get(lines, i);
        const double time = json_number_value(json_object_get(line, "time"));
        struct shape done;
        char text[SHAPE_TEXT_BYTES], other[SHAPE_TEXT_BYTES], ignored[160];
        used = time > used ? time : used;
        evaluations += is_evaluation(line);
        if (strcmp(event_of(line), "final") != 0 ||
            !mha_config_read_shape(json_object_get(line, "shape"), &done, ignored, sizeof(ignored)))
            continue;
        /* Those of the shape in progress are counted when it goes on, against its own share. */
        s->evaluations = evaluations;
        shape_print(&done, text);
        for (int n = 0; n < a->shape_count; ++n) {
            shape_print(&a->shapes[n], other);
            a->is_done[n] = a->is_done[n] || !strcmp(text, other);
        }
    }
    s->begun = session_now() - used;
    s->deadline = seconds > 0 ? s->begun + seconds : INFINITY;
    return true;
}

/* ---- The run --------------------------------------------------------------------------------- */

static void interrupt_once(int number) {
    (void)number;
    /* The second one ends the program: the journal and the saved results stay whole. */
    if (session_is_interrupted)
        _exit(EXIT_PARTIAL);
    session_is_interrupted = 1;
}

static void report(const struct options *options, const struct shape *shape,
                   enum shape_outcome outcome, const struct config_entry *e, const char *why) {
    char text[SHAPE_TEXT_BYTES], values[256] = "";
    shape_print(shape, text);
    const bool has_entry = outcome == SHAPE_TUNED || outcome == SHAPE_NO_GAIN;
    if (has_entry && !e->is_default)
        mha_tuning_print(e->variant, &e->tuning, values, sizeof(values));
    if (options->is_json) {
        json_t *entry = has_entry ? mha_config_write_entry(e)
                                  : json_pack("{s:s, s:s}", "shape", text, "why", why);
        if (entry)
            json_object_set_new(entry, "result",
                                json_string(outcome == SHAPE_TUNED     ? "tuned"
                                            : outcome == SHAPE_NO_GAIN ? "no_gain"
                                            : outcome == SHAPE_STOPPED ? "stopped"
                                                                       : "failed"));
        json_dumpf(entry, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
        printf("\n");
        json_decref(entry);
    } else if (outcome == SHAPE_TUNED) {
        printf("%-28s %9.4f ms -> %9.4f ms  %5.2fx  %s %s\n", text, e->default_ns * 1e-6,
               e->ns * 1e-6, e->default_ns / e->ns, e->variant->name, values);
    } else if (outcome == SHAPE_NO_GAIN) {
        printf("%-28s %9.4f ms  the default stays (%s)\n", text, e->default_ns * 1e-6,
               e->variant->name);
    } else {
        printf("%-28s %s: %s\n", text, outcome == SHAPE_STOPPED ? "not done" : "failed", why);
    }
    fflush(stdout);
}

static int tune_all(const struct options *options, struct session *s, struct assignment *a,
                    const char *folder) {
    int outcomes[SHAPE_FAILED + 1] = {0}, status = EXIT_TUNED;
    int weight = a->weight;
    for (int i = 0; i < a->shape_count; ++i) {
        char why[400] = "the budget was spent before";
        struct config_entry entry;
        enum shape_outcome outcome = SHAPE_STOPPED;
        const double share = (double)a->weights[i] / weight, now = session_now();
        const int evaluations = (int)ceil((s->most_evaluations - s->evaluations) * share);
        const double deadline =
            isfinite(s->deadline) ? now + (s->deadline - now) * share : INFINITY;
        weight -= a->weights[i];
        if (a->is_done[i])
            continue;
        if (session_may_go_on(s, s->deadline))
            outcome = session_tune(s, &a->shapes[i], evaluations, deadline, a->budget->name,
                                   a->first_line, &entry, why, sizeof(why));
        ++outcomes[outcome];
        if (outcome == SHAPE_TUNED || outcome == SHAPE_NO_GAIN) {
            char problem[300];
            /* In this order: a shape that the journal calls done is not done again. */
            if (store_merge(folder, &s->device->identity, &entry, 1, NULL, 0, problem,
                            sizeof(problem)))
                journal_final(s, &entry);
            else
                status = results_complain(problem);
            /* A start for the shapes to come; without memory for it they do without. */
            mha_config_add(&s->config, &allocator, &entry);
        }
        report(options, &a->shapes[i], outcome, &entry, why);
    }
    if (status)
        return status;
    if (outcomes[SHAPE_FAILED] && !outcomes[SHAPE_TUNED] && !outcomes[SHAPE_NO_GAIN])
        return EXIT_DEVICE;
    if (outcomes[SHAPE_STOPPED] || outcomes[SHAPE_FAILED] || session_is_interrupted)
        return EXIT_PARTIAL;
    return outcomes[SHAPE_NO_GAIN] && !outcomes[SHAPE_TUNED] ? EXIT_NO_GAIN : EXIT_TUNED;
}

/* A journal belongs to a device; its name is that of the device's file. */
static bool open_journal(const struct options *options, struct session *s, char *why,
                         size_t why_bytes) {
    char path[1024], file[1024];
    store_path("", &s->device->identity, file, sizeof(file));
    const char *name = strrchr(file, '/') ? strrchr(file, '/') + 1 : file;
    file[strlen(file) - strlen(".json")] = 0;
    if (options->journal)
        snprintf(path, sizeof(path), "%s", options->journal);
    else if (!journal_path(name, path, sizeof(path), why, why_bytes))
        return false;
    s->journal = journal_open(path, why, why_bytes);
    return s->journal != NULL;
}

static int run(const struct options *options, bool is_resumed) {
    static const struct log_target silent = {NULL, NULL};
    struct assignment a = {.budget = find_budget(options->budget)};
    struct session s = {.seed = options->seed ? options->seed : 1,
                        .limits = {options->variant, options->space},
                        .is_warm = options->is_warm};
    struct device_rates rates = {0, 0};
    char why[400], folder[1024];
    int code = EXIT_USAGE;
    if (!a.budget)
        return results_complain("a budget is quick, standard, patient or exhaustive");
    if (!find_seeds(options->seed_from, &s.seeds))
        return results_complain("--seed-from is all, safe, heuristic or none");
    if (!path_check_limits(&s.limits, why, sizeof(why)) ||
        !options_folder(options, folder, sizeof(folder), why, sizeof(why)))
        return results_complain(why);
    signal(SIGINT, interrupt_once);
    signal(SIGTERM, interrupt_once);
    s.begun = session_now();
    s.remote = remote_open(options->worker, options->device, why, sizeof(why));
    if (!s.remote) {
        results_complain(why);
        return EXIT_DEVICE;
    }
    s.device = remote_device(s.remote);
    if (!open_journal(options, &s, why, sizeof(why))) {
        results_complain(why);
        goto done;
    }
    if (is_resumed && !recall_run(s.journal, &s, &a, why, sizeof(why))) {
        results_complain(why);
        goto done;
    }
    if (!is_resumed) {
        assign_shapes(options, &a);
        s.most_evaluations =
            options->evaluations
                ? options->evaluations
                : (int)fmin((double)a.budget->evaluations * a.shape_count, INT32_MAX);
        s.deadline = s.begun + (options->seconds > 0 ? options->seconds : a.budget->seconds);
        a.first_line = json_array_size(journal_lines(s.journal));
    }
    s.method = a.budget->method;
    s.is_quiet = options->is_quiet;
    s.shows_bar = isatty(STDERR_FILENO);
    remote_set_deadline(s.remote, s.deadline);
    if (s.seeds == SEEDS_ALL &&
        !mha_config_load(&s.config, &allocator, false, options->config, NULL, &silent)) {
        results_complain("no memory for tuning results");
        goto done;
    }
    if (remote_rates(s.remote, &rates, why, sizeof(why)) != REMOTE_OK) {
        results_complain(why);
        code = EXIT_DEVICE;
        goto done;
    }
    if (!is_resumed)
        journal_run(&s, &a, &rates);
    if (!options->is_json)
        printf("%s / %s: %.0f GFLOP/s, %.1f GB/s\n", s.device->identity.platform,
               s.device->identity.name, rates.flops * 1e-9, rates.bytes * 1e-9);
    code = tune_all(options, &s, &a, folder);
done:
    mha_config_release(&s.config, &allocator);
    if (s.journal)
        journal_close(s.journal);
    remote_close(s.remote);
    return code;
}

int command_run(const struct options *options) {
    return run(options, false);
}

int command_resume(const struct options *options) {
    return run(options, true);
}
