/* In: a CSV file of measurements. Out: a space whose legal points are those of the table. */
#include "table.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define MAX_LINE 4096
#define MAX_POINTS 2000000
#define MAX_NAME 32

/* What is being read, and what the space's names point to. */
struct reader {
    gzFile file;
    char line[MAX_LINE];
    long number; /* of the line */
    size_t capacity;
    char *why;
    size_t why_bytes;
};

static bool complain(struct reader *r, const char *what) {
    snprintf(r->why, r->why_bytes, "line %ld: %s", r->number, what);
    return false;
}

/* False at the end, or where a line is too long or damaged: then *is_end is false. */
static bool read_line(struct reader *r, bool *is_end) {
    *is_end = false;
    ++r->number;
    if (!gzgets(r->file, r->line, sizeof(r->line))) {
        int code;
        gzerror(r->file, &code);
        *is_end = gzeof(r->file) && code == Z_OK;
        return *is_end ? false : complain(r, "the file is damaged");
    }
    const size_t length = strlen(r->line);
    if (!length || r->line[length - 1] != '\n')
        return complain(r, "is too long or not complete");
    r->line[length - 1] = 0;
    return true;
}

/* ---- Columns --------------------------------------------------------------------------------- */

static bool read_names(struct reader *r, struct table *table) {
    char *rest = NULL;
    table->names = strdup(r->line);
    if (!table->names)
        return complain(r, "no memory");
    const char *last = "";
    for (char *name = strtok_r(table->names, ",", &rest); name; name = strtok_r(NULL, ",", &rest)) {
        if (table->space.count == SPACE_MAX_PARAMETERS && strcmp(name, "ns") != 0)
            return complain(r, "too many columns");
        if (strlen(name) > MAX_NAME)
            return complain(r, "a name is too long");
        last = name;
        if (strcmp(name, "ns") != 0)
            table->space.parameters[table->space.count++].name = name;
    }
    return (table->space.count > 0 && !strcmp(last, "ns")) ||
           complain(r, "names of parameters are wanted, and \"ns\" as the last one");
}

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
            (size_t)(parameter->count++ - at) * sizeof(value));
    parameter->values[at] = value;
    return true;
}

/* ---- Rows ------------------------------------------------------------------------------------ */

static bool reserve(struct reader *r, struct table *table) {
    if (table->count < r->capacity)
        return true;
    if (table->count == MAX_POINTS)
        return complain(r, "too many configurations");
    r->capacity = r->capacity ? 2 * r->capacity : 1024;
    struct point *points = realloc(table->points, r->capacity * sizeof(*points));
    table->points = points ? points : table->points;
    double *ns = points ? realloc(table->ns, r->capacity * sizeof(*ns)) : NULL;
    table->ns = ns ? ns : table->ns;
    return ns || complain(r, "no memory");
}

static bool read_row(struct reader *r, struct table *table) {
    const char *text = r->line;
    char *end;
    if (!reserve(r, table))
        return false;
    struct point *point = &table->points[table->count];
    *point = (struct point){{0}};
    for (int i = 0; i < table->space.count; ++i) {
        errno = 0;
        const long value = strtol(text, &end, 10);
        if (end == text || *end != ',' || errno || value < 0 || value > INT32_MAX)
            return complain(r, "a value is no whole number");
        point->value[i] = (int)value;
        if (!add_value(&table->space.parameters[i], (int)value))
            return complain(r, "a parameter has too many values");
        text = end + 1;
    }
    const double ns = strtod(text, &end);
    if (end == text || *end || !(ns > 0))
        return complain(r, "ns is no number above 0");
    table->ns[table->count++] = ns;
    if (ns < table->best_ns)
        table->best_ns = ns;
    return true;
}

/* ---- Looking up ------------------------------------------------------------------------------ */

static size_t hash_point(const struct space *space, const struct point *point) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (int i = 0; i < space->count; ++i)
        hash = (hash ^ (uint64_t)(uint32_t)point->value[i]) * UINT64_C(0x100000001b3);
    return (size_t)(hash ^ hash >> 32);
}

static size_t *find_slot(const struct table *table, const struct point *point) {
    size_t at = hash_point(&table->space, point) & (table->slot_count - 1);
    while (table->slots[at] &&
           !space_points_equal(&table->space, &table->points[table->slots[at] - 1], point))
        at = (at + 1) & (table->slot_count - 1);
    return &table->slots[at];
}

static bool index_points(struct reader *r, struct table *table) {
    table->slot_count = 1024;
    while (table->slot_count < 2 * table->count)
        table->slot_count *= 2;
    table->slots = calloc(table->slot_count, sizeof(*table->slots));
    if (!table->slots)
        return complain(r, "no memory");
    for (size_t i = 0; i < table->count; ++i) {
        size_t *slot = find_slot(table, &table->points[i]);
        if (*slot)
            return complain(r, "a configuration comes twice");
        *slot = i + 1;
    }
    return true;
}

double table_ns(const struct table *table, const struct point *point) {
    const size_t slot = *find_slot(table, point);
    return slot ? table->ns[slot - 1] : INFINITY;
}

static bool is_in_table(const void *context, const struct point *point) {
    return *find_slot(context, point) != 0;
}

/* ---- Reading --------------------------------------------------------------------------------- */

static bool read_all(struct reader *r, struct table *table) {
    static const char title[] = "# title: ";
    bool is_end;
    while (read_line(r, &is_end)) {
        if (r->line[0] == '#') {
            if (!strncmp(r->line, title, sizeof(title) - 1))
                snprintf(table->title, sizeof(table->title), "%s", r->line + sizeof(title) - 1);
        } else if (!(table->names ? read_row(r, table) : read_names(r, table))) {
            return false;
        }
    }
    if (!is_end)
        return false;
    if (!isfinite(table->best_ns))
        return complain(r, "nothing in this table ever ran");
    return index_points(r, table);
}

bool table_read(struct table *table, const char *path, char *why, size_t why_bytes) {
    struct reader r = {.file = gzopen(path, "rb"), .why = why, .why_bytes = why_bytes};
    *table = (struct table){.best_ns = INFINITY};
    if (!r.file) {
        snprintf(why, why_bytes, "%s", strerror(errno));
        return false;
    }
    const bool is_read = read_all(&r, table);
    gzclose(r.file);
    table->space.is_legal = is_in_table;
    table->space.context = table;
    if (!is_read)
        table_release(table);
    return is_read;
}

void table_release(struct table *table) {
    free(table->names);
    free(table->points);
    free(table->ns);
    free(table->slots);
    *table = (struct table){.count = 0};
}
