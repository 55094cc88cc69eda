/* In: texts, row by row. Out: the same in columns as wide as their widest text. */
#include "columns.h"

#include <stdlib.h>
#include <string.h>

#define GAP "  "

static bool reserve(struct columns *c, size_t more) {
    if (c->count + more <= c->capacity)
        return true;
    const size_t capacity = 2 * c->capacity + more;
    char **cells = realloc(c->cells, capacity * sizeof(*cells));
    if (!cells)
        return false;
    c->cells = cells;
    c->capacity = capacity;
    return true;
}

static char *copy_printable(const char *text) {
    char *copy = strdup(text);
    for (char *at = copy; at && *at; ++at)
        if (*at < ' ' || *at > '~')
            *at = '?';
    return copy;
}

void columns_add(struct columns *c, const char *const *cells) {
    const size_t width = strlen(c->alignment);
    if (!reserve(c, width)) {
        c->is_torn = true;
        return;
    }
    for (size_t i = 0; i < width; ++i) {
        c->cells[c->count] = copy_printable(cells[i]);
        c->is_torn = c->is_torn || !c->cells[c->count];
        ++c->count;
    }
}

static void print_row(const struct columns *c, const char *const *cells, const int *widths,
                      const char *indent, FILE *file) {
    const size_t count = strlen(c->alignment);
    fputs(indent, file);
    for (size_t i = 0; i < count; ++i) {
        const bool is_last = i + 1 == count;
        if (c->alignment[i] == 'r')
            fprintf(file, "%*s", widths[i], cells[i]);
        else
            fprintf(file, "%-*s", is_last ? 0 : widths[i], cells[i]);
        fputs(is_last ? "\n" : GAP, file);
    }
}

static void widen(const struct columns *c, const char *const *cells, int *widths) {
    for (size_t i = 0; i < strlen(c->alignment); ++i) {
        const int width = (int)strlen(cells[i]);
        widths[i] = width > widths[i] ? width : widths[i];
    }
}

bool columns_print(struct columns *c, const char *indent, FILE *file) {
    const size_t width = strlen(c->alignment);
    const bool is_whole = !c->is_torn;
    int widths[COLUMNS_MOST] = {0};
    if (c->titles)
        widen(c, c->titles, widths);
    for (size_t i = 0; is_whole && i < c->count; i += width)
        widen(c, (const char *const *)&c->cells[i], widths);
    if (c->titles && is_whole && c->count)
        print_row(c, c->titles, widths, indent, file);
    for (size_t i = 0; is_whole && i < c->count; i += width)
        print_row(c, (const char *const *)&c->cells[i], widths, indent, file);
    for (size_t i = 0; i < c->count; ++i)
        free(c->cells[i]);
    free(c->cells);
    *c = (struct columns){.alignment = c->alignment, .titles = c->titles};
    if (!is_whole)
        fputs("mha-tune: no memory for a table\n", stderr);
    return is_whole;
}
