/* A run's journal as files for others: a table, the T4 format, a picture. */
#ifndef TUNE_EXPORT_H
#define TUNE_EXPORT_H

#include "trace.h"

#include <stdio.h>

/* What is exported of a run. */
struct export_scope {
    const struct trace *trace;
    const struct shape *shapes; /* of which; all where shape_count is 0 */
    int shape_count;
    const char *variant; /* NULL: any */
};

bool export_is_in_scope(const struct export_scope *scope, const struct study *study);

/* Each writes all or gives a reason; errors of `out` are the caller's to check. */
bool export_csv(const struct export_scope *scope, FILE *out, char *why, size_t why_bytes);
bool export_t4(const struct export_scope *scope, FILE *out, char *why, size_t why_bytes);

/* Of the shape with the most evaluations, the first of them. */
bool export_svg(const struct export_scope *scope, FILE *out, char *why, size_t why_bytes);
bool export_png(const struct export_scope *scope, FILE *out, char *why, size_t why_bytes);

#endif
