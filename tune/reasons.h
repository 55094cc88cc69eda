/* Why a tuning result serves a problem, or does not. */
#ifndef TUNE_REASONS_H
#define TUNE_REASONS_H

#include "config.h"

struct standing {
    const struct config_entry *entry;
    enum config_match match;
    double distance; /* INFINITY for MATCH_NONE */
    bool is_kin;     /* of a shape that differs in lengths only */
};

struct standing reasons_standing(const struct config_entry *entry, const struct problem *problem,
                                 const struct device_caps *caps);

/* For sorting: better ones first, as mha_config_find() ranks them. */
int reasons_rank(const struct standing *a, const struct standing *b);

/* What kept `loser` from being taken. winner->entry is NULL where none was. */
#define REASON_BYTES 256
void reasons_print(const struct standing *loser, const struct standing *winner,
                   const struct problem *problem, const struct device_caps *caps,
                   char text[REASON_BYTES]);

#endif
