/* In: a shape's trials. Out: the panel of best time so far against evaluations. */
#include "chart.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define LEFT_MARGIN 150.0
#define RIGHT_MARGIN 130.0
#define BOTTOM_MARGIN 44.0
#define LANE_HEIGHT 17.0
#define LABEL_GAP 34.0

/* Slower trials than this times the best are above the scale: the steps near the best count. */
#define SCALE_RATIO 12.0

/* From here on the first evaluations need the room that a logarithmic axis gives them. */
#define MANY 300

/* Above the plot: one lane for each kind of trial that has no place in it. */
enum lane { LANE_SLOW = REMOTE_RESULTS, LANES };

static const char *const lane_names[LANES] = {
    [REMOTE_ILLEGAL] = "not legal",
    [REMOTE_BUILD] = "does not build",
    [REMOTE_WRONG] = "wrong result",
    [REMOTE_OPENCL] = "OpenCL error",
    [REMOTE_IMPLAUSIBLE] = "impossible time",
    [REMOTE_CRASH] = "crash",
    [REMOTE_TIMEOUT] = "time-out",
    [REMOTE_NONSENSE] = "senseless answer",
    [LANE_SLOW] = "off the scale",
};

struct plot {
    const struct chart *chart;
    struct box box; /* of the axes */
    struct axis x, y;
    size_t counts[LANES];
    double lane_y[LANES];
    bool has_scale; /* some trial succeeded */
};

static int lane_of(const struct plot *p, const struct trace_trial *trial) {
    if (trial->result != REMOTE_OK)
        return (int)trial->result;
    return trial->ns > p->y.high ? LANE_SLOW : REMOTE_OK;
}

static void set_scale(struct plot *p) {
    const struct study *study = p->chart->study;
    double slowest = 0;
    if (p->chart->best < 0)
        return;
    p->has_scale = true;
    const double best = study->trials[p->chart->best].ns, untuned = p->chart->untuned_ns;
    for (size_t i = 0; i < study->count; ++i)
        if (isfinite(study->trials[i].ns) && study->trials[i].ns > slowest)
            slowest = study->trials[i].ns;
    double high = slowest * 1.05 > SCALE_RATIO * best ? SCALE_RATIO * best : slowest * 1.05;
    high = high < 1.1 * untuned ? 1.1 * untuned : high;
    /* The best keeps off the axis below it. */
    p->y = (struct axis){.low = best * pow(best / high, 0.1), .high = high, .is_log = true};
    axis_widen(&p->y);
}

/* Lanes first, for their number decides how much is left for the axes. */
static void lay_out(struct plot *p, struct box box) {
    const struct study *study = p->chart->study;
    const double n = (double)study->count;
    set_scale(p);
    for (size_t i = 0; i < study->count; ++i)
        ++p->counts[lane_of(p, &study->trials[i])];
    double y = box.y;
    for (int lane = REMOTE_OK + 1; lane < LANES; ++lane)
        if (p->counts[lane]) {
            p->lane_y[lane] = y + LANE_HEIGHT / 2;
            y += LANE_HEIGHT;
        }
    y += y > box.y ? 6 : 0;
    p->box = (struct box){box.x + LEFT_MARGIN, y, box.width - LEFT_MARGIN - RIGHT_MARGIN,
                          box.y + box.height - BOTTOM_MARGIN - y};
    const bool is_log = study->count > MANY;
    p->x = (struct axis){.low = is_log ? 0.95 : 0.5,
                         .high = is_log ? n * 1.03 : n + 0.5,
                         .is_log = is_log,
                         .start = p->box.x,
                         .end = p->box.x + p->box.width};
    p->y.start = p->box.y + p->box.height;
    p->y.end = p->box.y;
}

static void draw_axes(const struct plot *p) {
    cairo_t *cr = p->chart->cr;
    const double right = p->box.x + p->box.width, bottom = p->box.y + p->box.height;
    double ticks[MAX_TICKS];
    char text[NUMBER_BYTES];
    cairo_set_line_width(cr, 1);
    for (int i = 0, n = p->has_scale ? axis_ticks(&p->y, ticks) : 0; i < n; ++i) {
        const double y = axis_place(&p->y, ticks[i]);
        chart_set(cr, CHART_FAINT, 1);
        chart_line(cr, p->box.x, y, right, y);
        snprintf(text, sizeof(text), "%g %s", ticks[i] / p->chart->unit.ns, p->chart->unit.name);
        chart_text(cr, p->box.x - 8, y + 4,
                   &(struct style){.size = 12, .align = ALIGN_RIGHT, .colour = CHART_MUTED}, text);
    }
    chart_set(cr, CHART_MUTED, 1);
    chart_line(cr, p->box.x, bottom, right, bottom);
    for (int i = 0, n = axis_ticks(&p->x, ticks); i < n; ++i) {
        const double x = axis_place(&p->x, ticks[i]);
        if (fabs(ticks[i] - round(ticks[i])) > 1e-6)
            continue;
        chart_set(cr, CHART_MUTED, 1);
        chart_line(cr, x, bottom, x, bottom + 5);
        snprintf(text, sizeof(text), "%.0f", ticks[i]);
        chart_text(cr, x, bottom + 19,
                   &(struct style){.size = 12, .align = ALIGN_CENTRE, .colour = CHART_MUTED}, text);
    }
    chart_text(cr, p->box.x + p->box.width / 2, bottom + 38,
               &(struct style){.size = 12, .align = ALIGN_CENTRE, .colour = CHART_MUTED},
               p->x.is_log ? "evaluations (logarithmic)" : "evaluations");
}

static void draw_lanes(const struct plot *p) {
    const struct study *study = p->chart->study;
    cairo_t *cr = p->chart->cr;
    char text[64];
    double last[LANES];
    for (int lane = 0; lane < LANES; ++lane) {
        last[lane] = -1;
        if (lane == REMOTE_OK || !p->counts[lane])
            continue;
        snprintf(text, sizeof(text), "%s · %zu", lane_names[lane], p->counts[lane]);
        chart_text(cr, p->box.x - 8, p->lane_y[lane] + 4,
                   &(struct style){.size = 12,
                                   .align = ALIGN_RIGHT,
                                   .colour = CHART_INK,
                                   .max_width = LEFT_MARGIN - 8},
                   text);
        cairo_set_line_width(cr, 1);
        chart_set(cr, CHART_FAINT, 1);
        chart_line(cr, p->box.x, p->lane_y[lane], p->box.x + p->box.width, p->lane_y[lane]);
    }
    for (size_t i = 0; i < study->count; ++i) {
        const int lane = lane_of(p, &study->trials[i]);
        const double x = axis_place(&p->x, (double)i + 1), y = p->lane_y[lane];
        /* Crosses within half a pixel are one. */
        if (lane == REMOTE_OK || x - last[lane] < 0.5)
            continue;
        last[lane] = x;
        cairo_move_to(cr, x - 3.5, y - 3.5);
        cairo_line_to(cr, x + 3.5, y + 3.5);
        if (lane != LANE_SLOW) {
            cairo_move_to(cr, x - 3.5, y + 3.5);
            cairo_line_to(cr, x + 3.5, y - 3.5);
        }
    }
    chart_set(cr, CHART_INK, 0.85);
    cairo_set_line_width(cr, study->count > MANY ? 0.8 : 1.4);
    cairo_stroke(cr);
}

enum dots { DOTS_OTHERS, DOTS_SHOWN, DOTS_DEFAULT };

static enum dots dots_of(const struct chart *c, const struct trace_trial *trial) {
    if (trial->is_default)
        return DOTS_DEFAULT;
    return trial->variant == c->variant ? DOTS_SHOWN : DOTS_OTHERS;
}

static struct colour colour_of(enum dots dots) {
    return dots == DOTS_DEFAULT ? CHART_DEFAULT : dots == DOTS_SHOWN ? CHART_BEST : CHART_MUTED;
}

/* Round ends of lines without length: the smallest dots a vector file can have. In four layers, as
 * what is stroked at once does not get darker where it overlaps. */
static void draw_dots(const struct plot *p, enum dots dots) {
    enum { LAYERS = 4 };
    const struct study *study = p->chart->study;
    const double width = study->count <= 100 ? 7 : study->count <= 1000 ? 5 : 3;
    cairo_t *cr = p->chart->cr;
    cairo_set_line_cap(cr, CAIRO_LINE_CAP_ROUND);
    cairo_set_line_width(cr, width);
    chart_set(cr, colour_of(dots), study->count > MANY ? 0.35 : 0.5);
    for (size_t layer = 0; layer < LAYERS; ++layer) {
        for (size_t i = layer; i < study->count; i += LAYERS) {
            const struct trace_trial *trial = &study->trials[i];
            if (dots_of(p->chart, trial) != dots || lane_of(p, trial) != REMOTE_OK)
                continue;
            const double x = axis_place(&p->x, (double)i + 1), y = axis_place(&p->y, trial->ns);
            cairo_move_to(cr, x, y);
            cairo_line_to(cr, x, y);
        }
        cairo_stroke(cr);
    }
    cairo_set_line_cap(cr, CAIRO_LINE_CAP_BUTT);
}

static void draw_best_so_far(const struct plot *p) {
    const struct study *study = p->chart->study;
    cairo_t *cr = p->chart->cr;
    double best = INFINITY;
    for (size_t i = 0; i < study->count; ++i) {
        const double ns = study->trials[i].ns, x = axis_place(&p->x, (double)i + 1);
        if (!(ns < best))
            continue;
        if (isfinite(best) && best <= p->y.high)
            cairo_line_to(cr, x, axis_place(&p->y, best));
        best = ns;
        if (best <= p->y.high)
            cairo_line_to(cr, x, axis_place(&p->y, best));
    }
    cairo_line_to(cr, p->box.x + p->box.width, axis_place(&p->y, best));
    chart_set(cr, CHART_BEST, 1);
    cairo_set_line_width(cr, 2.5);
    cairo_set_line_join(cr, CAIRO_LINE_JOIN_MITER);
    cairo_stroke(cr);
    const double x = axis_place(&p->x, (double)p->chart->best + 1), y = axis_place(&p->y, best);
    cairo_arc(cr, x, y, 5.5, 0, 2 * M_PI);
    chart_set(cr, CHART_PAPER, 1);
    cairo_fill_preserve(cr);
    chart_set(cr, CHART_BEST, 1);
    cairo_stroke(cr);
}

static void draw_label(const struct plot *p, double y, struct colour colour, const char *name,
                       double ns) {
    const double x = p->box.x + p->box.width + 8;
    char text[NUMBER_BYTES];
    chart_time(&p->chart->unit, ns, text);
    chart_text(p->chart->cr, x, y - 1,
               &(struct style){.size = 12, .colour = colour, .max_width = RIGHT_MARGIN - 8}, name);
    chart_text(p->chart->cr, x, y + 15,
               &(struct style){
                   .size = 14, .is_bold = true, .colour = colour, .max_width = RIGHT_MARGIN - 8},
               text);
}

/* The lines' names and times at their ends, kept apart. */
static void draw_lines(const struct plot *p) {
    const struct chart *c = p->chart;
    static const double dashes[] = {6, 4};
    const double best = c->study->trials[c->best].ns;
    const double lowest = p->box.y + p->box.height - 16;
    double best_y = axis_place(&p->y, best);
    best_y = best_y < lowest ? best_y : lowest;
    if (c->untuned_ns > 0) {
        double y = axis_place(&p->y, c->untuned_ns);
        chart_set(c->cr, CHART_DEFAULT, 1);
        cairo_set_line_width(c->cr, 2);
        cairo_set_dash(c->cr, dashes, 2, 0);
        chart_line(c->cr, p->box.x, y, p->box.x + p->box.width, y);
        cairo_set_dash(c->cr, NULL, 0, 0);
        if (fabs(best_y - y) < LABEL_GAP)
            y = best_y - LABEL_GAP;
        draw_label(p, y, CHART_DEFAULT, "untuned default", c->untuned_ns);
    }
    draw_best_so_far(p);
    draw_label(p, best_y, CHART_BEST, "best", best);
}

/* Dots of the variant that the map shows, and of the others, by name. */
static void draw_legend(const struct chart *c, struct box box) {
    char others[256] = "";
    double x = box.x + box.width;
    for (int i = 0; i < c->study->variant_count; ++i)
        if (i != c->variant && c->study->variants[i].has_parameters) {
            const size_t used = strlen(others);
            snprintf(others + used, sizeof(others) - used, "%s%s", used ? ", " : "",
                     c->study->variants[i].name);
        }
    if (c->variant < 0 || !*others)
        return;
    const char *const names[] = {others, c->study->variants[c->variant].name};
    for (int i = 0; i < 2; ++i) {
        const double width = chart_text_width(c->cr, 12, false, names[i]);
        const double shown = width < 360 ? width : 360;
        chart_text(c->cr, x - shown, box.y + 14,
                   &(struct style){.size = 12, .colour = CHART_INK, .max_width = 360}, names[i]);
        x -= shown + 10;
        chart_set(c->cr, colour_of(i ? DOTS_SHOWN : DOTS_OTHERS), 0.7);
        cairo_arc(c->cr, x, box.y + 10, 4, 0, 2 * M_PI);
        cairo_fill(c->cr);
        x -= 22;
    }
}

void chart_convergence(const struct chart *chart, struct box box) {
    struct plot p = {.chart = chart};
    char note[160];
    if (chart->best < 0)
        snprintf(note, sizeof(note), "No evaluation succeeded.");
    else
        snprintf(note, sizeof(note),
                 "Each dot is the time of one candidate. The ring is the fastest, evaluation %td "
                 "of %zu.",
                 chart->best + 1, chart->study->count);
    draw_legend(chart, box);
    lay_out(&p, chart_head(chart, box, "The search", note));
    draw_axes(&p);
    draw_lanes(&p);
    if (p.has_scale) {
        for (int dots = DOTS_OTHERS; dots <= DOTS_DEFAULT; ++dots)
            draw_dots(&p, (enum dots)dots);
        draw_lines(&p);
    }
}
