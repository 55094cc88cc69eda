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

/* ---- Ratios ---------------------------------------------------------------------------------- */

#define LEAST_ROUNDS 4
#define RESAMPLES 400
#define NORMAL_QUANTILE 1.96 /* of 97.5 % */

static double log_ratio(const double *a, const double *b, int count) {
    return log(statistics_fast(a, count) / statistics_fast(b, count));
}

void statistics_ratio(const double *a, const double *b, int count, double *mean,
                      double *half_width) {
    double some_a[MOST], some_b[MOST], sum = 0, squares = 0;
    uint64_t state = 1;
    count = count < MOST ? count : MOST;
    *mean = log_ratio(a, b, count);
    *half_width = INFINITY;
    if (count < LEAST_ROUNDS)
        return;
    for (int n = 0; n < RESAMPLES; ++n) {
        for (int i = 0; i < count; ++i) {
            const int round = random_below(&state, count);
            some_a[i] = a[round];
            some_b[i] = b[round];
        }
        const double ratio = log_ratio(some_a, some_b, count);
        sum += ratio;
        squares += ratio * ratio;
    }
    const double variance = (squares - sum * sum / RESAMPLES) / (RESAMPLES - 1);
    *half_width = NORMAL_QUANTILE * sqrt(fmax(variance, 0));
}
