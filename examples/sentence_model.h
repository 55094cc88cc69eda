/* all-MiniLM-L6-v2: pieces of one or more texts in, what each layer made of them out. */
#ifndef EXAMPLES_SENTENCE_MODEL_H
#define EXAMPLES_SENTENCE_MODEL_H

#include "runtime.h"
#include "wordpiece.h"

enum {
    SENTENCE_LAYERS = 6,
    SENTENCE_HEADS = 12,
    SENTENCE_WIDTH = 384,
    SENTENCE_POSITIONS = 512,
    MAX_TEXTS = 2
};

typedef struct sentence_model {
    encoder e;
    gather_tables tables;
    layer_norm_weights norm; /* of the embeddings */
} sentence_model;

/* Makes plans: compiles. Attention weights of `layer` are kept, or of all and the states too. */
bool sentence_open(const runtime *r, int layer, bool keep_all, sentence_model *m, failure *f);

/* `vocabulary` pieces have a row in the table of words. */
bool sentence_read(sentence_model *m, const st_file *file, int32_t vocabulary, failure *f);

/* Safe on a zeroed model. */
void sentence_close(sentence_model *m);

/* One run of the model over texts that stand row after row, without padding: its buffers. */
typedef struct sentence_run {
    encoder_input batch;
    int32_t begins[MAX_TEXTS + 1]; /* of each text's rows; the last is the end */
    cl_mem ids, places, cu_seqlens;
    encoder_trace trace;
} sentence_run;

/* Makes the buffers and enqueues everything. */
bool sentence_run_start(const sentence_model *m, const pieces *texts, int n_texts,
                        sentence_run *run, failure *f);

/* Safe on a zeroed run. */
void sentence_run_close(sentence_run *run);

typedef struct sentence_output {
    encoder_result layers;           /* of this text alone: a batch of 1 */
    float embedding[SENTENCE_WIDTH]; /* mean of its tokens, of length 1 */
} sentence_output;

/* Blocks until all is there; fills one output for each text. */
bool sentence_run_read(const sentence_model *m, const sentence_run *run, sentence_output *outputs,
                       failure *f);

/* Safe on a zeroed output. */
void sentence_output_free(sentence_output *output);

#endif
