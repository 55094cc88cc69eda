/* In: a JPEG stream. Out: its pixels, upright. */
#include "photo_jpeg.h"

#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h> /* needs stdio.h before it */

/* libjpeg's errors leave it by a jump. */
typedef struct error_exit {
    struct jpeg_error_mgr base; /* first, so that a pointer to it is one to this */
    jmp_buf jump;
    char text[JMSG_LENGTH_MAX];
} error_exit;

static void leave(j_common_ptr jpeg) {
    error_exit *e = (error_exit *)jpeg->err;
    e->base.format_message(jpeg, e->text);
    longjmp(e->jump, 1);
}

/* Warnings of damaged data: what could be read is shown. */
static void ignore(j_common_ptr jpeg) {
    (void)jpeg;
}

/* ---- EXIF -------------------------------------------------------------------------------------
 */

/* An unsigned number of TIFF data in its byte order. */
static uint32_t tiff_number(const unsigned char *at, int bytes, bool big) {
    uint32_t value = 0;
    for (int i = 0; i < bytes; ++i)
        value = value << 8 | at[big ? i : bytes - 1 - i];
    return value;
}

/* The orientation, 1 to 8, of an APP1 marker's data; 1 where it is absent or damaged. */
static int exif_orientation(const unsigned char *data, size_t bytes) {
    enum { HEADER = 6, ENTRY = 12, ORIENTATION = 0x0112 };
    if (bytes < HEADER + 8 || memcmp(data, "Exif\0", HEADER) != 0)
        return 1;
    const unsigned char *tiff = data + HEADER;
    const size_t n = bytes - HEADER;
    const bool big = tiff[0] == 'M';
    const size_t directory = tiff_number(tiff + 4, 4, big);
    if (directory > n - 2)
        return 1;
    const size_t entries = tiff_number(tiff + directory, 2, big);
    for (size_t i = 0; i < entries && directory + 2 + (i + 1) * ENTRY <= n; ++i) {
        const unsigned char *entry = tiff + directory + 2 + i * ENTRY;
        const uint32_t value = tiff_number(entry + 8, 2, big);
        if (tiff_number(entry, 2, big) == ORIENTATION)
            return value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}

static int orientation_of(const struct jpeg_decompress_struct *jpeg) {
    for (jpeg_saved_marker_ptr m = jpeg->marker_list; m; m = m->next) {
        int orientation =
            m->marker == JPEG_APP0 + 1 ? exif_orientation(m->data, m->data_length) : 1;
        if (orientation != 1)
            return orientation;
    }
    return 1;
}

/* Makes upright what EXIF says is stored turned or mirrored. */
static bool turn(photo *p, int orientation, failure *f) {
    static const struct {
        bool transpose, mirror, flip; /* the latter two of the upright picture */
    } turns[9] = {
        [2] = {.mirror = true},
        [3] = {.mirror = true, .flip = true},
        [4] = {.flip = true},
        [5] = {.transpose = true},
        [6] = {.transpose = true, .mirror = true},
        [7] = {.transpose = true, .mirror = true, .flip = true},
        [8] = {.transpose = true, .flip = true},
    };
    if (orientation == 1)
        return true;
    const bool transpose = turns[orientation].transpose;
    photo upright = {.width = transpose ? p->height : p->width,
                     .height = transpose ? p->width : p->height};
    upright.rgb = malloc((size_t)upright.width * (size_t)upright.height * 3);
    if (!upright.rgb)
        return fail(f, EXIT_OPENCL, "out of memory for %d x %d pixels", p->width, p->height);
    for (int y = 0; y < upright.height; ++y) {
        for (int x = 0; x < upright.width; ++x) {
            int column = turns[orientation].mirror ? upright.width - 1 - x : x;
            int row = turns[orientation].flip ? upright.height - 1 - y : y;
            ptrdiff_t from =
                transpose ? (ptrdiff_t)column * p->width + row : (ptrdiff_t)row * p->width + column;
            memcpy(upright.rgb + 3 * ((ptrdiff_t)y * upright.width + x), p->rgb + 3 * from, 3);
        }
    }
    photo_close(p);
    *p = upright;
    return true;
}

/* ---- Pixels -----------------------------------------------------------------------------------
 */

/* Four inks, stored inverted as Adobe's programs do, to RGB in place. */
static void from_inks(unsigned char *row, int width) {
    for (int x = 0; x < width; ++x)
        for (int channel = 0; channel < 3; ++channel)
            row[3 * x + channel] = (unsigned char)(row[4 * x + channel] * row[4 * x + 3] / 255);
}

static void start(struct jpeg_decompress_struct *jpeg, FILE *stream) {
    jpeg_create_decompress(jpeg);
    jpeg_stdio_src(jpeg, stream);
    jpeg_save_markers(jpeg, JPEG_APP0 + 1, 0xffff);
    jpeg_read_header(jpeg, TRUE);
    jpeg->out_color_space = jpeg->num_components == 4 ? JCS_CMYK : JCS_RGB;
}

/* `line` holds a row of four channels. */
static void read_rows(struct jpeg_decompress_struct *jpeg, photo *p, unsigned char *line) {
    jpeg_start_decompress(jpeg);
    while (jpeg->output_scanline < jpeg->output_height) {
        unsigned char *to = p->rgb + (size_t)jpeg->output_scanline * (size_t)p->width * 3;
        jpeg_read_scanlines(jpeg, &line, 1);
        if (jpeg->output_components == 4)
            from_inks(line, p->width);
        memcpy(to, line, (size_t)p->width * 3);
    }
}

bool photo_read_jpeg(FILE *stream, const char *path, photo *p, failure *f) {
    struct jpeg_decompress_struct jpeg = {0};
    error_exit error = {0};
    unsigned char *volatile line = NULL; /* written between setjmp() and the jump */
    volatile bool ok = false;
    jpeg.err = jpeg_std_error(&error.base);
    error.base.error_exit = leave;
    error.base.output_message = ignore;
    if (setjmp(error.jump)) {
        fail(f, EXIT_INPUT, "%s can't be read: %s", path, error.text);
        goto done;
    }
    start(&jpeg, stream);
    if (jpeg.image_width > PHOTO_MAX_SIDE || jpeg.image_height > PHOTO_MAX_SIDE) {
        fail(f, EXIT_INPUT, "%s is %u x %u, beyond %d", path, jpeg.image_width, jpeg.image_height,
             PHOTO_MAX_SIDE);
        goto done;
    }
    p->width = (int)jpeg.image_width;
    p->height = (int)jpeg.image_height;
    p->rgb = malloc((size_t)p->width * (size_t)p->height * 3);
    line = malloc((size_t)p->width * 4);
    if (!p->rgb || !line) {
        fail(f, EXIT_OPENCL, "out of memory for %d x %d pixels", p->width, p->height);
        goto done;
    }
    read_rows(&jpeg, p, line);
    ok = turn(p, orientation_of(&jpeg), f);
done:
    jpeg_destroy_decompress(&jpeg);
    free(line);
    return ok;
}
