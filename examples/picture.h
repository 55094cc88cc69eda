/* What all pictures share: a page, its type, its colours and the furniture around maps. */
#ifndef EXAMPLES_PICTURE_H
#define EXAMPLES_PICTURE_H

#include "colormap.h"
#include "failure.h"

#include <cairo.h>

#define PAGE_WIDTH 1600.0
#define PAGE_MARGIN 64.0

extern const rgb PAGE_PAPER, PAGE_INK, PAGE_MUTED, PAGE_FAINT, PAGE_ACCENT;

typedef struct page {
    cairo_surface_t *surface;
    cairo_t *cr;
    double height;
} page;

/* A page of PAGE_WIDTH x height pixels, filled with paper. */
bool page_open(page *p, double height, failure *f);
bool page_save(const page *p, const char *path, failure *f);
void page_close(page *p);

typedef enum text_align { ALIGN_LEFT, ALIGN_CENTRE, ALIGN_RIGHT } text_align;

typedef struct text_style {
    double size; /* pixels */
    bool bold;
    text_align align;
    rgb colour;
    double max_width; /* longer text ends in an ellipsis; 0: no limit */
} text_style;

/* Draws on baseline y; returns the width drawn. */
double text_draw(cairo_t *cr, double x, double y, const text_style *style, const char *text);
double text_width(cairo_t *cr, double size, bool bold, const char *text);

void set_colour(cairo_t *cr, rgb colour, double alpha);
void fill_rectangle(cairo_t *cr, double x, double y, double width, double height, rgb colour);
void rounded_rectangle(cairo_t *cr, double x, double y, double width, double height, double radius);

/* Title, one line of what is shown and one of how it was computed. */
void page_heading(const page *p, const char *title, const char *shown, const char *computed);

/* A note at the foot of the page. */
void page_footnote(const page *p, const char *note);

/* A horizontal bar of `map` with a label at each of `n_ticks` places between 0 and 1. */
typedef struct colour_tick {
    double place;
    char label[16];
} colour_tick;
void colour_bar(cairo_t *cr, const colormap *map, double x, double y, double width, double height,
                const colour_tick *ticks, int n_ticks);

/* "64 %", "6.4 %", "0.64 %": enough digits for the size. */
void format_percent(double fraction, char *text, int bytes);

#endif
