/* What the library chooses for a problem with given tuning results, and which of them decided. */
#ifndef TUNE_CHOICE_H
#define TUNE_CHOICE_H

#include "remote.h"
#include "select.h"

struct choice {
    struct selection selection; /* its variant is NULL where nothing can run */
    mha_error error;            /* then */
    /* The result that ranks first; NULL where none matches. It decides unless it is the default, or
     * its values can't run after all. */
    const struct config_entry *entry;
    bool is_used;
};

/* config: NULL for none. */
struct choice choice_make(const struct problem *problem, const struct device_caps *caps,
                          const struct config *config);

bool choice_is_same(const struct choice *a, const struct choice *b);

/* The same for a worker. */
struct candidate choice_candidate(const struct choice *choice);

/* "panel VEC=16 ..." as it runs. */
void choice_print(const struct selection *selection, char *text, size_t bytes);

#endif
