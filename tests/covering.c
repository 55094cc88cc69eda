/* In: the number of values of each factor. Out: rows that hold every triple of values. */
#include "covering.h"

#include <stdbool.h>
#include <stdlib.h>

#define MAX_SETS 20 /* choices of 3 factors of 6 */
#define CANDIDATES 60

/* The triples of values of three factors, a bit for each. */
struct triple_set {
    int factor[3];
    bool *is_covered;
};

struct state {
    struct covering *covering;
    struct triple_set sets[MAX_SETS];
    int set_count;
};

static int triple_index(const struct state *s, const struct triple_set *set, const int row[]) {
    const int *levels = s->covering->levels, *f = set->factor;
    return (row[f[0]] * levels[f[1]] + row[f[1]]) * levels[f[2]] + row[f[2]];
}

static int count_new(const struct state *s, const int row[]) {
    int count = 0;
    for (int n = 0; n < s->set_count; ++n)
        count += !s->sets[n].is_covered[triple_index(s, &s->sets[n], row)];
    return count;
}

/* Covers triple `index` of the set by the best of some rows that hold it. */
static void add_row(struct state *s, const struct triple_set *set, int index,
                    struct random *random) {
    struct covering *c = s->covering;
    int best = 0;
    int *row = c->values[c->rows++];
    for (int candidate = 0; candidate < CANDIDATES; ++candidate) {
        int tried[MAX_FACTORS];
        for (int f = 0; f < c->factors; ++f)
            tried[f] = (int)random_integer(random, 0, c->levels[f] - 1);
        int rest = index;
        for (int n = 2; n >= 0; --n) {
            tried[set->factor[n]] = rest % c->levels[set->factor[n]];
            rest /= c->levels[set->factor[n]];
        }
        const int gain = count_new(s, tried);
        if (gain <= best)
            continue;
        best = gain;
        for (int f = 0; f < c->factors; ++f)
            row[f] = tried[f];
    }
    for (int n = 0; n < s->set_count; ++n)
        s->sets[n].is_covered[triple_index(s, &s->sets[n], row)] = true;
}

static int set_size(const struct covering *c, const struct triple_set *set) {
    return c->levels[set->factor[0]] * c->levels[set->factor[1]] * c->levels[set->factor[2]];
}

static bool make_sets(struct state *s) {
    struct covering *c = s->covering;
    for (int f0 = 0; f0 < c->factors; ++f0)
        for (int f1 = f0 + 1; f1 < c->factors; ++f1)
            for (int f2 = f1 + 1; f2 < c->factors; ++f2) {
                struct triple_set *set = &s->sets[s->set_count++];
                *set = (struct triple_set){.factor = {f0, f1, f2}};
                set->is_covered = calloc((size_t)set_size(c, set), sizeof(bool));
                if (!set->is_covered)
                    return false;
                c->triples += set_size(c, set);
            }
    c->values = calloc((size_t)c->triples, sizeof(*c->values));
    return c->values != NULL;
}

struct covering covering_make(int factors, const int levels[], uint64_t seed) {
    struct covering covering = {.factors = factors};
    struct state s = {.covering = &covering};
    struct random random = {seed};
    for (int f = 0; f < factors; ++f)
        covering.levels[f] = levels[f];
    const bool is_ok = make_sets(&s);
    for (int n = 0; n < s.set_count; ++n) {
        const int size = set_size(&covering, &s.sets[n]);
        for (int index = 0; is_ok && index < size; ++index)
            if (!s.sets[n].is_covered[index])
                add_row(&s, &s.sets[n], index, &random);
    }
    for (int n = 0; n < s.set_count; ++n)
        free(s.sets[n].is_covered);
    return covering;
}

void covering_release(struct covering *covering) {
    free(covering->values);
    *covering = (struct covering){0};
}
