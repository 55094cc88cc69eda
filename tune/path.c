/* In: a variant, a shape, a device's facts, tuning results. Out: a space, and where to begin in it.
 */
#include "path.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_STARTS 8
#define MAX_FOREIGN 5

struct tuning path_tuning(const struct path *path, const struct point *point) {
    struct tuning tuning = {{0}};
    for (int i = 0; i < path->space.count; ++i)
        tuning.value[path->variant->tunables[i].tunable] = point->value[i];
    return tuning;
}

struct point path_point(const struct path *path, const struct tuning *tuning) {
    struct point point = {{0}};
    for (int i = 0; i < path->space.count; ++i)
        point.value[i] = tuning->value[path->variant->tunables[i].tunable];
    return point;
}

/* Blocks that a smaller upper bound gives as well: the same candidate under another name. */
static bool has_smaller_name(const struct path *path, const struct point *point,
                             const struct tuning *fitted) {
    for (int i = 0; path->variant->fit && i < path->space.count; ++i) {
        const struct space_parameter *parameter = &path->space.parameters[i];
        for (int v = 0; v < parameter->count && parameter->values[v] < point->value[i]; ++v) {
            struct point smaller = *point;
            smaller.value[i] = parameter->values[v];
            struct tuning tuning = path_tuning(path, &smaller);
            mha_tuning_fit(path->variant, &path->problem, &tuning);
            if (!memcmp(&tuning, fitted, sizeof(tuning)))
                return true;
        }
    }
    return false;
}

static bool is_legal(const void *context, const struct point *point) {
    const struct path *path = context;
    const struct variant *variant = path->variant;
    struct tuning tuning = path_tuning(path, point);
    char why[160];
    mha_tuning_fit(variant, &path->problem, &tuning);
    if (!variant->legal(&path->problem, &path->caps, &tuning, why, sizeof(why)) ||
        variant->loops(&path->problem, &tuning) > path->caps.max_loops ||
        variant->workspace_bytes(&path->problem, &path->caps, &tuning) >
            path->caps.max_alloc_bytes ||
        mha_packed_bytes(&path->problem, variant, &tuning) > path->caps.max_alloc_bytes)
        return false;
    return !has_smaller_name(path, point, &tuning);
}

/* The name of a candidate that is_legal() takes. */
static struct point canonical(const struct path *path, struct point point) {
    space_snap(&path->space, &point);
    struct tuning fitted = path_tuning(path, &point);
    mha_tuning_fit(path->variant, &path->problem, &fitted);
    for (int i = 0; path->variant->fit && i < path->space.count; ++i) {
        const struct space_parameter *parameter = &path->space.parameters[i];
        for (int v = 0; v < parameter->count && parameter->values[v] < point.value[i]; ++v) {
            struct point smaller = point;
            smaller.value[i] = parameter->values[v];
            struct tuning tuning = path_tuning(path, &smaller);
            mha_tuning_fit(path->variant, &path->problem, &tuning);
            if (!memcmp(&tuning, &fitted, sizeof(tuning)))
                point = smaller;
        }
    }
    return point;
}

static void add_start(const struct path *path, const struct tuning *tuning, struct point *starts,
                      int *count) {
    const struct point point = canonical(path, path_point(path, tuning));
    for (int i = 0; i < *count; ++i)
        if (space_points_equal(&path->space, &starts[i], &point))
            return;
    if (*count < MAX_STARTS)
        starts[(*count)++] = point;
}

/* The smallest legal values: they ask least of a device. */
static void add_safe(const struct path *path, struct point *starts, int *count) {
    const uint64_t combinations = space_combinations(&path->space);
    struct point point;
    for (uint64_t i = 0; i < combinations; ++i) {
        space_point(&path->space, i, &point);
        if (space_is_legal(&path->space, &point)) {
            const struct tuning tuning = path_tuning(path, &point);
            add_start(path, &tuning, starts, count);
            return;
        }
    }
}

/* Results for this device first, then the nearest of others. */
static void add_results(const struct path *path, const struct config *config, struct point *starts,
                        int *count) {
    const struct shape shape = mha_shape_of(&path->problem);
    const struct shape_position here = mha_shape_position(&shape, path->caps.compute_units);
    double worst = -1;
    for (int n = 0; config && n < MAX_FOREIGN; ++n) {
        const struct config_entry *nearest = NULL;
        double least = INFINITY;
        for (size_t i = 0; i < config->count; ++i) {
            const struct config_entry *e = &config->entries[i];
            if (e->variant != path->variant || e->is_default ||
                !mha_shape_is_kin(&e->shape, &shape))
                continue;
            const struct shape_position there =
                mha_shape_position(&e->shape, e->device.compute_units);
            double distance = 0;
            for (int a = 0; a < SHAPE_AXES; ++a)
                distance += fabs(here.log2[a] - there.log2[a]);
            /* Another device's result counts as four octaves away; ties keep the file's order. */
            distance += strcmp(e->device.name, path->caps.name) ? 4 : 0;
            distance += 1e-9 * (double)i;
            if (distance > worst && distance < least) {
                least = distance;
                nearest = e;
            }
        }
        if (!nearest)
            return;
        worst = least;
        add_start(path, &nearest->tuning, starts, count);
    }
}

/* ---- Limits ---------------------------------------------------------------------------------- */

/* Reads "NAME=1,2,3" from *text on, and moves *text behind it; returns how many values. 0: it can't
 * be read. */
static int read_limit(const char **text, char name[32], int values[SPACE_MAX_VALUES]) {
    int length = 0, count = 0;
    sscanf(*text, " %31[A-Z0-9_]=%n", name, &length);
    if (!length)
        return 0;
    for (*text += length; count < SPACE_MAX_VALUES; ++*text) {
        char *end;
        if (!isdigit((unsigned char)**text))
            return 0;
        values[count++] = (int)strtol(*text, &end, 10);
        *text = end;
        if (*end != ',')
            return *end && *end != ' ' ? 0 : count;
    }
    return 0;
}

bool path_check_limits(const struct path_limits *limits, char *why, size_t why_bytes) {
    char name[32];
    int values[SPACE_MAX_VALUES];
    for (const char *text = limits->values ? limits->values : ""; *text;) {
        bool is_known = false;
        if (read_limit(&text, name, values))
            for (int t = 0; t < TUNABLE_COUNT; ++t)
                is_known |= !strcmp(name, mha_tunable_names[t]);
        if (!is_known) {
            snprintf(why, why_bytes, "--space is such as \"VEC=8,16 MICRO_D=4\", not \"%.60s\"",
                     limits->values);
            return false;
        }
    }
    for (size_t i = 0; limits->variant && i < mha_variant_count; ++i)
        if (!strcmp(mha_variants[i]->name, limits->variant))
            return true;
    snprintf(why, why_bytes, "no variant is called \"%.60s\"",
             limits->variant ? limits->variant : "");
    return !limits->variant;
}

static bool is_within(const struct path_limits *limits, const char *parameter, int value) {
    char name[32];
    int values[SPACE_MAX_VALUES], count;
    for (const char *text = limits->values ? limits->values : ""; *text;) {
        if (!(count = read_limit(&text, name, values)))
            return false;
        bool is_listed = strcmp(name, parameter) != 0;
        for (int i = 0; i < count; ++i)
            is_listed |= values[i] == value;
        if (!is_listed)
            return false;
    }
    return true;
}

static bool list_values(struct space_parameter *parameter, const struct variant_tunable *tunable,
                        const struct path_limits *limits) {
    parameter->name = mha_tunable_names[tunable->tunable];
    parameter->is_built = tunable->is_define;
    for (int i = 0; i < MHA_MAX_VALUES && tunable->values[i]; ++i)
        if (is_within(limits, parameter->name, tunable->values[i]))
            parameter->values[parameter->count++] = tunable->values[i];
    return parameter->count > 0;
}

bool path_open(struct path *path, const struct variant *variant, const struct shape *shape,
               const struct device_caps *caps, const struct path_limits *limits,
               const struct config *config, enum path_seeds seeds, enum search_method method,
               uint64_t seed) {
    struct point starts[MAX_STARTS];
    struct tuning tuning;
    char why[160];
    int count = 0;
    *path = (struct path){.variant = variant, .caps = *caps, .best_ns = INFINITY};
    if (variant->operation != shape->operation || !variant->tunables[0].values[0] ||
        (limits->variant ? strcmp(limits->variant, variant->name) != 0
                         : variant->is_for_cpu && !caps->is_cpu) ||
        mha_shape_problem(shape, &path->problem, NULL))
        return false;
    variant->heuristic(&path->problem, caps, &tuning);
    if (!variant->legal(&path->problem, caps, &tuning, why, sizeof(why)))
        return false;
    for (int i = 0; i < TUNABLE_COUNT && variant->tunables[i].values[0]; ++i)
        if (!list_values(&path->space.parameters[path->space.count++], &variant->tunables[i],
                         limits))
            return false;
    path->space.is_legal = is_legal;
    path->space.context = path;
    if (seeds != SEEDS_NONE)
        add_results(path, config, starts, &count);
    path->has_result = count > 0;
    if (seeds == SEEDS_ALL || seeds == SEEDS_HEURISTIC)
        add_start(path, &tuning, starts, &count);
    if (seeds == SEEDS_SAFE)
        add_safe(path, starts, &count);
    const struct search_options options = {
        .method = method, .seed = seed, .starts = starts, .start_count = count};
    path->search = search_create(&path->space, &options);
    return path->search != NULL;
}

void path_close(struct path *path) {
    search_destroy(path->search);
    path->search = NULL;
}

double path_combinations(const struct path *path) {
    return (double)space_combinations(&path->space);
}
