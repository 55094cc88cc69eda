/* A search space: parameters, their values, and which combinations are legal. Knows no device. */
#ifndef TUNE_SPACE_H
#define TUNE_SPACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SPACE_MAX_PARAMETERS 24
#define SPACE_MAX_VALUES 32

struct space_parameter {
    const char *name;
    int values[SPACE_MAX_VALUES]; /* ascending */
    int count;
    bool is_built; /* another value takes another build */
};

/* One value per parameter, in the order of the parameters; unused ones are 0. */
struct point {
    int value[SPACE_MAX_PARAMETERS];
};

struct space {
    struct space_parameter parameters[SPACE_MAX_PARAMETERS];
    int count;
    bool (*is_legal)(const void *context, const struct point *point);
    const void *context;
};

/* Every combination in ascending order, the last parameter fastest: *index counts from 0 to
 * space_combinations(). */
uint64_t space_combinations(const struct space *space);
void space_point(const struct space *space, uint64_t index, struct point *point);

/* The number of a value among those of a parameter; -1 for one that it does not have. */
int space_step(const struct space_parameter *parameter, int value);

/* Whether every value is one of its parameter's. */
bool space_has(const struct space *space, const struct point *point);

/* Whether besides is_legal() takes it. */
bool space_is_legal(const struct space *space, const struct point *point);
bool space_points_equal(const struct space *space, const struct point *a, const struct point *b);

/* The value of each parameter that is nearest in ratio; makes no promise of legality. */
void space_snap(const struct space *space, struct point *point);

#endif
