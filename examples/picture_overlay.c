/* In: attention over a grid of patches, and the photo. Out: panels where attention lights the photo
 * up. */
#include "picture_overlay.h"

#include "findings.h"
#include "image.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define OVERLAY_MAX_ABOVE 128

/* Where a weight stands on the ramp that reaches to `top`. The power lifts the middle weights,
 * which are the shape that an eye looks for; the colour bar shows it. */
static double ramp_place(double weight, double top) {
    double part = top > 0 ? weight / top : 0;
    return part > 0 ? (part < 1 ? pow(part, 0.75) : 1) : 0; /* NaN: 0 */
}

/* Where there is little attention the photo shows through, dim and nearly grey; attention lights
 * it up. */
static rgb blend(const overlay *o, rgb photo, double place) {
    double luma = 0.299 * photo.r + 0.587 * photo.g + 0.114 * photo.b;
    rgb grey = {.r = luma, .g = luma, .b = luma};
    rgb dim =
        colour_mix((rgb){.r = 0.02, .g = 0.015, .b = 0.05}, colour_mix(grey, photo, 0.35), 0.62);
    rgb glow = colormap_at(&o->map, place);
    return colour_mix(dim, glow, 0.92 * pow(place, 0.7));
}

/* patches [grid][grid] as pixels [size][size]. What exceeds `top` is cut before it is smoothed, so
 * that it gives no plateau with a hard edge. For free(); NULL on failure. */
static float *smooth(const overlay *o, const float *patches, double top, int size, failure *f) {
    const size_t n = (size_t)o->grid * (size_t)o->grid;
    float *cut = malloc(n * sizeof(float));
    float *pixels = malloc((size_t)size * (size_t)size * sizeof(float));
    bool ok = cut && pixels;
    if (!ok)
        fail(f, EXIT_OPENCL, "out of memory");
    for (size_t i = 0; ok && i < n; ++i)
        cut[i] = patches[i] > top ? (float)top : patches[i];
    ok = ok && image_upsample(cut, o->grid, o->grid, size, pixels, f);
    free(cut);
    if (!ok) {
        free(pixels);
        pixels = NULL;
    }
    return pixels;
}

/* The photo under `patches` [grid][grid]. NULL on failure. */
static cairo_surface_t *light(const overlay *o, const float *patches, double top, int size,
                              failure *f) {
    float *pixels = smooth(o, patches, top, size, f);
    cairo_surface_t *surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, size, size);
    cairo_t *cr = cairo_create(surface);
    image_paint(cr, o->photo, 0, 0, size);
    bool ok = pixels &&
              (cairo_status(cr) == CAIRO_STATUS_SUCCESS || fail(f, EXIT_OPENCL, "out of memory"));
    cairo_destroy(cr);
    cairo_surface_flush(surface);
    for (int i = 0; ok && i < size * size; ++i) {
        uint32_t pixel = image_get(surface, i % size, i / size);
        rgb c = {.r = image_channel(pixel, 16),
                 .g = image_channel(pixel, 8),
                 .b = image_channel(pixel, 0)};
        image_set(surface, i % size, i / size, blend(o, c, ramp_place(pixels[i], top)));
    }
    cairo_surface_mark_dirty(surface);
    free(pixels);
    if (!ok) {
        cairo_surface_destroy(surface);
        surface = NULL;
    }
    return surface;
}

static void grid_lines(const overlay *o, double x, double y, double size, double alpha) {
    cairo_set_source_rgba(o->cr, 1, 1, 1, alpha);
    cairo_set_line_width(o->cr, 1);
    for (int i = 1; i < o->grid; ++i) {
        double place = floor(i * size / o->grid) + 0.5;
        cairo_move_to(o->cr, x + place, y);
        cairo_line_to(o->cr, x + place, y + size);
        cairo_move_to(o->cr, x, y + place);
        cairo_line_to(o->cr, x + size, y + place);
    }
    cairo_stroke(o->cr);
}

/* A ring around a patch, light on a dark rim so that it shows on any ground. */
static void ring(const overlay *o, int patch, double x, double y, double size, double width) {
    double cell = size / o->grid, radius = 0.5 * cell;
    double cx = x + (patch % o->grid + 0.5) * cell, cy = y + (patch / o->grid + 0.5) * cell;
    for (int rim = 1; rim >= 0; --rim) {
        cairo_set_source_rgba(o->cr, rim ? 0 : 1, rim ? 0 : 1, rim ? 0.05 : 1, rim ? 0.6 : 1);
        cairo_set_line_width(o->cr, rim ? width + 2 : width);
        cairo_arc(o->cr, cx, cy, radius, 0, 6.28318530717958647693);
        cairo_stroke(o->cr);
    }
}

double overlay_highest(const overlay *o, const float *patches) {
    double top = 0;
    for (int i = 0; i < o->grid * o->grid; ++i)
        top = patches[i] > top && isfinite(patches[i]) ? (double)patches[i] : top;
    return top;
}

double overlay_high(const overlay *o, const float *patches) {
    int order[OVERLAY_MAX_ABOVE + 1];
    const int n = o->grid * o->grid,
              wanted = n / 50 < OVERLAY_MAX_ABOVE ? n / 50 : OVERLAY_MAX_ABOVE;
    const int found = largest(patches, n, order, wanted + 1);
    const double high = found ? (double)patches[order[found - 1]] : 0;
    return high > 0 && isfinite(high) ? high : overlay_highest(o, patches);
}

bool overlay_panel(const overlay *o, const float *patches, double top, double x, double y,
                   double size, double ring_width, failure *f) {
    const int n = o->grid * o->grid;
    int best;
    cairo_surface_t *map = light(o, patches, top, (int)lround(size), f);
    if (!map)
        return false;
    cairo_set_source_surface(o->cr, map, x, y);
    rounded_rectangle(o->cr, x, y, floor(size), floor(size), 6);
    cairo_fill(o->cr);
    cairo_surface_destroy(map);
    if (largest(patches, n, &best, 1) == 1)
        ring(o, best, x, y, size, ring_width);
    return true;
}

void overlay_caption(const overlay *o, double x, double y, double width, const char *text) {
    text_draw(o->cr, x, y,
              &(text_style){.size = 20, .bold = true, .colour = PAGE_INK, .max_width = width},
              text);
}

/* Ticks at round percentages from 0 to at most `top`. */
int overlay_ticks(double top, colour_tick ticks[OVERLAY_MAX_TICKS]) {
    static const double steps[] = {1, 2, 5};
    double step = 1e-6;
    int n = 0;
    for (int i = 0; !(step * (OVERLAY_MAX_TICKS - 1) >= top); ++i)
        step = 1e-6 * pow(10, i / 3) * steps[i % 3];
    for (; n < OVERLAY_MAX_TICKS && n * step <= top * 1.0001 && top > 0; ++n) {
        ticks[n].place = ramp_place(n * step, top);
        snprintf(ticks[n].label, sizeof(ticks[n].label), "%.4g %%", 100 * n * step);
    }
    return n;
}

void overlay_photo(const overlay *o, double x, double y, double size) {
    cairo_save(o->cr);
    rounded_rectangle(o->cr, x, y, size, size, 6);
    cairo_clip(o->cr);
    image_paint(o->cr, o->photo, x, y, size);
    grid_lines(o, x, y, size, 0.14);
    cairo_restore(o->cr);
}

void overlay_label(const overlay *o, const float *patches, double x, double y, double width,
                   double type, const char *name) {
    char most[48], percent[16];
    format_percent(overlay_highest(o, patches), percent, sizeof(percent));
    snprintf(most, sizeof(most), "up to %s", percent);
    text_draw(o->cr, x, y, &(text_style){.size = type, .bold = true, .colour = PAGE_INK}, name);
    text_draw(o->cr, x + width, y,
              &(text_style){.size = 16, .align = ALIGN_RIGHT, .colour = PAGE_MUTED}, most);
}
