/* Exhaustive tables: every legal configuration of a space with its time, as CSV, gzip or not.
 *
 * Lines that begin with # describe the table ("# key: value"); then a line of column names, the
 * parameters and last "ns"; then one configuration a line. An ns of "inf" is one that failed. */
#ifndef TUNE_TABLE_H
#define TUNE_TABLE_H

#include "records.h"

#define TABLE_NAME_BYTES 32

struct table {
    struct space space; /* is_legal: whether the table has the point */
    struct records records;
    double best_ns;
    char title[256]; /* of "# title:" */
    char names[SPACE_MAX_PARAMETERS][TABLE_NAME_BYTES];
};

/* False with a reason. The table must not be moved afterwards: its space points to it. */
bool table_read(struct table *table, const char *path, char *why, size_t why_bytes);
void table_release(struct table *table);

/* INFINITY for a point that is not in it or failed. */
double table_ns(const struct table *table, const struct point *point);

#endif
