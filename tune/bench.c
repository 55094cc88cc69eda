/* In: tuning results, a device. Out: for each shape, how fast the library's choice with them is
 * against its choice without, measured in turn in one process. */
#include "caps_json.h"
#include "choice.h"
#include "config_json.h"
#include "pair.h"
#include "results.h"
#include "worker.h"

#include <math.h>
#include <string.h>

/* A shape with both choices. */
struct row {
    struct shape shape;
    char text[SHAPE_TEXT_BYTES];
    struct choice before, after;
    bool is_same, is_failed;
    struct measurement measurement; /* why, where it failed */
    struct pair pair;
};

struct bench {
    const struct options *options;
    struct remote *remote;
    struct config config, against; /* against: empty without --against */
    struct device_rates rates;
    json_t *list; /* NULL: text */
    int shape_width;
    int count, failed;
    double logarithms, least; /* of the ratios; the sum, the smallest ratio */
};

static bool fail(struct row *row, const char *why) {
    row->is_failed = true;
    snprintf(row->measurement.why, sizeof(row->measurement.why), "%.190s", why);
    return false;
}

static bool choose(const struct bench *b, struct row *row) {
    const struct device_caps *caps = &remote_device(b->remote)->caps;
    const struct config *before = b->options->against ? &b->against : NULL;
    struct problem problem;
    mha_error error;
    if (mha_shape_problem(&row->shape, &problem, &error))
        return fail(row, error.message);
    row->before = choice_make(&problem, caps, before);
    row->after = choice_make(&problem, caps, &b->config);
    if (!row->before.selection.variant)
        return fail(row, row->before.error.message);
    if (!row->after.selection.variant)
        return fail(row, row->after.error.message);
    row->is_same = choice_is_same(&row->before, &row->after);
    return true;
}

static void measure(const struct bench *b, struct row *row) {
    const struct candidate candidates[2] = {choice_candidate(&row->before),
                                            choice_candidate(&row->after)};
    const int rounds = b->options->rounds ? b->options->rounds : PAIR_ROUNDS;
    row->measurement =
        pair_measure(b->remote, &row->shape, candidates, rounds, b->options->is_warm, &row->pair);
    row->is_failed = row->measurement.result != REMOTE_OK;
}

/* ---- Output ---------------------------------------------------------------------------------- */

static void print_titles(const struct bench *b) {
    const struct config_device *device = &remote_device(b->remote)->identity;
    printf("%s / %s, driver %s: %.0f GFLOP/s at most\n", device->platform, device->name,
           device->driver, b->rates.flops * 1e-9);
    printf("%-*s  %11s  %11s  %-24s  %9s  %6s  %s\n", b->shape_width, "shape",
           b->options->against ? "against ms" : "untuned ms", "tuned ms", "ratio (95 % interval)",
           "GFLOP/s", "% peak", "tuned choice");
}

static void print_row(const struct bench *b, const struct row *row) {
    char choice[RESULTS_TEXT_BYTES], ratio[64];
    if (row->is_failed) {
        printf("%-*s  failed (%s): %s\n", b->shape_width, row->text,
               row->measurement.result ? remote_result_names[row->measurement.result] : "no choice",
               row->measurement.why);
        return;
    }
    choice_print(&row->after.selection, choice, sizeof(choice));
    if (row->is_same) {
        printf("%-*s  %11s  %11s  %-24s  %9s  %6s  %s\n", b->shape_width, row->text, "-", "-",
               "1 (the same choice)", "-", "-", choice);
        return;
    }
    const double rate = mha_shape_work(&row->shape, true).flops / row->pair.ns[1];
    snprintf(ratio, sizeof(ratio), "%.3f (%.3f to %.3f)", row->pair.ratio, row->pair.low,
             row->pair.high);
    printf("%-*s  %11.4f  %11.4f  %-24s  %9.1f  %6.1f  %s\n", b->shape_width, row->text,
           row->pair.ns[0] * 1e-6, row->pair.ns[1] * 1e-6, ratio, rate,
           100e9 * rate / b->rates.flops, choice);
}

static json_t *write_choice(const struct choice *choice) {
    const struct selection *s = &choice->selection;
    return json_pack("{s:s, s:o, s:s}", "variant", s->variant->name, "params",
                     mha_config_write_tuning(s->variant, &s->tuning), "source", s->source);
}

static json_t *write_row(const struct bench *b, const struct row *row) {
    json_t *json = json_pack("{s:s, s:b, s:o}", "shape_text", row->text, "failed", row->is_failed,
                             "shape", mha_config_write_shape(&row->shape));
    if (!json || row->is_failed) {
        json_object_set_new(json, "why", text_write(row->measurement.why));
        return json;
    }
    json_object_set_new(json, "same", json_boolean(row->is_same));
    json_object_set_new(json, b->options->against ? "against" : "untuned",
                        write_choice(&row->before));
    json_object_set_new(json, "tuned", write_choice(&row->after));
    json_object_set_new(json, "ratio", json_real(row->is_same ? 1 : row->pair.ratio));
    if (row->is_same)
        return json;
    const double rate = 1e9 * mha_shape_work(&row->shape, true).flops / row->pair.ns[1];
    json_t *more =
        json_pack("{s:[f,f], s:[f,f], s:[f,f], s:f, s:f}", "ns", row->pair.ns[0], row->pair.ns[1],
                  "mad_ns", row->pair.mad_ns[0], row->pair.mad_ns[1], "interval", row->pair.low,
                  row->pair.high, "flops_per_second", rate, "of_peak", rate / b->rates.flops);
    json_object_update(json, more);
    json_decref(more);
    return json;
}

static int print_summary(const struct bench *b) {
    const int good = b->count - b->failed;
    const double mean = good ? exp(b->logarithms / good) : NAN;
    if (b->list) {
        const struct remote_device *device = remote_device(b->remote);
        return results_dump(
            json_pack("{s:o, s:o, s:f, s:O, s:o, s:o, s:i}", "device",
                      mha_config_write_device(&device->identity), "against",
                      b->options->against ? text_write(b->options->against) : json_null(),
                      "peak_flops_per_second", b->rates.flops, "shapes", b->list, "geometric_mean",
                      good ? json_real(mean) : json_null(), "minimum",
                      good ? json_real(b->least) : json_null(), "failed", b->failed));
    }
    if (good)
        printf("geometric mean %.3f, minimum %.3f, of %d %s\n", mean, b->least, good,
               good == 1 ? "shape" : "shapes");
    return EXIT_TUNED;
}

/* ---- The command ----------------------------------------------------------------------------- */

static bool bench_shape(struct bench *b, struct row *row) {
    if (choose(b, row) && !row->is_same)
        measure(b, row);
    ++b->count;
    b->failed += row->is_failed;
    if (!row->is_failed) {
        const double ratio = row->is_same ? 1 : row->pair.ratio;
        b->logarithms += log(ratio);
        b->least = ratio < b->least ? ratio : b->least;
    }
    if (b->list)
        return !json_array_append_new(b->list, write_row(b, row));
    print_row(b, row);
    fflush(stdout);
    return true;
}

static int bench_all(struct bench *b) {
    struct shape shapes[MAX_SHAPES];
    const int count = results_shapes(b->options, shapes);
    char text[SHAPE_TEXT_BYTES];
    for (int i = 0; i < count; ++i) {
        shape_print(&shapes[i], text);
        const int width = (int)strlen(text);
        b->shape_width = width > b->shape_width ? width : b->shape_width;
    }
    if (!b->list)
        print_titles(b);
    for (int i = 0; i < count; ++i) {
        struct row row = {.shape = shapes[i]};
        shape_print(&row.shape, row.text);
        if (!bench_shape(b, &row))
            return results_complain("no memory for JSON");
    }
    const int code = print_summary(b);
    if (code || !b->failed)
        return code;
    return b->failed == b->count ? EXIT_DEVICE : EXIT_PARTIAL;
}

int command_bench(const struct options *options) {
    struct bench b = {.options = options, .least = INFINITY};
    char why[400];
    int code = EXIT_USAGE;
    if (!results_load(&b.config, options->config))
        return EXIT_USAGE;
    if (options->against && !results_load_folder(&b.against, options->against))
        goto done;
    code = EXIT_DEVICE;
    b.remote = remote_open(options->worker, options->device, why, sizeof(why));
    if (!b.remote) {
        results_complain(why);
        goto done;
    }
    if (options->seconds > 0)
        remote_set_deadline(b.remote, worker_clock() + options->seconds);
    if (remote_rates(b.remote, &b.rates, why, sizeof(why)) != REMOTE_OK) {
        results_complain(why);
        goto done;
    }
    b.list = options->is_json ? json_array() : NULL;
    code = bench_all(&b);
done:
    json_decref(b.list);
    remote_close(b.remote);
    results_release(&b.against);
    results_release(&b.config);
    return code;
}
