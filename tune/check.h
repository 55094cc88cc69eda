/* Whether a plan computes what it should, and writes nothing but that. */
#ifndef TUNE_CHECK_H
#define TUNE_CHECK_H

#include "expect.h"

/* A call with known results, for any number of plans of one problem. */
struct check;

struct check_options {
    struct sizes sizes; /* each at most the problem's */
    int64_t padding;    /* elements between rows, all of them NaN */
    double logits;      /* how much larger than usual the scores of an attention are */
    double terms;       /* as in expect() */
};

/* NULL with a reason. */
struct check *check_create(const struct target *target, const struct problem *problem,
                           const struct check_options *options, char *why, size_t why_bytes);
void check_destroy(struct check *check); /* NULL is ignored */

/* REMOTE_OK, REMOTE_WRONG or REMOTE_OPENCL, with a reason. *max_error becomes at least the largest
 * error over the largest right result. */
enum remote_result check_plan(struct check *check, mha_plan *plan, double *max_error, char *why,
                              size_t why_bytes);

/* The thorough form: the plan at more sizes, and the same variant and values in plans with other
 * features, as far as they are legal there. */
enum remote_result check_thoroughly(const struct target *target, mha_plan *plan, double *max_error,
                                    char *why, size_t why_bytes);

/* What each candidate has to pass before it is measured: the problem's own sizes, and small ragged
 * ones with large logits. */
#define CHECK_SHORT_CASES 2
struct check_options check_short_case(const struct problem *problem, int number);

#endif
