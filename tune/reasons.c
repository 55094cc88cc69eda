/* In: entries, a problem and a device. Out: how far an entry can serve, and why no further. */
#include "reasons.h"

#include "results.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct standing reasons_standing(const struct config_entry *entry, const struct problem *problem,
                                 const struct device_caps *caps) {
    const struct shape shape = mha_shape_of(problem);
    struct standing standing = {.entry = entry, .is_kin = mha_shape_is_kin(&entry->shape, &shape)};
    standing.match = mha_config_match(entry, problem, caps, &standing.distance);
    return standing;
}

int reasons_rank(const struct standing *a, const struct standing *b) {
    if (a->match != b->match)
        return a->match < b->match ? -1 : 1;
    if (a->is_kin != b->is_kin)
        return a->is_kin ? -1 : 1;
    if (a->entry->precedence != b->entry->precedence)
        return a->entry->precedence > b->entry->precedence ? -1 : 1;
    if (a->distance != b->distance)
        return a->distance < b->distance ? -1 : 1;
    return -strcmp(a->entry->date, b->entry->date);
}

/* ---- Of another shape ------------------------------------------------------------------------ */

static void print_kin(const struct shape *s, const struct shape *wanted, char *text) {
    if (s->dtype != wanted->dtype || s->weight_dtype != wanted->weight_dtype)
        snprintf(text, REASON_BYTES, "for other storage types");
    else if (s->head_dim_qk != wanted->head_dim_qk || s->head_dim_v != wanted->head_dim_v)
        snprintf(text, REASON_BYTES, "for other head sizes: %dx%d, not %dx%d", (int)s->head_dim_qk,
                 (int)s->head_dim_v, (int)wanted->head_dim_qk, (int)wanted->head_dim_v);
    else if (s->is_causal != wanted->is_causal)
        snprintf(text, REASON_BYTES, "for attention that is %scausal", s->is_causal ? "" : "not ");
    else
        snprintf(text, REASON_BYTES, "for attention that gives %sscores",
                 s->gives_scores ? "" : "no ");
}

/* The axis on which they are farthest apart. */
static void print_axis(const struct config_entry *entry, const struct shape *wanted,
                       cl_uint compute_units, char *text) {
    static const char *const attention[SHAPE_AXES] = {"queries", "keys", "work per compute unit",
                                                      ""};
    static const char *const linear[SHAPE_AXES] = {"rows", "input features", "output features",
                                                   "work per compute unit"};
    const struct shape_position here = mha_shape_position(wanted, compute_units);
    const struct shape_position there =
        mha_shape_position(&entry->shape, entry->device.compute_units);
    int farthest = 0;
    double most = 0;
    for (int i = 0; i < SHAPE_AXES; ++i)
        if (fabs(there.log2[i] - here.log2[i]) > fabs(most)) {
            farthest = i;
            most = there.log2[i] - here.log2[i];
        }
    snprintf(text, REASON_BYTES, "too far: %.1f times the %s, 2 is the limit", exp2(fabs(most)),
             (wanted->operation == OPERATION_LINEAR ? linear : attention)[farthest]);
    if (most < 0)
        snprintf(text, REASON_BYTES, "too far: 1/%.1f of the %s, 1/2 is the limit", exp2(-most),
                 (wanted->operation == OPERATION_LINEAR ? linear : attention)[farthest]);
}

static void print_shape(const struct config_entry *entry, const struct problem *problem,
                        const struct device_caps *caps, char *text) {
    const struct shape wanted = mha_shape_of(problem);
    if (!mha_shape_is_kin(&entry->shape, &wanted))
        print_kin(&entry->shape, &wanted, text);
    else if (problem->variant[0] && strcmp(problem->variant, entry->variant->name) != 0)
        snprintf(text, REASON_BYTES, "for variant %s, not %s", entry->variant->name,
                 problem->variant);
    else
        print_axis(entry, &wanted, caps->compute_units, text);
}

/* ---- Of use for a search only ---------------------------------------------------------------- */

static void print_seed(const struct config_entry *entry, const struct problem *problem,
                       const struct device_caps *caps, char *text) {
    char why[160] = "";
    struct tuning tuning = entry->tuning;
    bool is_legal = true;
    /* The default has no values of its own. */
    if (!entry->is_default) {
        mha_tuning_fit(entry->variant, problem, &tuning);
        is_legal = entry->variant->legal(problem, caps, &tuning, why, sizeof(why));
    }
    if (!results_is_current(entry))
        snprintf(text, REASON_BYTES, "measured with other kernels than these");
    else if (!is_legal)
        snprintf(text, REASON_BYTES, "its values can't run here: %s", why);
    else if (entry->device.is_cpu != caps->is_cpu)
        snprintf(text, REASON_BYTES, "measured on a %s", entry->device.is_cpu ? "CPU" : "GPU");
    else if (entry->device.float_vector == caps->float_vector)
        snprintf(text, REASON_BYTES, "measured on a GPU of another vendor");
    else
        snprintf(text, REASON_BYTES, "measured on a device with vectors of %u lanes, not %u",
                 entry->device.float_vector, caps->float_vector);
}

/* ---- Good, but not the best ------------------------------------------------------------------ */

static void print_rank(const struct standing *loser, const struct standing *winner, char *text) {
    const struct config_entry *a = loser->entry, *b = winner->entry;
    if (loser->match != winner->match)
        snprintf(text, REASON_BYTES, "%s; the one taken: %s", mha_config_match_name(loser->match),
                 mha_config_match_name(winner->match));
    else if (a->precedence != b->precedence)
        snprintf(text, REASON_BYTES, "results of the %s go before those of the %s", b->layer,
                 a->layer);
    else if (loser->distance != winner->distance)
        snprintf(text, REASON_BYTES, "its shape is farther: %.2f octaves, not %.2f",
                 loser->distance, winner->distance);
    else if (strcmp(a->date, b->date) != 0)
        snprintf(text, REASON_BYTES, "older: of %s, not %s", a->date, b->date);
    else
        snprintf(text, REASON_BYTES, "as good as the one that was taken, which came first");
}

void reasons_print(const struct standing *loser, const struct standing *winner,
                   const struct problem *problem, const struct device_caps *caps,
                   char text[REASON_BYTES]) {
    if (loser->match == MATCH_NONE)
        print_shape(loser->entry, problem, caps, text);
    else if (loser->match == MATCH_SEED)
        print_seed(loser->entry, problem, caps, text);
    else
        print_rank(loser, winner, text);
}
