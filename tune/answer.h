/* What a worker answers, believed only as far as it can be true. */
#ifndef TUNE_ANSWER_H
#define TUNE_ANSWER_H

#include "remote.h"

#include <jansson.h>

/* "result" and "why" of an answer; REMOTE_NONSENSE for what no worker may say of itself. */
enum remote_result answer_result(const json_t *answer, char *why, size_t why_bytes);

/* Each fills members of *m and returns true, or makes it a failure with its reason. */

/* "variant", "params" and "build_ns": they must be those of the candidate. */
bool answer_build(const json_t *answer, const struct shape *shape, const struct device_caps *caps,
                  const struct candidate *candidate, struct measurement *m);

/* "max_error". */
bool answer_check(const json_t *answer, struct measurement *m);

/* "ns" and "mad_ns". */
bool answer_times(const json_t *answer, struct measurement *m);

/* A number of an array of times. */
bool answer_time(const json_t *json, double *ns, struct measurement *m);

/* An object of "caps" and "cache_bytes". */
bool answer_device(const json_t *json, struct remote_device *device, char *why, size_t why_bytes);

bool answer_rates(const json_t *answer, struct device_rates *rates, char *why, size_t why_bytes);

#endif
