/* In: text, numbers, places. Out: ink. Only cairo's basic text interface is used, which every build
 * of cairo has. */
#include "chart.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define FONT "DejaVu Sans" /* where it is missing, fontconfig finds another sans */
#define MAX_TEXT_BYTES 512

const struct colour CHART_PAPER = {.r = 1.000, .g = 1.000, .b = 1.000};
const struct colour CHART_INK = {.r = 0.110, .g = 0.125, .b = 0.150};
const struct colour CHART_MUTED = {.r = 0.380, .g = 0.400, .b = 0.430};
const struct colour CHART_FAINT = {.r = 0.870, .g = 0.880, .b = 0.895};
const struct colour CHART_BEST = {.r = 0.000, .g = 0.447, .b = 0.698};
const struct colour CHART_DEFAULT = {.r = 0.835, .g = 0.369, .b = 0.000};

void chart_set(cairo_t *cr, struct colour colour, double alpha) {
    cairo_set_source_rgba(cr, colour.r, colour.g, colour.b, alpha);
}

void chart_line(cairo_t *cr, double x0, double y0, double x1, double y1) {
    cairo_move_to(cr, x0, y0);
    cairo_line_to(cr, x1, y1);
    cairo_stroke(cr);
}

void chart_fill(cairo_t *cr, struct box box, struct colour colour) {
    chart_set(cr, colour, 1);
    cairo_rectangle(cr, box.x, box.y, box.width, box.height);
    cairo_fill(cr);
}

/* ---- Text ----------------------------------------------------------------------------------- */

static double measure(cairo_t *cr, const char *text) {
    cairo_text_extents_t extents;
    cairo_text_extents(cr, text, &extents);
    return extents.x_advance;
}

static void set_font(cairo_t *cr, double size, bool is_bold) {
    cairo_select_font_face(cr, FONT, CAIRO_FONT_SLANT_NORMAL,
                           is_bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(cr, size);
}

double chart_text_width(cairo_t *cr, double size, bool is_bold, const char *text) {
    set_font(cr, size, is_bold);
    return measure(cr, text);
}

/* Takes whole UTF-8 characters off the end until the text and an ellipsis fit. */
static void shorten(cairo_t *cr, char text[MAX_TEXT_BYTES], double max_width) {
    static const char ellipsis[] = "…";
    size_t n = strlen(text);
    if (max_width <= 0 || measure(cr, text) <= max_width)
        return;
    while (n > 0) {
        do
            --n;
        while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80);
        if (n + sizeof(ellipsis) > MAX_TEXT_BYTES)
            continue;
        memcpy(text + n, ellipsis, sizeof(ellipsis));
        if (measure(cr, text) <= max_width)
            return;
    }
}

void chart_text(cairo_t *cr, double x, double y, const struct style *style, const char *text) {
    char line[MAX_TEXT_BYTES];
    snprintf(line, sizeof(line), "%s", text);
    set_font(cr, style->size, style->is_bold);
    shorten(cr, line, style->max_width);
    const double width = measure(cr, line);
    x -= style->align == ALIGN_LEFT ? 0 : style->align == ALIGN_CENTRE ? width / 2 : width;
    if (style->has_halo) {
        cairo_move_to(cr, x, y);
        cairo_text_path(cr, line);
        chart_set(cr, CHART_PAPER, 0.9);
        cairo_set_line_width(cr, 4);
        cairo_set_line_join(cr, CAIRO_LINE_JOIN_ROUND);
        cairo_stroke(cr);
    }
    chart_set(cr, style->colour, 1);
    cairo_move_to(cr, x, y);
    cairo_show_text(cr, line);
    cairo_new_path(cr);
}

struct box chart_head(const struct chart *chart, struct box box, const char *title,
                      const char *note) {
    chart_text(
        chart->cr, box.x, box.y + 14,
        &(struct style){.size = 16, .is_bold = true, .colour = CHART_INK, .max_width = box.width},
        title);
    chart_text(chart->cr, box.x, box.y + 33,
               &(struct style){.size = 12, .colour = CHART_MUTED, .max_width = box.width}, note);
    return (struct box){box.x, box.y + CHART_HEAD, box.width, box.height - CHART_HEAD};
}

void chart_empty(const struct chart *chart, struct box box, const char *why) {
    chart_set(chart->cr, CHART_FAINT, 1);
    cairo_set_line_width(chart->cr, 1);
    cairo_rectangle(chart->cr, box.x, box.y, box.width, box.height);
    cairo_stroke(chart->cr);
    chart_text(
        chart->cr, box.x + box.width / 2, box.y + box.height / 2,
        &(struct style){
            .size = 14, .align = ALIGN_CENTRE, .colour = CHART_MUTED, .max_width = box.width - 24},
        why);
}

/* ---- Numbers -------------------------------------------------------------------------------- */

void chart_number(double value, char text[NUMBER_BYTES]) {
    const double magnitude = value > 0 ? floor(log10(value) + 1e-9) : 0;
    const int decimals = magnitude >= 2 ? 0 : magnitude < -6 ? 8 : 2 - (int)magnitude;
    snprintf(text, NUMBER_BYTES, "%.*f", decimals, value);
}

void chart_time(const struct unit *unit, double ns, char text[NUMBER_BYTES]) {
    char number[NUMBER_BYTES];
    chart_number(ns / unit->ns, number);
    snprintf(text, NUMBER_BYTES, "%.24s %s", number, unit->name);
}

void chart_rate(double rate, const char *unit, char text[NUMBER_BYTES]) {
    static const struct {
        double size;
        const char *prefix;
    } steps[] = {{1e15, "P"}, {1e12, "T"}, {1e9, "G"}, {1e6, "M"}};
    char number[NUMBER_BYTES];
    size_t i = 0;
    while (i + 1 < sizeof(steps) / sizeof(*steps) && rate < steps[i].size)
        ++i;
    chart_number(rate / steps[i].size, number);
    snprintf(text, NUMBER_BYTES, "%.16s %s%.8s", number, steps[i].prefix, unit);
}

/* ---- Axes ----------------------------------------------------------------------------------- */

double axis_place(const struct axis *a, double value) {
    const double part = a->is_log ? log(value / a->low) / log(a->high / a->low)
                                  : (value - a->low) / (a->high - a->low);
    return a->start + part * (a->end - a->start);
}

/* 1, 2 and 5 of every power of ten; or fewer: only 1. */
static int log_ticks(const struct axis *a, bool is_fine, double ticks[MAX_TICKS]) {
    static const double steps[] = {1, 2, 5};
    int count = 0;
    const int first = (int)floor(log10(a->low)), last = (int)ceil(log10(a->high));
    const int stride = is_fine ? 1 : 1 + (last - first) / 10;
    for (int power = first; power <= last; power += stride)
        for (int i = 0; i < (is_fine ? 3 : 1); ++i) {
            const double tick = steps[i] * pow(10, power);
            if (tick < a->low * (1 - 1e-9) || tick > a->high * (1 + 1e-9))
                continue;
            if (count == MAX_TICKS)
                return MAX_TICKS;
            ticks[count++] = tick;
        }
    return count;
}

static int linear_ticks(const struct axis *a, double ticks[MAX_TICKS]) {
    const double rough = (a->high - a->low) / 8, power = pow(10, floor(log10(rough)));
    const double part = rough / power;
    const double step = power * (part <= 1 ? 1 : part <= 2 ? 2 : part <= 5 ? 5 : 10);
    int count = 0;
    const double first = ceil(a->low / step);
    while (count < MAX_TICKS && (first + count) * step <= a->high * (1 + 1e-9)) {
        ticks[count] = (first + count) * step;
        ++count;
    }
    return count;
}

int axis_ticks(const struct axis *a, double ticks[MAX_TICKS]) {
    if (!a->is_log)
        return linear_ticks(a, ticks);
    return log_ticks(a, log10(a->high / a->low) < 3.2, ticks);
}

void axis_widen(struct axis *a) {
    double ticks[MAX_TICKS];
    while (axis_ticks(a, ticks) < 2) {
        a->low /= 1.1;
        a->high *= 1.1;
    }
}

/* ---- Colours -------------------------------------------------------------------------------- */

static double encode(double linear) {
    linear = linear > 0 ? (linear < 1 ? linear : 1) : 0;
    return linear <= 0.0031308 ? 12.92 * linear : 1.055 * pow(linear, 1 / 2.4) - 0.055;
}

/* A straight line through OKLab (Björn Ottosson, "A perceptual color space for image processing",
 * 2020) from a deep blue to a pale yellow: lightness alone tells the order. */
struct colour chart_ramp(double place) {
    const double p = place > 0 ? (place < 1 ? place : 1) : 0;
    const double light = 0.36 + 0.60 * p, a = -0.015 - 0.030 * p, b = -0.125 + 0.185 * p;
    const double l = pow(light + 0.3963377774 * a + 0.2158037573 * b, 3);
    const double m = pow(light - 0.1055613458 * a - 0.0638541728 * b, 3);
    const double s = pow(light - 0.0894841775 * a - 1.2914855480 * b, 3);
    return (struct colour){
        .r = encode(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s),
        .g = encode(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s),
        .b = encode(-0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s),
    };
}

bool chart_is_dark(struct colour c) {
    return 0.299 * c.r + 0.587 * c.g + 0.114 * c.b < 0.55;
}
