/* In: measurements. Out: what they say. */
#include "statistics.h"

#include "random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

enum { MOST = 1000 };

/* How many of them there are. */
static int sort(const double *values, int count, double sorted[MOST]) {
    count = count < MOST ? count : MOST;
    memcpy(sorted, values, (size_t)count * sizeof(*values));
    qsort(sorted, (size_t)count, sizeof(*sorted), compare);
    return count;
}

double statistics_median(const double *values, int count) {
    double sorted[MOST];
    if (count < 1)
        return NAN;
    count = sort(values, count, sorted);
    return (sorted[(count - 1) / 2] + sorted[count / 2]) / 2;
}

double statistics_deviation(const double *values, int count, double from) {
    double distances[MOST];
    count = count < MOST ? count : MOST;
    for (int i = 0; i < count; ++i)
        distances[i] = fabs(values[i] - from);
    return statistics_median(distances, count);
}

double statistics_fast(const double *values, int count) {
    double sorted[MOST], sum = 0;
    if (count < 1)
        return NAN;
    const int quarter = (sort(values, count, sorted) + 3) / 4;
    for (int i = 0; i < quarter; ++i)
        sum += sorted[i];
    return sum / quarter;
}

double statistics_parts_fast(const double *values, int count, int parts) {
    const int length = count / parts;
    double sum = 0;
    for (int p = 0; p < parts; ++p)
        sum += log(statistics_fast(values + p * length, length));
    return exp(sum / parts);
}

/* ---- Ratios ---------------------------------------------------------------------------------- */

#define LEAST_ROUNDS 4
#define RESAMPLES 400
#define NORMAL_QUANTILE 1.96 /* of 97.5 % */

static double log_ratio(const double *a, const double *b, int count) {
    return log(statistics_fast(a, count) / statistics_fast(b, count));
}

static double resampled_log_ratio(const double *a, const double *b, int count, int parts,
                                  uint64_t *state) {
    double some_a[MOST], some_b[MOST], sum = 0;
    const int length = count / parts;
    for (int p = 0; p < parts; ++p) {
        const int part = random_below(state, parts) * length;
        for (int i = 0; i < length; ++i) {
            const int round = part + random_below(state, length);
            some_a[i] = a[round];
            some_b[i] = b[round];
        }
        sum += log_ratio(some_a, some_b, length);
    }
    return sum / parts;
}

void statistics_ratio(const double *a, const double *b, int count, int parts, double *mean,
                      double *half_width) {
    double sum = 0, squares = 0;
    uint64_t state = 1;
    count = count < MOST ? count : MOST;
    *mean = log(statistics_parts_fast(a, count, parts) / statistics_parts_fast(b, count, parts));
    *half_width = INFINITY;
    if (count < LEAST_ROUNDS)
        return;
    for (int n = 0; n < RESAMPLES; ++n) {
        const double ratio = resampled_log_ratio(a, b, count, parts, &state);
        sum += ratio;
        squares += ratio * ratio;
    }
    double variance = fmax((squares - sum * sum / RESAMPLES) / (RESAMPLES - 1), 0);
    /* Of few parts the resampled ones vary too little. */
    if (parts > 1)
        variance *= parts / (parts - 1.0);
    *half_width = NORMAL_QUANTILE * sqrt(variance);
}
