/* In: an assignment. Out: tuning results in the config file, shape by shape, and a journal. */
#include "assignment.h"
#include "config_json.h"
#include "results.h"
#include "store.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const struct allocator allocator = {NULL, NULL, NULL};

/* ---- Journal --------------------------------------------------------------------------------- */

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
    json_t *line = assignment_write(a, s);
    json_t *conditions = json_pack("{s:s, s:s, s:o, s:{s:f, s:f}}", "date", date, "library",
                                   version, "device", mha_config_write_device(&s->device->identity),
                                   "rates", "flops", rates->flops, "bytes", rates->bytes);
    if (line && conditions)
        json_object_update(line, conditions);
    json_decref(conditions);
    append(s, line);
}

/* A search that was interrupted is not complete: a resumed run goes on with it. */
static void journal_final(const struct session *s, const struct config_entry *e) {
    json_t *entry = mha_config_write_entry(e);
    json_t *line =
        json_pack("{s:s, s:f, s:f, s:b}", "event", "final", "gain", e->default_ns / e->ns, "time",
                  session_now() - s->begun, "complete", !session_is_interrupted);
    if (entry && line)
        json_object_update(line, entry);
    json_decref(entry);
    append(s, line);
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
        static const char *const names[] = {[SHAPE_TUNED] = "tuned",
                                            [SHAPE_NO_GAIN] = "no_gain",
                                            [SHAPE_STOPPED] = "stopped",
                                            [SHAPE_FAILED] = "failed"};
        json_t *entry =
            has_entry ? mha_config_write_entry(e)
                      : json_pack("{s:o, s:s}", "shape", mha_config_write_shape(shape), "why", why);
        json_object_set_new(entry, "shape_text", json_string(text));
        json_object_set_new(entry, "result", json_string(names[outcome]));
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

/* The entry takes its place in the tuning file, and is a start for the shapes to come. */
static bool keep(struct session *s, const struct assignment *a, const struct config_entry *entry) {
    char note[300];
    const bool is_kept =
        store_merge(a->folder, &s->device->identity, entry, 1, NULL, 0, note, sizeof(note));
    if (note[0])
        results_complain(note);
    /* In this order: a shape that the journal calls done is not done again. */
    if (is_kept)
        journal_final(s, entry);
    /* Without memory for it they do without. */
    mha_config_add(&s->config, &allocator, entry);
    return is_kept;
}

static int tune_all(const struct options *options, struct session *s, struct assignment *a) {
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
            outcome = session_tune(s, &a->shapes[i], evaluations, deadline, a->rigor, a->first_line,
                                   &entry, why, sizeof(why));
        else if (session_is_interrupted)
            snprintf(why, sizeof(why), "interrupted before");
        ++outcomes[outcome];
        if ((outcome == SHAPE_TUNED || outcome == SHAPE_NO_GAIN) && !keep(s, a, &entry))
            status = EXIT_USAGE;
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

/* What the run's results would replace, or hide: for every kind of seeds, since even a search that
 * must not begin there must not lose it. */
static bool load_results(const struct options *options, const struct assignment *a,
                         struct session *s) {
    if (s->seeds != SEEDS_ALL)
        return access(a->folder, F_OK) || results_load_folder(&s->earlier, a->folder);
    if (!results_load(&s->earlier, options->config))
        return false;
    /* They are seeds, too, and more will come to those. */
    const size_t count = s->earlier.count, bytes = count * sizeof(*s->earlier.entries);
    s->config.entries = count ? mha_allocate(&allocator, bytes) : NULL;
    if (s->config.entries) {
        memcpy(s->config.entries, s->earlier.entries, bytes);
        s->config.count = s->config.capacity = count;
    }
    return true;
}

/* A run may be resumed from elsewhere. */
static void make_absolute(char *folder, size_t bytes) {
    char *absolute = realpath(folder, NULL);
    if (absolute && strlen(absolute) < bytes)
        strcpy(folder, absolute);
    free(absolute);
}

static int run(const struct options *options, bool is_resumed) {
    struct assignment a;
    struct session s = {.is_quiet = options->is_quiet, .shows_bar = isatty(STDERR_FILENO)};
    struct device_rates rates = {0, 0};
    char why[400];
    int code = EXIT_USAGE;
    if (!is_resumed && !assignment_read(options, &a, &s, why, sizeof(why)))
        return results_complain(why);
    signal(SIGINT, interrupt_once);
    signal(SIGTERM, interrupt_once);
    s.remote = remote_open(options->worker, options->device, why, sizeof(why));
    if (!s.remote) {
        results_complain(why);
        return EXIT_DEVICE;
    }
    s.device = remote_device(s.remote);
    if (!open_journal(options, &s, why, sizeof(why)) ||
        (is_resumed && !assignment_recall(options, &a, &s, why, sizeof(why))) ||
        !store_check(a.folder, &s.device->identity, why, sizeof(why))) {
        results_complain(why);
        goto done;
    }
    make_absolute(a.folder, sizeof(a.folder));
    if (!is_resumed)
        a.first_line = json_array_size(journal_lines(s.journal));
    if (!load_results(options, &a, &s))
        goto done;
    remote_set_deadline(s.remote, s.deadline);
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
    code = tune_all(options, &s, &a);
done:
    results_release(&s.config);
    results_release(&s.earlier);
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
