/* JPEG files, where the build has libjpeg. */
#ifndef EXAMPLES_PHOTO_JPEG_H
#define EXAMPLES_PHOTO_JPEG_H

#include "photo.h"

#include <stdio.h>

/* Fills *p, turned upright as the file's EXIF data say; `path` is for messages. On failure p->rgb
 * is the caller's to free. */
bool photo_read_jpeg(FILE *stream, const char *path, photo *p, failure *f);

#endif
