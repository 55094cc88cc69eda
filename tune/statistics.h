/* Sums of few numbers. */
#ifndef TUNE_STATISTICS_H
#define TUNE_STATISTICS_H

double statistics_median(const double *values, int count);

/* Mean of log(a[i] / b[i]) and the half width of its 95 % interval (Student's t): how much slower a
 * is than b, where both were measured in pairs. */
void statistics_ratio(const double *a, const double *b, int count, double *mean,
                      double *half_width);

#endif
