/* A linear projection and the whole attention layer, computed on the host as reference.h does. */
#ifndef TESTS_REFERENCE_LAYER_H
#define TESTS_REFERENCE_LAYER_H

#include "reference.h"

/* Weights as PyTorch's Linear has them. */
struct reference_projection {
    const double *weight; /* [out_features][in_features]; NULL: there is no such projection */
    const double *bias;   /* [out_features]; NULL: none */
    int64_t in_features, out_features;
};

/* y[row][out_features] of `rows` rows, stride_row elements apart in x. EXACT: double (long double
 * for MHA_F64), not rounded; PLAIN: fp32 (fp64) one term after another, rounded to dtype. */
void reference_linear(mha_dtype dtype, const struct reference_projection *projection,
                      const double *x, int64_t stride_row, int64_t rows,
                      enum reference_precision precision, bool is_reverse, double *y);

struct reference_layer {
    /* q is not looked at; k and v hold the past of a cache, and nothing without one. */
    struct reference_input attention;
    int64_t seqlen_past;
    struct reference_tensor query, key, value; /* [batch][1][token][embed] */
    struct reference_projection q, k, v, output;
};

/* As arrays without gaps. Members but q, k and v may be NULL. */
struct reference_layer_output {
    double *q, *k, *v; /* [batch][heads][token][head_dim], of a cache with the past; ragged: batch 1
                        */
    double *lse, *scores; /* as in struct reference_output */
    bool *is_empty;
    double *y; /* [batch][token][width]; ragged: batch 1 */
};

/* EXACT rounds nothing on the way; PLAIN rounds q, k, v and o to the storage type, as anybody's
 * layer does that keeps them in memory. False when out of memory. */
bool reference_layer(const struct reference_layer *layer, enum reference_precision precision,
                     bool is_reverse, const struct reference_layer_output *out);

/* Batch entries and tokens of the layer's tensors: of query and y, and of q, k or v. */
int64_t reference_layer_batch(const struct reference_layer *layer, bool is_query);
int64_t reference_layer_tokens(const struct reference_layer *layer, bool is_query);

#endif
