/* The content of an attention file: q, k, v and what is known about them. */
#ifndef EXAMPLES_ATTENTION_INPUT_H
#define EXAMPLES_ATTENTION_INPUT_H

#include "attend.h"
#include "failure.h"

#define MAX_WORDS 64 /* what a picture can hold legibly */
#define MAX_HEADS 64
#define MAX_GRID 64

typedef enum attention_kind {
    KIND_SENTENCE, /* tokens are words; the file's metadata names them */
    KIND_PHOTO     /* token 0 is CLS, the others are grid x grid patches, row by row */
} attention_kind;

typedef struct attention_input {
    attention_kind kind;
    attention_shape shape;
    float *q, *k, *v;
    /* What the file's maker computed; NULL where the file does not say. */
    float *expected_output;      /* [batch][q_heads][seqlen_q][head_dim_v] */
    float *expected_weights;     /* [batch][q_heads][seqlen_q][seqlen_kv] */
    float *expected_weights_cls; /* [batch][q_heads][seqlen_kv]: query 0's */
    char *words[MAX_WORDS];      /* KIND_SENTENCE: seqlen_q of them */
    int n_words;
    int grid;       /* KIND_PHOTO */
    char *model;    /* never NULL */
    char *image;    /* name of the picture beside the file; NULL where the file does not say */
    char scale[40]; /* as the file spells it */
} attention_input;

bool attention_input_open(const char *path, attention_input *input, failure *f);

/* Safe on a zeroed input. */
void attention_input_close(attention_input *input);

#endif
