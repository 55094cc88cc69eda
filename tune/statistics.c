/* In: measurements. Out: what they say. */
#include "statistics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double statistics_median(const double *values, int count) {
    enum { MOST = 1000 };
    double sorted[MOST];
    if (count < 1)
        return NAN;
    count = count < MOST ? count : MOST;
    memcpy(sorted, values, (size_t)count * sizeof(*values));
    qsort(sorted, (size_t)count, sizeof(*sorted), compare);
    return (sorted[(count - 1) / 2] + sorted[count / 2]) / 2;
}

/* 97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom; beyond them the normal's. */
static double quantile(int freedom) {
    static const double table[] = {12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23,
                                   2.20,  2.18, 2.16, 2.14, 2.13, 2.12, 2.11, 2.10, 2.09, 2.09};
    const int known = (int)(sizeof(table) / sizeof(*table));
    return freedom < 1 ? INFINITY : freedom <= known ? table[freedom - 1] : 1.96;
}

void statistics_ratio(const double *a, const double *b, int count, double *mean,
                      double *half_width) {
    double sum = 0, squares = 0;
    for (int i = 0; i < count; ++i)
        sum += log(a[i] / b[i]);
    *mean = sum / count;
    for (int i = 0; i < count; ++i) {
        const double difference = log(a[i] / b[i]) - *mean;
        squares += difference * difference;
    }
    *half_width = count > 1 ? quantile(count - 1) * sqrt(squares / (count - 1) / count) : INFINITY;
}
