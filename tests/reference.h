/* What mha_cl.h says, computed on the host one row after another.
 *
 * Inputs are doubles that are already rounded to the storage type, addressed by the strides of the
 * call. Precision REFERENCE_EXACT is double (long double for MHA_F64); REFERENCE_PLAIN is the
 * computation anybody would write, scores, softmax, weights times v, in fp32 (fp64 for MHA_F64),
 * whose error is the yardstick for that of the library. */
#ifndef TESTS_REFERENCE_H
#define TESTS_REFERENCE_H

#include "mha_cl.h"

#include <stdbool.h>

/* Element (b, h, t, d) is data[b * stride[0] + h * stride[1] + t * stride[2] + d * stride[3]]. */
struct reference_tensor {
    const double *data;
    int64_t stride[4];
};

struct reference_input {
    uint64_t flags; /* MHA_* */
    mha_dtype dtype;
    int64_t batch, q_heads, kv_heads, seqlen_q, seqlen_kv, head_dim_qk, head_dim_v;
    int64_t total_q, total_kv;
    double scale, softcap; /* as in mha_attention_desc */
    int64_t window_left, window_right;
    mha_alignment alignment;
    mha_scores_stage scores_stage;
    int64_t position_offset;
    struct reference_tensor q, k, v, bias, mask;
    const double *alibi_slopes, *sinks;
    const double *kv_lengths, *cu_seqlens_q, *cu_seqlens_kv, *position_offsets;
};

/* Rows are counted as those of lse are: [batch][q_heads][seqlen_q], ragged [q_heads][total_q].
 * Members may be NULL. */
struct reference_output {
    double *o;      /* [rows][head_dim_v]; EXACT: unrounded, PLAIN: rounded to the output type */
    double *lse;    /* [rows] */
    double *scores; /* [rows][seqlen_kv] */
    bool *is_empty; /* [rows]: no key is left to this row */
};

enum reference_precision { REFERENCE_EXACT, REFERENCE_PLAIN };

/* `is_reverse` sums from the last term to the first. False when out of memory. */
bool reference_attention(const struct reference_input *in, enum reference_precision precision,
                         bool is_reverse, const struct reference_output *out);

/* One batch entry: its lengths, and where its tokens begin in packed tensors. */
struct reference_sequence {
    int64_t q_len, kv_len, q_start, kv_start;
    int64_t position; /* i_aligned = i + position */
};
struct reference_sequence reference_get_sequence(const struct reference_input *in, int64_t b);

int64_t reference_rows(const struct reference_input *in);
int64_t reference_row(const struct reference_input *in, const struct reference_sequence *s,
                      int64_t b, int64_t h, int64_t i);

/* The element of a tensor of tokens; t counts from the first token of the batch entry. */
int64_t reference_element(const struct reference_tensor *tensor, int64_t b, int64_t h, int64_t t);

#endif
