/* The search on tables of exhaustive measurements: how near it comes to the best of them. */
#include "command.h"
#include "tuner_process.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>

#define RUNS "16"

struct replay_case {
    char table[32], start[32]; /* start: another device's table; empty for none */
};

ParameterizedTestParameters(replay, comes_near_the_best) {
    static struct replay_case cases[] = {
        {"attention-pocl", ""},  {"attention-pocl", "attention-intel"},
        {"attention-intel", ""}, {"attention-intel", "attention-pocl"},
        {"gemm-pocl", ""},       {"gemm-pocl", "gemm-intel"},
        {"gemm-intel", ""},      {"gemm-intel", "gemm-pocl"},
    };
    return cr_make_param_array(struct replay_case, cases, sizeof(cases) / sizeof(*cases));
}

static double mean_after(const json_t *outcome, int evaluations) {
    size_t i;
    const json_t *milestone;
    json_array_foreach(outcome, i, milestone) {
        if (json_integer_value(json_object_get(milestone, "evaluations")) == evaluations)
            return json_number_value(json_object_get(milestone, "mean"));
    }
    cr_assert_fail("no milestone %d", evaluations);
    return 0;
}

ParameterizedTest(struct replay_case *c, replay, comes_near_the_best, .timeout = 120) {
    static const struct {
        int evaluations;
        double alone, started;
    } wanted[] = {{50, 0.90, 0.95}, {100, 0.94, 0.97}, {200, 0.97, 0.985}};
    char table[PATH_BYTES], start[PATH_BYTES];
    struct tuner tuner;
    tuner_begin(&tuner);
    snprintf(table, sizeof(table), TABLES "/%s.csv.gz", c->table);
    snprintf(start, sizeof(start), TABLES "/%s.csv.gz", c->start);
    json_t *json = *c->start ? TUNER_JSON(&tuner, EXIT_TUNED, "replay", table, "--runs", RUNS,
                                          "--starts-from", start)
                             : TUNER_JSON(&tuner, EXIT_TUNED, "replay", table, "--runs", RUNS);
    cr_expect(json_is_true(json_object_get(json, "counts")));
    const json_t *outcome = json_object_get(json, "search");
    const json_t *random = json_object_get(json, "random");
    for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); ++i) {
        const double mean = mean_after(outcome, wanted[i].evaluations);
        const double least = *c->start ? wanted[i].started : wanted[i].alone;
        cr_expect_geq(mean, least, "%s from %s: %.3f after %d evaluations, at least %.3f wanted",
                      c->table, *c->start ? c->start : "nothing", mean, wanted[i].evaluations,
                      least);
        cr_expect_gt(mean, mean_after(random, wanted[i].evaluations));
    }
    json_decref(json);
    tuner_end(&tuner);
}
