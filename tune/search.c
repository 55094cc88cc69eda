/* In: a space, times. Out: points worth measuring.
 *
 * The local search goes to the first better neighbour: one parameter one step away, then farther,
 * then pairs of parameters. Where none is better it kicks three parameters and descends again; what
 * leads nowhere is given up for the best point, and after several such kicks for a random one. */
#include "search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_MOVES 512
#define MAX_PAIRS 64
#define KICKED_PARAMETERS 3
#define MAX_FAILED_KICKS 8

/* A kick that lands this much above the best is not followed. */
#define KICK_TOLERANCE 1.5

/* Draws before a space is taken for nearly exhausted, and what may then be walked through. */
#define MAX_DRAWS 4000
#define MAX_WALK (UINT64_C(1) << 24)

enum phase { PHASE_STARTS, PHASE_SPREAD, PHASE_LOCAL, PHASE_RANDOM, PHASE_EXHAUSTIVE };

struct known {
    struct point point;
    double ns;
};

struct search {
    const struct space *space;
    enum phase phase;
    uint64_t random; /* state */
    struct point *starts;
    int start_count, next_start;
    int spread_count, next_spread;
    uint64_t next_index;

    /* Told points, and a hash table of their numbers plus one. */
    struct known *known;
    int known_count, known_capacity, evaluations;
    int *slots;
    size_t slot_count;

    /* Local search */
    struct point current, best;
    double current_ns, best_ns;
    struct point moves[MAX_MOVES];
    int move_count, next_move, failed_kicks;
    bool is_kicked; /* the current descent began with a kick that has not paid yet */
};

/* ---- Numbers --------------------------------------------------------------------------------- */

/* SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014). */
static uint64_t next_random(struct search *s) {
    uint64_t z = s->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static int below(struct search *s, int count) {
    return (int)(next_random(s) % (uint64_t)count);
}

static void shuffle(struct search *s, struct point *points, int count) {
    for (int i = count - 1; i > 0; --i) {
        const int j = below(s, i + 1);
        const struct point swapped = points[i];
        points[i] = points[j];
        points[j] = swapped;
    }
}

/* ---- Memory ---------------------------------------------------------------------------------- */

static size_t hash_point(const struct search *s, const struct point *point) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (int i = 0; i < s->space->count; ++i)
        hash = (hash ^ (uint64_t)(uint32_t)point->value[i]) * UINT64_C(0x100000001b3);
    return (size_t)(hash ^ hash >> 32);
}

/* Where the point is, or would be. */
static int *find_slot(const struct search *s, const struct point *point) {
    size_t at = hash_point(s, point) & (s->slot_count - 1);
    while (s->slots[at] && !space_points_equal(s->space, &s->known[s->slots[at] - 1].point, point))
        at = (at + 1) & (s->slot_count - 1);
    return &s->slots[at];
}

static struct known *find_known(const struct search *s, const struct point *point) {
    const int *slot = find_slot(s, point);
    return *slot ? &s->known[*slot - 1] : NULL;
}

static bool grow(struct search *s) {
    const int capacity = s->known_capacity ? 2 * s->known_capacity : 512;
    struct known *known = realloc(s->known, (size_t)capacity * sizeof(*known));
    if (!known)
        return false;
    s->known = known;
    int *slots = calloc(4 * (size_t)capacity, sizeof(*slots));
    if (!slots)
        return false;
    free(s->slots);
    s->slots = slots;
    s->slot_count = 4 * (size_t)capacity;
    s->known_capacity = capacity;
    for (int i = 0; i < s->known_count; ++i)
        *find_slot(s, &s->known[i].point) = i + 1;
    return true;
}

/* ---- Points ---------------------------------------------------------------------------------- */

static int step_of(const struct space_parameter *parameter, int value) {
    int step = 0;
    while (step + 1 < parameter->count && parameter->values[step] != value)
        ++step;
    return step;
}

static struct point draw(struct search *s) {
    struct point point = {{0}};
    for (int i = 0; i < s->space->count; ++i) {
        const struct space_parameter *parameter = &s->space->parameters[i];
        point.value[i] = parameter->values[below(s, parameter->count)];
    }
    return point;
}

static bool is_new(const struct search *s, const struct point *point) {
    return space_is_legal(s->space, point) && !find_known(s, point);
}

/* A random legal point that was not told; false where there seems to be none. */
static bool draw_new(struct search *s, struct point *point) {
    for (int n = 0; n < MAX_DRAWS; ++n) {
        *point = draw(s);
        if (is_new(s, point))
            return true;
    }
    const uint64_t combinations = space_combinations(s->space);
    const uint64_t walk = combinations < MAX_WALK ? combinations : MAX_WALK;
    const uint64_t first = next_random(s) % combinations;
    for (uint64_t n = 0; n < walk; ++n) {
        space_point(s->space, (first + n) % combinations, point);
        if (is_new(s, point))
            return true;
    }
    return false;
}

/* One of the strata of every parameter, each stratum once in `spread_count` points; what is not
 * legal moves one parameter after another. */
static bool draw_spread(struct search *s, struct point *point) {
    for (int n = 0; n < MAX_DRAWS; ++n) {
        for (int i = 0; i < s->space->count; ++i) {
            const struct space_parameter *parameter = &s->space->parameters[i];
            /* Parameters go through their strata at paces of their own. */
            const int stratum = (s->next_spread * (2 * i + 1) + i) % s->spread_count;
            const int first = stratum * parameter->count / s->spread_count;
            const int last = ((stratum + 1) * parameter->count - 1) / s->spread_count;
            const int step = n % (s->space->count + 1) == i + 1
                                 ? below(s, parameter->count)
                                 : first + below(s, last > first ? last - first + 1 : 1);
            point->value[i] = parameter->values[step];
        }
        if (is_new(s, point))
            return true;
    }
    return draw_new(s, point);
}

/* ---- Local search ---------------------------------------------------------------------------- */

static void add_move(struct search *s, const struct point *point) {
    if (s->move_count < MAX_MOVES && space_is_legal(s->space, point))
        s->moves[s->move_count++] = *point;
}

static void add_singles(struct search *s, bool is_far) {
    const int first = s->move_count;
    for (int i = 0; i < s->space->count; ++i) {
        const struct space_parameter *parameter = &s->space->parameters[i];
        const int step = step_of(parameter, s->current.value[i]);
        for (int v = 0; v < parameter->count; ++v) {
            struct point point = s->current;
            point.value[i] = parameter->values[v];
            if (v != step && (abs(v - step) > 1) == is_far)
                add_move(s, &point);
        }
    }
    shuffle(s, s->moves + first, s->move_count - first);
}

/* Two parameters one step each: the way out of a ridge that no single move leaves. */
static void add_pairs(struct search *s) {
    const int first = s->move_count;
    for (int i = 0; i < s->space->count; ++i)
        for (int j = i + 1; j < s->space->count; ++j)
            for (int signs = 0; signs < 4; ++signs) {
                const struct space_parameter *a = &s->space->parameters[i];
                const struct space_parameter *b = &s->space->parameters[j];
                const int x = step_of(a, s->current.value[i]) + (signs & 1 ? 1 : -1);
                const int y = step_of(b, s->current.value[j]) + (signs & 2 ? 1 : -1);
                struct point point = s->current;
                if (x < 0 || x >= a->count || y < 0 || y >= b->count)
                    continue;
                point.value[i] = a->values[x];
                point.value[j] = b->values[y];
                add_move(s, &point);
            }
    shuffle(s, s->moves + first, s->move_count - first);
    if (s->move_count > first + MAX_PAIRS)
        s->move_count = first + MAX_PAIRS;
}

static void descend_from(struct search *s, const struct point *point, double ns) {
    s->current = *point;
    s->current_ns = ns;
    s->move_count = s->next_move = 0;
    add_singles(s, false);
    add_singles(s, true);
    /* After a kick only what is cheap: most lead nowhere. */
    if (!s->is_kicked)
        add_pairs(s);
}

/* Somewhere near the best point, or after too many failures anywhere. */
static bool kick(struct search *s, struct point *point) {
    s->is_kicked = true;
    if (s->failed_kicks++ >= MAX_FAILED_KICKS || !isfinite(s->best_ns)) {
        s->failed_kicks = 0;
        return draw_new(s, point);
    }
    for (int n = 0; n < MAX_DRAWS; ++n) {
        *point = s->best;
        for (int k = 0; k < KICKED_PARAMETERS; ++k) {
            const int i = below(s, s->space->count);
            const struct space_parameter *parameter = &s->space->parameters[i];
            point->value[i] = parameter->values[below(s, parameter->count)];
        }
        if (is_new(s, point))
            return true;
    }
    return draw_new(s, point);
}

/* The next unknown point of the descent; known ones are followed at once. */
static bool next_local(struct search *s, struct point *point) {
    if (!s->move_count && isfinite(s->best_ns))
        descend_from(s, &s->best, s->best_ns);
    while (s->next_move < s->move_count) {
        *point = s->moves[s->next_move++];
        const struct known *known = find_known(s, point);
        if (!known)
            return true;
        if (known->ns < s->current_ns)
            descend_from(s, point, known->ns);
    }
    return kick(s, point);
}

/* What a new time means for the descent. */
static void follow(struct search *s, const struct point *point, double ns) {
    if (ns < s->best_ns) {
        s->best = *point;
        s->best_ns = ns;
        s->is_kicked = false;
        s->failed_kicks = 0;
        if (s->phase == PHASE_LOCAL)
            descend_from(s, point, ns);
        return;
    }
    if (s->phase != PHASE_LOCAL)
        return;
    const bool is_kick = s->next_move >= s->move_count && s->is_kicked;
    if (is_kick ? ns < KICK_TOLERANCE * s->best_ns : ns < s->current_ns)
        descend_from(s, point, ns);
}

/* ---- Interface ------------------------------------------------------------------------------- */

struct search *search_create(const struct space *space, const struct search_options *options) {
    struct search *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->space = space;
    s->random = options->seed * UINT64_C(0x2545f4914f6cdd1d) + 1;
    s->current_ns = s->best_ns = INFINITY;
    s->spread_count = 2 * space->count < 8 ? 8 : 2 * space->count > 16 ? 16 : 2 * space->count;
    s->starts = calloc((size_t)options->start_count + 1, sizeof(*s->starts));
    if (!s->starts || !grow(s)) {
        search_destroy(s);
        return NULL;
    }
    for (int i = 0; i < options->start_count; ++i)
        if (space_is_legal(space, &options->starts[i]))
            s->starts[s->start_count++] = options->starts[i];
    s->phase = options->method == SEARCH_EXHAUSTIVE ? PHASE_EXHAUSTIVE
               : options->method == SEARCH_RANDOM   ? PHASE_RANDOM
                                                    : PHASE_STARTS;
    return s;
}

void search_destroy(struct search *s) {
    if (!s)
        return;
    free(s->starts);
    free(s->known);
    free(s->slots);
    free(s);
}

static bool next_of_all(struct search *s, struct point *point) {
    const uint64_t combinations = space_combinations(s->space);
    while (s->next_index < combinations) {
        space_point(s->space, s->next_index++, point);
        if (is_new(s, point))
            return true;
    }
    return false;
}

bool search_next(struct search *s, struct point *point) {
    if (s->phase == PHASE_EXHAUSTIVE)
        return next_of_all(s, point);
    while (s->phase == PHASE_STARTS) {
        if (s->next_start == s->start_count) {
            s->phase = PHASE_SPREAD;
            break;
        }
        *point = s->starts[s->next_start++];
        if (!find_known(s, point))
            return true;
    }
    if (s->phase == PHASE_SPREAD) {
        if (s->next_spread < s->spread_count) {
            const bool is_found = draw_spread(s, point);
            ++s->next_spread;
            return is_found;
        }
        s->phase = PHASE_LOCAL;
    }
    return s->phase == PHASE_RANDOM ? draw_new(s, point) : next_local(s, point);
}

void search_tell(struct search *s, const struct point *point, double ns) {
    struct known *known = find_known(s, point);
    if (known) {
        known->ns = ns;
    } else {
        if ((!s->known || s->known_count == s->known_capacity) && !grow(s))
            return;
        s->known[s->known_count] = (struct known){*point, ns};
        *find_slot(s, point) = ++s->known_count;
    }
    ++s->evaluations;
    follow(s, point, ns);
}

int search_evaluations(const struct search *s) {
    return s->evaluations;
}

int search_best(const struct search *s, struct point *points, double *ns, int count) {
    int found = 0;
    for (int i = 0; i < s->known_count; ++i) {
        const struct known *known = &s->known[i];
        int at = found < count ? found : count;
        while (at > 0 && ns[at - 1] > known->ns)
            --at;
        if (at >= count || !isfinite(known->ns))
            continue;
        found = found < count ? found + 1 : count;
        for (int j = found - 1; j > at; --j) {
            points[j] = points[j - 1];
            ns[j] = ns[j - 1];
        }
        points[at] = known->point;
        ns[at] = known->ns;
    }
    return found;
}
