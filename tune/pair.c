/* In: two candidates. Out: their times in interleaved rounds, and the ratio of these. */
#include "pair.h"

#include "statistics.h"

#include <math.h>

struct measurement pair_measure(struct remote *remote, const struct shape *shape,
                                const struct candidate candidates[2], int rounds, bool is_warm,
                                struct pair *pair) {
    const struct measure_options options = {.limit_ns = INFINITY, .is_warm = is_warm};
    struct measurement m = {.result = REMOTE_OK};
    double ns[2 * PAIR_MOST_ROUNDS], mean, half_width;
    const int parts = rounds % PAIR_PART ? 1 : rounds / PAIR_PART;
    for (int i = 0; i < 2 && !m.result; ++i)
        m = remote_evaluate(remote, shape, &candidates[i], &options);
    if (m.result)
        return m;
    const struct measurement comparison =
        remote_compare(remote, shape, candidates, 2, rounds, parts, &options, ns);
    if (comparison.result)
        return comparison;
    for (int i = 0; i < 2; ++i) {
        pair->ns[i] = statistics_parts_fast(ns + i * rounds, rounds, parts);
        pair->mad_ns[i] = statistics_deviation(ns + i * rounds, rounds, pair->ns[i]);
    }
    statistics_ratio(ns, ns + rounds, rounds, parts, &mean, &half_width);
    pair->ratio = exp(mean);
    pair->low = exp(mean - half_width);
    pair->high = exp(mean + half_width);
    return m;
}
