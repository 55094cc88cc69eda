/* Lines of text in aligned columns. */
#ifndef TUNE_COLUMNS_H
#define TUNE_COLUMNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define COLUMNS_MOST 12

/* `alignment` and `titles` are set by the caller and kept by reference, the rest is private. */
struct columns {
    const char *alignment;     /* 'l' or 'r' for each column: how many there are */
    const char *const *titles; /* of every column; NULL: none */
    char **cells;
    size_t count, capacity; /* of cells */
    bool is_torn;           /* memory ran out */
};

/* Copies a row, one text per column; what is not printable ASCII becomes '?'. */
void columns_add(struct columns *columns, const char *const *cells);

/* Prints all rows, each after `indent`, and forgets them. False after a message where memory ran
 * out. */
bool columns_print(struct columns *columns, const char *indent, FILE *file);

#endif
