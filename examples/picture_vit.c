/* In: the attention of a layer, rollout, and the photo. Out: a PNG: photo, mean and rollout side by
 * side, below them the heads. */
#include "picture_vit.h"

#include "image.h"
#include "picture_overlay.h"

#include <stdio.h>
#include <stdlib.h>

#define TOP 236.0
#define GAP 40.0
#define SIZE ((PAGE_WIDTH - 2 * PAGE_MARGIN - 2 * GAP) / 3)
#define TILE_COLUMNS 6
#define TILE_GAP 20.0
#define TILE ((PAGE_WIDTH - 2 * PAGE_MARGIN - (TILE_COLUMNS - 1) * TILE_GAP) / TILE_COLUMNS)
#define TILE_LABEL 34.0
#define TILES_TOP (TOP + SIZE + 136)

typedef struct drawing {
    const vit_picture *p;
    overlay o;
    float *mean; /* [grid * grid] over heads */
} drawing;

/* What CLS gives to the patches in one head. */
static const float *head_patches(const vit_picture *p, int head) {
    const size_t tokens = 1 + (size_t)p->grid * (size_t)p->grid;
    return p->weights + (size_t)head * tokens * tokens + 1;
}

static bool large(const drawing *d, int column, const char *name, const float *patches, double top,
                  failure *f) {
    const double x = PAGE_MARGIN + column * (SIZE + GAP);
    colour_tick ticks[OVERLAY_MAX_TICKS];
    overlay_label(&d->o, patches, x, TOP - 16, SIZE, 20, name);
    if (!overlay_panel(&d->o, patches, top, x, TOP, SIZE, 2.5, f))
        return false;
    int n = overlay_ticks(top, ticks);
    colour_bar(d->o.cr, &d->o.map, x, TOP + SIZE + 22, SIZE, 16, ticks, n);
    return true;
}

static bool draw_large(const drawing *d, failure *f) {
    const vit_picture *p = d->p;
    char mean[80], rollout[80], note[120];
    snprintf(mean, sizeof(mean), "Layer %d, mean of %d heads", p->layer, p->heads);
    snprintf(rollout, sizeof(rollout), "Rollout, layers 0 to %d", p->layer);
    snprintf(note, sizeof(note), "The model sees %d × %d patches and a CLS token.", p->grid,
             p->grid);
    overlay_caption(&d->o, PAGE_MARGIN, TOP - 16, SIZE, "The photo");
    overlay_photo(&d->o, PAGE_MARGIN, TOP, SIZE);
    text_draw(d->o.cr, PAGE_MARGIN, TOP + SIZE + 36,
              &(text_style){.size = 17, .colour = PAGE_MUTED, .max_width = SIZE}, note);
    return large(d, 1, mean, d->mean, overlay_highest(&d->o, d->mean), f) &&
           large(d, 2, rollout, p->rollout + 1, overlay_high(&d->o, p->rollout + 1), f);
}

static bool draw_heads(const drawing *d, failure *f) {
    const vit_picture *p = d->p;
    char caption[120];
    snprintf(caption, sizeof(caption),
             "Layer %d head by head, each scaled to its strongest patch (ringed)", p->layer);
    overlay_caption(&d->o, PAGE_MARGIN, TILES_TOP - 18, PAGE_WIDTH - 2 * PAGE_MARGIN, caption);
    for (int h = 0; h < p->heads; ++h) {
        const double x = PAGE_MARGIN + h % TILE_COLUMNS * (TILE + TILE_GAP);
        const double y = TILES_TOP + h / TILE_COLUMNS * (TILE + TILE_LABEL + TILE_GAP);
        char name[24];
        const float *patches = head_patches(p, h);
        if (!overlay_panel(&d->o, patches, overlay_highest(&d->o, patches), x, y, TILE, 2, f))
            return false;
        snprintf(name, sizeof(name), "head %d", h);
        overlay_label(&d->o, patches, x, y + TILE + 24, TILE, 17, name);
    }
    return true;
}

static bool draw(drawing *d, const page *p, failure *f) {
    char shown[500];
    snprintf(shown, sizeof(shown),
             "%.300s · what the CLS token attends to in layer %d (of 0 to %d)", d->p->model,
             d->p->layer, d->p->layers - 1);
    page_heading(p, "Where a vision transformer looks", shown, d->p->computed);
    if (!draw_large(d, f) || !draw_heads(d, f))
        return false;
    page_footnote(p,
                  "Rollout: attention through all layers so far, each half the token itself (Abnar "
                  "and Zuidema 2020); its brightest colour is for the top 2 % of patches. Scales "
                  "are stretched at the low end.");
    return true;
}

bool vit_picture_draw(const vit_picture *picture, const char *path, failure *f) {
    const int rows = (picture->heads + TILE_COLUMNS - 1) / TILE_COLUMNS;
    const int patches = picture->grid * picture->grid;
    drawing d = {.p = picture, .o.grid = picture->grid};
    page p = {0};
    bool ok = false;
    colormap_make(&d.o.map, COLORMAP_GLOW);
    d.mean = calloc((size_t)patches, sizeof(float));
    if (!d.mean) {
        fail(f, EXIT_OPENCL, "out of memory");
        goto done;
    }
    for (int h = 0; h < picture->heads; ++h)
        for (int i = 0; i < patches; ++i)
            d.mean[i] += head_patches(picture, h)[i] / (float)picture->heads;
    d.o.photo = image_from_rgb(picture->photo, VIT_PICTURE_PHOTO, f);
    if (!d.o.photo || !page_open(&p, TILES_TOP + rows * (TILE + TILE_LABEL + TILE_GAP) + 70, f))
        goto done;
    d.o.cr = p.cr;
    ok = draw(&d, &p, f) && page_save(&p, path, f);
done:
    page_close(&p);
    cairo_surface_destroy(d.o.photo);
    free(d.mean);
    return ok;
}
