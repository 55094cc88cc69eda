/* In: a shape and a share of the budget. Out: the best verified candidate, as a tuning result. */
#include "results.h"
#include "session.h"
#include "statistics.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MAX_PATHS 8
#define MAX_FINALISTS 8
#define FINAL_ROUNDS 16
#define FINAL_PARTS 4 /* processes */
#define MOST_DUELS 4
#define LEAST_ROUNDS 5

/* What is slower than this against the best of the search can't win. */
#define FINALIST_RATIO 1.2

/* A path this much slower than the best, after so many evaluations, is given up. */
#define DROP_RATIO 2.0
#define DROP_EVALUATIONS 30

/* How often the best one is measured again, and what counts as drift of the machine's speed. */
#define BASELINE_EVERY 10
#define BASELINE_TRIES 3
#define DRIFT 0.05

/* Of a shape's time, for checking and comparing the best, and the lead of the default's path. */
#define FINAL_SHARE 0.4
#define LEAD_SHARE 0.5
#define MOST_LEAD_SECONDS 5.0

#define LEAST_EVALUATION_SECONDS 0.02

/* What a round takes, and what the host adds to it; and a process to begin with. */
#define ROUND_SECONDS 8e-3
#define PROCESS_SECONDS 0.5
#define LOAD_SECONDS 0.1 /* of each candidate, compiled before */

/* A search in progress over all paths of a shape. */
struct contest {
    struct session *session;
    const struct shape *shape;
    struct path paths[MAX_PATHS];
    int path_count;
    const struct variant *default_variant;
    bool has_home;                     /* the default's variant is one of the paths */
    double default_ns, best_ns, drift; /* best_ns: as if measured at the beginning */
    struct candidate best;
    int evaluations, most_evaluations;
    double lead_seconds; /* of the default's path before others */
};

static void open_paths(struct contest *c, size_t first_line) {
    const struct session *s = c->session;
    for (size_t i = 0; i < mha_variant_count && c->path_count < MAX_PATHS; ++i) {
        struct path *path = &c->paths[c->path_count];
        if (!path_open(path, mha_variants[i], c->shape, &s->device->caps, &s->limits, &s->config,
                       s->seeds, s->method, s->seed + i))
            continue;
        c->evaluations += session_remember(c->session, c->shape, path, first_line);
        /* The default is a result of its path, whatever that starts from. */
        if (path->variant == c->default_variant && c->default_ns < path->best_ns)
            path->best_ns = c->default_ns;
        c->best_ns = path->best_ns < c->best_ns ? path->best_ns : c->best_ns;
        c->has_home |= path->variant == c->default_variant;
        ++c->path_count;
    }
}

/* Evaluations that a path gets before it is judged; none where there are few for many paths, unless
 * something is known of it or of no other. */
static int patience_of(const struct contest *c, const struct path *path) {
    const int share = c->most_evaluations / (4 * c->path_count);
    const int least = path->has_result || !c->has_home;
    return share < least ? least : share < DROP_EVALUATIONS ? share : DROP_EVALUATIONS;
}

/* The active path that took the least time for its promise: one half as fast gets a quarter of the
 * time. That of the default has a lead: where time is short, nothing else is tried. */
static struct path *next_path(struct contest *c) {
    struct path *chosen = NULL;
    double least = INFINITY;
    for (int i = 0; i < c->path_count; ++i) {
        struct path *path = &c->paths[i];
        const double ratio = path->best_ns / c->best_ns;
        const bool is_home = path->variant == c->default_variant;
        if (c->session->method != SEARCH_EXHAUSTIVE && !is_home &&
            path->evaluations >= patience_of(c, path) && !(ratio <= DROP_RATIO))
            path->is_dropped = true;
        if (path->is_dropped)
            continue;
        const double promise = isfinite(ratio) ? ratio : 1;
        const double cost = path->seconds * promise * promise + (is_home ? 0 : c->lead_seconds);
        if (cost < least) {
            least = cost;
            chosen = path;
        }
    }
    return chosen;
}

/* A single slow measurement is no drift: others disturb it, and never make it faster. */
static void measure_baseline(struct contest *c) {
    if (!c->evaluations || c->evaluations % BASELINE_EVERY || !c->best.variant)
        return;
    const double expected = c->best_ns * c->drift;
    double ns = INFINITY;
    for (int n = 0; n < BASELINE_TRIES && !(ns <= expected * (1 + DRIFT)); ++n) {
        const struct measurement m = session_evaluate(c->session, c->shape, &c->best, INFINITY);
        ++c->evaluations;
        if (m.result != REMOTE_OK)
            return;
        ns = fmin(ns, m.ns);
    }
    if (fabs(ns / expected - 1) > DRIFT)
        c->drift = ns / c->best_ns;
}

/* In evaluations of the path; 1 where time does not count. */
static double build_cost(const struct session *s, const struct path *path) {
    if (!s->builds || !path->evaluations || !isfinite(s->deadline))
        return 1;
    const double measuring = (path->seconds - path->build_seconds) / path->evaluations;
    return 1 + s->build_seconds / s->builds / fmax(measuring, LEAST_EVALUATION_SECONDS);
}

static void try_one(struct contest *c, struct path *path) {
    struct point point;
    search_set_build_cost(path->search, build_cost(c->session, path));
    if (!search_next(path->search, &point)) {
        path->is_dropped = true;
        return;
    }
    const struct candidate candidate = {path->variant, path_tuning(path, &point)};
    const double begun = session_now();
    const struct measurement m =
        session_evaluate(c->session, c->shape, &candidate, c->best_ns * c->drift);
    if (m.result == REMOTE_STOPPED)
        return;
    ++c->evaluations;
    ++path->evaluations;
    path->seconds += session_now() - begun;
    path->build_seconds += 1e-9 * m.build_ns;
    const double ns = m.result == REMOTE_OK ? m.ns / c->drift : INFINITY;
    search_tell(path->search, &point, ns);
    path->best_ns = ns < path->best_ns ? ns : path->best_ns;
    if (ns < c->best_ns) {
        c->best_ns = ns;
        c->best = candidate;
    }
}

/* What does not end before the deadline is stopped: the finals need their time. */
static void search_all(struct contest *c, double deadline) {
    struct session *s = c->session;
    remote_set_deadline(s->remote, fmin(deadline, s->deadline));
    while (c->evaluations < c->most_evaluations && session_may_go_on(s, deadline)) {
        struct path *path = next_path(c);
        if (!path)
            break;
        try_one(c, path);
        measure_baseline(c);
        session_show(s, c->shape, c->best_ns * c->drift, c->default_ns);
    }
    remote_set_deadline(s->remote, s->deadline);
}

/* ---- Finals ---------------------------------------------------------------------------------- */

struct finalist {
    struct candidate candidate; /* without a variant: the default */
    double space_size;          /* of its path */
    double ns;                  /* of the search; then of the comparison */
    struct measurement check;
};

/* The best of all paths, best first. */
static int list_finalists(const struct contest *c, struct finalist *finalists, int most) {
    int count = 0;
    for (int p = 0; p < c->path_count; ++p) {
        struct point points[MAX_FINALISTS];
        double ns[MAX_FINALISTS];
        const int found = search_best(c->paths[p].search, points, ns, MAX_FINALISTS);
        for (int i = 0; i < found; ++i) {
            int at = count < most ? count : most;
            while (at > 0 && finalists[at - 1].ns > ns[i])
                --at;
            if (at >= most || ns[i] > FINALIST_RATIO * c->best_ns)
                continue;
            count = count < most ? count + 1 : most;
            memmove(&finalists[at + 1], &finalists[at],
                    (size_t)(count - 1 - at) * sizeof(*finalists));
            finalists[at] = (struct finalist){
                .candidate = {c->paths[p].variant, path_tuning(&c->paths[p], &points[i])},
                .space_size = path_combinations(&c->paths[p]),
                .ns = ns[i]};
        }
    }
    return count;
}

/* The result that an entry of this run replaces, or hides from the library: it stays unless
 * something beats it. Returns how many were added, 0 or 1. */
static int add_incumbent(const struct contest *c, struct finalist *finalists, int count) {
    struct problem problem;
    enum config_match match;
    if (mha_shape_problem(c->shape, &problem, NULL))
        return 0;
    const struct config_entry *e =
        mha_config_find(&c->session->earlier, &problem, &c->session->device->caps, &match);
    if (!e || match != MATCH_EXACT || e->is_default)
        return 0;
    for (int i = 0; i < count; ++i)
        if (finalists[i].candidate.variant == e->variant &&
            !memcmp(&finalists[i].candidate.tuning, &e->tuning, sizeof(e->tuning)))
            return 0;
    finalists[count] =
        (struct finalist){.candidate = {e->variant, e->tuning}, .space_size = e->space_size};
    return 1;
}

static double round_seconds(const struct contest *c, int count) {
    return count * (ROUND_SECONDS + 2e-9 * c->default_ns);
}

/* As many as the time allows. */
static int count_rounds(const struct contest *c, int count, double deadline) {
    const double rounds = (deadline - session_now()) / round_seconds(c, count);
    return rounds >= FINAL_ROUNDS  ? FINAL_ROUNDS
           : rounds > LEAST_ROUNDS ? (int)rounds
                                   : LEAST_ROUNDS;
}

/* As many processes as the time allows; 1 where there are few rounds. */
static int count_parts(const struct contest *c, int count, int rounds, double deadline) {
    const double left = deadline - session_now() - rounds * round_seconds(c, count);
    return rounds == FINAL_ROUNDS &&
                   left > (FINAL_PARTS - 1) * (PROCESS_SECONDS + LOAD_SECONDS * count)
               ? FINAL_PARTS
               : 1;
}

/* Keeps those whose results hold, in their order, as many as can still be compared before the
 * deadline; says why others don't. */
static int verify(struct contest *c, struct finalist *finalists, int count, double deadline,
                  char *why, size_t why_bytes) {
    double slowest = 0;
    int kept = 0;
    for (int i = 0; i < count; ++i) {
        const double begun = session_now();
        if (kept > 1 && begun + slowest + FINAL_ROUNDS * round_seconds(c, kept + 3) > deadline)
            break;
        const struct measurement check =
            remote_check(c->session->remote, c->shape, &finalists[i].candidate);
        finalists[i].check = check;
        if (check.result == REMOTE_OK)
            finalists[kept++] = finalists[i];
        else
            snprintf(why, why_bytes, "the final check failed (%s): %s",
                     remote_result_names[check.result], check.why);
        slowest = fmax(slowest, session_now() - begun);
    }
    return kept;
}

static void fill_entry(const struct contest *c, const struct finalist *winner, const char *rigor,
                       struct config_entry *entry) {
    const struct session *s = c->session;
    *entry = (struct config_entry){
        .device = s->device->identity,
        .shape = *c->shape,
        .variant = winner->check.variant,
        .tuning = winner->candidate.variant ? winner->candidate.tuning : winner->check.tuning,
        .is_default = !winner->candidate.variant,
        .ns = winner->ns,
        .default_ns = c->default_ns,
        .max_error = winner->check.max_error,
        .space_size = winner->space_size,
        .evaluations = c->evaluations,
    };
    snprintf(entry->rigor, sizeof(entry->rigor), "%s", rigor);
    results_stamp(entry);
}

/* Of all finalists in turn; times by finalist and round. */
static bool measure_rounds(struct contest *c, const struct finalist *finalists, int count,
                           int rounds, int parts, double *ns, char *why, size_t why_bytes) {
    struct candidate candidates[REMOTE_MAX_CANDIDATES];
    const struct measure_options options = {.limit_ns = INFINITY, .is_warm = c->session->is_warm};
    for (int i = 0; i < count; ++i)
        candidates[i] = finalists[i].candidate;
    const struct measurement m = remote_compare(c->session->remote, c->shape, candidates, count,
                                                rounds, parts, &options, ns);
    if (m.result == REMOTE_OK)
        return true;
    snprintf(why, why_bytes, "the comparison of the best failed (%s): %s",
             remote_result_names[m.result], m.why);
    return false;
}

/* The default and another in rounds of their own. */
struct duel {
    double ns[2][MOST_DUELS * FINAL_ROUNDS];
    int rounds, parts;
    double mean, half_width; /* of the logarithm of the gain */
};

static bool is_gain_certain(const struct duel *d) {
    return d->mean - d->half_width >= log(RESULTS_LEAST_GAIN);
}

/* Goes on while there may be a gain that is not certain yet, and there is time. */
static bool fight(struct contest *c, const struct finalist last[2], double deadline, struct duel *d,
                  char *why, size_t why_bytes) {
    bool goes_on = true;
    for (int n = 0; n < MOST_DUELS && goes_on; ++n) {
        double ns[2 * FINAL_ROUNDS];
        const int rounds = count_rounds(c, 2, deadline);
        const int parts = count_parts(c, 2, rounds, deadline);
        /* Later ones are as the first one, or not at all. */
        if (n > 0 && parts < FINAL_PARTS)
            return true;
        if (!measure_rounds(c, last, 2, rounds, parts, ns, why, why_bytes))
            return n > 0;
        for (int i = 0; i < 2; ++i)
            memcpy(d->ns[i] + d->rounds, ns + i * rounds, (size_t)rounds * sizeof(*ns));
        d->rounds += rounds;
        d->parts += parts;
        statistics_ratio(d->ns[0], d->ns[1], d->rounds, d->parts, &d->mean, &d->half_width);
        goes_on = parts == FINAL_PARTS && d->mean >= log(RESULTS_LEAST_GAIN) &&
                  !is_gain_certain(d) && last[1].candidate.variant;
    }
    return true;
}

/* The fastest in rounds of all; then alone with the default, since the fastest of many is so by
 * chance in part. The default stays unless the gain is certain there. */
static bool compare(struct contest *c, struct finalist *finalists, int count, double deadline,
                    const char *rigor, struct config_entry *entry, char *why, size_t why_bytes) {
    double ns[REMOTE_MAX_CANDIDATES * FINAL_ROUNDS];
    struct finalist last[2] = {finalists[0], finalists[count > 1]};
    struct duel duel = {.rounds = 0};
    if (count > 2) {
        const int rounds = count_rounds(c, count, deadline);
        const int parts = count_parts(c, count, rounds, deadline - FINAL_PARTS * PROCESS_SECONDS);
        if (!measure_rounds(c, finalists, count, rounds, parts, ns, why, why_bytes))
            return false;
        for (int i = 1; i < count; ++i) {
            finalists[i].ns = statistics_parts_fast(ns + i * rounds, rounds, parts);
            last[1] = i == 1 || finalists[i].ns < last[1].ns ? finalists[i] : last[1];
        }
    }
    if (!fight(c, last, deadline, &duel, why, why_bytes))
        return false;
    for (int i = 0; i < 2; ++i)
        last[i].ns = statistics_parts_fast(duel.ns[i], duel.rounds, duel.parts);
    c->default_ns = last[0].ns;
    const int winner = is_gain_certain(&duel);
    fill_entry(c, &last[winner], rigor, entry);
    entry->mad_ns = statistics_deviation(duel.ns[winner], duel.rounds, last[winner].ns);
    return true;
}

enum shape_outcome session_tune(struct session *session, const struct shape *shape, int evaluations,
                                double deadline, const char *rigor, size_t first_line,
                                struct config_entry *entry, char *why, size_t why_bytes) {
    static const struct candidate heuristic = {.variant = NULL};
    struct contest c = {.session = session,
                        .shape = shape,
                        .best_ns = INFINITY,
                        .drift = 1,
                        .most_evaluations = evaluations};
    struct finalist finalists[MAX_FINALISTS + 2];
    enum shape_outcome outcome = SHAPE_FAILED;
    const struct measurement first = session_evaluate(session, shape, &heuristic, INFINITY);
    if (first.result != REMOTE_OK) {
        snprintf(why, why_bytes, "the default does not work (%s): %s",
                 remote_result_names[first.result], first.why);
        return first.result == REMOTE_STOPPED ? SHAPE_STOPPED : SHAPE_FAILED;
    }
    ++c.evaluations;
    c.default_ns = c.best_ns = first.ns;
    if (session_now() + LEAST_ROUNDS * round_seconds(&c, 2) > deadline) {
        snprintf(why, why_bytes, "calls of %.0f ms need more time than it has", 1e-6 * first.ns);
        return SHAPE_STOPPED;
    }
    c.default_variant = first.variant;
    open_paths(&c, first_line);
    /* An infinite deadline leaves as much for the end as that takes. */
    const double left = deadline - session_now();
    const double most =
        FINAL_ROUNDS * round_seconds(&c, MAX_FINALISTS + 3) + 2.0 * (MAX_FINALISTS + 1) +
        FINAL_PARTS * ((1 + MOST_DUELS) * PROCESS_SECONDS + LOAD_SECONDS * (MAX_FINALISTS + 9));
    c.lead_seconds = fmin(LEAD_SHARE * left, MOST_LEAD_SECONDS);
    search_all(&c, deadline - fmin(most, FINAL_SHARE * left));
    session_end_show(session);
    finalists[0] = (struct finalist){.candidate = heuristic};
    /* Before those of the search: where time is short, the last ones are left out. */
    const int known = 1 + add_incumbent(&c, finalists, 1);
    int count = known + list_finalists(&c, finalists + known, MAX_FINALISTS);
    int tried = 0;
    for (int i = 0; i < c.path_count; ++i)
        tried += c.paths[i].evaluations;
    if (count == 1 && c.path_count && !tried) {
        snprintf(why, why_bytes, "%s before anything but the default was measured",
                 session_is_interrupted ? "interrupted" : "its time was up");
        count = 0;
        outcome = SHAPE_STOPPED;
    }
    count = verify(&c, finalists, count, deadline, why, why_bytes);
    if (count && !finalists[0].candidate.variant &&
        compare(&c, finalists, count, deadline, rigor, entry, why, why_bytes))
        outcome = entry->is_default ? SHAPE_NO_GAIN : SHAPE_TUNED;
    else if (session_now() >= session->deadline || session_is_interrupted)
        outcome = SHAPE_STOPPED;
    for (int i = 0; i < c.path_count; ++i)
        path_close(&c.paths[i]);
    return outcome;
}
