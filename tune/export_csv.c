/* In: a run. Out: the trials of one shape and variant as a table of tune/table.h. */
#include "export.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What a table has a row for: a legal candidate whose values are known. */
static bool has_row(const struct trace_trial *trial, int variant) {
    return trial->variant == variant && trial->has_values && trial->result != REMOTE_ILLEGAL;
}

static bool has_rows(const struct study *study, int variant) {
    for (size_t i = 0; i < study->count; ++i)
        if (has_row(&study->trials[i], variant))
            return true;
    return false;
}

/* The only shape in scope. */
static const struct study *choose_study(const struct export_scope *scope, char *why,
                                        size_t why_bytes) {
    const struct study *chosen = NULL;
    for (size_t i = 0; i < scope->trace->count; ++i) {
        const struct study *study = &scope->trace->studies[i];
        if (!export_is_in_scope(scope, study))
            continue;
        if (chosen) {
            snprintf(why, why_bytes,
                     "a table has one shape: choose by --shape, \"%s\" or \"%s\", say",
                     chosen->text, study->text);
            return NULL;
        }
        chosen = study;
    }
    return chosen;
}

/* The only variant of the study, or the one that was asked for; -1 with a reason. */
static int choose_variant(const struct export_scope *scope, const struct study *study, char *why,
                          size_t why_bytes) {
    int chosen = -1;
    for (int i = 0; i < study->variant_count; ++i) {
        const char *name = study->variants[i].name;
        if (!has_rows(study, i) || (scope->variant && strcmp(scope->variant, name) != 0))
            continue;
        if (chosen >= 0) {
            snprintf(why, why_bytes, "a table has one variant: choose by --variant, %s or %s, say",
                     study->variants[chosen].name, study->variants[i].name);
            return -1;
        }
        chosen = i;
    }
    if (chosen < 0)
        snprintf(why, why_bytes, "the run has no candidate of %s for %s whose values are known",
                 scope->variant ? scope->variant : "any variant", study->text);
    return chosen;
}

static void write_head(const struct trace *trace, const struct study *study,
                       const struct trace_variant *variant, FILE *out) {
    const struct config_device *device = &trace->device;
    fprintf(out, "# title: %s of %s on %s\n", variant->name, study->text, device->name);
    fprintf(out, "# device: %s\n# platform: %s\n# driver: %s\n", device->name, device->platform,
            device->driver);
    fprintf(out, "# shape: %s\n# variant: %s\n", study->text, variant->name);
    fprintf(out, "# library: %s\n# date: %s\n# budget: %s\n", trace->library, trace->date,
            trace->budget);
    for (int i = 0; i < variant->count; ++i)
        fprintf(out, "%s,", variant->parameters[i]);
    fprintf(out, "ns\n");
}

static int compare_points(const struct point *a, const struct point *b) {
    for (int i = 0; i < SPACE_MAX_PARAMETERS; ++i)
        if (a->value[i] != b->value[i])
            return a->value[i] < b->value[i] ? -1 : 1;
    return 0;
}

/* By values; of one candidate's trials in their order. */
static int compare_rows(const void *a, const void *b) {
    const struct trace_trial *left = *(const struct trace_trial *const *)a;
    const struct trace_trial *right = *(const struct trace_trial *const *)b;
    const int order = compare_points(&left->point, &right->point);
    return order ? order : left < right ? -1 : left > right;
}

bool export_csv(const struct export_scope *scope, FILE *out, char *why, size_t why_bytes) {
    const struct study *study = choose_study(scope, why, why_bytes);
    const int chosen = study ? choose_variant(scope, study, why, why_bytes) : -1;
    if (chosen < 0)
        return false;
    const struct trace_variant *variant = &study->variants[chosen];
    const struct trace_trial **rows = malloc(study->count * sizeof(*rows));
    size_t count = 0;
    if (!rows) {
        snprintf(why, why_bytes, "out of memory");
        return false;
    }
    for (size_t i = 0; i < study->count; ++i)
        if (has_row(&study->trials[i], chosen))
            rows[count++] = &study->trials[i];
    qsort(rows, count, sizeof(*rows), compare_rows);
    write_head(scope->trace, study, variant, out);
    for (size_t i = 0; i < count; ++i) {
        /* A candidate measured again has its last time. */
        if (i + 1 < count && !compare_points(&rows[i]->point, &rows[i + 1]->point))
            continue;
        for (int p = 0; p < variant->count; ++p)
            fprintf(out, "%d,", rows[i]->point.value[p]);
        if (isfinite(rows[i]->ns))
            fprintf(out, "%.15g\n", rows[i]->ns);
        else
            fprintf(out, "inf\n");
    }
    free(rows);
    return true;
}
