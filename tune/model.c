/* In: points and their times. Out: what another point promises. */
#include "model.h"

#include <math.h>
#include <stdlib.h>

/* Part of the similarity that each parameter has a share of by itself; the rest needs all of them
 * to be alike. */
#define OWN_SHARE 0.3

/* Of a measurement, over the variance of all of them. */
#define NOISE 3e-3

/* What takes longer than the median by more than this many times what the median takes longer than
 * the fastest, is as slow as that: how slow the hopeless ones are says nothing about the best. */
#define SLOWEST 6.0

/* How fast the similarity falls over a parameter's whole range, before anything is learnt; and how
 * much more there must be to learn from before it is learnt again. */
#define FIRST_RATE 1.0
#define LEARN_AFTER 1.25

struct model {
    const struct space *space;
    int count, learnt_count;
    unsigned char steps[MODEL_MAX_POINTS][SPACE_MAX_PARAMETERS];
    double time[MODEL_MAX_POINTS]; /* logarithms, standardised */
    double best;
    double rate[SPACE_MAX_PARAMETERS];
    /* By parameter and by how many steps apart. */
    double own[SPACE_MAX_PARAMETERS][SPACE_MAX_VALUES];
    double joint[SPACE_MAX_PARAMETERS][SPACE_MAX_VALUES];
    double lower[MODEL_MAX_POINTS][MODEL_MAX_POINTS]; /* Cholesky factor of the similarities */
    double solved[MODEL_MAX_POINTS];                  /* lower^-1 time */
    double weights[MODEL_MAX_POINTS];                 /* similarities^-1 time */
};

struct model *model_create(const struct space *space) {
    struct model *m = calloc(1, sizeof(*m));
    if (!m)
        return NULL;
    m->space = space;
    for (int i = 0; i < space->count; ++i)
        m->rate[i] = FIRST_RATE;
    return m;
}

void model_destroy(struct model *m) {
    free(m);
}

/* ---- Similarity ------------------------------------------------------------------------------ */

static void find_steps(const struct space *space, const struct point *point, unsigned char *steps) {
    for (int i = 0; i < space->count; ++i)
        steps[i] = (unsigned char)space_step(&space->parameters[i], point->value[i]);
}

static void tabulate(struct model *m) {
    for (int i = 0; i < m->space->count; ++i) {
        const int count = m->space->parameters[i].count;
        for (int step = 0; step < count; ++step) {
            const double distance = count > 1 ? m->rate[i] * step / (count - 1) : 0;
            m->joint[i][step] = exp(-distance);
            m->own[i][step] = OWN_SHARE / m->space->count * exp(-2 * distance);
        }
    }
}

static double similarity(const struct model *m, const unsigned char *a, const unsigned char *b) {
    double own = 0, joint = 1 - OWN_SHARE;
    for (int i = 0; i < m->space->count; ++i) {
        const int step = abs(a[i] - b[i]);
        own += m->own[i][step];
        joint *= m->joint[i][step];
    }
    return own + joint;
}

/* Four sums, so that they need not wait for one another. */
static double dot(const double *a, const double *b, int count) {
    double sum[4] = {0};
    int i = 0;
    for (; i + 4 <= count; i += 4)
        for (int j = 0; j < 4; ++j)
            sum[j] += a[i + j] * b[i + j];
    for (; i < count; ++i)
        sum[0] += a[i] * b[i];
    return sum[0] + sum[1] + (sum[2] + sum[3]);
}

static void factor(struct model *m) {
    tabulate(m);
    for (int i = 0; i < m->count; ++i) {
        double *row = m->lower[i];
        for (int j = 0; j < i; ++j)
            row[j] = (similarity(m, m->steps[i], m->steps[j]) - dot(row, m->lower[j], j)) /
                     m->lower[j][j];
        row[i] = sqrt(fmax(1 + NOISE - dot(row, row, i), NOISE / 2));
        m->solved[i] = (m->time[i] - dot(row, m->solved, i)) / row[i];
    }
}

static void find_weights(struct model *m) {
    for (int i = 0; i < m->count; ++i)
        m->weights[i] = m->solved[i];
    for (int i = m->count - 1; i >= 0; --i) {
        m->weights[i] /= m->lower[i][i];
        for (int j = 0; j < i; ++j)
            m->weights[j] -= m->lower[i][j] * m->weights[i];
    }
}

/* ---- Learning -------------------------------------------------------------------------------- */

/* The logarithm of how well these rates explain the times, rates far from the first ones being less
 * believed. */
static double likelihood(struct model *m) {
    factor(m);
    double sum = -0.5 * dot(m->solved, m->solved, m->count);
    for (int i = 0; i < m->count; ++i)
        sum -= log(m->lower[i][i]);
    for (int i = 0; i < m->space->count; ++i) {
        const double surprise = log(m->rate[i] / FIRST_RATE);
        sum -= 0.5 * surprise * surprise;
    }
    return sum;
}

static void learn(struct model *m) {
    double best = likelihood(m);
    for (int i = 0; i < m->space->count; ++i)
        for (int is_more = 0; is_more < 2; ++is_more) {
            const double before = m->rate[i];
            m->rate[i] *= is_more ? 2 : 0.5;
            const double now = likelihood(m);
            if (now > best)
                best = now;
            else
                m->rate[i] = before;
        }
    m->learnt_count = m->count;
}

/* ---- Fitting --------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void set_times(struct model *m, const struct model_sample *samples) {
    double sorted[MODEL_MAX_POINTS], slowest = -INFINITY, sum = 0, squares = 0;
    for (int i = 0; i < m->count; ++i)
        if (isfinite(samples[i].ns))
            slowest = fmax(slowest, log(samples[i].ns));
    for (int i = 0; i < m->count; ++i)
        sorted[i] = m->time[i] = isfinite(samples[i].ns) ? log(samples[i].ns) : slowest;
    qsort(sorted, (size_t)m->count, sizeof(*sorted), compare);
    const double median = sorted[m->count / 2];
    const double limit = median + SLOWEST * (median - sorted[0]);
    for (int i = 0; i < m->count; ++i)
        sum += m->time[i] = fmin(m->time[i], limit);
    const double mean = sum / m->count;
    for (int i = 0; i < m->count; ++i)
        squares += (m->time[i] - mean) * (m->time[i] - mean);
    const double deviation = sqrt(squares / m->count) + 1e-6;
    for (int i = 0; i < m->count; ++i)
        m->time[i] = (m->time[i] - mean) / deviation;
    m->best = (sorted[0] - mean) / deviation;
}

void model_fit(struct model *m, const struct model_sample *samples, int count) {
    m->count = count;
    for (int i = 0; i < count; ++i)
        find_steps(m->space, samples[i].point, m->steps[i]);
    set_times(m, samples);
    if (count >= LEARN_AFTER * m->learnt_count)
        learn(m);
    factor(m);
    find_weights(m);
}

double model_gain(const struct model *m, const struct point *point) {
    unsigned char steps[SPACE_MAX_PARAMETERS];
    double alike[MODEL_MAX_POINTS], mean = 0, variance = 1;
    find_steps(m->space, point, steps);
    for (int i = 0; i < m->count; ++i) {
        alike[i] = similarity(m, steps, m->steps[i]);
        mean += alike[i] * m->weights[i];
        alike[i] = (alike[i] - dot(m->lower[i], alike, i)) / m->lower[i][i];
        variance -= alike[i] * alike[i];
    }
    const double deviation = sqrt(fmax(variance, 1e-8)), reach = (m->best - mean) / deviation;
    const double chance = 0.5 * erfc(-reach * 0.70710678118654752);
    const double density = 0.39894228040143268 * exp(-0.5 * reach * reach);
    return deviation * (reach * chance + density);
}
