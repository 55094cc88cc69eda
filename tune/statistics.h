/* Sums of few numbers. */
#ifndef TUNE_STATISTICS_H
#define TUNE_STATISTICS_H

double statistics_median(const double *values, int count);

/* Median of the distances from a value. */
double statistics_deviation(const double *values, int count, double from);

/* What others do on a machine only ever makes a measurement slower, and may do so half of the time:
 * the mean of the fastest quarter is what the device itself takes. */
double statistics_fast(const double *values, int count);

/* Rounds may come from several processes, whose memory lies in other pages and so shares the caches
 * otherwise: parts of equal length, one after the other. statistics_parts_fast() is the geometric
 * mean of the parts' statistics_fast(). */
double statistics_parts_fast(const double *values, int count, int parts);

/* Logarithm of statistics_parts_fast(a) / statistics_parts_fast(b) and the half width of its 95 %
 * interval: how much slower a is than b, where both were measured in the same rounds. From
 * resampled parts and rounds (Efron, "Bootstrap methods: another look at the jackknife", Annals of
 * Statistics 7, 1979), the same ones each time; infinite for fewer than 4 rounds. */
void statistics_ratio(const double *a, const double *b, int count, int parts, double *mean,
                      double *half_width);

#endif
