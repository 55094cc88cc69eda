/* In: a problem, a device, tuning results. Out: the library's selection, traced to its result. */
#include "choice.h"

#include <stdio.h>
#include <string.h>

static bool is_used(const struct choice *choice, const struct problem *problem) {
    const struct config_entry *entry = choice->entry;
    if (!entry || entry->is_default || entry->variant != choice->selection.variant)
        return false;
    struct tuning tuning = entry->tuning;
    mha_tuning_fit(entry->variant, problem, &tuning);
    return strcmp(choice->selection.source, "heuristic") != 0 &&
           !memcmp(&tuning, &choice->selection.tuning, sizeof(tuning));
}

struct choice choice_make(const struct problem *problem, const struct device_caps *caps,
                          const struct config *config) {
    struct choice choice = {.entry = NULL};
    enum config_match match;
    if (config)
        choice.entry = mha_config_find(config, problem, caps, &match);
    if (mha_select(problem, caps, config, 0, &choice.selection, &choice.error))
        choice.selection.variant = NULL;
    choice.is_used = is_used(&choice, problem);
    return choice;
}

bool choice_is_same(const struct choice *a, const struct choice *b) {
    return a->selection.variant == b->selection.variant &&
           !memcmp(&a->selection.tuning, &b->selection.tuning, sizeof(a->selection.tuning));
}

struct candidate choice_candidate(const struct choice *choice) {
    struct candidate candidate = {.variant = NULL};
    if (choice->is_used) {
        candidate.variant = choice->entry->variant;
        candidate.tuning = choice->entry->tuning;
    }
    return candidate;
}

void choice_print(const struct selection *selection, char *text, size_t bytes) {
    char values[256];
    mha_tuning_print(selection->variant, &selection->tuning, values, sizeof(values));
    snprintf(text, bytes, "%s%s%s", selection->variant->name, values[0] ? " " : "", values);
}
