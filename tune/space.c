/* In: parameters and their values. Out: points. */
#include "space.h"

#include <math.h>
#include <string.h>

uint64_t space_combinations(const struct space *space) {
    uint64_t count = 1;
    for (int i = 0; i < space->count; ++i) {
        const uint64_t values = (uint64_t)space->parameters[i].count;
        if (values && count > UINT64_MAX / values)
            return UINT64_MAX;
        count *= values;
    }
    return count;
}

void space_point(const struct space *space, uint64_t index, struct point *point) {
    *point = (struct point){{0}};
    for (int i = space->count - 1; i >= 0; --i) {
        const uint64_t values = (uint64_t)space->parameters[i].count;
        point->value[i] = space->parameters[i].values[index % values];
        index /= values;
    }
}

int space_step(const struct space_parameter *parameter, int value) {
    int low = 0, high = parameter->count;
    while (low < high) {
        const int middle = (low + high) / 2;
        if (parameter->values[middle] < value)
            low = middle + 1;
        else
            high = middle;
    }
    return low < parameter->count && parameter->values[low] == value ? low : -1;
}

bool space_has(const struct space *space, const struct point *point) {
    for (int i = 0; i < space->count; ++i)
        if (space_step(&space->parameters[i], point->value[i]) < 0)
            return false;
    return true;
}

bool space_is_legal(const struct space *space, const struct point *point) {
    return space_has(space, point) && space->is_legal(space->context, point);
}

bool space_points_equal(const struct space *space, const struct point *a, const struct point *b) {
    return !memcmp(a->value, b->value, (size_t)space->count * sizeof(*a->value));
}

/* What has no ratio, zero and below, is told apart by the difference. */
static double distance(int a, int b) {
    return a > 0 && b > 0 ? fabs(log((double)a / b)) : fabs((double)a - b);
}

void space_snap(const struct space *space, struct point *point) {
    for (int i = 0; i < space->count; ++i) {
        const struct space_parameter *parameter = &space->parameters[i];
        const int wanted = point->value[i];
        double least = INFINITY;
        for (int v = 0; v < parameter->count; ++v)
            if (distance(wanted, parameter->values[v]) < least) {
                least = distance(wanted, parameter->values[v]);
                point->value[i] = parameter->values[v];
            }
    }
}
