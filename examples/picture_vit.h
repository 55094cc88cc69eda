/* The picture of a vision transformer at work on a photo: attention of a layer's heads, their mean,
 * and rollout. */
#ifndef EXAMPLES_PICTURE_VIT_H
#define EXAMPLES_PICTURE_VIT_H

#include "failure.h"

#define VIT_PICTURE_PHOTO 464 /* pixels across the photo */

typedef struct vit_picture {
    const float *photo;   /* [VIT_PICTURE_PHOTO][VIT_PICTURE_PHOTO][3], 0 to 1 */
    const float *weights; /* [heads][1 + grid * grid][1 + grid * grid] of the layer */
    const float *rollout; /* [1 + grid * grid]: of CLS, to the layer */
    int heads, grid, layer, layers;
    const char *model;    /* which model */
    const char *computed; /* how and on what */
} vit_picture;

bool vit_picture_draw(const vit_picture *picture, const char *path, failure *f);

#endif
