/* What the library chooses for a shape, and what it does not, with the reasons. */
#ifndef TUNE_EXPLANATION_H
#define TUNE_EXPLANATION_H

#include "choice.h"
#include "reasons.h"

#include <jansson.h>
#include <stdio.h>

#define MAX_VARIANTS 16

/* A variant that was not chosen. */
struct alternative {
    const struct variant *variant;
    bool can_run;
    struct selection selection; /* where it can */
    mha_error error;            /* where it can't */
};

struct explanation {
    struct shape shape;
    struct problem problem;
    const struct device_caps *caps;
    struct choice choice;
    struct standing winner;  /* of choice.entry */
    struct standing *others; /* other results of the operation, the better ones first */
    size_t other_count;
    struct alternative alternatives[MAX_VARIANTS];
    int alternative_count;
};

/* False when memory runs out. */
bool explanation_make(struct explanation *explanation, const struct shape *shape,
                      const struct config *config, const struct device_caps *caps);
void explanation_release(struct explanation *explanation);

bool explanation_print(const struct explanation *explanation, FILE *file);

/* A new reference; NULL when memory runs out. */
json_t *explanation_write(const struct explanation *explanation);

#endif
