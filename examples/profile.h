/* Device time by kind of work, from the events of what was enqueued. */
#ifndef EXAMPLES_PROFILE_H
#define EXAMPLES_PROFILE_H

#include "failure.h"
#include "mha_cl.h"

typedef enum work { WORK_INPUT, WORK_ATTENTION, WORK_MLP, WORK_ROWS, N_WORKS } work;

typedef struct work_span {
    work kind;
    cl_event first, last; /* may be the same */
} work_span;

typedef struct profile {
    work_span *spans;
    size_t n, capacity;
} profile;

/* Takes over the caller's references to both events, also on failure. */
bool profile_add(profile *p, work kind, cl_event first, cl_event last, failure *f);

/* A line for each kind of work; the work must be complete. */
void profile_print(const profile *p);

/* Safe on a zeroed profile. */
void profile_free(profile *p);

#endif
