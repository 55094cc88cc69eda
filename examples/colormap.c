/* In: a number. Out: a colour. The ramps are curves through a few colours of OKLab (Björn Ottosson,
 * "A perceptual color space for image processing", 2020) whose lightness is linear, so that the
 * ramps stay ordered in grey print and for colour-blind eyes. */
#include "colormap.h"

#include <math.h>

#define KNOTS 7

typedef struct ramp {
    double light_first, light_last; /* OKLab lightness of values 0 and 1 */
    struct {
        double chroma, hue; /* hue in degrees */
    } knots[KNOTS];         /* evenly spaced */
} ramp;

static const ramp ramps[] = {
    [COLORMAP_PAPER] = {.light_first = 0.975,
                        .light_last = 0.25,
                        .knots = {{.chroma = 0.012, .hue = 95},
                                  {.chroma = 0.095, .hue = 82},
                                  {.chroma = 0.150, .hue = 58},
                                  {.chroma = 0.195, .hue = 30},
                                  {.chroma = 0.190, .hue = 5},
                                  {.chroma = 0.150, .hue = -30},
                                  {.chroma = 0.100, .hue = -65}}},
    [COLORMAP_GLOW] = {.light_first = 0.10,
                       .light_last = 0.975,
                       .knots = {{.chroma = 0.030, .hue = -80},
                                 {.chroma = 0.110, .hue = -65},
                                 {.chroma = 0.165, .hue = -25},
                                 {.chroma = 0.200, .hue = 12},
                                 {.chroma = 0.185, .hue = 42},
                                 {.chroma = 0.155, .hue = 75},
                                 {.chroma = 0.075, .hue = 105}}},
};

static double clamp01(double x) {
    return x > 0 ? (x < 1 ? x : 1) : 0; /* NaN fails the first test */
}

static double srgb_encode(double linear) {
    linear = clamp01(linear);
    return linear <= 0.0031308 ? 12.92 * linear : 1.055 * pow(linear, 1 / 2.4) - 0.055;
}

static rgb from_oklab(double light, double a, double b) {
    double l = pow(light + 0.3963377774 * a + 0.2158037573 * b, 3);
    double m = pow(light - 0.1055613458 * a - 0.0638541728 * b, 3);
    double s = pow(light - 0.0894841775 * a - 1.2914855480 * b, 3);
    return (rgb){.r = srgb_encode(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s),
                 .g = srgb_encode(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s),
                 .b = srgb_encode(-0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s)};
}

static double catmull_rom(const double p[4], double t) {
    return p[1] + 0.5 * t *
                      (p[2] - p[0] +
                       t * (2 * p[0] - 5 * p[1] + 4 * p[2] - p[3] +
                            t * (3 * (p[1] - p[2]) + p[3] - p[0])));
}

void colormap_make(colormap *map, colormap_kind kind) {
    const double degree = 3.14159265358979323846 / 180;
    const ramp *r = &ramps[kind];
    for (int i = 0; i < COLORMAP_STEPS; ++i) {
        double value = (double)i / (COLORMAP_STEPS - 1), place = value * (KNOTS - 1);
        int first = place < KNOTS - 1 ? (int)place : KNOTS - 2;
        double a[4], b[4];
        for (int j = 0; j < 4; ++j) {
            int knot = first + j - 1;
            knot = knot < 0 ? 0 : knot > KNOTS - 1 ? KNOTS - 1 : knot;
            a[j] = r->knots[knot].chroma * cos(r->knots[knot].hue * degree);
            b[j] = r->knots[knot].chroma * sin(r->knots[knot].hue * degree);
        }
        map->steps[i] = from_oklab(r->light_first + (r->light_last - r->light_first) * value,
                                   catmull_rom(a, place - first), catmull_rom(b, place - first));
    }
}

rgb colormap_at(const colormap *map, double value) {
    double place = clamp01(value) * (COLORMAP_STEPS - 1);
    int i = place < COLORMAP_STEPS - 1 ? (int)place : COLORMAP_STEPS - 2;
    return colour_mix(map->steps[i], map->steps[i + 1], place - i);
}

rgb colour_on(rgb background) {
    double luma = 0.299 * background.r + 0.587 * background.g + 0.114 * background.b;
    return luma > 0.55 ? (rgb){.r = 0.10, .g = 0.09, .b = 0.12} : (rgb){.r = 1, .g = 1, .b = 1};
}

rgb colour_mix(rgb a, rgb b, double t) {
    return (rgb){
        .r = a.r + (b.r - a.r) * t, .g = a.g + (b.g - a.g) * t, .b = a.b + (b.b - a.b) * t};
}
