/* A transformer encoder on libmha-cl's layer and projections: rows of tokens in, rows out, layer
 * after layer. One layer plan and two projection plans serve all layers; a second layer plan gives
 * the attention weights where they are wanted. */
#ifndef EXAMPLES_ENCODER_H
#define EXAMPLES_ENCODER_H

#include "linear.h"

#define ENCODER_MAX_LAYERS 16

typedef struct encoder_shape {
    const char *prefix; /* of the tensors' names, before the layer's number: "blocks." */
    int layers, heads;
    int64_t width, inner; /* of a token, and within the MLP */
    bool pre_norm;        /* norms before attention and MLP; without it after the sums */
    bool layer_scale;     /* what is added is scaled column by column */
    bool ragged;          /* texts of any lengths, row after row, without padding */
    float epsilon;        /* of the norms */
    int64_t max_batch, max_tokens;
    bool keep_states;                      /* of all layers, for encoder_result */
    bool keep_weights[ENCODER_MAX_LAYERS]; /* attention weights, by layer */
} encoder_shape;

/* Buffers that a layer works on. */
typedef enum encoder_place {
    PLACE_X,     /* [rows][width]: the tokens; input and output of each layer */
    PLACE_H,     /* [rows][width]: normalised */
    PLACE_Y,     /* [rows][width]: what is added to x */
    PLACE_INNER, /* [rows][inner] */
    N_PLACES
} encoder_place;

typedef struct encoder_layer {
    cl_mem attention, fc1, fc2; /* packed weights */
    layer_norm_weights norms[2];
    cl_mem scales[2];
} encoder_layer;

enum { PLAN_FAST, PLAN_WEIGHTS, N_LAYER_PLANS };

typedef struct encoder {
    encoder_shape shape;
    mha_engine *engine;             /* borrowed */
    const model_ops *ops;           /* borrowed */
    mha_plan *plans[N_LAYER_PLANS]; /* NULL where no layer uses it */
    mha_plan_info infos[N_LAYER_PLANS];
    linear fc1, fc2;
    encoder_layer layers[ENCODER_MAX_LAYERS];
    cl_mem places[N_PLACES];
    cl_mem workspace;
} encoder;

/* Makes plans and buffers: compiles. */
bool encoder_open(mha_engine *engine, const model_ops *ops, const encoder_shape *shape, encoder *e,
                  failure *f);

/* Safe on a zeroed encoder. */
void encoder_close(encoder *e);

/* Reads and packs the weights of all layers. */
bool encoder_read(encoder *e, const st_file *file, failure *f);

/* A batch whose tokens stand in PLACE_X. */
typedef struct encoder_input {
    int64_t batch, tokens; /* ragged: the longest text's */
    int64_t rows;          /* of all texts */
    cl_mem cu_seqlens;     /* ragged: int32 [batch + 1] */
} encoder_input;

/* On the device: NULL where it is not kept. */
typedef struct encoder_trace {
    cl_mem states;  /* [layers + 1][rows][width]: the first layer's input, all outputs */
    cl_mem weights; /* fp32 [layers][heads][rows][tokens]; only the kept layers are written */
} encoder_trace;
bool encoder_trace_open(const encoder *e, const encoder_input *input, encoder_trace *trace,
                        failure *f);
void encoder_trace_close(encoder_trace *trace);

/* Enqueues all layers; PLACE_X then holds the last one's output. */
bool encoder_run(const encoder *e, const encoder_input *input, const encoder_trace *trace,
                 failure *f);

/* The same on the host, in fp32; NULL where it was not kept. */
typedef struct encoder_result {
    float *states, *weights;
} encoder_result;

/* Blocks until all is there. */
bool encoder_result_read(const encoder *e, const encoder_input *input, const encoder_trace *trace,
                         encoder_result *result, failure *f);

/* Safe on a zeroed result. */
void encoder_result_free(encoder_result *result);

#endif
