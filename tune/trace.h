/* What a journal says of one run, for export: per shape, what was tried and how fast it was.
 *
 * Reads the file without its lock: a run may be going on. Journals come from outside: lines that
 * are damaged, unknown or impossible are counted and left out. */
#ifndef TUNE_TRACE_H
#define TUNE_TRACE_H

#include "remote.h"
#include "space.h"

#include "command.h"

#define TRACE_NAME_BYTES 32
#define TRACE_MAX_VARIANTS 16

/* A candidate's values are those of its variant's parameters, in their order. */
struct trace_variant {
    char name[TRACE_NAME_BYTES];
    char parameters[SPACE_MAX_PARAMETERS][TRACE_NAME_BYTES];
    int count;
    bool has_parameters; /* false until a line tells them */
};

struct trace_trial {
    enum remote_result result; /* never REMOTE_STOPPED */
    int variant;               /* of the study's */
    bool has_values; /* false: the library's own choice, which the journal does not tell */
    bool is_default;
    struct point point;
    double ns, mad_ns;              /* INFINITY, 0 where the result is not REMOTE_OK */
    double build_ns, max_error;     /* 0 where unknown */
    double end_seconds, in_seconds; /* when it ended, counted from the run's start; how long */
};

struct study_final {
    bool is_there, is_tuned;
    double ns, default_ns; /* 0 where unknown */
};

struct study {
    struct shape shape;
    char text[SHAPE_TEXT_BYTES];
    struct trace_variant variants[TRACE_MAX_VARIANTS];
    int variant_count;
    struct trace_trial *trials;
    size_t count, capacity;
    struct study_final final;
};

struct trace {
    struct config_device device;
    struct device_rates rates; /* 0 where unknown */
    char library[16], date[32], budget[16];
    double seed, end_seconds;
    struct study *studies;
    size_t count;
    size_t skipped; /* lines */
    char first_skipped[160];
};

/* The file's last run that evaluated anything. False with a reason. */
bool trace_read(struct trace *trace, const char *path, char *why, size_t why_bytes);
void trace_release(struct trace *trace);

/* NULL for none. */
const struct study *trace_find(const struct trace *trace, const struct shape *shape);

/* Index of the fastest trial of a variant, or of all where `variant` is -1; -1 for none. */
ptrdiff_t study_best(const struct study *study, int variant);

/* Time of the untuned default; 0 where unknown. */
double study_default_ns(const struct study *study);

/* -1 for none. */
int study_find_variant(const struct study *study, const char *name);

#endif
