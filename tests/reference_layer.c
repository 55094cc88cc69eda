/* In: a layer's logical inputs. Out: what it must give. */
#include "reference_layer.h"

#include "numbers.h"

#include <stdlib.h>
#include <string.h>

/* One dot product in the arithmetic REAL. */
#define DEFINE_DOT(NAME, REAL)                                                                     \
    static double NAME(const double *x, const double *w, double bias, int64_t count,               \
                       bool is_reverse) {                                                          \
        REAL sum = 0;                                                                              \
        for (int64_t n = 0; n < count; ++n) {                                                      \
            const int64_t k = is_reverse ? count - 1 - n : n;                                      \
            sum += (REAL)x[k] * (REAL)w[k];                                                        \
        }                                                                                          \
        return (double)(sum + (REAL)bias);                                                         \
    }
DEFINE_DOT(dot_f32, float)
DEFINE_DOT(dot_f64, double)
DEFINE_DOT(dot_extended, long double)

void reference_linear(mha_dtype dtype, const struct reference_projection *p, const double *x,
                      int64_t stride_row, int64_t rows, enum reference_precision precision,
                      bool is_reverse, double *y) {
    const bool is_plain = precision == REFERENCE_PLAIN, is_double = dtype == MHA_F64;
    double (*const dot)(const double *, const double *, double, int64_t, bool) =
        is_double == is_plain ? dot_f64
        : is_plain            ? dot_f32
                              : dot_extended;
    for (int64_t i = 0; i < rows; ++i)
        for (int64_t c = 0; c < p->out_features; ++c) {
            const double value = dot(x + i * stride_row, p->weight + c * p->in_features,
                                     p->bias ? p->bias[c] : 0, p->in_features, is_reverse);
            y[i * p->out_features + c] = is_plain ? number_round((enum number)dtype, value) : value;
        }
}

static bool is_ragged(const struct reference_layer *layer, bool is_query) {
    return layer->attention.flags & (is_query ? MHA_RAGGED_Q : MHA_RAGGED_KV);
}

int64_t reference_layer_batch(const struct reference_layer *layer, bool is_query) {
    return is_ragged(layer, is_query) ? 1 : layer->attention.batch;
}

int64_t reference_layer_tokens(const struct reference_layer *layer, bool is_query) {
    const struct reference_input *in = &layer->attention;
    if (is_query)
        return is_ragged(layer, true) ? in->total_q : in->seqlen_q;
    return is_ragged(layer, false) ? in->total_kv : in->seqlen_kv;
}

/* How the projections compute. */
struct arithmetic {
    enum reference_precision precision;
    bool is_reverse;
};

/* One of q, k, v into out[batch][heads][token][head_dim], from token `past` on; `tensor` is what
 * the attention reads. */
static bool project(const struct reference_layer *layer, const struct arithmetic *how,
                    const struct reference_projection *p, const struct reference_tensor *input,
                    bool is_query, int64_t heads, struct reference_tensor *tensor, double *out) {
    const struct reference_tensor cache = *tensor;
    const int64_t batch = reference_layer_batch(layer, is_query);
    const int64_t tokens = reference_layer_tokens(layer, is_query);
    const int64_t past = is_query ? 0 : layer->seqlen_past, width = p->out_features;
    const int64_t head_dim = width / heads, fresh = tokens - past;
    double *rows = malloc((size_t)(fresh * width + 1) * sizeof(*rows));
    for (int64_t b = 0; rows && b < batch; ++b) {
        reference_linear(layer->attention.dtype, p, input->data + b * input->stride[0],
                         input->stride[2], fresh, how->precision, how->is_reverse, rows);
        for (int64_t h = 0; h < heads; ++h)
            for (int64_t t = 0; t < tokens; ++t)
                for (int64_t d = 0; d < head_dim; ++d)
                    out[((b * heads + h) * tokens + t) * head_dim + d] =
                        t < past ? cache.data[reference_element(&cache, b, h, t) + d]
                                 : rows[(t - past) * width + h * head_dim + d];
    }
    *tensor = (struct reference_tensor){out,
                                        {is_ragged(layer, is_query) ? 0 : heads * tokens * head_dim,
                                         tokens * head_dim, head_dim, 1}};
    const bool is_ok = rows != NULL;
    free(rows);
    return is_ok;
}

/* merged[batch][token][q_heads * head_dim_v] of o's rows. Tokens of no sequence are zero. */
static void merge_heads(const struct reference_layer *layer, const struct reference_input *in,
                        const double *o, double *merged) {
    const int64_t width = in->head_dim_v;
    for (int64_t b = 0; b < in->batch; ++b) {
        const struct reference_sequence s = reference_get_sequence(in, b);
        const int64_t first = is_ragged(layer, true) ? s.q_start : b * in->seqlen_q;
        for (int64_t h = 0; h < in->q_heads; ++h)
            for (int64_t i = 0; i < s.q_len; ++i)
                memcpy(merged + ((first + i) * in->q_heads + h) * width,
                       o + reference_row(in, &s, b, h, i) * width, (size_t)width * sizeof(*merged));
    }
}

bool reference_layer(const struct reference_layer *layer, enum reference_precision precision,
                     bool is_reverse, const struct reference_layer_output *out) {
    const struct arithmetic how = {precision, is_reverse};
    struct reference_input in = layer->attention;
    const int64_t rows = reference_rows(&in), width = in.q_heads * in.head_dim_v;
    const int64_t tokens = reference_layer_batch(layer, true) * reference_layer_tokens(layer, true);
    double *o = calloc((size_t)(rows * in.head_dim_v + 1), sizeof(*o));
    double *merged = calloc((size_t)(tokens * width + 1), sizeof(*merged));
    const struct reference_output attention = {
        .o = o, .lse = out->lse, .scores = out->scores, .is_empty = out->is_empty};
    const bool is_ok =
        o && merged &&
        project(layer, &how, &layer->q, &layer->query, true, in.q_heads, &in.q, out->q) &&
        project(layer, &how, &layer->k, &layer->key, false, in.kv_heads, &in.k, out->k) &&
        project(layer, &how, &layer->v, &layer->value, false, in.kv_heads, &in.v, out->v) &&
        reference_attention(&in, precision, is_reverse, &attention);
    if (is_ok && out->y) {
        merge_heads(layer, &in, o, merged);
        if (layer->output.weight)
            reference_linear(in.dtype, &layer->output, merged, width, tokens, precision, is_reverse,
                             out->y);
        else
            memcpy(out->y, merged, (size_t)(tokens * width) * sizeof(*merged));
    }
    free(o);
    free(merged);
    return is_ok;
}
