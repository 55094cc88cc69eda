/* What the parts of a run share: the device, results so far, the journal, the time left. */
#ifndef TUNE_SESSION_H
#define TUNE_SESSION_H

#include "journal.h"
#include "path.h"

#include <signal.h>

struct session {
    struct remote *remote;
    const struct remote_device *device;
    struct config config;  /* seeds */
    struct config earlier; /* what results of this run would replace or hide */
    struct journal *journal;
    bool is_warm, shows_bar, is_quiet;
    struct path_limits limits;
    enum path_seeds seeds;
    enum search_method method;
    uint64_t seed;
    double begun, deadline; /* seconds of session_now() */
    int evaluations, most_evaluations;
    int failures[REMOTE_RESULTS];
    double build_seconds; /* of builds that no cache saved */
    int builds;
    double shown; /* when progress was last shown */
};

/* Set by the first interrupt: search no more, keep what there is. */
extern volatile sig_atomic_t session_is_interrupted;

double session_now(void);
bool session_may_go_on(const struct session *session, double deadline);

/* Journals, measures, journals; counts. Not REMOTE_STOPPED unless time is up. */
struct measurement session_evaluate(struct session *session, const struct shape *shape,
                                    const struct candidate *candidate, double limit_ns);

/* Tells the search of a path what earlier runs and this one's journal know of the shape: all
 * results since line `first`, and before it the crashes and time-outs under this driver and
 * kernels. Counts those since `first` as evaluations, and returns how many they are. */
int session_remember(struct session *session, const struct shape *shape, struct path *path,
                     size_t first);

/* Progress on standard error: a bar on a terminal, else a line every ten seconds. */
void session_show(struct session *session, const struct shape *shape, double best_ns,
                  double default_ns);
void session_end_show(const struct session *session);

enum shape_outcome { SHAPE_TUNED, SHAPE_NO_GAIN, SHAPE_STOPPED, SHAPE_FAILED };

/* Searches one shape within its share of evaluations and until `deadline`, compares the best with
 * the default, and fills *entry (unless STOPPED before anything was verified, or FAILED).
 * first_line: where in the journal the run began. */
enum shape_outcome session_tune(struct session *session, const struct shape *shape, int evaluations,
                                double deadline, const char *rigor, size_t first_line,
                                struct config_entry *entry, char *why, size_t why_bytes);

#endif
