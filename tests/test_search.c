/* The search by itself: what it proposes, of spaces and times that no device has. */
#include "search.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <stdio.h>

static const enum search_method methods[] = {SEARCH_LOCAL, SEARCH_RANDOM, SEARCH_EXHAUSTIVE};
enum { METHODS = sizeof(methods) / sizeof(*methods) };

/* ---- Spaces ---------------------------------------------------------------------------------- */

static bool takes_all(const void *context, const struct point *point) {
    (void)context;
    (void)point;
    return true;
}

static bool takes_none(const void *context, const struct point *point) {
    (void)context;
    (void)point;
    return false;
}

/* As tiles that must fit into a memory. */
static bool takes_small(const void *context, const struct point *point) {
    (void)context;
    return point->value[0] * point->value[1] <= 64;
}

/* One of many millions. */
static bool takes_needle(const void *context, const struct point *point) {
    const struct space *space = context;
    for (int i = 0; i < space->count; ++i)
        if (point->value[i] != space->parameters[i].values[(3 * i + 1) % 8])
            return false;
    return true;
}

/* Powers of two. */
static struct space make_space(int parameters, int values,
                               bool (*is_legal)(const void *, const struct point *)) {
    struct space space = {.count = parameters, .is_legal = is_legal};
    for (int i = 0; i < parameters; ++i) {
        space.parameters[i].name = "P";
        for (int v = 0; v < values; ++v)
            space.parameters[i].values[space.parameters[i].count++] = 1 << v;
    }
    return space;
}

static struct search *begin(const struct space *space, enum search_method method, uint64_t seed) {
    const struct search_options options = {.method = method, .seed = seed};
    struct search *search = search_create(space, &options);
    cr_assert(search);
    return search;
}

static struct point make_point(int a, int b, int c) {
    return (struct point){{a, b, c}};
}

static size_t find(const struct space *space, const struct point *list, size_t count,
                   const struct point *point) {
    size_t at = 0;
    while (at < count && !space_points_equal(space, &list[at], point))
        ++at;
    return at;
}

/* ---- Times ----------------------------------------------------------------------------------- */

/* A valley along a diagonal, another one that is not the best, and cliffs between: the parameters
 * depend on one another. Least is 1, and everything else is more. */
static double landscape(const struct space *space, const struct point *point) {
    double step[SPACE_MAX_PARAMETERS], near = 0, far = 0;
    for (int i = 0; i < space->count; ++i)
        step[i] = log2(point->value[i]);
    for (int i = 0; i < space->count; ++i) {
        const double best = 2 + i % 3, other = 6 - i % 2;
        near += (step[i] - best) * (step[i] - best);
        far += (step[i] - other) * (step[i] - other);
        if (i) {
            const double across = step[i] - best - (step[i - 1] - 2 - (i - 1) % 3);
            near += 2 * across * across;
        }
    }
    const double cliff = (int)(step[0] + step[1]) % 3 == 2 ? 1.3 : 1;
    return fmin(1 + near / 10 * cliff, 1.35 + far / 3);
}

static double search_landscape(const struct space *space, enum search_method method, uint64_t seed,
                               int evaluations) {
    struct search *search = begin(space, method, seed);
    struct point point;
    double best = INFINITY;
    for (int n = 0; n < evaluations && search_next(search, &point); ++n) {
        const double ns = landscape(space, &point);
        best = fmin(best, ns);
        search_tell(search, &point, ns);
    }
    search_destroy(search);
    return 1 / best;
}

Test(search, finds_far_more_than_chance) {
    const struct space space = make_space(6, 8, takes_all);
    double local = 0, random = 0, worst = 1;
    enum { SEEDS = 20, EVALUATIONS = 100 };
    for (uint64_t seed = 1; seed <= SEEDS; ++seed) {
        const double found = search_landscape(&space, SEARCH_LOCAL, seed, EVALUATIONS);
        local += found / SEEDS;
        worst = fmin(worst, found);
        random += search_landscape(&space, SEARCH_RANDOM, seed, EVALUATIONS) / SEEDS;
    }
    printf("after %d of %d evaluations: %.3f (worst %.3f), random %.3f\n", EVALUATIONS, 1 << 18,
           local, worst, random);
    cr_expect_lt(random, 0.5, "%.3f", random);
    cr_expect_gt(local, 0.85, "%.3f", local);
    /* In the other valley, at worst. */
    cr_expect_gt(worst, 0.73, "%.3f", worst);
}

/* Out of the other valley, too, and with more points than the model holds. */
Test(search, finds_the_best_in_the_end) {
    const struct space space = make_space(6, 8, takes_all);
    cr_expect_gt(search_landscape(&space, SEARCH_LOCAL, 3, 400), 0.999);
}

/* ---- What is proposed ------------------------------------------------------------------------ */

Test(search, the_same_seed_gives_the_same) {
    const struct space space = make_space(5, 6, takes_small);
    for (int m = 0; m < METHODS; ++m) {
        struct search *a = begin(&space, methods[m], 7), *b = begin(&space, methods[m], 7),
                      *c = begin(&space, methods[m], 8);
        int different = 0;
        for (int n = 0; n < 60; ++n) {
            struct point of_a, of_b, of_c;
            cr_assert(search_next(a, &of_a) && search_next(b, &of_b) && search_next(c, &of_c));
            cr_assert(space_points_equal(&space, &of_a, &of_b), "method %d, point %d", m, n);
            different += !space_points_equal(&space, &of_a, &of_c);
            search_tell(a, &of_a, landscape(&space, &of_a));
            search_tell(b, &of_b, landscape(&space, &of_b));
            search_tell(c, &of_c, landscape(&space, &of_c));
        }
        cr_expect(methods[m] == SEARCH_EXHAUSTIVE ? different == 0 : different > 40, "%d",
                  different);
        search_destroy(a);
        search_destroy(b);
        search_destroy(c);
    }
}

Test(search, every_legal_point_comes_once) {
    const struct space space = make_space(3, 8, takes_small);
    size_t legal = 0;
    struct point point, seen[512];
    for (uint64_t i = 0; i < space_combinations(&space); ++i) {
        space_point(&space, i, &point);
        legal += space_is_legal(&space, &point);
    }
    for (int m = 0; m < METHODS; ++m) {
        struct search *search = begin(&space, methods[m], 5);
        size_t count = 0;
        while (search_next(search, &point)) {
            cr_assert_lt(count, legal);
            cr_assert(space_is_legal(&space, &point));
            cr_assert_eq(find(&space, seen, count, &point), count, "method %d: twice", m);
            seen[count++] = point;
            search_tell(search, &point, landscape(&space, &point));
        }
        cr_expect_eq(count, legal, "method %d: %zu of %zu", m, count, legal);
        cr_expect_not(search_next(search, &point));
        search_destroy(search);
    }
}

Test(search, starts_come_first) {
    const struct space space = make_space(3, 8, takes_small);
    const struct point starts[] = {
        make_point(8, 8, 4),    make_point(64, 64, 1), /* not legal */
        make_point(3, 1, 1),                           /* no such value */
        make_point(1, 64, 128), make_point(8, 8, 4),   /* again */
        make_point(2, 2, 2),
    };
    const int wanted[] = {0, 3, 5};
    const struct search_options options = {
        .seed = 1, .starts = starts, .start_count = sizeof(starts) / sizeof(*starts)};
    struct search *search = search_create(&space, &options);
    struct point point;
    for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); ++i) {
        cr_assert(search_next(search, &point));
        cr_expect(space_points_equal(&space, &point, &starts[wanted[i]]), "start %zu", i);
        search_tell(search, &point, 100);
    }
    search_destroy(search);
}

Test(search, the_same_is_proposed_until_it_is_told) {
    const struct space space = make_space(3, 8, takes_small);
    for (int m = 0; m < METHODS; ++m) {
        struct search *search = begin(&space, methods[m], 2);
        struct point first, again;
        cr_assert(search_next(search, &first) && search_next(search, &again));
        cr_expect(space_points_equal(&space, &first, &again));
        search_tell(search, &first, 5);
        cr_assert(search_next(search, &again));
        cr_expect_not(space_points_equal(&space, &first, &again));
        search_destroy(search);
    }
}

/* A journal tells of points before the first proposal, some of values that are gone since. */
Test(search, what_was_told_is_not_proposed) {
    const struct space space = make_space(2, 4, takes_all);
    for (int m = 0; m < METHODS; ++m) {
        struct search *search = begin(&space, methods[m], 2);
        const struct point alien = make_point(3, 1, 0);
        struct point point, best;
        double ns;
        for (uint64_t i = 0; i < space_combinations(&space); i += 2) {
            space_point(&space, i, &point);
            search_tell(search, &point, 10 + (double)i);
        }
        search_tell(search, &alien, 1);
        int count = 0;
        for (; search_next(search, &point); ++count) {
            cr_assert(space_has(&space, &point));
            cr_assert_eq((int)log2(point.value[1]) % 2, 1, "%d was told", point.value[1]);
            search_tell(search, &point, 1000);
        }
        cr_expect_eq(count, 8);
        cr_expect_eq(search_best(search, &best, &ns, 1), 1);
        cr_expect_eq(ns, 10);
        search_destroy(search);
    }
}

/* ---- Spaces at the limits -------------------------------------------------------------------- */

Test(search, nothing_legal) {
    const struct space space = make_space(4, 8, takes_none);
    struct point point;
    for (int m = 0; m < METHODS; ++m) {
        struct search *search = begin(&space, methods[m], 1);
        cr_expect_not(search_next(search, &point));
        cr_expect_not(search_next(search, &point));
        search_destroy(search);
    }
}

Test(search, nothing_legal_in_a_space_beyond_counting, .timeout = 60) {
    const struct space space = make_space(24, 30, takes_none);
    struct point point;
    cr_expect_eq(space_combinations(&space), UINT64_MAX);
    struct search *search = begin(&space, SEARCH_LOCAL, 1);
    cr_expect_not(search_next(search, &point));
    search_destroy(search);
}

Test(search, one_in_a_million_is_found, .timeout = 60) {
    struct space space = make_space(7, 8, takes_needle);
    struct point point;
    space.context = &space;
    for (int m = 0; m < METHODS; ++m) {
        struct search *search = begin(&space, methods[m], 1);
        cr_assert(search_next(search, &point));
        cr_expect(takes_needle(&space, &point));
        search_tell(search, &point, 3);
        cr_expect_not(search_next(search, &point));
        search_destroy(search);
    }
}

Test(search, many_parameters_with_many_values) {
    const struct space space = make_space(24, 30, takes_all);
    struct search *search = begin(&space, SEARCH_LOCAL, 1);
    struct point point;
    for (int n = 0; n < 150; ++n) {
        cr_assert(search_next(search, &point));
        cr_assert(space_has(&space, &point));
        search_tell(search, &point, landscape(&space, &point));
    }
    search_destroy(search);
}

Test(search, parameters_with_one_value) {
    struct space space = make_space(3, 1, takes_all);
    for (int m = 0; m < METHODS; ++m) {
        struct search *search = begin(&space, methods[m], 1);
        struct point point;
        cr_assert(search_next(search, &point));
        search_tell(search, &point, 1);
        cr_expect_not(search_next(search, &point));
        search_destroy(search);
    }
}

/* ---- Times at the limits --------------------------------------------------------------------- */

/* Whatever is told: proposals are new and legal, the best are those that ran, in order. */
Test(search, no_times_confuse_it) {
    static const double times[] = {INFINITY, NAN, 0,     -1,   -INFINITY, 1e-300, 1e300,
                                   1,        1,   1e-12, 1e12, DBL_MIN,   DBL_MAX};
    enum { TIMES = sizeof(times) / sizeof(*times) };
    const struct space space = make_space(4, 5, takes_all);
    for (size_t few = 1; few <= TIMES; ++few) {
        struct search *search = begin(&space, SEARCH_LOCAL, few);
        struct point point, seen[200], best[SEARCH_MAX_BEST];
        double ns[SEARCH_MAX_BEST];
        for (size_t n = 0; n < 200; ++n) {
            cr_assert(search_next(search, &point));
            cr_assert(space_is_legal(&space, &point));
            cr_assert_eq(find(&space, seen, n, &point), n);
            seen[n] = point;
            search_tell(search, &point, times[(n + n / few) % few]);
        }
        const int count = search_best(search, best, ns, SEARCH_MAX_BEST);
        for (int i = 0; i < count; ++i) {
            cr_expect(ns[i] > 0 && isfinite(ns[i]), "%g", ns[i]);
            cr_expect(i == 0 || ns[i] >= ns[i - 1]);
            const size_t n = find(&space, seen, 200, &best[i]);
            cr_expect_eq(times[(n + n / few) % few], ns[i]);
        }
        cr_expect(few <= 5 ? count == 0 : count > 0, "%d", count);
        search_destroy(search);
    }
}

Test(search, a_point_told_again_has_its_last_time) {
    const struct space space = make_space(2, 4, takes_all);
    struct search *search = begin(&space, SEARCH_LOCAL, 1);
    const struct point a = make_point(1, 2, 0), b = make_point(4, 4, 0);
    struct point best[2];
    double ns[2];
    search_tell(search, &a, 5);
    search_tell(search, &b, 6);
    search_tell(search, &a, 7);
    cr_expect_eq(search_best(search, best, ns, 2), 2);
    cr_expect(space_points_equal(&space, &best[0], &b));
    cr_expect_eq(ns[1], 7);
    search_destroy(search);
}
