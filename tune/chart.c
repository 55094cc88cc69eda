/* In: a run. Out: the picture of one shape's tuning, as PNG or SVG. */
#include "chart.h"
#include "export.h"

#include <cairo-svg.h>
#include <math.h>
#include <string.h>

#define PAGE_WIDTH 1200.0
#define PAGE_HEIGHT 1010.0
#define MARGIN 40.0
#define GAP 48.0
#define TOP_HEIGHT 372.0
#define HEADING 148.0
#define PNG_SCALE 2.0

static const struct study *choose_study(const struct export_scope *scope) {
    const struct study *chosen = NULL;
    for (size_t i = 0; i < scope->trace->count; ++i) {
        const struct study *study = &scope->trace->studies[i];
        if (export_is_in_scope(scope, study) && (!chosen || study->count > chosen->count))
            chosen = study;
    }
    return chosen;
}

/* What the map is of: the variant that was asked for, else the fastest one with known values, else
 * the one with most trials. */
static int choose_variant(const struct export_scope *scope, const struct study *study) {
    size_t counts[TRACE_MAX_VARIANTS] = {0};
    int chosen = -1;
    double best = INFINITY;
    if (scope->variant)
        return study_find_variant(study, scope->variant);
    for (size_t i = 0; i < study->count; ++i) {
        const struct trace_trial *trial = &study->trials[i];
        if (!trial->has_values)
            continue;
        ++counts[trial->variant];
        if (trial->ns < best) {
            best = trial->ns;
            chosen = trial->variant;
        } else if (isinf(best) && (chosen < 0 || counts[trial->variant] > counts[chosen])) {
            chosen = trial->variant;
        }
    }
    return chosen;
}

/* Milliseconds unless the numbers would be long. */
static struct unit choose_unit(double ns) {
    if (ns < 1e4)
        return (struct unit){"µs", 1e3};
    return ns < 1e10 || isinf(ns) ? (struct unit){"ms", 1e6} : (struct unit){"s", 1e9};
}

static struct chart make_chart(const struct export_scope *scope, cairo_t *cr) {
    const struct study *study = choose_study(scope);
    struct chart chart = {.cr = cr,
                          .trace = scope->trace,
                          .study = study,
                          .best = study_best(study, -1),
                          .variant = choose_variant(scope, study),
                          .untuned_ns = study_default_ns(study)};
    const struct study_final *final = &study->final;
    chart.default_ns = final->default_ns > 0 ? final->default_ns : chart.untuned_ns;
    chart.best_ns = chart.best < 0 ? INFINITY : study->trials[chart.best].ns;
    if (final->ns > 0)
        chart.best_ns = final->ns;
    chart.is_faster = chart.default_ns > 0 && chart.best_ns < chart.default_ns;
    chart.unit = choose_unit(chart.best_ns);
    return chart;
}

static void write_subject(const struct shape *s, char *text, size_t bytes) {
    const char *name = s->is_causal ? "Causal attention" : "Attention";
    char length[64], batch[24] = "";
    if (s->seqlen_q == s->seqlen_kv)
        snprintf(length, sizeof(length), "over %d token%s", (int)s->seqlen_q,
                 s->seqlen_q == 1 ? "" : "s");
    else
        snprintf(length, sizeof(length), "of %d quer%s to %d key%s", (int)s->seqlen_q,
                 s->seqlen_q == 1 ? "y" : "ies", (int)s->seqlen_kv, s->seqlen_kv == 1 ? "" : "s");
    if (s->batch > 1)
        snprintf(batch, sizeof(batch), ", batch %d", (int)s->batch);
    if (s->operation == OPERATION_LINEAR)
        snprintf(text, bytes, "Linear projection of %d rows, %d to %d features", (int)s->rows,
                 (int)s->in_features, (int)s->out_features);
    else
        snprintf(text, bytes, "%s %s, %d head%s%s", name, length, (int)s->q_heads,
                 s->q_heads == 1 ? "" : "s", batch);
}

static void write_result(const struct chart *c, char *text, size_t bytes) {
    const double gain = c->default_ns / c->best_ns;
    if (c->best < 0)
        snprintf(text, bytes, "nothing ran");
    else if (c->study->final.is_there && !c->study->final.is_tuned)
        snprintf(text, bytes, "the untuned default stays");
    else if (c->default_ns <= 0)
        snprintf(text, bytes, "tuned, the default’s time unknown");
    else if (!c->is_faster)
        snprintf(text, bytes, "nothing faster than the default so far");
    else if (!c->study->final.is_there)
        snprintf(text, bytes, "%.2f times as fast so far", gain);
    else
        snprintf(text, bytes, "%.2f times as fast after tuning", gain);
}

/* "panel BLOCK_Q=96 ...", of the fastest trial. */
static void write_values(const struct chart *c, char *text, size_t bytes) {
    *text = '\0';
    if (c->best < 0)
        return;
    const struct trace_trial *trial = &c->study->trials[c->best];
    const struct trace_variant *variant = &c->study->variants[trial->variant];
    size_t used = (size_t)snprintf(text, bytes, " · fastest: %s", variant->name);
    for (int i = 0; trial->has_values && i < variant->count && used < bytes; ++i)
        used += (size_t)snprintf(text + used, bytes - used, " %s=%d", variant->parameters[i],
                                 trial->point.value[i]);
}

static void draw_heading(const struct chart *c) {
    const struct config_device *device = &c->trace->device;
    const double width = PAGE_WIDTH - 2 * MARGIN;
    char subject[160], result[64], title[256], text[512], values[400];
    double size = 25;
    write_subject(&c->study->shape, subject, sizeof(subject));
    write_result(c, result, sizeof(result));
    snprintf(title, sizeof(title), "%s: %s", subject, result);
    while (size > 17 && chart_text_width(c->cr, size, true, title) > width)
        --size;
    chart_text(
        c->cr, MARGIN, 58,
        &(struct style){.size = size, .is_bold = true, .colour = CHART_INK, .max_width = width},
        title);
    const struct style style = {.size = 14, .colour = CHART_MUTED, .max_width = width};
    write_values(c, values, sizeof(values));
    snprintf(text, sizeof(text), "%s%s", c->study->text, values);
    chart_text(c->cr, MARGIN, 84, &style, text);
    snprintf(text, sizeof(text), "%s · driver %s · %s", device->name, device->driver,
             device->platform);
    chart_text(c->cr, MARGIN, 105, &style, text);
    snprintf(text, sizeof(text), "%zu evaluation%s of this shape · budget %s · seed %.0f · %s",
             c->study->count, c->study->count == 1 ? "" : "s",
             *c->trace->budget ? c->trace->budget : "unknown", c->trace->seed, c->trace->date);
    chart_text(c->cr, MARGIN, 126, &style, text);
}

static void draw(const struct export_scope *scope, cairo_t *cr) {
    const struct chart chart = make_chart(scope, cr);
    const double width = PAGE_WIDTH - 2 * MARGIN, half = (width - GAP) / 2;
    const double below = HEADING + TOP_HEIGHT + 30, height = PAGE_HEIGHT - below - 44;
    cairo_font_options_t *options = cairo_font_options_create();
    cairo_font_options_set_hint_style(options, CAIRO_HINT_STYLE_NONE);
    cairo_font_options_set_hint_metrics(options, CAIRO_HINT_METRICS_OFF);
    cairo_font_options_set_antialias(options, CAIRO_ANTIALIAS_GRAY);
    cairo_set_font_options(cr, options);
    cairo_font_options_destroy(options);
    chart_fill(cr, (struct box){0, 0, PAGE_WIDTH, PAGE_HEIGHT}, CHART_PAPER);
    draw_heading(&chart);
    chart_convergence(&chart, (struct box){MARGIN, HEADING, width, TOP_HEIGHT});
    chart_map(&chart, (struct box){MARGIN, below, half, height});
    chart_roofline(&chart, (struct box){MARGIN + half + GAP, below, half, height});
    chart_text(cr, MARGIN, PAGE_HEIGHT - 16,
               &(struct style){.size = 11, .colour = CHART_MUTED, .max_width = width},
               chart.study->shape.is_causal
                   ? "What the mask leaves out counts as operations, too. Made by mha-tune export."
                   : "Made by mha-tune export.");
}

static cairo_status_t take(void *closure, const unsigned char *data, unsigned bytes) {
    return fwrite(data, 1, bytes, closure) == bytes ? CAIRO_STATUS_SUCCESS
                                                    : CAIRO_STATUS_WRITE_ERROR;
}

static bool report(cairo_status_t status, char *why, size_t why_bytes) {
    if (status != CAIRO_STATUS_SUCCESS)
        snprintf(why, why_bytes, "the picture can't be drawn: %s", cairo_status_to_string(status));
    return status == CAIRO_STATUS_SUCCESS;
}

bool export_png(const struct export_scope *scope, FILE *out, char *why, size_t why_bytes) {
    cairo_surface_t *surface = cairo_image_surface_create(
        CAIRO_FORMAT_RGB24, (int)(PNG_SCALE * PAGE_WIDTH), (int)(PNG_SCALE * PAGE_HEIGHT));
    cairo_t *cr = cairo_create(surface);
    cairo_scale(cr, PNG_SCALE, PNG_SCALE);
    draw(scope, cr);
    cairo_status_t status = cairo_status(cr);
    if (status == CAIRO_STATUS_SUCCESS)
        status = cairo_surface_write_to_png_stream(surface, take, out);
    cairo_destroy(cr);
    cairo_surface_destroy(surface);
    return report(status, why, why_bytes);
}

bool export_svg(const struct export_scope *scope, FILE *out, char *why, size_t why_bytes) {
    cairo_surface_t *surface =
        cairo_svg_surface_create_for_stream(take, out, PAGE_WIDTH, PAGE_HEIGHT);
    cairo_svg_surface_set_document_unit(surface, CAIRO_SVG_UNIT_PX);
    cairo_t *cr = cairo_create(surface);
    draw(scope, cr);
    cairo_status_t status = cairo_status(cr);
    cairo_destroy(cr);
    cairo_surface_finish(surface);
    if (status == CAIRO_STATUS_SUCCESS)
        status = cairo_surface_status(surface);
    cairo_surface_destroy(surface);
    return report(status, why, why_bytes);
}
