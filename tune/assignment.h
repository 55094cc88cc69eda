/* What a run is to do: its shapes, budget and options, on the command line's word or, for a run
 * that is resumed, on the journal's. */
#ifndef TUNE_ASSIGNMENT_H
#define TUNE_ASSIGNMENT_H

#include "command.h"
#include "session.h"

struct assignment {
    struct shape shapes[MAX_SHAPES];
    int weights[MAX_SHAPES]; /* shares of the budget */
    bool is_done[MAX_SHAPES];
    int shape_count, weight;
    const char *rigor; /* the budget's name */
    char folder[1024]; /* of tuning files */
    size_t first_line; /* of the run in the journal */
};

/* Each fills the assignment and what of the session depends on it: method, seeds, limits, budget
 * and clock, from now on. False with a reason. */
bool assignment_read(const struct options *options, struct assignment *assignment,
                     struct session *session, char *why, size_t why_bytes);

/* The last run of the session's journal, with what it has done. --time and --evals are what may
 * still be spent; without them that is what it left. */
bool assignment_recall(const struct options *options, struct assignment *assignment,
                       struct session *session, char *why, size_t why_bytes);

/* The journal's line that assignment_recall() reads; a new reference. */
json_t *assignment_write(const struct assignment *assignment, const struct session *session);

#endif
