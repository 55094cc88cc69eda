/* In: a case's tensors. Out: their values, by the case's seed, fill, patterns and poison. */
#include "cases.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

static int64_t max(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static bool pattern_masks(enum pattern pattern, int64_t i, int64_t j, int64_t keys,
                          struct random *random) {
    switch (pattern) {
    case PATTERN_DEFAULT:
    case PATTERN_SPARSE:
        return random_uniform(random, 0, 1) < 0.3;
    case PATTERN_EMPTY_ROWS:
        return i % 3 == 0 || random_uniform(random, 0, 1) < 0.3;
    case PATTERN_LEADING:
        return j < keys - keys / 4 - 1;
    }
    return false;
}

static void fill_scores(struct case_data *data, struct random *random) {
    const struct test_case *t = &data->test;
    const struct test_view *views[2] = {&data->bias, &data->mask};
    const enum pattern patterns[2] = {t->bias_pattern, t->mask_pattern};
    for (int n = 0; n < 2; ++n) {
        const struct test_view *view = views[n];
        const bool is_bias = n == 0;
        if (!view->buffer)
            continue;
        for (int64_t b = 0; b < view->extent[0]; ++b)
            for (int64_t h = 0; h < view->extent[1]; ++h)
                for (int64_t i = 0; i < view->extent[2]; ++i)
                    for (int64_t j = 0; j < view->extent[3]; ++j) {
                        const bool is_masked =
                            !(is_bias && patterns[n] == PATTERN_DEFAULT) &&
                            pattern_masks(patterns[n], i, j, view->extent[3], random);
                        double value = is_bias ? random_uniform(random, -2, 2)
                                               : (double)random_integer(random, 1, 255);
                        if (is_masked)
                            value = is_bias ? -INFINITY : 0;
                        view_put(view, b, h, i, j, value);
                    }
    }
}

static double token_value(const struct test_case *t, char tensor, int64_t h, int64_t t_index,
                          int64_t d, struct random *random) {
    const double scale =
        t->flags & MHA_SCALE && t->scale != 0 ? fabs(t->scale) : 1 / sqrt((double)t->head_dim_qk);
    double range = 2.45; /* uniform: variance of a product of two is range^4 / 9 = 4 */
    if (tensor == 'v')
        return t->fill == FILL_CONSTANT_V ? 1.25 : random_uniform(random, -1.5, 1.5);
    if (t->fill == FILL_WIDE)
        range = sqrt(t->logits / (scale * sqrt((double)t->head_dim_qk)));
    if (t->fill != FILL_SHIFTED)
        return random_uniform(random, -range, range);
    /* Small integers: every product and sum is exact in fp32, and so is a scale of 2^-n. */
    const bool is_k = tensor == 'k';
    if (d == 0)
        return (double)(is_k ? (t_index * 7) % 17 - 8 : t_index % 7 - 3);
    const double level = round(sqrt(t->logits / scale / (double)max(t->head_dim_qk - 1, 1)));
    return is_k && h % 2 ? -level : level;
}

static void fill_tokens(const struct test_case *t, char tensor, const struct test_view *view,
                        struct random *random) {
    for (int64_t b = 0; b < view->extent[0]; ++b)
        for (int64_t h = 0; h < view->extent[1]; ++h)
            for (int64_t n = 0; n < view->extent[2]; ++n)
                for (int64_t d = 0; d < view->extent[3]; ++d)
                    view_put(view, b, h, n, d, token_value(t, tensor, h, n, d, random));
}

static void fill_vectors(struct case_data *data, struct random *random) {
    const struct test_case *t = &data->test;
    for (int64_t h = 0; h < t->q_heads && data->alibi_slopes.buffer; ++h)
        view_put(&data->alibi_slopes, 0, 0, 0, h,
                 exp2(-8.0 * (double)(h + 1) / (double)t->q_heads));
    for (int64_t h = 0; h < t->q_heads && data->sinks.buffer; ++h)
        view_put(&data->sinks, 0, 0, 0, h, random_uniform(random, -2, 3));
    for (int64_t b = 0; b < t->batch && data->position_offsets.buffer; ++b)
        view_put(&data->position_offsets, 0, 0, 0, b,
                 (double)(t->position + random_integer(random, -3, 3)));
    /* The first is longer than seqlen_kv and the second negative: both are clamped. */
    for (int64_t b = 0; b < t->batch && data->kv_lengths.buffer; ++b) {
        int64_t length = b == 0 ? t->seqlen_kv + 7 : random_integer(random, 0, t->seqlen_kv);
        if (b == 1)
            length = -3;
        if (t->has_zero_lengths)
            length = 0;
        view_put(&data->kv_lengths, 0, 0, 0, b, (double)length);
    }
}

/* ---- Poison -------------------------------------------------------------------------------- */

/* How many query rows there are for, and see, the row of k at each element of its buffer. */
struct sight {
    int64_t rows, seeing;
};

static void poison_row(const struct case_data *data, int64_t b, int64_t h, int64_t t) {
    for (int64_t d = 0; d < max(data->k.extent[3], data->v.extent[3]); ++d) {
        const double infinity = (d + t) % 2 ? INFINITY : -INFINITY;
        const double value = data->test.poison == POISON_NAN ? NAN : infinity;
        if (d < data->k.extent[3])
            view_put(&data->k, b, h, t, d, value);
        if (d < data->v.extent[3])
            view_put(&data->v, b, h, t, d, value);
    }
}

static void count_sight(const struct case_data *data, const double *scores, struct sight *sight) {
    const struct reference_input *in = &data->in;
    for (int64_t b = 0; b < in->batch; ++b) {
        const struct reference_sequence s = reference_get_sequence(in, b);
        for (int64_t h = 0; h < in->q_heads; ++h)
            for (int64_t i = 0; i < s.q_len; ++i)
                for (int64_t j = 0; j < s.kv_len; ++j) {
                    const int64_t h_kv = h / (in->q_heads / in->kv_heads);
                    struct sight *at = &sight[reference_element(&in->k, b, h_kv, s.kv_start + j)];
                    const int64_t row = reference_row(in, &s, b, h, i);
                    ++at->rows;
                    at->seeing += scores[row * in->seqlen_kv + j] != -INFINITY;
                }
    }
}

static void poison(struct case_data *data) {
    struct reference_input in = data->in;
    in.scores_stage = MHA_STAGE_MASKED;
    const size_t scores_count = (size_t)(reference_rows(&in) * in.seqlen_kv) + 1;
    double *scores = malloc(scores_count * sizeof(*scores));
    struct sight *sight =
        calloc(data->k.buffer->bytes / number_bytes(data->k.buffer->type), sizeof(*sight));
    cr_assert(scores && sight);
    const struct reference_output out = {.scores = scores};
    cr_assert(reference_attention(&in, REFERENCE_EXACT, false, &out));
    count_sight(data, scores, sight);
    /* Rarest: the row of k, not hidden from all, that is hidden from most. */
    int64_t fewest = INT64_MAX, rarest[3] = {0};
    for (int64_t b = 0; b < data->k.extent[0]; ++b)
        for (int64_t h = 0; h < data->k.extent[1]; ++h)
            for (int64_t t = 0; t < data->k.extent[2]; ++t) {
                const struct sight *at = &sight[reference_element(&in.k, b, h, t)];
                if (!at->seeing)
                    poison_row(data, b, h, t);
                else if (at->seeing < at->rows && at->seeing < fewest) {
                    fewest = at->seeing;
                    rarest[0] = b, rarest[1] = h, rarest[2] = t;
                }
            }
    if (fewest != INT64_MAX)
        poison_row(data, rarest[0], rarest[1], rarest[2]);
    free(scores);
    free(sight);
}

void case_fill(struct case_data *data) {
    const struct test_case *t = &data->test;
    struct random random = {t->seed};
    fill_tokens(t, 'q', &data->q, &random);
    fill_tokens(t, 'k', &data->k, &random);
    fill_tokens(t, 'v', &data->v, &random);
    fill_scores(data, &random);
    fill_vectors(data, &random);
    if (t->poison != POISON_NONE)
        poison(data);
}
