/* Colours for numbers between 0 and 1, even to the eye: equal steps look equally far apart. */
#ifndef EXAMPLES_COLORMAP_H
#define EXAMPLES_COLORMAP_H

typedef struct rgb {
    double r, g, b; /* sRGB, 0 to 1 */
} rgb;

typedef enum colormap_kind {
    COLORMAP_PAPER, /* 0 is the paper, 1 is deep indigo: for maps on a light page */
    COLORMAP_GLOW   /* 0 is night, 1 is pale yellow: for light laid over a picture */
} colormap_kind;

#define COLORMAP_STEPS 512

typedef struct colormap {
    rgb steps[COLORMAP_STEPS];
} colormap;

void colormap_make(colormap *map, colormap_kind kind);

/* `value` is clamped to 0 to 1; NaN counts as 0. */
rgb colormap_at(const colormap *map, double value);

/* Black or white, whichever reads better on `background`. */
rgb colour_on(rgb background);

/* a + (b - a) * t */
rgb colour_mix(rgb a, rgb b, double t);

#endif
