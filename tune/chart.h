/* The picture of one shape's tuning: what its panels share. */
#ifndef TUNE_CHART_H
#define TUNE_CHART_H

#include "trace.h"

#include <cairo.h>

struct colour {
    double r, g, b; /* sRGB, 0 to 1 */
};

/* Blue and vermilion of Okabe and Ito's palette, which differ to every kind of colour vision; the
 * best is always the one, the untuned default the other. */
extern const struct colour CHART_PAPER, CHART_INK, CHART_MUTED, CHART_FAINT, CHART_BEST,
    CHART_DEFAULT;

struct box {
    double x, y, width, height;
};

/* Of all times in a picture. */
struct unit {
    const char *name;
    double ns;
};

/* What is drawn. */
struct chart {
    cairo_t *cr;
    const struct trace *trace;
    const struct study *study;
    struct unit unit;
    ptrdiff_t best;    /* the fastest trial; -1: all failed */
    int variant;       /* the best trial's with known values, or the most tried; -1: none */
    double best_ns;    /* of the best in the final comparison, where there was one */
    double default_ns; /* likewise; 0 where unknown */
    bool is_faster;    /* the best than the default, so far or for good */
    double untuned_ns; /* of the default among the trials */
};

/* Each draws its panel, title included. */
void chart_convergence(const struct chart *chart, struct box box);
void chart_map(const struct chart *chart, struct box box);
void chart_roofline(const struct chart *chart, struct box box);

/* ---- Text ----------------------------------------------------------------------------------- */

enum align { ALIGN_LEFT, ALIGN_CENTRE, ALIGN_RIGHT };

struct style {
    double size;
    bool is_bold, has_halo; /* halo: readable over lines */
    enum align align;
    struct colour colour;
    double max_width; /* longer text ends in an ellipsis; 0: no limit */
};

/* On baseline y. */
void chart_text(cairo_t *cr, double x, double y, const struct style *style, const char *text);
double chart_text_width(cairo_t *cr, double size, bool is_bold, const char *text);

/* What a panel shows in bold, and a line of how to read it. Returns the room below. */
#define CHART_HEAD 46.0
struct box chart_head(const struct chart *chart, struct box box, const char *title,
                      const char *note);

/* A panel that has nothing to show says why. */
void chart_empty(const struct chart *chart, struct box box, const char *why);

/* ---- Numbers -------------------------------------------------------------------------------- */

#define NUMBER_BYTES 32

/* Three digits that count: "0.0123", "1.23", "123". */
void chart_number(double value, char text[NUMBER_BYTES]);
void chart_time(const struct unit *unit, double ns, char text[NUMBER_BYTES]); /* "1.23 ms" */
void chart_rate(double rate, const char *unit, char text[NUMBER_BYTES]);      /* "12.3 Gunit" */

/* ---- Axes and colours ----------------------------------------------------------------------- */

struct axis {
    double low, high;
    bool is_log;
    double start, end; /* pixels of low and high */
};

#define MAX_TICKS 16
double axis_place(const struct axis *axis, double value);
int axis_ticks(const struct axis *axis, double ticks[MAX_TICKS]);

/* Widens a logarithmic axis until it has two ticks at least. */
void axis_widen(struct axis *axis);

void chart_set(cairo_t *cr, struct colour colour, double alpha);
void chart_line(cairo_t *cr, double x0, double y0, double x1, double y1);
void chart_fill(cairo_t *cr, struct box box, struct colour colour);

/* From the darkest at 0 to the palest at 1: evenly lighter in OKLab. */
struct colour chart_ramp(double place);
bool chart_is_dark(struct colour colour);

#endif
