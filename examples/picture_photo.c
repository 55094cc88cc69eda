/* In: the CLS token's attention over a grid of patches, and the photo. Out: a PNG with the photo,
 * the attention of all heads averaged and that of each head laid over it. */
#include "picture_photo.h"

#include "findings.h"
#include "image.h"
#include "picture_overlay.h"

#include <stdio.h>
#include <stdlib.h>

#define PHOTO_TOP 236.0
#define PHOTO_GAP 40.0
#define PHOTO_SIZE ((PAGE_WIDTH - 2 * PAGE_MARGIN - PHOTO_GAP) / 2)
#define TILE_COLUMNS 6
#define TILE_GAP 20.0
#define TILE_SIZE ((PAGE_WIDTH - 2 * PAGE_MARGIN - (TILE_COLUMNS - 1) * TILE_GAP) / TILE_COLUMNS)
#define TILE_LABEL 34.0
#define TILES_TOP (PHOTO_TOP + PHOTO_SIZE + 136)

typedef struct drawing {
    const photo_picture *p;
    overlay o;   /* of a photo of PHOTO_SIZE x PHOTO_SIZE */
    float *mean; /* [grid * grid] over heads */
} drawing;

static bool draw_large(const drawing *d, failure *f) {
    const double left = PAGE_MARGIN, right = PAGE_MARGIN + PHOTO_SIZE + PHOTO_GAP;
    double top = overlay_highest(&d->o, d->mean);
    colour_tick ticks[OVERLAY_MAX_TICKS];
    char text[160];
    overlay_caption(&d->o, left, PHOTO_TOP - 16, PHOTO_SIZE, "The photo");
    snprintf(text, sizeof(text), "The CLS token’s attention, mean of %d heads",
             (int)d->p->input->shape.q_heads);
    overlay_caption(&d->o, right, PHOTO_TOP - 16, PHOTO_SIZE, text);

    overlay_photo(&d->o, left, PHOTO_TOP, PHOTO_SIZE);
    if (!overlay_panel(&d->o, d->mean, top, right, PHOTO_TOP, PHOTO_SIZE, 3, f))
        return false;

    snprintf(text, sizeof(text), "The model sees it as %d × %d patches and a CLS token.", d->o.grid,
             d->o.grid);
    text_draw(d->o.cr, left, PHOTO_TOP + PHOTO_SIZE + 36,
              &(text_style){.size = 17, .colour = PAGE_MUTED, .max_width = PHOTO_SIZE}, text);
    int n_ticks = overlay_ticks(top, ticks);
    colour_bar(d->o.cr, &d->o.map, right, PHOTO_TOP + PHOTO_SIZE + 22, PHOTO_SIZE, 16, ticks,
               n_ticks);
    return true;
}

static bool draw_heads(const drawing *d, failure *f) {
    const attention_shape *shape = &d->p->input->shape;
    overlay_caption(&d->o, PAGE_MARGIN, TILES_TOP - 18, PAGE_WIDTH - 2 * PAGE_MARGIN,
                    "Head by head, each scaled to its strongest patch (ringed)");
    for (int h = 0; h < (int)shape->q_heads; ++h) {
        const float *patches = weights_row(shape, d->p->weights, h, 0) + 1;
        double x = PAGE_MARGIN + h % TILE_COLUMNS * (TILE_SIZE + TILE_GAP);
        double y = TILES_TOP + h / TILE_COLUMNS * (TILE_SIZE + TILE_LABEL + TILE_GAP);
        char name[24];
        if (!overlay_panel(&d->o, patches, overlay_highest(&d->o, patches), x, y, TILE_SIZE, 2, f))
            return false;
        snprintf(name, sizeof(name), "head %d", h);
        overlay_label(&d->o, patches, x, y + TILE_SIZE + 24, TILE_SIZE, 17, name);
    }
    return true;
}

bool photo_picture_draw(const photo_picture *picture, const char *path, failure *f) {
    const attention_shape *shape = &picture->input->shape;
    const int heads = (int)shape->q_heads, rows = (heads + TILE_COLUMNS - 1) / TILE_COLUMNS;
    drawing d = {.p = picture, .o.grid = picture->input->grid};
    const int patches = d.o.grid * d.o.grid;
    char shown[500];
    page p = {0};
    bool ok = false;
    colormap_make(&d.o.map, COLORMAP_GLOW);
    d.mean = calloc((size_t)patches, sizeof(float));
    if (!d.mean) {
        fail(f, EXIT_OPENCL, "out of memory");
        goto done;
    }
    for (int h = 0; h < heads; ++h)
        for (int i = 0; i < patches; ++i)
            d.mean[i] += weights_row(shape, picture->weights, h, 0)[1 + i] / (float)heads;
    d.o.photo = image_open_square(picture->photo, (int)PHOTO_SIZE, f);
    if (!d.o.photo ||
        !page_open(&p, TILES_TOP + rows * (TILE_SIZE + TILE_LABEL + TILE_GAP) + 70, f))
        goto done;
    d.o.cr = p.cr;
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
    cairo_surface_destroy(d.o.photo);
    free(d.mean);
    return ok;
}
