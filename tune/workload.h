/* A shape on a device: its data, and the plans of the candidates that were built last. */
#ifndef TUNE_WORKLOAD_H
#define TUNE_WORKLOAD_H

#include "check.h"

/* A candidate's plan and what is known of it. */
struct trial {
    struct candidate candidate;
    mha_plan *plan; /* NULL: an unused entry */
    double build_ns;
    double call_ns; /* as of the last measurement; 0: none yet */
    double max_error;
    bool is_checked;
    uint64_t last_use;
};

#define MAX_SETS 32
#define MAX_TRIALS (REMOTE_MAX_CANDIDATES + 6)
#define MAX_LAYOUTS 4

/* Weights packed for all plans of one layout, a copy for each set. */
struct packed_weights {
    uint64_t layout; /* 0: an unused entry */
    double bytes;    /* of all copies */
    int count;
    struct tensor copies[MAX_SETS];
    uint64_t last_use;
};

struct workload {
    struct target *target; /* NULL: closed */
    struct shape shape;
    struct problem problem;
    struct check *checks[CHECK_SHORT_CASES]; /* NULL: not made yet */
    struct values values;
    /* Tensors with the same values. Calls take turns, so that each finds its own out of the
     * caches, as it would between the other work of a model. */
    struct operands sets[MAX_SETS];
    int set_count, next_set;
    struct packed_weights packed[MAX_LAYOUTS];
    struct tensor workspace; /* as large as any plan needed it so far */
    struct trial trials[MAX_TRIALS];
    uint64_t uses;
};

/* False with a reason; closes what was open. The target must outlive it. */
bool workload_open(struct workload *workload, struct target *target, const struct shape *shape,
                   char *why, size_t why_bytes);
void workload_close(struct workload *workload);

/* The candidate's plan, made now if it is not among the last ones. NULL with the result, ILLEGAL,
 * BUILD or OPENCL, and a reason. Valid until the next call. */
struct trial *workload_build(struct workload *workload, const struct candidate *candidate,
                             enum remote_result *result, char *why, size_t why_bytes);

/* The short check of a candidate's results, once. */
enum remote_result workload_check(struct workload *workload, struct trial *trial, char *why,
                                  size_t why_bytes);

/* Makes what calls of the plan need. False with a reason. */
bool workload_prepare(struct workload *workload, const struct trial *trial, bool is_warm, char *why,
                      size_t why_bytes);

/* Enqueues one call of a prepared plan with the next set. */
mha_status workload_call(struct workload *workload, const struct trial *trial, bool is_warm,
                         mha_error *error);

#endif
