/* In: the results of a device, and the device. Out: the same without those that do not hold; those
 * of another driver or of other kernels measured anew. */
#include "caps_json.h"
#include "config_json.h"
#include "pair.h"
#include "results.h"
#include "store.h"
#include "worker.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum verdict {
    VERDICT_HOLDS,
    VERDICT_RENEWED,
    VERDICT_DEFAULT, /* renewed, but the default is as fast */
    VERDICT_DROPPED,
    VERDICT_SUPERSEDED, /* a better result of its class is there */
    VERDICT_UNKNOWN,
    VERDICTS
};
static const char *const verdict_names[VERDICTS] = {"holds",   "renewed",    "default",
                                                    "dropped", "superseded", "unknown"};

struct verifier {
    const struct options *options;
    char folder[4096];
    struct remote *remote;
    const struct config_device *device;
    struct config config;
    struct results_fact *facts;
    json_t *list; /* NULL: text */
    int shape_width;
    int counts[VERDICTS];
    bool is_store_broken;
};

/* ---- One result ------------------------------------------------------------------------------ */

static bool is_exact(const struct verifier *v, size_t i) {
    return v->facts[i].is_current && !strcmp(v->config.entries[i].device.driver, v->device->driver);
}

/* Of two results of one class that are to be renewed only one would stay. */
static bool is_superseded(const struct verifier *v, size_t i) {
    const struct config_entry *e = &v->config.entries[i];
    for (size_t j = 0; j < v->config.count && !is_exact(v, i); ++j) {
        const struct config_entry *other = &v->config.entries[j];
        if (i == j || !results_is_same_device(&e->device, &other->device) ||
            strcmp(v->facts[i].shape_class, v->facts[j].shape_class) != 0)
            continue;
        const int order = strcmp(other->date, e->date);
        if (is_exact(v, j) || order > 0 || (!order && j > i))
            return true;
    }
    return false;
}

static struct measurement renew(const struct verifier *v, const struct candidate *candidate,
                                struct config_entry *renewed) {
    const struct measure_options options = {.limit_ns = INFINITY, .is_warm = v->options->is_warm};
    const struct candidate candidates[2] = {{.variant = NULL}, *candidate};
    const int rounds = v->options->rounds ? v->options->rounds : PAIR_ROUNDS;
    struct pair pair;
    struct measurement m;
    if (renewed->is_default) {
        m = remote_evaluate(v->remote, &renewed->shape, candidate, &options);
        pair = (struct pair){.ns = {m.ns}, .mad_ns = {m.mad_ns}};
    } else
        m = pair_measure(v->remote, &renewed->shape, candidates, rounds, v->options->is_warm,
                         &pair);
    if (m.result)
        return m;
    renewed->is_default = renewed->is_default || pair.low < RESULTS_LEAST_GAIN;
    renewed->default_ns = pair.ns[0];
    renewed->ns = pair.ns[!renewed->is_default];
    renewed->mad_ns = pair.mad_ns[!renewed->is_default];
    return m;
}

/* Checks a result; one that is not exact is measured, too, and brought up to date. */
static struct measurement try_result(const struct verifier *v, size_t i,
                                     struct config_entry *renewed) {
    const struct config_entry *e = &v->config.entries[i];
    struct candidate candidate = {.variant = NULL};
    *renewed = *e;
    if (!e->is_default)
        candidate = (struct candidate){e->variant, e->tuning};
    struct measurement m = remote_check(v->remote, &e->shape, &candidate);
    if (m.result || is_exact(v, i))
        return m;
    renewed->device = *v->device;
    renewed->max_error = m.max_error;
    const struct variant *variant = m.variant;
    m = renew(v, &candidate, renewed);
    /* What the default is may have changed as well. */
    if (e->is_default)
        renewed->variant = variant;
    results_stamp(renewed);
    return m;
}

static bool default_works(const struct verifier *v, const struct shape *shape) {
    static const struct candidate heuristic = {.variant = NULL};
    return !remote_check(v->remote, shape, &heuristic).result;
}

/* ---- Files ----------------------------------------------------------------------------------- */

static bool is_another(const void *context, const struct config_entry *entry) {
    return !results_is_same(context, entry);
}

/* Puts the renewed result, if any, in the place of the old one. The new one first: whenever this
 * ends, one of them is there. */
static bool replace(struct verifier *v, const struct config_entry *old,
                    const struct config_entry *renewed) {
    char note[400] = "";
    size_t removed;
    bool is_stored = true;
    if (renewed)
        is_stored = store_merge(v->folder, v->device, renewed, 1, NULL, 0, note, sizeof(note));
    if (note[0])
        results_complain(note);
    if (is_stored) {
        is_stored = store_prune(v->folder, is_another, old, &removed, note, sizeof(note));
        if (note[0])
            results_complain(note);
    }
    v->is_store_broken |= !is_stored;
    return is_stored;
}

/* ---- All results ----------------------------------------------------------------------------- */

static void report(struct verifier *v, const struct config_entry *e, enum verdict verdict,
                   const char *why) {
    char shape[SHAPE_TEXT_BYTES], text[RESULTS_TEXT_BYTES];
    ++v->counts[verdict];
    if (v->list) {
        json_t *json = results_write(e);
        json_object_set_new(json, "verdict", json_string(verdict_names[verdict]));
        json_object_set_new(json, "why", text_write(why));
        json_array_append_new(v->list, json);
        return;
    }
    shape_print(&e->shape, shape);
    results_print(e, text);
    printf("%-*s  %-10s  %s%s%s\n", v->shape_width, shape, verdict_names[verdict], text,
           why[0] ? ": " : "", why);
    fflush(stdout);
}

/* Entries of the device; with --shape, of those shapes. --device has chosen the device: part of
 * another one's name may be the same. */
static bool is_asked(const struct verifier *v, size_t i) {
    struct options options = *v->options;
    options.device = NULL;
    return results_is_same_device(&v->config.entries[i].device, v->device) &&
           results_is_asked(&v->config.entries[i], &options);
}

static void verify(struct verifier *v, size_t i) {
    const struct config_entry *e = &v->config.entries[i];
    struct config_entry renewed;
    char why[300] = "";
    if (is_superseded(v, i)) {
        report(v, e, VERDICT_SUPERSEDED, "a later result of its class is there; prune drops it");
        return;
    }
    /* Twice, since a fault may be the machine's. */
    struct measurement m = {.result = REMOTE_CRASH};
    for (int attempt = 0; attempt < 2 && m.result && m.result != REMOTE_STOPPED; ++attempt)
        m = try_result(v, i, &renewed);
    if (!m.result && is_exact(v, i)) {
        report(v, e, VERDICT_HOLDS, why);
        return;
    }
    if (!m.result) {
        if (!renewed.is_default)
            snprintf(why, sizeof(why), "%.2f times as fast as the default, was %.2f",
                     results_gain(&renewed), results_gain(e));
        else if (!e->is_default)
            snprintf(why, sizeof(why), "the values that were %.2f times as fast gain nothing now",
                     results_gain(e));
        if (replace(v, e, &renewed))
            report(v, &renewed,
                   renewed.is_default && !e->is_default ? VERDICT_DEFAULT : VERDICT_RENEWED, why);
        return;
    }
    snprintf(why, sizeof(why), "%s, %s", remote_result_names[m.result], m.why);
    if (m.result == REMOTE_STOPPED || e->is_default || !default_works(v, &e->shape))
        report(v, e, VERDICT_UNKNOWN, why);
    else if (replace(v, e, NULL))
        report(v, e, VERDICT_DROPPED, why);
}

static int finish(struct verifier *v) {
    int total = 0, code = EXIT_TUNED;
    for (int i = 0; i < VERDICTS; ++i)
        total += v->counts[i];
    if (v->counts[VERDICT_DROPPED])
        code = EXIT_PARTIAL;
    /* Neither the time nor the device was left. */
    if (v->counts[VERDICT_UNKNOWN])
        code = v->options->seconds > 0 && !remote_is_lost(v->remote) ? EXIT_PARTIAL : EXIT_DEVICE;
    if (v->is_store_broken)
        code = EXIT_USAGE;
    if (v->list) {
        json_t *json = json_pack("{s:o, s:O}", "device", mha_config_write_device(v->device),
                                 "results", v->list);
        return results_dump(json) ? EXIT_USAGE : code;
    }
    printf("%d %s", total, total == 1 ? "result" : "results");
    const char *separator = ": ";
    for (int i = 0; i < VERDICTS; ++i)
        if (v->counts[i]) {
            printf("%s%s %d", separator, verdict_names[i], v->counts[i]);
            separator = ", ";
        }
    puts("");
    return code;
}

int command_verify(const struct options *options) {
    struct verifier v = {.options = options};
    char why[400];
    int code = EXIT_USAGE;
    if (!options_folder(options, v.folder, sizeof(v.folder), why, sizeof(why)))
        return results_complain(why);
    if (!results_load_folder(&v.config, options->config))
        return EXIT_USAGE;
    v.facts = results_facts(&v.config);
    if (!v.facts)
        goto done;
    v.remote = remote_open(options->worker, options->device, why, sizeof(why));
    if (!v.remote) {
        results_complain(why);
        code = EXIT_DEVICE;
        goto done;
    }
    if (options->seconds > 0)
        remote_set_deadline(v.remote, worker_clock() + options->seconds);
    v.device = &remote_device(v.remote)->identity;
    v.list = options->is_json ? json_array() : NULL;
    if (!v.list)
        printf("%s / %s, driver %s\n", v.device->platform, v.device->name, v.device->driver);
    for (size_t i = 0; i < v.config.count; ++i) {
        char shape[SHAPE_TEXT_BYTES];
        shape_print(&v.config.entries[i].shape, shape);
        const int width = (int)strlen(shape);
        if (is_asked(&v, i) && width > v.shape_width)
            v.shape_width = width;
    }
    for (size_t i = 0; i < v.config.count; ++i)
        if (is_asked(&v, i))
            verify(&v, i);
    code = finish(&v);
done:
    json_decref(v.list);
    remote_close(v.remote);
    free(v.facts);
    results_release(&v.config);
    return code;
}
