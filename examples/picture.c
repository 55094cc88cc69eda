/* In: text, colours, places. Out: ink on a page. Only cairo's basic text interface is used, which
 * every build of cairo has. */
#include "picture.h"

#include <stdio.h>
#include <string.h>

#define FONT "DejaVu Sans" /* where it is missing, fontconfig finds another sans */

const rgb PAGE_PAPER = {.r = 0.992, .g = 0.988, .b = 0.976};
const rgb PAGE_INK = {.r = 0.125, .g = 0.110, .b = 0.150};
const rgb PAGE_MUTED = {.r = 0.410, .g = 0.390, .b = 0.440};
const rgb PAGE_FAINT = {.r = 0.860, .g = 0.845, .b = 0.825};
const rgb PAGE_ACCENT = {.r = 0.000, .g = 0.435, .b = 0.470};

bool page_open(page *p, double height, failure *f) {
    *p = (page){.height = height};
    p->surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)PAGE_WIDTH, (int)height);
    p->cr = cairo_create(p->surface);
    if (cairo_status(p->cr) != CAIRO_STATUS_SUCCESS) {
        fail(f, EXIT_OPENCL, "the picture can't be made: %s",
             cairo_status_to_string(cairo_status(p->cr)));
        page_close(p);
        return false;
    }
    cairo_font_options_t *options = cairo_font_options_create();
    cairo_font_options_set_hint_style(options, CAIRO_HINT_STYLE_NONE);
    cairo_font_options_set_hint_metrics(options, CAIRO_HINT_METRICS_OFF);
    cairo_font_options_set_antialias(options, CAIRO_ANTIALIAS_GRAY);
    cairo_set_font_options(p->cr, options);
    cairo_font_options_destroy(options);
    fill_rectangle(p->cr, 0, 0, PAGE_WIDTH, height, PAGE_PAPER);
    return true;
}

bool page_save(const page *p, const char *path, failure *f) {
    cairo_status_t status = cairo_status(p->cr);
    if (status == CAIRO_STATUS_SUCCESS)
        status = cairo_surface_write_to_png(p->surface, path);
    return status == CAIRO_STATUS_SUCCESS ||
           fail(f, EXIT_INPUT, "%s can't be written: %s", path, cairo_status_to_string(status));
}

void page_close(page *p) {
    cairo_destroy(p->cr);
    cairo_surface_destroy(p->surface);
    *p = (page){0};
}

void set_colour(cairo_t *cr, rgb colour, double alpha) {
    cairo_set_source_rgba(cr, colour.r, colour.g, colour.b, alpha);
}

void fill_rectangle(cairo_t *cr, double x, double y, double width, double height, rgb colour) {
    set_colour(cr, colour, 1);
    cairo_rectangle(cr, x, y, width, height);
    cairo_fill(cr);
}

void rounded_rectangle(cairo_t *cr, double x, double y, double width, double height,
                       double radius) {
    const double quarter = 1.57079632679489661923;
    cairo_new_sub_path(cr);
    cairo_arc(cr, x + width - radius, y + radius, radius, -quarter, 0);
    cairo_arc(cr, x + width - radius, y + height - radius, radius, 0, quarter);
    cairo_arc(cr, x + radius, y + height - radius, radius, quarter, 2 * quarter);
    cairo_arc(cr, x + radius, y + radius, radius, 2 * quarter, 3 * quarter);
    cairo_close_path(cr);
}

static void set_font(cairo_t *cr, double size, bool bold) {
    cairo_select_font_face(cr, FONT, CAIRO_FONT_SLANT_NORMAL,
                           bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(cr, size);
}

static double measure(cairo_t *cr, const char *text) {
    cairo_text_extents_t extents;
    cairo_text_extents(cr, text, &extents);
    return extents.x_advance;
}

/* Takes whole UTF-8 characters off the end until the text and an ellipsis fit. */
static void shorten(cairo_t *cr, char *text, size_t bytes, double max_width) {
    static const char ellipsis[] = "…";
    size_t n = strlen(text);
    if (max_width <= 0 || measure(cr, text) <= max_width)
        return;
    while (n > 0) {
        do
            --n;
        while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80);
        if (n + sizeof(ellipsis) > bytes)
            continue;
        memcpy(text + n, ellipsis, sizeof(ellipsis));
        if (measure(cr, text) <= max_width)
            return;
    }
}

double text_draw(cairo_t *cr, double x, double y, const text_style *style, const char *text) {
    char line[512];
    snprintf(line, sizeof(line), "%s", text);
    text_clean(line); /* it may have been cut within a character, here or before */
    set_font(cr, style->size, style->bold);
    shorten(cr, line, sizeof(line), style->max_width);
    double width = measure(cr, line);
    double shift = style->align == ALIGN_LEFT ? 0 : style->align == ALIGN_CENTRE ? 0.5 : 1;
    set_colour(cr, style->colour, 1);
    cairo_move_to(cr, x - shift * width, y);
    cairo_show_text(cr, line);
    cairo_new_path(cr);
    return width;
}

double text_width(cairo_t *cr, double size, bool bold, const char *text) {
    set_font(cr, size, bold);
    return measure(cr, text);
}

void page_heading(const page *p, const char *title, const char *shown, const char *computed) {
    const double width = PAGE_WIDTH - 2 * PAGE_MARGIN;
    text_draw(p->cr, PAGE_MARGIN, 96,
              &(text_style){.size = 42, .bold = true, .colour = PAGE_INK, .max_width = width},
              title);
    text_draw(p->cr, PAGE_MARGIN, 137,
              &(text_style){.size = 20, .colour = PAGE_MUTED, .max_width = width}, shown);
    text_draw(p->cr, PAGE_MARGIN, 166,
              &(text_style){.size = 20, .colour = PAGE_MUTED, .max_width = width}, computed);
}

void page_footnote(const page *p, const char *note) {
    text_draw(
        p->cr, PAGE_MARGIN, p->height - 40,
        &(text_style){.size = 15, .colour = PAGE_MUTED, .max_width = PAGE_WIDTH - 2 * PAGE_MARGIN},
        note);
}

void colour_bar(cairo_t *cr, const colormap *map, double x, double y, double width, double height,
                const colour_tick *ticks, int n_ticks) {
    cairo_pattern_t *ramp = cairo_pattern_create_linear(x, 0, x + width, 0);
    for (int i = 0; i <= 64; ++i) {
        rgb c = colormap_at(map, i / 64.0);
        cairo_pattern_add_color_stop_rgb(ramp, i / 64.0, c.r, c.g, c.b);
    }
    cairo_set_source(cr, ramp);
    rounded_rectangle(cr, x, y, width, height, height / 4);
    cairo_fill_preserve(cr);
    cairo_pattern_destroy(ramp);
    set_colour(cr, PAGE_FAINT, 1);
    cairo_set_line_width(cr, 1);
    cairo_stroke(cr);
    for (int i = 0; i < n_ticks; ++i) {
        double place = x + ticks[i].place * width;
        set_colour(cr, PAGE_MUTED, 1);
        cairo_move_to(cr, place, y + height + 2);
        cairo_line_to(cr, place, y + height + 7);
        cairo_stroke(cr);
        text_draw(cr, place, y + height + 23,
                  &(text_style){.size = 14, .align = ALIGN_CENTRE, .colour = PAGE_MUTED},
                  ticks[i].label);
    }
}

void format_percent(double fraction, char *text, int bytes) {
    double percent = 100 * fraction;
    snprintf(text, (size_t)bytes, "%.*f %%",
             percent >= 9.95    ? 0
             : percent >= 0.995 ? 1
                                : 2,
             percent);
}
