/* How long calls of a plan take: host wall time to completion, over the whole path. */
#ifndef TUNE_MEASURE_H
#define TUNE_MEASURE_H

#include "workload.h"

/* Warms up, then three batches of at least 10 ms: *ns is the median of the time per call, *mad_ns
 * the median deviation from it. Slower than 1.5 times the limit: only the first batch, or a single
 * call, and no deviation. REMOTE_OK, OPENCL or IMPLAUSIBLE, with a reason. */
enum remote_result measure_trial(struct workload *workload, struct trial *trial,
                                 const struct measure_options *options, double *ns, double *mad_ns,
                                 char *why, size_t why_bytes);

/* One batch of at least 5 ms, for comparing candidates in turn. */
enum remote_result measure_round(struct workload *workload, struct trial *trial, bool is_warm,
                                 double *ns, char *why, size_t why_bytes);

#endif
