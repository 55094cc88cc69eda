/* Photos from PNG or JPEG files, upright, as numbers. */
#ifndef EXAMPLES_PHOTO_H
#define EXAMPLES_PHOTO_H

#include "failure.h"

#define PHOTO_MAX_SIDE 16384

typedef struct photo {
    int width, height;
    unsigned char *rgb; /* [height][width][3], sRGB */
} photo;

/* The type is known by the file's first bytes. A transparent PNG is laid on white. */
bool photo_open(const char *path, photo *p, failure *f);

/* Safe on a zeroed photo. */
void photo_close(photo *p);

/* The largest square around the centre, resized to size x size by a cubic filter that is widened
 * when it shrinks, so that nothing aliases: [size][size][3], 0 to 1, for free(). NULL on failure.
 */
float *photo_square(const photo *p, int size, failure *f);

#endif
