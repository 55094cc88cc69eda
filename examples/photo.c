/* In: a PNG or JPEG file. Out: its pixels, and squares of them at any size. */
#include "photo.h"

#include "photo_jpeg.h"

#include <cairo.h>
#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- PNG --------------------------------------------------------------------------------------
 */

/* Paints what cairo read, of whatever depth and transparency, on white. */
static bool from_surface(cairo_surface_t *file, photo *p, failure *f) {
    cairo_surface_t *flat = cairo_image_surface_create(CAIRO_FORMAT_RGB24, p->width, p->height);
    cairo_t *cr = cairo_create(flat);
    bool ok = false;
    cairo_set_source_rgb(cr, 1, 1, 1);
    cairo_paint(cr);
    cairo_set_source_surface(cr, file, 0, 0);
    cairo_paint(cr);
    p->rgb = malloc((size_t)p->width * (size_t)p->height * 3);
    if (cairo_status(cr) != CAIRO_STATUS_SUCCESS || !p->rgb) {
        fail(f, EXIT_OPENCL, "out of memory for %d x %d pixels", p->width, p->height);
        goto done;
    }
    cairo_surface_flush(flat);
    const unsigned char *data = cairo_image_surface_get_data(flat);
    const ptrdiff_t stride = cairo_image_surface_get_stride(flat);
    for (ptrdiff_t y = 0; y < p->height; ++y) {
        for (ptrdiff_t x = 0; x < p->width; ++x) {
            unsigned char *to = p->rgb + (y * p->width + x) * 3;
            uint32_t pixel;
            memcpy(&pixel, data + y * stride + 4 * x, sizeof(pixel));
            for (int channel = 0; channel < 3; ++channel)
                to[channel] = (unsigned char)(pixel >> (16 - 8 * channel));
        }
    }
    ok = true;
done:
    cairo_destroy(cr);
    cairo_surface_destroy(flat);
    return ok;
}

static cairo_status_t read_stream(void *stream, unsigned char *data, unsigned length) {
    return fread(data, 1, length, stream) == length ? CAIRO_STATUS_SUCCESS
                                                    : CAIRO_STATUS_READ_ERROR;
}

static bool check_size(const char *path, const photo *p, failure *f) {
    return (p->width >= 1 && p->height >= 1 && p->width <= PHOTO_MAX_SIDE &&
            p->height <= PHOTO_MAX_SIDE) ||
           fail(f, EXIT_INPUT, "%s is %d x %d, not between 1 and %d", path, p->width, p->height,
                PHOTO_MAX_SIDE);
}

static bool read_png(FILE *stream, const char *path, photo *p, failure *f) {
    cairo_surface_t *file = cairo_image_surface_create_from_png_stream(read_stream, stream);
    const cairo_status_t status = cairo_surface_status(file);
    bool ok;
    if (status == CAIRO_STATUS_SUCCESS) {
        p->width = cairo_image_surface_get_width(file);
        p->height = cairo_image_surface_get_height(file);
        ok = check_size(path, p, f) && from_surface(file, p, f);
    } else {
        /* cairo also says "out of memory" of a damaged file. */
        ok = fail(f, EXIT_INPUT, "%s can't be read: %s", path,
                  status == CAIRO_STATUS_NO_MEMORY ? "a damaged PNG, or too large"
                                                   : cairo_status_to_string(status));
    }
    cairo_surface_destroy(file);
    return ok;
}

/* ---- Either -----------------------------------------------------------------------------------
 */

bool photo_open(const char *path, photo *p, failure *f) {
    static const unsigned char png[] = {0x89, 'P', 'N', 'G'}, jpeg[] = {0xff, 0xd8, 0xff};
    unsigned char magic[sizeof(png)] = {0};
    FILE *stream = fopen(path, "rb");
    bool ok = false;
    *p = (photo){0};
    if (!stream)
        return fail(f, EXIT_INPUT, "%s: %s", path, strerror(errno));
    size_t got = fread(magic, 1, sizeof(magic), stream);
    if (fseek(stream, 0, SEEK_SET) != 0)
        fail(f, EXIT_INPUT, "%s: %s", path, strerror(errno));
    else if (got == sizeof(magic) && memcmp(magic, png, sizeof(png)) == 0)
        ok = read_png(stream, path, p, f);
    else if (got == sizeof(magic) && memcmp(magic, jpeg, sizeof(jpeg)) == 0)
        ok = photo_read_jpeg(stream, path, p, f);
    else
        fail(f, EXIT_INPUT, "%s is neither a PNG nor a JPEG file", path);
    fclose(stream);
    if (!ok)
        photo_close(p);
    return ok;
}

void photo_close(photo *p) {
    free(p->rgb);
    *p = (photo){0};
}

/* ---- Resizing ---------------------------------------------------------------------------------
 */

/* Keys' cubic with a = -1/2, the one of Pillow and of Catmull and Rom. */
static double cubic(double x) {
    x = fabs(x);
    if (x < 1)
        return 1 + x * x * (1.5 * x - 2.5);
    return x < 2 ? 2 + x * (x * (2.5 - 0.5 * x) - 4) : 0;
}

/* Which of the `side` pixels from `begin` on make up each of `size` pixels, and how much. */
typedef struct filter {
    int taps;
    int *first;     /* [size] */
    float *weights; /* [size][taps], adding up to 1 */
} filter;

static bool filter_make(int begin, int side, int size, filter *t, failure *f) {
    const double step = (double)side / size, wide = step > 1 ? step : 1, reach = 2 * wide;
    t->taps = (int)ceil(reach) * 2 + 1;
    t->first = malloc((size_t)size * sizeof(*t->first));
    t->weights = calloc((size_t)size * (size_t)t->taps, sizeof(*t->weights));
    if (!t->first || !t->weights)
        return fail(f, EXIT_OPENCL, "out of memory");
    for (int i = 0; i < size; ++i) {
        const double centre = (i + 0.5) * step;
        const int low = (int)fmax(0, floor(centre - reach + 0.5));
        const int high = (int)fmin(side, floor(centre + reach + 0.5));
        float *weights = t->weights + (ptrdiff_t)i * t->taps;
        double sum = 0;
        for (int j = low; j < high; ++j)
            sum += cubic((j + 0.5 - centre) / wide);
        for (int j = low; j < high; ++j)
            weights[j - low] = (float)(cubic((j + 0.5 - centre) / wide) / sum);
        t->first[i] = begin + low;
    }
    return true;
}

static void filter_free(filter *t) {
    free(t->first);
    free(t->weights);
}

/* A pixel of a row of bytes, `at` its first tap, in the order of the taps. Taps of no weight may
 * lie beyond the row. */
static float filter_bytes(const filter *t, int i, const unsigned char *row, int channel) {
    const float *weights = t->weights + (ptrdiff_t)i * t->taps;
    float sum = 0;
    for (int k = 0; k < t->taps; ++k)
        if (weights[k] != 0)
            sum += weights[k] * (float)row[3 * (t->first[i] + k) + channel];
    return sum / 255;
}

static float clamp01(float x) {
    return x > 0 ? (x < 1 ? x : 1) : 0;
}

/* Along rows into `narrow` [side][size][3], then along columns. */
static void resize(const photo *p, int top, int side, int size, const filter *across,
                   const filter *down, float *narrow, float *square) {
    const ptrdiff_t line = 3 * (ptrdiff_t)size;
    for (ptrdiff_t y = 0; y < side; ++y) {
        const unsigned char *row = p->rgb + (top + y) * 3 * p->width;
        for (int i = 0; i < line; ++i)
            narrow[y * line + i] = filter_bytes(across, i / 3, row, i % 3);
    }
    for (ptrdiff_t y = 0; y < size; ++y) {
        const float *weights = down->weights + y * down->taps;
        for (ptrdiff_t i = 0; i < line; ++i) {
            float sum = 0;
            for (int k = 0; k < down->taps; ++k)
                if (weights[k] != 0)
                    sum += weights[k] * narrow[(down->first[y] + k) * line + i];
            square[y * line + i] = clamp01(sum);
        }
    }
}

float *photo_square(const photo *p, int size, failure *f) {
    const int side = p->width < p->height ? p->width : p->height;
    const int left = (p->width - side) / 2, top = (p->height - side) / 2;
    filter across = {0}, down = {0};
    float *narrow = malloc((size_t)side * (size_t)size * 3 * sizeof(float));
    float *square = malloc((size_t)size * (size_t)size * 3 * sizeof(float));
    bool ok = narrow && square;
    if (!ok)
        fail(f, EXIT_OPENCL, "out of memory for %d x %d pixels", size, side);
    ok = ok && filter_make(left, side, size, &across, f) && filter_make(0, side, size, &down, f);
    if (ok)
        resize(p, top, side, size, &across, &down, narrow, square);
    filter_free(&across);
    filter_free(&down);
    free(narrow);
    if (!ok) {
        free(square);
        square = NULL;
    }
    return square;
}
