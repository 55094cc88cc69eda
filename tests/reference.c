/* In: a call's logical inputs. Out: what it must give. */
#include "reference.h"

#include "numbers.h"

#include <stdlib.h>
#include <tgmath.h>

struct row_result {
    double *o; /* [head_dim_v] */
    double lse;
    bool is_empty;
};

static int64_t clamp(int64_t value, int64_t low, int64_t high) {
    return value < low ? low : value > high ? high : value;
}

struct reference_sequence reference_get_sequence(const struct reference_input *in, int64_t b) {
    struct reference_sequence s = {.q_len = in->seqlen_q, .kv_len = in->seqlen_kv};
    if (in->flags & MHA_RAGGED_Q) {
        s.q_start = (int64_t)in->cu_seqlens_q[b];
        s.q_len = (int64_t)in->cu_seqlens_q[b + 1] - s.q_start;
    }
    if (in->flags & MHA_RAGGED_KV) {
        s.kv_start = (int64_t)in->cu_seqlens_kv[b];
        s.kv_len = (int64_t)in->cu_seqlens_kv[b + 1] - s.kv_start;
    }
    if (in->flags & MHA_KV_LENGTHS)
        s.kv_len = clamp((int64_t)in->kv_lengths[b], 0, s.kv_len);
    if (in->alignment == MHA_BOTTOM_RIGHT)
        s.position = s.kv_len - s.q_len;
    else if (in->alignment == MHA_EXPLICIT)
        s.position = in->position_offset;
    else if (in->alignment == MHA_EXPLICIT_PER_BATCH)
        s.position = (int64_t)in->position_offsets[b];
    return s;
}

int64_t reference_rows(const struct reference_input *in) {
    return in->q_heads * (in->flags & MHA_RAGGED_Q ? in->total_q : in->batch * in->seqlen_q);
}

int64_t reference_row(const struct reference_input *in, const struct reference_sequence *s,
                      int64_t b, int64_t h, int64_t i) {
    if (in->flags & MHA_RAGGED_Q)
        return h * in->total_q + s->q_start + i;
    return (b * in->q_heads + h) * in->seqlen_q + i;
}

int64_t reference_element(const struct reference_tensor *t, int64_t b, int64_t h, int64_t token) {
    return b * t->stride[0] + h * t->stride[1] + token * t->stride[2];
}

static double score_element(const struct reference_tensor *t, int64_t b, int64_t h, int64_t i,
                            int64_t j) {
    return t->data[b * t->stride[0] + h * t->stride[1] + i * t->stride[2] + j * t->stride[3]];
}

static bool is_masked(const struct reference_input *in, const struct reference_sequence *s,
                      int64_t b, int64_t h, int64_t i, int64_t j) {
    const int64_t aligned = i + s->position;
    if (in->flags & MHA_CAUSAL && j > aligned)
        return true;
    if (in->flags & MHA_WINDOW && in->window_left >= 0 && aligned - j > in->window_left)
        return true;
    if (in->flags & MHA_WINDOW && in->window_right >= 0 && j - aligned > in->window_right)
        return true;
    if (in->flags & MHA_MASK && score_element(&in->mask, b, h, i, j) == 0)
        return true;
    return in->flags & MHA_BIAS && score_element(&in->bias, b, h, i, j) == -INFINITY;
}

#define REAL float
#define ROW_FUNCTION row_f32
#include "reference_row.h"
#undef REAL
#undef ROW_FUNCTION
#define REAL double
#define ROW_FUNCTION row_f64
#include "reference_row.h"
#undef REAL
#undef ROW_FUNCTION
#define REAL long double
#define ROW_FUNCTION row_extended
#include "reference_row.h"
#undef REAL
#undef ROW_FUNCTION

static void write_row(const struct reference_input *in, enum reference_precision precision,
                      int64_t row, const struct row_result *result, const double *scores,
                      const struct reference_output *out) {
    const bool is_plain = precision == REFERENCE_PLAIN;
    const enum number scores_type = in->dtype == MHA_F64 ? NUMBER_F64 : NUMBER_F32;
    for (int64_t d = 0; out->o && d < in->head_dim_v; ++d)
        out->o[row * in->head_dim_v + d] =
            is_plain ? number_round((enum number)in->dtype, result->o[d]) : result->o[d];
    if (out->lse)
        out->lse[row] = is_plain ? number_round(NUMBER_F32, result->lse) : result->lse;
    if (out->is_empty)
        out->is_empty[row] = result->is_empty;
    for (int64_t j = 0; out->scores && j < in->seqlen_kv; ++j)
        out->scores[row * in->seqlen_kv + j] =
            is_plain ? number_round(scores_type, scores[j]) : scores[j];
}

bool reference_attention(const struct reference_input *in, enum reference_precision precision,
                         bool is_reverse, const struct reference_output *out) {
    const size_t keys = (size_t)in->seqlen_kv + 1, width = (size_t)in->head_dim_v;
    long double *work = malloc((keys + width) * sizeof(*work));
    double *scores = malloc((keys + width) * sizeof(*scores));
    const bool is_ok = work && scores;
    struct row_result result = {.o = scores ? scores + keys : NULL};
    for (int64_t b = 0; is_ok && b < in->batch; ++b) {
        const struct reference_sequence s = reference_get_sequence(in, b);
        for (int64_t h = 0; h < in->q_heads; ++h)
            for (int64_t i = 0; i < s.q_len; ++i) {
                for (int64_t j = 0; j < in->seqlen_kv; ++j)
                    scores[j] = in->scores_stage == MHA_STAGE_WEIGHTS ? 0 : -INFINITY;
                void *acc = work + keys;
                if (in->dtype == MHA_F64 && precision == REFERENCE_EXACT)
                    row_extended(in, &s, b, h, i, is_reverse, scores, work, acc, &result);
                else if (in->dtype == MHA_F64 || precision == REFERENCE_EXACT)
                    row_f64(in, &s, b, h, i, is_reverse, scores, (double *)work, acc, &result);
                else
                    row_f32(in, &s, b, h, i, is_reverse, scores, (float *)work, acc, &result);
                write_row(in, precision, reference_row(in, &s, b, h, i), &result, scores, out);
            }
    }
    free(work);
    free(scores);
    return is_ok;
}
