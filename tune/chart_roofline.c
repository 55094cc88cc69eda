/* In: a shape, its times, the device's measured rates. Out: the panel with the roofline: how fast
 * this shape could be at its ratio of arithmetic to memory traffic (Williams, Waterman and
 * Patterson, "Roofline: An Insightful Visual Performance Model", 2009). */
#include "chart.h"

#include <math.h>
#include <stdio.h>

#define LEFT_MARGIN 84.0
#define BOTTOM_MARGIN 44.0
#define RIGHT_MARGIN 8.0

struct roof {
    const struct chart *chart;
    struct shape_work work;
    double intensity, peak, slope; /* flops per byte; flops and bytes per second */
    double scale;                  /* flops per second that are 1 on the axis */
    struct axis x, y;
    struct box box;
};

static double rate(const struct roof *r, double ns) {
    return r->work.flops / ns * 1e9;
}

/* What the device could do at most at an intensity; INFINITY where its rates are unknown. */
static double roof_at(const struct roof *r, double intensity) {
    const double limit = r->peak > 0 ? r->peak : INFINITY;
    const double stream = r->slope > 0 ? intensity * r->slope : INFINITY;
    return limit < stream ? limit : stream;
}

static void set_axes(struct roof *r) {
    const double best = rate(r, r->chart->best_ns);
    const double untuned = r->chart->default_ns > 0 ? rate(r, r->chart->default_ns) : best;
    const double ridge = r->peak > 0 && r->slope > 0 ? r->peak / r->slope : r->intensity;
    double top = r->peak > best ? r->peak : best, bottom = untuned < best ? untuned : best;
    top = untuned > top ? untuned : top;
    const double low = (ridge < r->intensity ? ridge : r->intensity) / 5;
    /* Half of the axis, or more, is right of the points: their names stand there. */
    const double room = r->intensity * r->intensity / low;
    r->x = (struct axis){.low = low,
                         .high = room > 5 * ridge ? room : 5 * ridge,
                         .is_log = true,
                         .start = r->box.x,
                         .end = r->box.x + r->box.width};
    r->scale = top < 1e13 ? 1e9 : 1e12;
    const double left = roof_at(r, r->x.low);
    bottom = left < bottom ? left : bottom;
    r->y = (struct axis){.low = bottom / 2.5,
                         .high = top * 2.5,
                         .is_log = true,
                         .start = r->box.y + r->box.height,
                         .end = r->box.y};
    axis_widen(&r->x);
    axis_widen(&r->y);
}

static void draw_axes(const struct roof *r) {
    cairo_t *cr = r->chart->cr;
    const double right = r->box.x + r->box.width, bottom = r->box.y + r->box.height;
    double ticks[MAX_TICKS];
    char text[NUMBER_BYTES];
    cairo_set_line_width(cr, 1);
    for (int i = 0, n = axis_ticks(&r->y, ticks); i < n; ++i) {
        const double y = axis_place(&r->y, ticks[i]);
        chart_set(cr, CHART_FAINT, 1);
        chart_line(cr, r->box.x, y, right, y);
        snprintf(text, sizeof(text), "%g", ticks[i] / r->scale);
        chart_text(cr, r->box.x - 8, y + 4,
                   &(struct style){.size = 12, .align = ALIGN_RIGHT, .colour = CHART_MUTED}, text);
    }
    for (int i = 0, n = axis_ticks(&r->x, ticks); i < n; ++i) {
        const double x = axis_place(&r->x, ticks[i]);
        chart_set(cr, CHART_FAINT, 1);
        chart_line(cr, x, r->box.y, x, bottom);
        snprintf(text, sizeof(text), "%g", ticks[i]);
        chart_text(cr, x, bottom + 18,
                   &(struct style){.size = 12, .align = ALIGN_CENTRE, .colour = CHART_MUTED}, text);
    }
    chart_text(cr, r->box.x + r->box.width / 2, bottom + 38,
               &(struct style){.size = 12, .align = ALIGN_CENTRE, .colour = CHART_MUTED},
               "floating-point operations per byte of inputs, weights and outputs");
    cairo_save(cr);
    cairo_translate(cr, r->box.x - 58, r->box.y + r->box.height / 2);
    cairo_rotate(cr, -M_PI / 2);
    chart_text(cr, 0, 0, &(struct style){.size = 12, .align = ALIGN_CENTRE, .colour = CHART_MUTED},
               r->scale < 1e12 ? "GFLOP/s" : "TFLOP/s");
    cairo_restore(cr);
}

/* Along the slope, where there is room below the ridge. */
static void name_slope(const struct roof *r, double x0, double y0, double x1, double y1) {
    cairo_t *cr = r->chart->cr;
    char rate_text[NUMBER_BYTES], text[NUMBER_BYTES + 16];
    chart_rate(r->slope, "B/s", rate_text);
    snprintf(text, sizeof(text), "memory %s", rate_text);
    const struct style style = {.size = 12, .has_halo = true, .colour = CHART_INK};
    const double width = chart_text_width(cr, style.size, false, text);
    const double length = hypot(x1 - x0, y1 - y0), start = (length - width) / 2;
    if (start < 4)
        return;
    cairo_save(cr);
    cairo_translate(cr, x0 + (x1 - x0) * start / length, y0 + (y1 - y0) * start / length);
    cairo_rotate(cr, atan2(y1 - y0, x1 - x0));
    chart_text(cr, 0, -8, &style, text);
    cairo_restore(cr);
}

static void draw_roof(const struct roof *r) {
    cairo_t *cr = r->chart->cr;
    const double right = r->box.x + r->box.width;
    double x0 = r->box.x, y0 = 0;
    char rate_text[NUMBER_BYTES], text[NUMBER_BYTES + 24];
    if (r->slope > 0) {
        const double last = r->peak > 0 ? r->peak / r->slope : r->x.high;
        x0 = axis_place(&r->x, last);
        y0 = axis_place(&r->y, last * r->slope);
        cairo_move_to(cr, r->box.x, axis_place(&r->y, r->x.low * r->slope));
        cairo_line_to(cr, x0, y0);
    }
    if (r->peak > 0) {
        y0 = axis_place(&r->y, r->peak);
        cairo_move_to(cr, x0, y0);
        cairo_line_to(cr, right, y0);
    }
    chart_set(cr, CHART_INK, 1);
    cairo_set_line_width(cr, 2.5);
    cairo_set_line_cap(cr, CAIRO_LINE_CAP_ROUND);
    cairo_stroke(cr);
    cairo_set_line_cap(cr, CAIRO_LINE_CAP_BUTT);
    if (r->slope > 0)
        name_slope(r, r->box.x, axis_place(&r->y, r->x.low * r->slope), x0, y0);
    if (r->peak > 0) {
        chart_rate(r->peak, "FLOP/s", rate_text);
        snprintf(text, sizeof(text), "multiply-adds %s", rate_text);
        chart_text(cr, right - 4, y0 - 8,
                   &(struct style){
                       .size = 12, .has_halo = true, .align = ALIGN_RIGHT, .colour = CHART_INK},
                   text);
    }
}

static void draw_point(const struct roof *r, double ns, const char *name, struct colour colour,
                       bool is_solid, double label_y) {
    cairo_t *cr = r->chart->cr;
    const double x = axis_place(&r->x, r->intensity), y = axis_place(&r->y, rate(r, ns));
    const double roof = roof_at(r, r->intensity);
    char rate_text[NUMBER_BYTES], text[2 * NUMBER_BYTES + 32];
    chart_rate(rate(r, ns), "FLOP/s", rate_text);
    if (isfinite(roof))
        snprintf(text, sizeof(text), "%s %s, %.0f %%", name, rate_text, 100 * rate(r, ns) / roof);
    else
        snprintf(text, sizeof(text), "%s %s", name, rate_text);
    cairo_arc(cr, x, y, is_solid ? 6 : 5, 0, 2 * M_PI);
    chart_set(cr, is_solid ? colour : CHART_PAPER, 1);
    cairo_fill_preserve(cr);
    chart_set(cr, is_solid ? CHART_PAPER : colour, 1);
    cairo_set_line_width(cr, is_solid ? 1.5 : 2.5);
    cairo_stroke(cr);
    chart_text(cr, x + 12, label_y,
               &(struct style){.size = 13,
                               .is_bold = true,
                               .has_halo = true,
                               .colour = colour,
                               .max_width = r->box.x + r->box.width + RIGHT_MARGIN - x - 12},
               text);
}

static void draw_points(const struct roof *r) {
    static const double dots[] = {2, 4};
    const struct chart *c = r->chart;
    const double x = axis_place(&r->x, r->intensity);
    const double roof = roof_at(r, r->intensity);
    const double highest = isfinite(roof) ? axis_place(&r->y, roof) + 20 : 0;
    double best_y = axis_place(&r->y, rate(r, c->best_ns)) + 4;
    best_y = best_y > highest ? best_y : highest; /* above the roof's line is its name */
    cairo_set_line_width(c->cr, 1.2);
    cairo_set_dash(c->cr, dots, 2, 0);
    chart_set(c->cr, CHART_MUTED, 1);
    chart_line(c->cr, x, r->box.y + r->box.height, x,
               isfinite(roof) ? axis_place(&r->y, roof) : r->box.y);
    cairo_set_dash(c->cr, NULL, 0, 0);
    if (c->default_ns > 0) {
        const double y = axis_place(&r->y, rate(r, c->default_ns)) + 4;
        draw_point(r, c->default_ns, "default", CHART_DEFAULT, false,
                   y > best_y + 18 || !c->is_faster ? y : best_y + 18);
    }
    if (c->is_faster || c->default_ns <= 0)
        draw_point(r, c->best_ns, "best", CHART_BEST, true, best_y);
}

static void describe(const struct roof *r, char *note, size_t bytes) {
    char number[NUMBER_BYTES];
    chart_number(r->intensity, number);
    if (r->peak <= 0 || r->slope <= 0)
        snprintf(note, bytes, "%s operations per byte; the device's rates were not measured.",
                 number);
    else if (r->intensity * r->slope >= r->peak)
        snprintf(note, bytes,
                 "At %s operations per byte, arithmetic is the limit. Percentages are of the peak.",
                 number);
    else
        snprintf(note, bytes,
                 "At %s operations per byte, memory is the limit. Percentages are of the roof.",
                 number);
}

void chart_roofline(const struct chart *chart, struct box box) {
    struct roof r = {.chart = chart,
                     .work = mha_shape_work(&chart->study->shape, true),
                     .peak = chart->trace->rates.flops,
                     .slope = chart->trace->rates.bytes};
    char note[200];
    r.intensity = r.work.flops / r.work.bytes;
    describe(&r, note, sizeof(note));
    const struct box room = chart_head(chart, box, "The device: its roofline, as measured", note);
    if (chart->best < 0) {
        chart_empty(chart, room, "nothing ran, so there is no speed to show");
        return;
    }
    r.box = (struct box){room.x + LEFT_MARGIN, room.y, room.width - LEFT_MARGIN - RIGHT_MARGIN,
                         room.height - BOTTOM_MARGIN};
    set_axes(&r);
    draw_axes(&r);
    draw_roof(&r);
    draw_points(&r);
}
