/* A test case of the attention layer: the attention's own, the layer's sizes and weights; and the
 * buffers of one. */
#ifndef TESTS_LAYER_CASE_H
#define TESTS_LAYER_CASE_H

#include "guarded.h"
#include "reference_layer.h"

/* Zero means the default of every member but the sizes. */
struct layer_case {
    /* Its sizes, features, outputs, seed and name; its layout is that of a cache. */
    struct test_case attention;
    uint64_t flags; /* MHA_LAYER_* */
    mha_dtype weight_dtype;
    int64_t embed_q, embed_k, embed_v; /* fused: k and v are taken as q */
    int64_t embed_out;                 /* with MHA_LAYER_OUTPUT */
    int64_t past;                      /* with MHA_LAYER_KV_CACHE */
    const char *projection_variant;
    bool is_padded; /* gaps between the tokens and batch entries of query, key, value and y */
};

enum { WEIGHTS_Q, WEIGHTS_K, WEIGHTS_V, WEIGHTS_OUTPUT, WEIGHTS_QKV, WEIGHTS_COUNT };

struct layer_data {
    struct layer_case test;
    struct case_data attention;
    mha_layer_desc desc; /* desc.attention points into `attention`: the struct must not move */
    struct guarded guarded;
    struct test_view query, key, value, y, packed, workspace;
    struct test_view weights[WEIGHTS_COUNT], biases[WEIGHTS_COUNT];
    struct reference_layer in;
    mha_attention_args attention_args;
    mha_layer_weights call_weights;
    mha_layer_args args;
};

/* Makes the inputs, no OpenCL object. */
void layer_init(struct layer_data *data, const struct layer_case *test);

/* Adds workspace and packed weights for the plan, makes the OpenCL buffers, packs the weights if
 * the layer takes packed ones, and sets data->args. False with a reason if the packing fails. */
bool layer_upload(struct layer_data *data, const struct test_device *device, mha_plan *plan,
                  char failure[FAILURE_BYTES]);

/* Also the buffers. */
void layer_release(struct layer_data *data);

/* What a call left. */
struct layer_outputs {
    double *y, *lse, *scores;
    double *k, *v; /* the new tokens of a cache */
};

void layer_outputs_release(struct layer_outputs *outputs);
bool layer_outputs_are_equal(const struct layer_data *data, const struct layer_outputs *a,
                             const struct layer_outputs *b);

/* Enqueues data->args and takes what it gave; every other byte must be as it was. */
bool layer_call(struct layer_data *data, const struct test_device *device, mha_plan *plan,
                struct layer_outputs *outputs, char failure[FAILURE_BYTES]);

/* Takes what an enqueued call that is now complete gave. */
bool layer_take(struct layer_data *data, const struct test_device *device,
                struct layer_outputs *outputs, char failure[FAILURE_BYTES]);

/* Judges all of it by the reference. */
bool layer_compare(const struct layer_data *data, const struct layer_outputs *outputs,
                   char failure[FAILURE_BYTES]);

#endif
