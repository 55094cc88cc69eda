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

bool space_is_legal(const struct space *space, const struct point *point) {
    return space->is_legal(space->context, point);
}

bool space_points_equal(const struct space *space, const struct point *a, const struct point *b) {
    return !memcmp(a->value, b->value, (size_t)space->count * sizeof(*a->value));
}

void space_snap(const struct space *space, struct point *point) {
    for (int i = 0; i < space->count; ++i) {
        const struct space_parameter *parameter = &space->parameters[i];
        const double wanted = point->value[i] > 0 ? point->value[i] : 1;
        double least = INFINITY;
        for (int v = 0; v < parameter->count; ++v) {
            const double distance = fabs(log(parameter->values[v] / wanted));
            if (distance < least) {
                least = distance;
                point->value[i] = parameter->values[v];
            }
        }
    }
}
