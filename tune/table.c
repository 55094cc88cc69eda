/* In: a CSV file of measurements. Out: a space whose legal points are those of the table. */
#include "table.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define MAX_LINE_BYTES 1024
#define MAX_LINES 1100000
#define MAX_ROWS 1000000

/* Longer ones are no numbers of a table, and fit no int. */
#define MAX_DIGITS 9

struct reader {
    struct table *table;
    gzFile file;
    char line[MAX_LINE_BYTES];
    long number; /* of the line */
    char *why;
    size_t why_bytes;
};

static bool __attribute__((format(printf, 2, 3)))
complain(struct reader *r, const char *format, ...) {
    va_list arguments;
    const int used = snprintf(r->why, r->why_bytes, "line %ld: ", r->number);
    va_start(arguments, format);
    if (used >= 0 && (size_t)used < r->why_bytes)
        vsnprintf(r->why + used, r->why_bytes - (size_t)used, format, arguments);
    va_end(arguments);
    return false;
}

/* ---- Columns --------------------------------------------------------------------------------- */

static bool is_name(const char *name) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";
    return *name && strspn(name, letters) == strlen(name);
}

static bool add_column(struct reader *r, const char *name) {
    struct space *space = &r->table->space;
    if (space->count == SPACE_MAX_PARAMETERS)
        return complain(r, "more than %d parameters", SPACE_MAX_PARAMETERS);
    if (!is_name(name) || strlen(name) >= TABLE_NAME_BYTES)
        return complain(r, "\"%.40s\" is no name of a parameter", name);
    for (int i = 0; i < space->count; ++i)
        if (!strcmp(r->table->names[i], name))
            return complain(r, "%s comes twice", name);
    strcpy(r->table->names[space->count], name);
    space->parameters[space->count].name = r->table->names[space->count];
    ++space->count;
    return true;
}

static bool read_columns(struct reader *r) {
    char *rest = r->line;
    const char *name = strsep(&rest, ",");
    for (; rest; name = strsep(&rest, ","))
        if (!add_column(r, name))
            return false;
    if (strcmp(name, "ns") != 0)
        return complain(r, "the last column is \"%.40s\", not ns", name);
    return r->table->space.count > 0 || complain(r, "no parameters");
}

/* ---- Rows ------------------------------------------------------------------------------------ */

/* Keeps the values in order. */
static bool add_value(struct space_parameter *parameter, int value) {
    int at = parameter->count;
    while (at > 0 && parameter->values[at - 1] > value)
        --at;
    if (at > 0 && parameter->values[at - 1] == value)
        return true;
    if (parameter->count == SPACE_MAX_VALUES)
        return false;
    memmove(&parameter->values[at + 1], &parameter->values[at],
            (size_t)(parameter->count - at) * sizeof(value));
    parameter->values[at] = value;
    ++parameter->count;
    return true;
}

static bool read_value(struct reader *r, int i, const char *text, int *value) {
    const size_t length = text ? strlen(text) : 0;
    if (length < 1 || length > MAX_DIGITS || strspn(text, "0123456789") != length)
        return complain(r, "%s is no whole number of at most %d digits", r->table->names[i],
                        MAX_DIGITS);
    *value = (int)strtol(text, NULL, 10);
    return add_value(&r->table->space.parameters[i], *value) ||
           complain(r, "%s has more than %d values", r->table->names[i], SPACE_MAX_VALUES);
}

static bool read_ns(struct reader *r, const char *text, double *ns) {
    *ns = INFINITY;
    if (text && !strcmp(text, "inf"))
        return true;
    char *end = NULL;
    if (text && *text && strspn(text, "0123456789.eE+-") == strlen(text))
        *ns = strtod(text, &end);
    if (!end || *end || !(*ns > 0) || !isfinite(*ns))
        return complain(r, "ns is neither a number above zero nor inf");
    return true;
}

static bool read_row(struct reader *r) {
    struct table *table = r->table;
    struct record record = {{{0}}, INFINITY};
    char *rest = r->line;
    for (int i = 0; i < table->space.count; ++i)
        if (!read_value(r, i, strsep(&rest, ","), &record.point.value[i]))
            return false;
    if (!read_ns(r, strsep(&rest, ","), &record.ns))
        return false;
    if (rest)
        return complain(r, "more values than columns");
    if (table->records.count == MAX_ROWS)
        return complain(r, "more than %d configurations", MAX_ROWS);
    if (records_find(&table->records, &record.point))
        return complain(r, "this configuration was there before");
    if (!records_add(&table->records, &record))
        return complain(r, "no memory");
    table->best_ns = fmin(table->best_ns, record.ns);
    return true;
}

/* ---- Reading --------------------------------------------------------------------------------- */

/* False at the end, where *is_end is true, and for what can't be read. */
static bool read_line(struct reader *r, bool *is_end) {
    int error = Z_OK;
    ++r->number;
    *is_end = false;
    if (!gzgets(r->file, r->line, sizeof(r->line))) {
        gzerror(r->file, &error);
        *is_end = error == Z_OK && gzeof(r->file);
        return *is_end ? false : complain(r, "the file is damaged or can't be read");
    }
    if (r->number > MAX_LINES)
        return complain(r, "more than %d lines", MAX_LINES);
    char *end = strchr(r->line, '\n');
    if (!end)
        return complain(r, "too long, or cut off");
    *end = 0;
    if (end > r->line && end[-1] == '\r')
        end[-1] = 0;
    return true;
}

static bool read_all(struct reader *r) {
    static const char title[] = "# title: ";
    bool is_end;
    while (read_line(r, &is_end)) {
        if (!strncmp(r->line, title, sizeof(title) - 1))
            snprintf(r->table->title, sizeof(r->table->title), "%s", r->line + sizeof(title) - 1);
        else if (*r->line != '#' && !(r->table->space.count ? read_row(r) : read_columns(r)))
            return false;
    }
    return is_end && (isfinite(r->table->best_ns) || complain(r, "no configuration that ran"));
}

static bool is_in_table(const void *context, const struct point *point) {
    const struct table *table = context;
    return records_find(&table->records, point) != NULL;
}

bool table_read(struct table *table, const char *path, char *why, size_t why_bytes) {
    struct reader r = {.table = table, .why = why, .why_bytes = why_bytes};
    *table = (struct table){.best_ns = INFINITY};
    table->space.is_legal = is_in_table;
    table->space.context = table;
    table->records.space = &table->space;
    r.file = gzopen(path, "rbe");
    if (!r.file) {
        snprintf(why, why_bytes, "%s", strerror(errno));
        return false;
    }
    bool is_read = read_all(&r);
    /* A compressed file that ends too early is noticed only here. */
    if (gzclose(r.file) != Z_OK && is_read)
        is_read = complain(&r, "the file is damaged or cut off");
    if (!is_read)
        table_release(table);
    return is_read;
}

void table_release(struct table *table) {
    records_release(&table->records);
    *table = (struct table){.best_ns = INFINITY};
}

double table_ns(const struct table *table, const struct point *point) {
    const struct record *record = records_find(&table->records, point);
    return record ? record->ns : INFINITY;
}
