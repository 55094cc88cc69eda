/* In: a space, times. Out: points worth measuring.
 *
 * The local search looks at the fastest point's neighbours (one parameter changed, two by a step,
 * three at random), at those of the fastest one far from it, and at a few points from anywhere, and
 * proposes the one of which a model of the times expects most for what it costs. So a descent goes
 * on while it pays, and is left where it does not. */
#include "search.h"

#include "model.h"
#include "random.h"
#include "records.h"

#include <math.h>
#include <stdlib.h>

/* Random points at the beginning, where there are starts and where there are none. */
#define SPREAD_AFTER_STARTS 8
#define SPREAD_ALONE 12
#define LEAST_SPREAD_ALONE 3
#define SPREAD_CHOICE 16

/* Candidates, by kind. */
#define MAX_SINGLES 160
#define MAX_PAIRS 96
#define MAX_KICKS 32
#define MAX_ELSEWHERE 64
#define MAX_CANDIDATES (2 * MAX_SINGLES + 2 * MAX_PAIRS + MAX_KICKS + MAX_ELSEWHERE)
#define KICKED_PARAMETERS 3
#define TRIES_EACH 8

/* Draws in vain before a space is walked through, and before one that is too large for that is
 * given up for exhausted. */
#define MAX_DRAWS 4000
#define MAX_VAIN_DRAWS (1 << 20)
#define MAX_WALK (UINT64_C(1) << 24)

struct search {
    const struct space *space;
    enum search_method method;
    uint64_t random; /* state */
    struct point *starts;
    int start_count, next_start;
    double build_cost;
    uint64_t next_index; /* of an exhaustive search */

    struct records known;
    bool has_proposal;
    struct point proposal;

    /* Numbers of the points that are left, once they are so few that draws don't find them. */
    uint64_t *rest;
    size_t rest_count;
    bool is_walked;

    struct model *model;
    struct point candidates[MAX_CANDIDATES];
    int candidate_count;
};

static int any_value(struct search *s, int parameter) {
    const struct space_parameter *p = &s->space->parameters[parameter];
    return p->values[random_below(&s->random, p->count)];
}

/* ---- Points from anywhere -------------------------------------------------------------------- */

static bool is_new(const struct search *s, const struct point *point) {
    return space_is_legal(s->space, point) && !records_find(&s->known, point);
}

/* False where the draws were in vain. */
static bool draw(struct search *s, int draws, struct point *point) {
    for (int n = 0; n < draws; ++n) {
        *point = (struct point){{0}};
        for (int i = 0; i < s->space->count; ++i)
            point->value[i] = any_value(s, i);
        if (is_new(s, point))
            return true;
    }
    return false;
}

/* Lists what is left, as far as memory goes. */
static void walk(struct search *s, uint64_t combinations) {
    size_t capacity = 0;
    s->is_walked = true;
    for (uint64_t i = 0; i < combinations; ++i) {
        struct point point;
        space_point(s->space, i, &point);
        if (!is_new(s, &point))
            continue;
        if (s->rest_count == capacity) {
            capacity = capacity ? 2 * capacity : 256;
            uint64_t *rest = realloc(s->rest, capacity * sizeof(*rest));
            if (!rest)
                return;
            s->rest = rest;
        }
        s->rest[s->rest_count++] = i;
    }
}

/* One of the rest; those that were told since leave it. */
static bool draw_rest(struct search *s, struct point *point) {
    while (s->rest_count) {
        const size_t at = random_next(&s->random) % s->rest_count;
        space_point(s->space, s->rest[at], point);
        if (is_new(s, point))
            return true;
        s->rest[at] = s->rest[--s->rest_count];
    }
    return false;
}

/* A random legal point that was not told, each as likely as the others; false where there seems to
 * be none. */
static bool draw_new(struct search *s, struct point *point) {
    const uint64_t combinations = space_combinations(s->space);
    if (!s->is_walked) {
        if (draw(s, combinations > MAX_WALK ? MAX_VAIN_DRAWS : MAX_DRAWS, point))
            return true;
        if (combinations > MAX_WALK)
            return false;
        walk(s, combinations);
    }
    return draw_rest(s, point);
}

/* How often the point's values were measured already, relative to how often they might be. */
static double crowding(const struct search *s, const struct point *point) {
    double sum = 0;
    for (size_t n = 0; n < s->known.count; ++n)
        for (int i = 0; i < s->space->count; ++i)
            if (s->known.list[n].point.value[i] == point->value[i])
                sum += s->space->parameters[i].count;
    return sum;
}

/* Of some random points the one whose values came least: strata that heed what is legal. */
static bool draw_spread(struct search *s, struct point *point) {
    double least = INFINITY;
    for (int n = 0; n < SPREAD_CHOICE; ++n) {
        struct point other;
        if (!draw_new(s, &other))
            break;
        const double other_crowding = crowding(s, &other);
        if (other_crowding < least) {
            least = other_crowding;
            *point = other;
        }
    }
    return isfinite(least);
}

/* ---- Local search ---------------------------------------------------------------------------- */

static void add_candidate(struct search *s, const struct point *point) {
    if (is_new(s, point))
        s->candidates[s->candidate_count++] = *point;
}

static void add_singles(struct search *s, const struct point *base) {
    const int before = s->candidate_count;
    for (int i = 0; i < s->space->count; ++i)
        for (int v = 0; v < s->space->parameters[i].count; ++v)
            if (s->candidate_count < before + MAX_SINGLES) {
                struct point point = *base;
                point.value[i] = s->space->parameters[i].values[v];
                add_candidate(s, &point);
            }
}

/* False beyond the ends. */
static bool move_one_step(struct search *s, struct point *point, int i) {
    const struct space_parameter *parameter = &s->space->parameters[i];
    const int step =
        space_step(parameter, point->value[i]) + (random_below(&s->random, 2) ? 1 : -1);
    if (step < 0 || step >= parameter->count)
        return false;
    point->value[i] = parameter->values[step];
    return true;
}

/* Two parameters one step each: the way along a ridge that no single move stays on. */
static void add_pairs(struct search *s, const struct point *base) {
    const int before = s->candidate_count;
    for (int n = 0; n < TRIES_EACH * MAX_PAIRS && s->candidate_count < before + MAX_PAIRS; ++n) {
        struct point point = *base;
        bool is_moved = true;
        for (int k = 0; k < 2 && is_moved; ++k)
            is_moved = move_one_step(s, &point, random_below(&s->random, s->space->count));
        if (is_moved)
            add_candidate(s, &point);
    }
}

static void add_kicks(struct search *s, const struct point *base) {
    const int before = s->candidate_count;
    for (int n = 0; n < TRIES_EACH * MAX_KICKS && s->candidate_count < before + MAX_KICKS; ++n) {
        struct point point = *base;
        for (int k = 0; k < KICKED_PARAMETERS; ++k) {
            const int i = random_below(&s->random, s->space->count);
            point.value[i] = any_value(s, i);
        }
        add_candidate(s, &point);
    }
}

static void add_elsewhere(struct search *s) {
    for (int n = 0; n < MAX_ELSEWHERE; ++n) {
        struct point point;
        if (s->is_walked ? draw_rest(s, &point) : draw(s, TRIES_EACH, &point))
            s->candidates[s->candidate_count++] = point;
    }
}

/* The fastest records, fastest first; returns how many. */
static int list_best(const struct search *s, const struct record **best, int count) {
    int found = 0;
    for (size_t n = 0; n < s->known.count; ++n) {
        const struct record *record = &s->known.list[n];
        int at = found;
        while (at > 0 && best[at - 1]->ns > record->ns)
            --at;
        if (at == count || !isfinite(record->ns))
            continue;
        found = found < count ? found + 1 : count;
        for (int i = found - 1; i > at; --i)
            best[i] = best[i - 1];
        best[at] = record;
    }
    return found;
}

/* To what the model has room for: the fastest, and of the others the latest. */
static void fit_model(struct search *s) {
    const struct record *best[SEARCH_MAX_BEST];
    struct model_sample samples[MODEL_MAX_POINTS];
    const bool is_all = s->known.count <= MODEL_MAX_POINTS;
    int count = 0;
    double fast = -INFINITY;
    if (!is_all) {
        count = list_best(s, best, SEARCH_MAX_BEST);
        for (int i = 0; i < count; ++i)
            samples[i] = (struct model_sample){&best[i]->point, best[i]->ns};
        fast = best[count - 1]->ns;
    }
    for (size_t n = s->known.count; n-- > 0 && count < MODEL_MAX_POINTS;) {
        const struct record *record = &s->known.list[n];
        if (record->ns > fast)
            samples[count++] = (struct model_sample){&record->point, record->ns};
    }
    model_fit(s->model, samples, count);
}

/* The fastest of those that differ from the best in most parameters: in another valley, if there is
 * one. NULL for none. */
static const struct record *find_other(const struct search *s, const struct record *best) {
    const struct record *other = NULL;
    for (size_t n = 0; n < s->known.count; ++n) {
        const struct record *record = &s->known.list[n];
        int different = 0;
        for (int i = 0; i < s->space->count; ++i)
            different += record->point.value[i] != best->point.value[i];
        if (2 * different > s->space->count && isfinite(record->ns) &&
            (!other || record->ns < other->ns))
            other = record;
    }
    return other;
}

static bool next_local(struct search *s, struct point *point) {
    const struct record *best;
    if (!list_best(s, &best, 1))
        return draw_new(s, point);
    const struct record *other = find_other(s, best);
    fit_model(s);
    s->candidate_count = 0;
    add_singles(s, &best->point);
    add_pairs(s, &best->point);
    add_kicks(s, &best->point);
    if (other) {
        add_singles(s, &other->point);
        add_pairs(s, &other->point);
    }
    add_elsewhere(s);
    double most = -INFINITY;
    for (int i = 0; i < s->candidate_count; ++i) {
        const struct point *candidate = &s->candidates[i];
        const double cost =
            s->build_cost > 1 && !search_has_build(s, candidate) ? s->build_cost : 1;
        const double gain = model_gain(s->model, candidate) / cost;
        if (gain > most) {
            most = gain;
            *point = *candidate;
        }
    }
    return s->candidate_count || draw_new(s, point);
}

/* ---- Interface ------------------------------------------------------------------------------- */

struct search *search_create(const struct space *space, const struct search_options *options) {
    struct search *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->space = s->known.space = space;
    s->method = options->method;
    s->random = options->seed;
    s->build_cost = 1;
    s->model = model_create(space);
    s->starts = calloc((size_t)options->start_count + 1, sizeof(*s->starts));
    if (!s->starts || !s->model) {
        search_destroy(s);
        return NULL;
    }
    for (int i = 0; i < options->start_count; ++i)
        if (space_is_legal(space, &options->starts[i]))
            s->starts[s->start_count++] = options->starts[i];
    return s;
}

void search_destroy(struct search *s) {
    if (!s)
        return;
    records_release(&s->known);
    model_destroy(s->model);
    free(s->starts);
    free(s->rest);
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

static bool next_start(struct search *s, struct point *point) {
    while (s->next_start < s->start_count) {
        *point = s->starts[s->next_start++];
        if (!records_find(&s->known, point))
            return true;
    }
    return false;
}

/* Whether there are enough points from anywhere for the model; where builds are dear, fewer do. */
static bool is_spread(const struct search *s) {
    const double wanted = s->start_count ? SPREAD_AFTER_STARTS / s->build_cost
                                         : fmax(SPREAD_ALONE / s->build_cost, LEAST_SPREAD_ALONE);
    return (double)s->known.count >= s->start_count + floor(wanted);
}

static bool propose(struct search *s, struct point *point) {
    switch (s->method) {
    case SEARCH_EXHAUSTIVE:
        return next_of_all(s, point);
    case SEARCH_RANDOM:
        return draw_new(s, point);
    default:
        return next_start(s, point) || (!is_spread(s) && draw_spread(s, point)) ||
               next_local(s, point);
    }
}

bool search_next(struct search *s, struct point *point) {
    if (!s->has_proposal || records_find(&s->known, &s->proposal))
        s->has_proposal = propose(s, &s->proposal);
    *point = s->proposal;
    return s->has_proposal;
}

void search_tell(struct search *s, const struct point *point, double ns) {
    const struct record told = {*point, ns > 0 ? ns : INFINITY};
    struct record *known = records_find(&s->known, point);
    /* A journal may have been written with other values to choose from. */
    if (!space_has(s->space, point))
        return;
    if (known)
        known->ns = told.ns;
    else
        records_add(&s->known, &told);
}

bool search_has_build(const struct search *s, const struct point *point) {
    for (size_t n = 0; n < s->known.count; ++n) {
        bool is_same = true;
        for (int i = 0; i < s->space->count && is_same; ++i)
            is_same = !s->space->parameters[i].is_built ||
                      s->known.list[n].point.value[i] == point->value[i];
        if (is_same)
            return true;
    }
    return false;
}

void search_set_build_cost(struct search *s, double cost) {
    s->build_cost = cost > 1 ? cost : 1;
}

int search_best(const struct search *s, struct point *points, double *ns, int count) {
    const struct record *best[SEARCH_MAX_BEST];
    const int found = list_best(s, best, count < SEARCH_MAX_BEST ? count : SEARCH_MAX_BEST);
    for (int i = 0; i < found; ++i) {
        points[i] = best[i]->point;
        ns[i] = best[i]->ns;
    }
    return found;
}
