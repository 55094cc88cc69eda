/* In: a shape, tuning results, a device. Out: the library's choice, taken apart. */
#include "explanation.h"

#include <stdio.h>
#include <stdlib.h>

static int compare(const void *a, const void *b) {
    return reasons_rank(a, b);
}

static bool list_others(struct explanation *x, const struct config *config) {
    x->others = calloc(config->count + 1, sizeof(*x->others));
    if (!x->others)
        return false;
    for (size_t i = 0; i < config->count; ++i)
        if (&config->entries[i] != x->winner.entry &&
            config->entries[i].shape.operation == x->shape.operation)
            x->others[x->other_count++] =
                reasons_standing(&config->entries[i], &x->problem, x->caps);
    qsort(x->others, x->other_count, sizeof(*x->others), compare);
    return true;
}

static void list_alternatives(struct explanation *x) {
    for (size_t i = 0; i < mha_variant_count && x->alternative_count < MAX_VARIANTS; ++i) {
        const struct variant *variant = mha_variants[i];
        if (variant->operation != x->shape.operation || variant == x->choice.selection.variant)
            continue;
        struct alternative *a = &x->alternatives[x->alternative_count++];
        struct problem problem = x->problem;
        snprintf(problem.variant, sizeof(problem.variant), "%s", variant->name);
        a->variant = variant;
        a->can_run = !mha_select(&problem, x->caps, NULL, 0, &a->selection, &a->error);
    }
}

bool explanation_make(struct explanation *x, const struct shape *shape, const struct config *config,
                      const struct device_caps *caps) {
    *x = (struct explanation){.shape = *shape, .caps = caps};
    if (mha_shape_problem(shape, &x->problem, &x->choice.error))
        return true;
    x->choice = choice_make(&x->problem, caps, config);
    if (x->choice.entry)
        x->winner = reasons_standing(x->choice.entry, &x->problem, caps);
    list_alternatives(x);
    return list_others(x, config);
}

void explanation_release(struct explanation *x) {
    free(x->others);
    x->others = NULL;
    x->other_count = 0;
}
