/* In: a PNG, or numbers. Out: a picture, or either at another size. */
#include "image.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SIDE 16384

/* Catmull-Rom weights of the four neighbours of a place `t` behind the second. */
static void spline(double t, double w[4]) {
    w[0] = t * (-0.5 + t * (1 - 0.5 * t));
    w[1] = 1 + t * t * (-2.5 + 1.5 * t);
    w[2] = t * (0.5 + t * (2 - 1.5 * t));
    w[3] = t * t * (-0.5 + 0.5 * t);
}

/* Neighbours and weights of pixel `i` of `size` over a row of `n` values. */
static void sample(int i, int size, int n, int at[4], double w[4]) {
    double place = (i + 0.5) * n / size - 0.5, below = floor(place);
    spline(place - below, w);
    for (int j = 0; j < 4; ++j) {
        int k = (int)below + j - 1;
        at[j] = k < 0 ? 0 : k >= n ? n - 1 : k;
    }
}

/* First along rows, then along columns. */
bool image_upsample(const float *values, int width, int height, int size, float *pixels,
                    failure *f) {
    float *wide = malloc((size_t)height * (size_t)size * sizeof(float));
    int at[4];
    double w[4];
    if (!wide)
        return fail(f, EXIT_OPENCL, "out of memory");
    for (int x = 0; x < size; ++x) {
        sample(x, size, width, at, w);
        for (int r = 0; r < height; ++r) {
            const float *row = values + r * width;
            wide[r * size + x] = (float)(w[0] * row[at[0]] + w[1] * row[at[1]] + w[2] * row[at[2]] +
                                         w[3] * row[at[3]]);
        }
    }
    for (int y = 0; y < size; ++y) {
        sample(y, size, height, at, w);
        for (int x = 0; x < size; ++x)
            pixels[y * size + x] =
                (float)(w[0] * wide[at[0] * size + x] + w[1] * wide[at[1] * size + x] +
                        w[2] * wide[at[2] * size + x] + w[3] * wide[at[3] * size + x]);
    }
    free(wide);
    return true;
}

static double clamp01(double x) {
    return x > 0 ? (x < 1 ? x : 1) : 0; /* NaN fails the first test */
}

double image_channel(uint32_t pixel, int shift) {
    return (pixel >> shift & 255) / 255.0;
}

/* Pixel (x, y) of an image surface that is flushed. */
static unsigned char *pixel_at(cairo_surface_t *surface, int x, int y) {
    return cairo_image_surface_get_data(surface) +
           (ptrdiff_t)y * cairo_image_surface_get_stride(surface) + 4 * (ptrdiff_t)x;
}

uint32_t image_get(cairo_surface_t *surface, int x, int y) {
    uint32_t pixel;
    memcpy(&pixel, pixel_at(surface, x, y), sizeof(pixel));
    return pixel;
}

void image_paint(cairo_t *cr, cairo_surface_t *picture, double x, double y, double size) {
    double width = cairo_image_surface_get_width(picture);
    double height = cairo_image_surface_get_height(picture);
    cairo_save(cr);
    cairo_translate(cr, x, y);
    cairo_scale(cr, size / width, size / height);
    cairo_set_source_surface(cr, picture, 0, 0);
    cairo_pattern_set_filter(cairo_get_source(cr), CAIRO_FILTER_GOOD);
    cairo_pattern_set_extend(cairo_get_source(cr), CAIRO_EXTEND_PAD);
    cairo_rectangle(cr, 0, 0, width, height);
    cairo_fill(cr);
    cairo_restore(cr);
}

void image_set(cairo_surface_t *surface, int x, int y, rgb colour) {
    uint32_t pixel = (uint32_t)(clamp01(colour.r) * 255 + 0.5) << 16 |
                     (uint32_t)(clamp01(colour.g) * 255 + 0.5) << 8 |
                     (uint32_t)(clamp01(colour.b) * 255 + 0.5);
    memcpy(pixel_at(surface, x, y), &pixel, sizeof(pixel));
}

/* Enlarges in place of cairo, whose filters show the pixels or blur them. */
static bool enlarge(cairo_surface_t *from, cairo_surface_t *to, int size, failure *f) {
    const int width = cairo_image_surface_get_width(from);
    const int height = cairo_image_surface_get_height(from);
    float *values = malloc((size_t)width * (size_t)height * sizeof(float));
    float *pixels = malloc((size_t)size * (size_t)size * sizeof(float));
    bool ok = values && pixels;
    if (!ok)
        fail(f, EXIT_OPENCL, "out of memory");
    cairo_surface_flush(to);
    for (int shift = 0; ok && shift < 24; shift += 8) {
        for (int i = 0; i < width * height; ++i)
            values[i] = (float)image_channel(image_get(from, i % width, i / width), shift);
        ok = image_upsample(values, width, height, size, pixels, f);
        for (int i = 0; ok && i < size * size; ++i) {
            uint32_t pixel = image_get(to, i % size, i / size);
            pixel &= ~((uint32_t)255 << shift);
            pixel |= (uint32_t)(clamp01(pixels[i]) * 255 + 0.5) << shift;
            memcpy(pixel_at(to, i % size, i / size), &pixel, sizeof(pixel));
        }
    }
    cairo_surface_mark_dirty(to);
    free(values);
    free(pixels);
    return ok;
}

cairo_surface_t *image_open_square(const char *path, int size, failure *f) {
    cairo_surface_t *file = cairo_image_surface_create_from_png(path), *square = NULL;
    cairo_status_t status = cairo_surface_status(file);
    cairo_format_t format = cairo_image_surface_get_format(file);
    int width = cairo_image_surface_get_width(file), height = cairo_image_surface_get_height(file);
    bool ok = false, plain = format == CAIRO_FORMAT_RGB24 || format == CAIRO_FORMAT_ARGB32;
    if (status != CAIRO_STATUS_SUCCESS) {
        /* cairo also says "out of memory" of a file that is no PNG. */
        fail(f, EXIT_INPUT, "%s can't be read: %s", path,
             status == CAIRO_STATUS_NO_MEMORY ? "not a PNG, damaged or too large"
                                              : cairo_status_to_string(status));
        goto done;
    }
    if (width < 1 || height < 1 || width > MAX_SIDE || height > MAX_SIDE) {
        fail(f, EXIT_INPUT, "%s is %d x %d, beyond %d", path, width, height, MAX_SIDE);
        goto done;
    }
    square = cairo_image_surface_create(CAIRO_FORMAT_RGB24, size, size);
    if (cairo_surface_status(square) != CAIRO_STATUS_SUCCESS) {
        fail(f, EXIT_OPENCL, "out of memory");
        goto done;
    }
    if (plain && width < size && height < size) {
        ok = enlarge(file, square, size, f);
    } else {
        cairo_t *cr = cairo_create(square);
        image_paint(cr, file, 0, 0, size);
        cairo_destroy(cr);
        ok = true;
    }
done:
    cairo_surface_destroy(file);
    if (!ok) {
        cairo_surface_destroy(square);
        square = NULL;
    }
    return square;
}

cairo_surface_t *image_from_rgb(const float *numbers, int size, failure *f) {
    cairo_surface_t *surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, size, size);
    if (cairo_surface_status(surface) != CAIRO_STATUS_SUCCESS) {
        fail(f, EXIT_OPENCL, "out of memory");
        cairo_surface_destroy(surface);
        return NULL;
    }
    cairo_surface_flush(surface);
    for (int i = 0; i < size * size; ++i) {
        const float *at = numbers + 3 * (ptrdiff_t)i;
        image_set(surface, i % size, i / size, (rgb){.r = at[0], .g = at[1], .b = at[2]});
    }
    cairo_surface_mark_dirty(surface);
    return surface;
}
