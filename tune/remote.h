/* A device seen through a worker: typed requests, each with its time-out. The worker is started
 * anew after a fault, and told again which device and shape it works on. */
#ifndef TUNE_REMOTE_H
#define TUNE_REMOTE_H

#include "config.h"

#include <stdbool.h>

/* What becomes of a request about a candidate. All but REMOTE_OK are results too: they are
 * remembered, and the candidate is not tried again. */
enum remote_result {
    REMOTE_OK,
    REMOTE_ILLEGAL,     /* legal() refuses it */
    REMOTE_BUILD,       /* it does not compile, or its work-groups are too large */
    REMOTE_WRONG,       /* its results are not the reference's, or it wrote beyond its tensors */
    REMOTE_OPENCL,      /* an OpenCL call failed */
    REMOTE_IMPLAUSIBLE, /* a time of zero, or faster than the device can be */
    REMOTE_CRASH,
    REMOTE_TIMEOUT,
    REMOTE_NONSENSE, /* the worker's answer makes no sense */
    REMOTE_STOPPED,  /* the deadline, an interrupt, or a lost device: no result */
    REMOTE_RESULTS
};
extern const char *const remote_result_names[REMOTE_RESULTS]; /* "ok", "illegal", ... */

struct remote;

struct remote_device {
    struct device_caps caps;
    struct config_device identity;
    double cache_bytes; /* of the last level, as far as the driver tells */
};

/* Lists devices: calls `found` for each. False with a reason where the worker fails. */
bool remote_list(const char *const *worker, void (*found)(void *user, const struct remote_device *),
                 void *user, char *why, size_t why_bytes);

/* A worker on the first device whose own or whose platform's name contains `name`, in any case;
 * NULL: the first that is not a CPU, else the first. worker: its argv. NULL with a reason. */
struct remote *remote_open(const char *const *worker, const char *name, char *why,
                           size_t why_bytes);
void remote_close(struct remote *remote); /* NULL is ignored */
const struct remote_device *remote_device(const struct remote *remote);

/* How long a request may take. */
struct remote_limits {
    double build_seconds; /* opening the device; compiling a candidate */
    double run_seconds;   /* measuring or checking it, at least; compilation not included */
    double incumbents;    /* the same, in calls as long as measure_options.limit_ns */
    double first_seconds; /* the same where there is no limit_ns yet */
    double retry_seconds; /* pause before the device is opened anew a second time; then doubled */
};
extern const struct remote_limits remote_default_limits;

/* remote_open() with time-outs other than the default ones. */
struct remote *remote_open_limited(const char *const *worker, const char *name,
                                   const struct remote_limits *limits, char *why, size_t why_bytes);

/* Whether the device could not be opened again after a fault: every request then returns
 * REMOTE_STOPPED. */
bool remote_is_lost(const struct remote *remote);

/* Seconds of CLOCK_MONOTONIC beyond which nothing is begun and nothing waited for; INFINITY: none.
 */
void remote_set_deadline(struct remote *remote, double deadline);

/* Makes requests return REMOTE_STOPPED at once, from now on; safe in a signal handler. */
void remote_interrupt(struct remote *remote);

/* A candidate: a variant with values of its domains, or what the library chooses untuned. */
struct candidate {
    const struct variant *variant; /* NULL: the heuristic's choice and values */
    struct tuning tuning;          /* before variant.fit() */
};

struct measurement {
    enum remote_result result;
    double ns, mad_ns;          /* wall time of one call, to completion */
    double build_ns, max_error; /* max_error: over the reference's largest value */
    const struct variant *variant;
    struct tuning tuning; /* after fit(): what ran */
    char why[200];        /* where the result is not REMOTE_OK; printable ASCII */
};

struct measure_options {
    double limit_ns; /* give up early on a candidate slower than 1.5 times this; INFINITY: never */
    bool is_warm;    /* one set of buffers, not as many as fall out of the caches */
};

/* Builds the candidate, checks its results, measures it: three batches of at least 10 ms. One given
 * up early has the time of its first batch and no mad_ns. */
struct measurement remote_evaluate(struct remote *remote, const struct shape *shape,
                                   const struct candidate *candidate,
                                   const struct measure_options *options);

/* Checks the results only, more thoroughly: ragged, causal, large logits, canaries. No times. */
struct measurement remote_check(struct remote *remote, const struct shape *shape,
                                const struct candidate *candidate);

/* Measures the candidates in turn, `rounds` times, every other round in reverse: ns[i * rounds +
 * r]. The rounds are shared out to `parts` worker processes, which divide them. All candidates
 * should have been evaluated before: nothing is checked. The answer's own times are of no meaning.
 */
#define REMOTE_MAX_CANDIDATES 10
struct measurement remote_compare(struct remote *remote, const struct shape *shape,
                                  const struct candidate *candidates, int count, int rounds,
                                  int parts, const struct measure_options *options, double *ns);

struct device_rates {
    double flops, bytes; /* per second: multiply-adds of fp32 as two, and reading global memory */
};
enum remote_result remote_rates(struct remote *remote, struct device_rates *rates, char *why,
                                size_t why_bytes);

#endif
