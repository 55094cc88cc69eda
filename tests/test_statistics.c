/* What few measurements say. */
#include "statistics.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

Test(statistics, medians) {
    const double values[] = {5, 1, 4, 2};
    cr_expect_eq(statistics_median(values, 4), 3);
    cr_expect_eq(statistics_median(values, 3), 4);
    cr_expect_eq(statistics_median(values, 1), 5);
    cr_expect(isnan(statistics_median(values, 0)));
}

Test(statistics, the_fastest_quarter) {
    const double values[] = {9, 1, 8, 3, 7, 6, 5, 4};
    cr_expect_eq(statistics_fast(values, 8), 2);
    cr_expect_eq(statistics_fast(values, 5), 2);
    cr_expect_eq(statistics_fast(values, 3), 1);
    cr_expect_eq(statistics_fast(values, 1), 9);
    cr_expect(isnan(statistics_fast(values, 0)));
}

Test(statistics, equal_times_have_no_width) {
    const double a[] = {2, 2, 2, 2}, b[] = {1, 1, 1, 1};
    double mean, half_width;
    statistics_ratio(a, b, 4, 1, &mean, &half_width);
    cr_expect_float_eq(mean, log(2), 1e-12);
    cr_expect_float_eq(half_width, 0, 1e-6);
    statistics_ratio(a, b, 3, 1, &mean, &half_width);
    cr_expect(isinf(half_width));
}

/* A third of all measurements takes up to twice as long; the others 1 % more. How often the
 * interval holds the truth, and how often it finds a gain of 5 %. */
Test(statistics, disturbances_hide_no_gain) {
    enum { TRIALS = 200, ROUNDS = 16 };
    int holds = 0, finds = 0;
    srand48(3);
    for (int n = 0; n < TRIALS; ++n) {
        double times[2][ROUNDS], mean, half_width;
        for (int i = 0; i < 2; ++i)
            for (int r = 0; r < ROUNDS; ++r)
                times[i][r] = (i ? 1.0 : 1.05) * (1 + 0.01 * drand48()) *
                              (drand48() < 1.0 / 3 ? 1 + drand48() : 1);
        statistics_ratio(times[0], times[1], ROUNDS, 1, &mean, &half_width);
        holds += fabs(mean - log(1.05)) <= half_width;
        finds += mean - half_width > log(1.02);
    }
    cr_expect_gt(holds, 0.85 * TRIALS, "%d", holds);
    cr_expect_gt(finds, 0.9 * TRIALS, "%d", finds);
}

/* In each process either is up to 10 % slower, by where its memory happens to lie: the parts show
 * that, rounds of one process don't. */
Test(statistics, processes_differ) {
    enum { TRIALS = 200, ROUNDS = 16, PARTS = 4 };
    int holds = 0, alone = 0;
    srand48(4);
    for (int n = 0; n < TRIALS; ++n) {
        double times[2][ROUNDS], mean, half_width;
        for (int i = 0; i < 2; ++i)
            for (int p = 0; p < PARTS; ++p) {
                const double place = 1 + 0.1 * drand48();
                for (int r = 0; r < ROUNDS / PARTS; ++r)
                    times[i][p * ROUNDS / PARTS + r] = place * (1 + 0.005 * drand48());
            }
        statistics_ratio(times[0], times[1], ROUNDS, PARTS, &mean, &half_width);
        holds += fabs(mean) <= half_width;
        statistics_ratio(times[0], times[1], ROUNDS / PARTS, 1, &mean, &half_width);
        alone += fabs(mean) <= half_width;
    }
    cr_expect_gt(holds, 0.8 * TRIALS, "%d", holds);
    cr_expect_lt(alone, 0.3 * TRIALS, "%d", alone);
}

Test(statistics, parts_count_alike) {
    const double values[] = {1, 5, 5, 5, 4, 9, 9, 9};
    cr_expect_float_eq(statistics_parts_fast(values, 8, 2), 2, 1e-12);
    cr_expect_float_eq(statistics_parts_fast(values, 8, 1), 2.5, 1e-12);
}
