/* Attention over a grid of patches as light on the photo: what the pictures of photos share. */
#ifndef EXAMPLES_PICTURE_OVERLAY_H
#define EXAMPLES_PICTURE_OVERLAY_H

#include "picture.h"

#define OVERLAY_MAX_TICKS 8 /* of a colour bar */

typedef struct overlay {
    cairo_t *cr;
    cairo_surface_t *photo; /* square, as the model saw it */
    colormap map;           /* COLORMAP_GLOW */
    int grid;               /* patches across and down */
} overlay;

/* The photo under patches [grid][grid]; `top` and what is above gets the brightest colour, the
 * highest a ring. */
bool overlay_panel(const overlay *o, const float *patches, double top, double x, double y,
                   double size, double ring_width, failure *f);

/* The photo itself with the grid of its patches. */
void overlay_photo(const overlay *o, double x, double y, double size);

/* Ticks at round percentages from 0 to at most `top`, placed as the panels' colours are. */
int overlay_ticks(double top, colour_tick ticks[OVERLAY_MAX_TICKS]);

/* 0 where there is no positive number. */
double overlay_highest(const overlay *o, const float *patches);

void overlay_caption(const overlay *o, double x, double y, double width, const char *text);

/* The value that one patch in fifty exceeds: a scale that a few patches can't spoil. */
double overlay_high(const overlay *o, const float *patches);

/* A panel's name in `type` pixels at its left edge, and "up to 12 %" at its right. */
void overlay_label(const overlay *o, const float *patches, double x, double y, double width,
                   double type, const char *name);

#endif
