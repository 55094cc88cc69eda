/* In: a table of exhaustive measurements. Out: how soon the search finds its best, against chance.
 */
#include "command.h"
#include "results.h"
#include "search.h"
#include "table.h"

#include <math.h>
#include <stdlib.h>

#define DEFAULT_RUNS 50
#define MOST_RUNS 1000

/* What a table must have for its verdict to count. */
#define LEAST_POINTS 1000
#define LEAST_SPREAD 5.0
#define MOST_BY_CHANCE 0.95

static const int milestones[] = {25, 50, 100, 200, 400};
enum { MILESTONES = sizeof(milestones) / sizeof(*milestones), HUNDRED = 2 };

/* Fractions of the optimum, by milestone and run. */
struct outcome {
    double fractions[MILESTONES][MOST_RUNS];
    double mean[MILESTONES], tenth[MILESTONES], worst[MILESTONES];
};

static bool run_once(const struct table *table, const struct search_options *options, int run,
                     struct outcome *outcome) {
    struct search *search = search_create(&table->space, options);
    double best = INFINITY;
    int milestone = 0;
    if (!search)
        return false;
    for (int n = 1; milestone < MILESTONES; ++n) {
        struct point point;
        /* One that found all there is keeps its best. */
        if (search_next(search, &point)) {
            const double ns = table_ns(table, &point);
            search_tell(search, &point, ns);
            best = ns < best ? ns : best;
        }
        if (n == milestones[milestone])
            outcome->fractions[milestone++][run] = table->best_ns / best;
    }
    search_destroy(search);
    return true;
}

static int compare(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static bool run_all(const struct table *table, struct search_options options, int runs,
                    struct outcome *outcome) {
    for (int run = 0; run < runs; ++run) {
        if (!run_once(table, &options, run, outcome))
            return false;
        ++options.seed;
    }
    for (int m = 0; m < MILESTONES; ++m) {
        double *fractions = outcome->fractions[m], sum = 0;
        qsort(fractions, (size_t)runs, sizeof(*fractions), compare);
        for (int run = 0; run < runs; ++run)
            sum += fractions[run];
        outcome->mean[m] = sum / runs;
        outcome->tenth[m] = fractions[(runs - 1) / 10];
        outcome->worst[m] = fractions[0];
    }
    return true;
}

/* The best of another device's table that is legal here: what a run there would have left. Its
 * neighbours in speed are mostly its neighbours in values; one of them is enough. */
static bool find_start(const struct table *table, const char *path, struct point *start, char *why,
                       size_t why_bytes) {
    struct table other;
    double best = INFINITY;
    if (!table_read(&other, path, why, why_bytes))
        return false;
    for (size_t i = 0; i < other.records.count; ++i) {
        const struct record *record = &other.records.list[i];
        if (record->ns < best && other.space.count == table->space.count &&
            space_is_legal(&table->space, &record->point)) {
            best = record->ns;
            *start = record->point;
        }
    }
    table_release(&other);
    if (isinf(best))
        snprintf(why, why_bytes, "none of its configurations is in the first table");
    return isfinite(best);
}

static double spread_of(const struct table *table) {
    double slowest = 0;
    for (size_t i = 0; i < table->records.count; ++i) {
        const double ns = table->records.list[i].ns;
        slowest = isfinite(ns) && ns > slowest ? ns : slowest;
    }
    return slowest / table->best_ns;
}

static json_t *write_outcome(const struct outcome *outcome) {
    json_t *list = json_array();
    for (int m = 0; m < MILESTONES; ++m)
        json_array_append_new(list, json_pack("{s:i, s:f, s:f, s:f}", "evaluations", milestones[m],
                                              "mean", outcome->mean[m], "p10", outcome->tenth[m],
                                              "worst", outcome->worst[m]));
    return list;
}

static void print(const struct table *table, const struct outcome *search,
                  const struct outcome *chance, int runs, double spread, bool counts) {
    printf("%s\n%zu configurations, the slowest takes %.1f times as long as the fastest; %d runs\n"
           "of the optimum after           mean    p10  worst   random: mean    p10\n",
           table->title, table->records.count, spread, runs);
    for (int m = 0; m < MILESTONES; ++m)
        printf("  %3d evaluations            %6.3f %6.3f %6.3f         %6.3f %6.3f\n",
               milestones[m], search->mean[m], search->tenth[m], search->worst[m], chance->mean[m],
               chance->tenth[m]);
    if (!counts)
        printf("This table does not count: one of at least %d configurations, a spread of %.0f and "
               "at most %.2f by chance after %d is wanted.\n",
               LEAST_POINTS, LEAST_SPREAD, MOST_BY_CHANCE, milestones[HUNDRED]);
}

int command_replay(const struct options *options) {
    const int runs = options->runs ? options->runs : DEFAULT_RUNS;
    struct table table;
    struct point start;
    char why[200], text[4400];
    int code = EXIT_TUNED;
    if (!options->argument_count)
        return results_complain("replay which table? See mha-tune --help");
    if (runs > MOST_RUNS)
        return results_complain("--runs is 1 to 1000");
    if (!table_read(&table, options->arguments[0], why, sizeof(why))) {
        snprintf(text, sizeof(text), "%.4000s: %s", options->arguments[0], why);
        return results_complain(text);
    }
    if (options->table && !find_start(&table, options->table, &start, why, sizeof(why))) {
        table_release(&table);
        snprintf(text, sizeof(text), "%.4000s: %s", options->table, why);
        return results_complain(text);
    }
    struct outcome *outcomes = calloc(2, sizeof(*outcomes));
    const uint64_t seed = options->seed ? options->seed : 1;
    const struct search_options local = {.method = SEARCH_LOCAL,
                                         .seed = seed,
                                         .starts = &start,
                                         .start_count = options->table != NULL};
    const struct search_options random = {.method = SEARCH_RANDOM, .seed = seed};
    if (!outcomes || !run_all(&table, local, runs, &outcomes[0]) ||
        !run_all(&table, random, runs, &outcomes[1])) {
        code = results_complain("no memory for a search");
    } else {
        const double spread = spread_of(&table);
        const bool counts = table.records.count >= LEAST_POINTS && spread >= LEAST_SPREAD &&
                            outcomes[1].mean[HUNDRED] <= MOST_BY_CHANCE;
        if (options->is_json)
            code = results_dump(json_pack(
                "{s:s, s:I, s:f, s:b, s:i, s:o, s:o}", "title", table.title, "configurations",
                (json_int_t)table.records.count, "spread", spread, "counts", counts, "runs", runs,
                "search", write_outcome(&outcomes[0]), "random", write_outcome(&outcomes[1])));
        else
            print(&table, &outcomes[0], &outcomes[1], runs, spread, counts);
    }
    free(outcomes);
    table_release(&table);
    return code;
}
