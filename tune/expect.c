/* In: a problem and its inputs. Out: samples of the right results, and how wrong a result may be.
 */
#include "expect.h"

#include "reference_layer.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define MIN_SAMPLES 16

/* Times the error of the plain computation, of which the samples show only a part. */
#define ALLOWANCE 3
/* Roundings of the largest value. */
#define ROUNDINGS 8

/* Exact, plain, plain in reverse. */
#define COMPUTATIONS 3

/* Of `all`, each of which takes `each` multiply-adds. */
static int64_t samples_of(int64_t all, double each, double terms) {
    const double count = fmax(MIN_SAMPLES, terms / each);
    return count < (double)all ? (int64_t)count : all;
}

/* Spread evenly, first and last among them. */
static int64_t sample(int64_t n, int64_t count, int64_t all, struct random *random) {
    if (count == all || n == 0)
        return n;
    if (n == count - 1)
        return all - 1;
    const double at = ((double)n + random_uniform(random, 0, 1)) * (double)all / (double)count;
    return (int64_t)at < all ? (int64_t)at : all - 1;
}

static bool init(struct expected *e, int64_t count, int64_t width) {
    *e = (struct expected){.count = count, .width = width};
    e->at = malloc((size_t)count * sizeof(*e->at));
    e->exact = malloc((size_t)(count * width) * sizeof(*e->exact));
    return e->at && e->exact;
}

/* results: of each computation, of sample n. */
static void add(struct expected *e, int64_t n, int64_t at, double *const results[COMPUTATIONS]) {
    e->at[n] = at;
    for (int64_t i = 0; i < e->width; ++i) {
        const double exact = results[0][i];
        e->exact[n * e->width + i] = exact;
        if (isfinite(exact) && fabs(exact) > e->largest)
            e->largest = fabs(exact);
        for (int c = 1; c < COMPUTATIONS; ++c)
            if (fabs(results[c][i] - exact) > e->bound) /* not so for NaN */
                e->bound = fabs(results[c][i] - exact);
    }
}

/* least: of what is summed up to the results, the largest; they themselves may be small. */
static void finish(struct expected *e, double epsilon, double least) {
    e->bound = ALLOWANCE * e->bound + ROUNDINGS * epsilon * fmax(e->largest, least);
}

void expected_release(struct expected expected[OUTPUT_COUNT]) {
    for (int i = 0; i < OUTPUT_COUNT; ++i) {
        free(expected[i].at);
        free(expected[i].exact);
        expected[i] = (struct expected){.count = 0};
    }
}

bool expected_holds(const struct expected *e, enum number type, const unsigned char *bytes,
                    const char *name, double *max_error, char *why, size_t why_bytes) {
    for (int64_t n = 0; n < e->count * e->width; ++n) {
        const int64_t at = e->at[n / e->width] + n % e->width;
        const double got = number_get(type, bytes, at), exact = e->exact[n];
        const double error = isfinite(exact) ? fabs(got - exact) : got == exact ? 0 : INFINITY;
        if (!(error <= e->bound)) {
            snprintf(why, why_bytes, "%s: element %lld is %.9g, not %.9g: error %.3g, bound %.3g",
                     name, (long long)(at - MARGIN_ELEMENTS), got, exact, error, e->bound);
            return false;
        }
        if (error > 0 && error / e->largest > *max_error)
            *max_error = error / e->largest;
    }
    return true;
}

/* ---- Linear projection ----------------------------------------------------------------------- */

static bool expect_linear(const struct problem *p, const struct operands *o,
                          const struct values *values, double terms, struct expected *e) {
    const int64_t rows = o->sizes.rows, in = p->in_features, out = p->out_features;
    const int64_t count = samples_of(rows * out, (double)in, terms);
    const struct tensor *y = &o->outputs[OUTPUT_Y];
    struct random random = {5};
    double *x = malloc((size_t)(2 * in) * sizeof(*x));
    const bool is_ok = init(e, count, 1) && x;
    for (int64_t n = 0; is_ok && n < count; ++n) {
        const int64_t element = sample(n, count, rows * out, &random);
        const int64_t row = element / out, column = element % out;
        double bias = 0, y_of[COMPUTATIONS];
        const struct reference_projection projection = {x + in, &bias, in, 1};
        pattern_values(&values->patterns[INPUT_X], row * in, in, x);
        pattern_values(&values->patterns[INPUT_WEIGHT], column * in, in, x + in);
        if (p->flags & MHA_LINEAR_BIAS)
            pattern_values(&values->patterns[INPUT_BIAS], column, 1, &bias);
        for (int c = 0; c < COMPUTATIONS; ++c)
            reference_linear(p->dtype, &projection, x, in, 1, c ? REFERENCE_PLAIN : REFERENCE_EXACT,
                             c == 2, &y_of[c]);
        add(e, n, tensor_row(y, row) + column, (double *[]){&y_of[0], &y_of[1], &y_of[2]});
    }
    if (is_ok)
        finish(e, p->dtype == MHA_F64 ? DBL_EPSILON : FLT_EPSILON, 1);
    free(x);
    return is_ok;
}

/* ---- Attention ------------------------------------------------------------------------------- */

/* One query's row, alone in a reference's problem of its own. */
struct row {
    double *q, *k, *v;
    double *o[COMPUTATIONS], *scores[COMPUTATIONS], lse[COMPUTATIONS];
    int64_t head; /* whose k and v are there, counted over the batch */
};

static bool init_row(struct row *row, const struct problem *p, int64_t keys) {
    const int64_t qk = p->head_dim_qk, v = p->head_dim_v;
    const int64_t each = v + keys;
    double *memory = calloc((size_t)(qk + keys * (qk + v) + COMPUTATIONS * each), sizeof(*memory));
    *row = (struct row){.q = memory, .head = -1};
    if (!memory)
        return false;
    row->k = memory + qk;
    row->v = row->k + keys * qk;
    for (int c = 0; c < COMPUTATIONS; ++c) {
        row->o[c] = row->v + keys * v + c * each;
        row->scores[c] = row->o[c] + v;
    }
    return true;
}

static bool compute_row(struct row *row, const struct problem *p, const struct operands *o,
                        const struct values *values, int64_t number) {
    const struct sizes *s = &o->sizes;
    const int64_t i = number % s->seqlen_q, h = number / s->seqlen_q % p->q_heads;
    const int64_t b = number / s->seqlen_q / p->q_heads;
    const int64_t head = b * p->kv_heads + h / (p->q_heads / p->kv_heads);
    const int64_t qk = p->head_dim_qk, v = p->head_dim_v;
    int64_t keys = s->seqlen_kv;
    if (p->flags & MHA_KV_LENGTHS) {
        double length;
        pattern_values(&values->patterns[INPUT_LENGTHS], b, 1, &length);
        keys = length < 0 ? 0 : length < (double)keys ? (int64_t)length : keys;
    }
    if (head != row->head) {
        row->head = head;
        pattern_values(&values->patterns[INPUT_K], head * s->seqlen_kv * qk, s->seqlen_kv * qk,
                       row->k);
        pattern_values(&values->patterns[INPUT_V], head * s->seqlen_kv * v, s->seqlen_kv * v,
                       row->v);
    }
    pattern_values(&values->patterns[INPUT_Q], number * qk, qk, row->q);
    const struct reference_input in = {
        .flags = p->flags & MHA_CAUSAL,
        .dtype = p->dtype,
        .batch = 1,
        .q_heads = 1,
        .kv_heads = 1,
        .seqlen_q = 1,
        .seqlen_kv = keys,
        .head_dim_qk = qk,
        .head_dim_v = v,
        .alignment = p->flags & MHA_CAUSAL ? MHA_EXPLICIT : MHA_TOP_LEFT,
        .position_offset = i + (p->alignment == MHA_BOTTOM_RIGHT ? keys - s->seqlen_q : 0),
        .q = {row->q, {0, 0, qk, 1}},
        .k = {row->k, {0, 0, qk, 1}},
        .v = {row->v, {0, 0, v, 1}},
    };
    for (int c = 0; c < COMPUTATIONS; ++c) {
        const struct reference_output out = {
            .o = row->o[c], .lse = &row->lse[c], .scores = row->scores[c]};
        if (!reference_attention(&in, c ? REFERENCE_PLAIN : REFERENCE_EXACT, c == 2, &out))
            return false;
    }
    return true;
}

static bool expect_attention(const struct problem *p, const struct operands *o,
                             const struct values *values, double terms,
                             struct expected e[OUTPUT_COUNT]) {
    const struct sizes *s = &o->sizes;
    const int64_t rows = s->batch * p->q_heads * s->seqlen_q;
    const double each = (double)s->seqlen_kv * (p->head_dim_qk + p->head_dim_v);
    const int64_t count = samples_of(rows, each, terms);
    const struct tensor *lse = &o->outputs[OUTPUT_LSE], *scores = &o->outputs[OUTPUT_SCORES];
    const double epsilon = p->dtype == MHA_F64 ? DBL_EPSILON : FLT_EPSILON;
    struct random random = {5};
    struct row row;
    bool is_ok = init_row(&row, p, s->seqlen_kv) && init(&e[OUTPUT_O], count, p->head_dim_v) &&
                 (!lse->elements || init(&e[OUTPUT_LSE], count, 1)) &&
                 (!scores->elements || init(&e[OUTPUT_SCORES], count, s->seqlen_kv));
    for (int64_t n = 0; is_ok && n < count; ++n) {
        const int64_t number = sample(n, count, rows, &random);
        if (!(is_ok = compute_row(&row, p, o, values, number)))
            break;
        add(&e[OUTPUT_O], n, tensor_row(&o->outputs[OUTPUT_O], number), row.o);
        if (lse->elements)
            add(&e[OUTPUT_LSE], n, tensor_row(lse, number),
                (double *[]){&row.lse[0], &row.lse[1], &row.lse[2]});
        if (scores->elements)
            add(&e[OUTPUT_SCORES], n, tensor_row(scores, number), row.scores);
    }
    finish(&e[OUTPUT_O], epsilon, VALUE_RANGE);
    finish(&e[OUTPUT_LSE], FLT_EPSILON, 1);
    finish(&e[OUTPUT_SCORES], epsilon, 1);
    free(row.q);
    return is_ok;
}

bool expect(const struct problem *p, const struct operands *o, const struct values *values,
            double terms, struct expected expected[OUTPUT_COUNT]) {
    for (int i = 0; i < OUTPUT_COUNT; ++i)
        expected[i] = (struct expected){.count = 0};
    if (p->operation == OPERATION_LINEAR)
        return expect_linear(p, o, values, terms, &expected[OUTPUT_Y]);
    return expect_attention(p, o, values, terms, expected);
}
