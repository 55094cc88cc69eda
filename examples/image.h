/* Pictures as cairo image surfaces of 32-bit pixels, and smooth enlargement. */
#ifndef EXAMPLES_IMAGE_H
#define EXAMPLES_IMAGE_H

#include "colormap.h"
#include "failure.h"

#include <cairo.h>
#include <stdint.h>

/* Reads a PNG and stretches it to size x size. NULL on failure. */
cairo_surface_t *image_open_square(const char *path, int size, failure *f);

/* A picture of numbers [size][size][3], 0 to 1. NULL on failure. */
cairo_surface_t *image_from_rgb(const float *numbers, int size, failure *f);

/* Paints a picture stretched to size x size at (x, y). Good at shrinking. */
void image_paint(cairo_t *cr, cairo_surface_t *picture, double x, double y, double size);

/* values [height][width] -> pixels [size][size] by Catmull-Rom splines. */
bool image_upsample(const float *values, int width, int height, int size, float *pixels,
                    failure *f);

/* Single pixels; flush the surface before and mark it dirty after. Colours are clamped. */
uint32_t image_get(cairo_surface_t *surface, int x, int y);
void image_set(cairo_surface_t *surface, int x, int y, rgb colour);

/* 0 to 1; `shift` is 16 for red, 8 for green, 0 for blue. */
double image_channel(uint32_t pixel, int shift);

#endif
