/* In: the CLS token's attention over a grid of patches, and the photo. Out: a PNG with the photo,
 * the attention of all heads averaged and that of each head laid over it. */
#include "picture_photo.h"

#include "findings.h"
#include "image.h"
#include "picture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PHOTO_TOP 236.0
#define PHOTO_GAP 40.0
#define PHOTO_SIZE ((PAGE_WIDTH - 2 * PAGE_MARGIN - PHOTO_GAP) / 2)
#define TILE_COLUMNS 6
#define TILE_GAP 20.0
#define TILE_SIZE ((PAGE_WIDTH - 2 * PAGE_MARGIN - (TILE_COLUMNS - 1) * TILE_GAP) / TILE_COLUMNS)
#define TILE_LABEL 34.0
#define TILES_TOP (PHOTO_TOP + PHOTO_SIZE + 136)
#define MAX_TICKS 8 /* of the colour bar */

typedef struct drawing {
    const photo_picture *p;
    cairo_t *cr;
    cairo_surface_t *photo; /* PHOTO_SIZE x PHOTO_SIZE, stretched as the model saw it */
    colormap map;
    int grid;
    float *mean; /* [grid * grid] over heads */
} drawing;

/* Where a weight stands on the ramp that reaches to `top`. The power lifts the middle weights,
 * which are the shape that an eye looks for; the colour bar shows it. */
static double ramp_place(double weight, double top) {
    double part = top > 0 ? weight / top : 0;
    return part > 0 ? (part < 1 ? pow(part, 0.75) : 1) : 0; /* NaN: 0 */
}

/* Where there is little attention the photo shows through, dim and nearly grey; attention lights
 * it up. */
static rgb blend(const drawing *d, rgb photo, double place) {
    double luma = 0.299 * photo.r + 0.587 * photo.g + 0.114 * photo.b;
    rgb grey = {.r = luma, .g = luma, .b = luma};
    rgb dim =
        colour_mix((rgb){.r = 0.02, .g = 0.015, .b = 0.05}, colour_mix(grey, photo, 0.35), 0.62);
    rgb glow = colormap_at(&d->map, place);
    return colour_mix(dim, glow, 0.92 * pow(place, 0.7));
}

/* The photo under `patches` [grid][grid], which reach from 0 to `top`. */
static cairo_surface_t *overlay(const drawing *d, const float *patches, double top, int size,
                                failure *f) {
    float *pixels = malloc((size_t)size * (size_t)size * sizeof(float));
    cairo_surface_t *surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, size, size);
    cairo_t *cr = cairo_create(surface);
    bool ok = false;
    image_paint(cr, d->photo, 0, 0, size);
    ok = cairo_status(cr) == CAIRO_STATUS_SUCCESS && pixels;
    cairo_destroy(cr);
    if (!ok) {
        fail(f, EXIT_OPENCL, "out of memory");
        goto done;
    }
    ok = image_upsample(patches, d->grid, d->grid, size, pixels, f);
    if (!ok)
        goto done;
    cairo_surface_flush(surface);
    for (int y = 0; y < size; ++y) {
        for (int x = 0; x < size; ++x) {
            uint32_t pixel = image_get(surface, x, y);
            rgb c = {.r = image_channel(pixel, 16),
                     .g = image_channel(pixel, 8),
                     .b = image_channel(pixel, 0)};
            c = blend(d, c, ramp_place(pixels[y * size + x], top));
            image_set(surface, x, y, c);
        }
    }
    cairo_surface_mark_dirty(surface);
done:
    free(pixels);
    if (!ok) {
        cairo_surface_destroy(surface);
        surface = NULL;
    }
    return surface;
}

static void grid_lines(const drawing *d, double x, double y, double size, double alpha) {
    cairo_set_source_rgba(d->cr, 1, 1, 1, alpha);
    cairo_set_line_width(d->cr, 1);
    for (int i = 1; i < d->grid; ++i) {
        double place = floor(i * size / d->grid) + 0.5;
        cairo_move_to(d->cr, x + place, y);
        cairo_line_to(d->cr, x + place, y + size);
        cairo_move_to(d->cr, x, y + place);
        cairo_line_to(d->cr, x + size, y + place);
    }
    cairo_stroke(d->cr);
}

/* A ring around a patch, light on a dark rim so that it shows on any ground. */
static void ring(const drawing *d, int patch, double x, double y, double size, double width) {
    double cell = size / d->grid, radius = 0.5 * cell;
    double cx = x + (patch % d->grid + 0.5) * cell, cy = y + (patch / d->grid + 0.5) * cell;
    for (int rim = 1; rim >= 0; --rim) {
        cairo_set_source_rgba(d->cr, rim ? 0 : 1, rim ? 0 : 1, rim ? 0.05 : 1, rim ? 0.6 : 1);
        cairo_set_line_width(d->cr, rim ? width + 2 : width);
        cairo_arc(d->cr, cx, cy, radius, 0, 6.28318530717958647693);
        cairo_stroke(d->cr);
    }
}

static double highest(const float *values, int n) {
    double top = 0;
    for (int i = 0; i < n; ++i)
        top = values[i] > top && isfinite(values[i]) ? (double)values[i] : top;
    return top;
}

static bool panel(const drawing *d, const float *patches, double x, double y, double size,
                  double ring_width, failure *f) {
    int n = d->grid * d->grid, best;
    cairo_surface_t *map = overlay(d, patches, highest(patches, n), (int)lround(size), f);
    if (!map)
        return false;
    cairo_set_source_surface(d->cr, map, x, y);
    rounded_rectangle(d->cr, x, y, floor(size), floor(size), 6);
    cairo_fill(d->cr);
    cairo_surface_destroy(map);
    if (largest(patches, n, &best, 1) == 1)
        ring(d, best, x, y, size, ring_width);
    return true;
}

static void caption(const drawing *d, double x, double y, double width, const char *text) {
    text_draw(d->cr, x, y,
              &(text_style){.size = 20, .bold = true, .colour = PAGE_INK, .max_width = width},
              text);
}

/* Ticks at round percentages from 0 to at most `top`. */
static int percent_ticks(double top, colour_tick ticks[MAX_TICKS]) {
    static const double steps[] = {1, 2, 5};
    double step = 1e-6;
    int n = 0;
    for (int i = 0; !(step * (MAX_TICKS - 1) >= top); ++i)
        step = 1e-6 * pow(10, i / 3) * steps[i % 3];
    for (; n < MAX_TICKS && n * step <= top * 1.0001 && top > 0; ++n) {
        ticks[n].place = ramp_place(n * step, top);
        snprintf(ticks[n].label, sizeof(ticks[n].label), "%.4g %%", 100 * n * step);
    }
    return n;
}

static bool draw_large(const drawing *d, failure *f) {
    const double left = PAGE_MARGIN, right = PAGE_MARGIN + PHOTO_SIZE + PHOTO_GAP;
    double top = highest(d->mean, d->grid * d->grid);
    colour_tick ticks[MAX_TICKS];
    char text[160];
    caption(d, left, PHOTO_TOP - 16, PHOTO_SIZE, "The photo");
    snprintf(text, sizeof(text), "The CLS token’s attention, mean of %d heads",
             (int)d->p->input->shape.q_heads);
    caption(d, right, PHOTO_TOP - 16, PHOTO_SIZE, text);

    cairo_save(d->cr);
    rounded_rectangle(d->cr, left, PHOTO_TOP, PHOTO_SIZE, PHOTO_SIZE, 6);
    cairo_clip(d->cr);
    image_paint(d->cr, d->photo, left, PHOTO_TOP, PHOTO_SIZE);
    grid_lines(d, left, PHOTO_TOP, PHOTO_SIZE, 0.14);
    cairo_restore(d->cr);
    if (!panel(d, d->mean, right, PHOTO_TOP, PHOTO_SIZE, 3, f))
        return false;

    snprintf(text, sizeof(text), "The model sees it as %d × %d patches and a CLS token.", d->grid,
             d->grid);
    text_draw(d->cr, left, PHOTO_TOP + PHOTO_SIZE + 36,
              &(text_style){.size = 17, .colour = PAGE_MUTED, .max_width = PHOTO_SIZE}, text);
    int n_ticks = percent_ticks(top, ticks);
    colour_bar(d->cr, &d->map, right, PHOTO_TOP + PHOTO_SIZE + 22, PHOTO_SIZE, 16, ticks, n_ticks);
    return true;
}

static bool draw_heads(const drawing *d, failure *f) {
    const attention_shape *shape = &d->p->input->shape;
    caption(d, PAGE_MARGIN, TILES_TOP - 18, PAGE_WIDTH - 2 * PAGE_MARGIN,
            "Head by head, each scaled to its strongest patch (ringed)");
    for (int h = 0; h < (int)shape->q_heads; ++h) {
        const float *patches = weights_row(shape, d->p->weights, h, 0) + 1;
        double x = PAGE_MARGIN + h % TILE_COLUMNS * (TILE_SIZE + TILE_GAP);
        double y = TILES_TOP + h / TILE_COLUMNS * (TILE_SIZE + TILE_LABEL + TILE_GAP);
        char number[24], most[48], percent[16];
        if (!panel(d, patches, x, y, TILE_SIZE, 2, f))
            return false;
        snprintf(number, sizeof(number), "head %d", h);
        format_percent(highest(patches, d->grid * d->grid), percent, sizeof(percent));
        snprintf(most, sizeof(most), "up to %s", percent);
        text_draw(d->cr, x, y + TILE_SIZE + 24,
                  &(text_style){.size = 17, .bold = true, .colour = PAGE_INK}, number);
        text_draw(d->cr, x + TILE_SIZE, y + TILE_SIZE + 24,
                  &(text_style){.size = 16, .align = ALIGN_RIGHT, .colour = PAGE_MUTED}, most);
    }
    return true;
}

bool photo_picture_draw(const photo_picture *picture, const char *path, failure *f) {
    const attention_shape *shape = &picture->input->shape;
    const int heads = (int)shape->q_heads, rows = (heads + TILE_COLUMNS - 1) / TILE_COLUMNS;
    drawing d = {.p = picture, .grid = picture->input->grid};
    const int patches = d.grid * d.grid;
    char shown[500];
    page p = {0};
    bool ok = false;
    colormap_make(&d.map, COLORMAP_GLOW);
    d.mean = calloc((size_t)patches, sizeof(float));
    if (!d.mean) {
        fail(f, EXIT_OPENCL, "out of memory");
        goto done;
    }
    for (int h = 0; h < heads; ++h)
        for (int i = 0; i < patches; ++i)
            d.mean[i] += weights_row(shape, picture->weights, h, 0)[1 + i] / (float)heads;
    d.photo = image_open_square(picture->photo, (int)PHOTO_SIZE, f);
    if (!d.photo || !page_open(&p, TILES_TOP + rows * (TILE_SIZE + TILE_LABEL + TILE_GAP) + 70, f))
        goto done;
    d.cr = p.cr;
    snprintf(shown, sizeof(shown), "%.400s", picture->input->model);
    page_heading(&p, "Where a vision transformer looks", shown, picture->computed);
    if (!draw_large(&d, f) || !draw_heads(&d, f))
        goto done;
    page_footnote(
        &p, "Weights of query 0 (CLS) on the patches, one per patch, joined by cubic splines. "
            "The colour scale is stretched at its low end.");
    ok = page_save(&p, path, f);
done:
    page_close(&p);
    cairo_surface_destroy(d.photo);
    free(d.mean);
    return ok;
}
