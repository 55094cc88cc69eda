/* The picture of a sentence: what one word attends to, and the whole map behind it. */
#ifndef EXAMPLES_PICTURE_WORDS_H
#define EXAMPLES_PICTURE_WORDS_H

#include "attention_input.h"

typedef struct words_picture {
    const attention_input *input;
    const float *weights; /* [batch][head][query][key]; batch 0 is drawn */
    int head, word;       /* the ones to call out */
    const char *computed; /* how and on what the weights were computed */
    const char *texts[2]; /* two sentences to compare; either NULL: none */
    double similarity;    /* of the two: the cosine of their embeddings */
} words_picture;

bool words_picture_draw(const words_picture *picture, const char *path, failure *f);

#endif
