/* In: ids of pieces and the trained weights. Out: attention weights, states and an embedding for
 * each text. */
#include "sentence_model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool sentence_open(const runtime *r, int layer, bool keep_all, sentence_model *m, failure *f) {
    encoder_shape shape = {.prefix = "layers.",
                           .layers = SENTENCE_LAYERS,
                           .heads = SENTENCE_HEADS,
                           .width = SENTENCE_WIDTH,
                           .inner = 4 * SENTENCE_WIDTH,
                           .ragged = true,
                           .epsilon = 1e-12f,
                           .max_batch = MAX_TEXTS,
                           .max_tokens = MAX_PIECES, /* always: other plans need no compiling */
                           .keep_states = keep_all};
    *m = (sentence_model){0};
    for (int i = 0; i < SENTENCE_LAYERS; ++i)
        shape.keep_weights[i] = keep_all || i == layer;
    return encoder_open(r->engine, &r->ops, &shape, &m->e, f);
}

bool sentence_read(sentence_model *m, const st_file *file, int32_t vocabulary, failure *f) {
    const weight_slot slots[] = {
        {.name = "embeddings.word",
         .rows = vocabulary,
         .columns = SENTENCE_WIDTH,
         .buffer = &m->tables.words},
        {.name = "embeddings.position",
         .rows = SENTENCE_POSITIONS,
         .columns = SENTENCE_WIDTH,
         .buffer = &m->tables.positions},
        /* The model was trained on texts of type 0, the first row. */
        {.name = "embeddings.token_type",
         .rows = 2,
         .columns = SENTENCE_WIDTH,
         .buffer = &m->tables.type},
        {.name = "embeddings.norm.weight", .rows = SENTENCE_WIDTH, .buffer = &m->norm.weight},
        {.name = "embeddings.norm.bias", .rows = SENTENCE_WIDTH, .buffer = &m->norm.bias},
    };
    return weights_read_all(m->e.ops, file, slots, sizeof(slots) / sizeof(slots[0]), f) &&
           encoder_read(&m->e, file, f);
}

void sentence_close(sentence_model *m) {
    release_buffer(&m->tables.words);
    release_buffer(&m->tables.positions);
    release_buffer(&m->tables.type);
    release_buffer(&m->norm.weight);
    release_buffer(&m->norm.bias);
    encoder_close(&m->e);
}

/* ---- A run ------------------------------------------------------------------------------------
 */

static bool upload(const sentence_model *m, const pieces *texts, int n_texts, sentence_run *run,
                   failure *f) {
    const cl_context context = m->e.ops->d->context;
    int32_t ids[MAX_TEXTS * MAX_PIECES], places[MAX_TEXTS * MAX_PIECES], rows = 0;
    run->batch.batch = n_texts;
    for (int t = 0; t < n_texts; ++t) {
        const int32_t n = texts[t].n;
        run->begins[t] = rows;
        run->batch.tokens = n > run->batch.tokens ? n : run->batch.tokens;
        for (int32_t i = 0; i < n; ++i) {
            ids[rows + i] = texts[t].ids[i];
            places[rows + i] = i;
        }
        rows += n;
    }
    run->begins[n_texts] = rows;
    run->batch.rows = rows;
    const size_t bytes = (size_t)rows * sizeof(int32_t);
    if (!make_buffer(context, bytes, ids, &run->ids, f) ||
        !make_buffer(context, bytes, places, &run->places, f) ||
        !make_buffer(context, (size_t)(n_texts + 1) * sizeof(int32_t), run->begins,
                     &run->cu_seqlens, f))
        return false;
    run->batch.cu_seqlens = run->cu_seqlens;
    return true;
}

bool sentence_run_start(const sentence_model *m, const pieces *texts, int n_texts,
                        sentence_run *run, failure *f) {
    const cl_mem x = m->e.places[PLACE_X];
    *run = (sentence_run){0};
    if (!upload(m, texts, n_texts, run, f))
        return false;
    const size_t rows = (size_t)run->batch.rows;
    return encoder_trace_open(&m->e, &run->batch, &run->trace, f) &&
           op_gather(m->e.ops, run->ids, run->places, &m->tables, x, rows, SENTENCE_WIDTH, f) &&
           op_layer_norm(m->e.ops, x, x, &m->norm, rows, SENTENCE_WIDTH, m->e.shape.epsilon, f) &&
           encoder_run(&m->e, &run->batch, &run->trace, f);
}

void sentence_run_close(sentence_run *run) {
    release_buffer(&run->ids);
    release_buffer(&run->places);
    release_buffer(&run->cu_seqlens);
    encoder_trace_close(&run->trace);
}

/* ---- What it leaves ---------------------------------------------------------------------------
 */

/* x [rows][SENTENCE_WIDTH] -> the mean row, divided by its length. */
static void pool(const float *x, int32_t rows, float *embedding) {
    double mean[SENTENCE_WIDTH] = {0}, square = 0;
    for (int32_t i = 0; i < rows; ++i)
        for (int c = 0; c < SENTENCE_WIDTH; ++c)
            mean[c] += (double)x[(ptrdiff_t)i * SENTENCE_WIDTH + c] / rows;
    for (int c = 0; c < SENTENCE_WIDTH; ++c)
        square += mean[c] * mean[c];
    for (int c = 0; c < SENTENCE_WIDTH; ++c)
        embedding[c] = (float)(mean[c] / sqrt(square));
}

/* Rows `begin` to `end` of each state of a batch of `rows`. */
static float *cut_states(const float *all, size_t rows, size_t begin, size_t end, failure *f) {
    const size_t n = end - begin, bytes = n * SENTENCE_WIDTH * sizeof(float);
    float *mine = malloc((SENTENCE_LAYERS + 1) * bytes);
    if (!mine) {
        fail_memory(f, (SENTENCE_LAYERS + 1) * bytes);
        return NULL;
    }
    for (size_t i = 0; i < SENTENCE_LAYERS + 1; ++i)
        memcpy(mine + i * n * SENTENCE_WIDTH, all + (i * rows + begin) * SENTENCE_WIDTH, bytes);
    return mine;
}

/* [layers][heads][rows][tokens] of the batch -> [layers][heads][n][n] of one text. */
static float *cut_weights(const float *all, const encoder_input *batch, size_t begin, size_t end,
                          failure *f) {
    const size_t n = end - begin, maps = (size_t)SENTENCE_LAYERS * SENTENCE_HEADS;
    const size_t rows = (size_t)batch->rows, tokens = (size_t)batch->tokens;
    float *mine = malloc(maps * n * n * sizeof(float));
    if (!mine) {
        fail_memory(f, maps * n * n * sizeof(float));
        return NULL;
    }
    for (size_t i = 0; i < maps; ++i)
        for (size_t row = 0; row < n; ++row)
            memcpy(mine + (i * n + row) * n, all + (i * rows + begin + row) * tokens,
                   n * sizeof(float));
    return mine;
}

static bool cut(const sentence_run *run, const encoder_result *all, const float *x, int text,
                sentence_output *output, failure *f) {
    const size_t begin = (size_t)run->begins[text], end = (size_t)run->begins[text + 1];
    const size_t rows = (size_t)run->batch.rows;
    encoder_result *layers = &output->layers;
    pool(x + begin * SENTENCE_WIDTH, (int32_t)(end - begin), output->embedding);
    layers->weights = cut_weights(all->weights, &run->batch, begin, end, f);
    layers->states = all->states ? cut_states(all->states, rows, begin, end, f) : NULL;
    return layers->weights && (!all->states || layers->states);
}

bool sentence_run_read(const sentence_model *m, const sentence_run *run, sentence_output *outputs,
                       failure *f) {
    encoder_result all = {0};
    float *x = op_read(m->e.ops, m->e.places[PLACE_X], (size_t)run->batch.rows * SENTENCE_WIDTH, f);
    bool ok = x && encoder_result_read(&m->e, &run->batch, &run->trace, &all, f);
    for (int t = 0; ok && t < run->batch.batch; ++t)
        ok = cut(run, &all, x, t, &outputs[t], f);
    encoder_result_free(&all);
    free(x);
    return ok;
}

void sentence_output_free(sentence_output *output) {
    encoder_result_free(&output->layers);
}
