/* The picture of a photo: where the CLS token looks, averaged over heads and per head. */
#ifndef EXAMPLES_PICTURE_PHOTO_H
#define EXAMPLES_PICTURE_PHOTO_H

#include "attention_input.h"

typedef struct photo_picture {
    const attention_input *input;
    const float *weights; /* [batch][head][query][key]; query 0 of batch 0 is drawn */
    const char *photo;    /* path of a PNG */
    const char *computed; /* how and on what the weights were computed */
} photo_picture;

bool photo_picture_draw(const photo_picture *picture, const char *path, failure *f);

#endif
