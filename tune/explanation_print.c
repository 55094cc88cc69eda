/* In: an explanation. Out: lines for people, JSON for programs. */
#include "explanation.h"

#include "caps_json.h"
#include "columns.h"
#include "config_json.h"
#include "results.h"

#include <math.h>
#include <string.h>

/* Of other results, in text; JSON has all. */
#define MOST_OTHERS 12

static void add(struct columns *columns, const char *what, const char *text) {
    columns_add(columns, (const char *const[]){what, text});
}

/* The result that ranks first, and what it measured. */
static void print_winner(const struct explanation *x, struct columns *columns) {
    const struct config_entry *e = x->winner.entry;
    char text[600], shape[SHAPE_TEXT_BYTES], ms[RESULTS_TIME_BYTES];
    shape_print(&e->shape, shape);
    snprintf(text, sizeof(text), "%s, %s layer, %s", shape, e->layer, e->origin);
    add(columns, "result of", text);
    snprintf(text, sizeof(text), "%s, %.2f octaves away", mha_config_match_name(x->winner.match),
             x->winner.distance);
    add(columns, "match", text);
    results_print_ms(e->ns, ms);
    snprintf(text, sizeof(text), "%s ms, %.2f times as fast as the default; %s, %s", ms,
             results_gain(e), e->rigor, e->date);
    add(columns, "measured", text);
}

static void print_choice(const struct explanation *x, struct columns *columns) {
    char text[RESULTS_TEXT_BYTES + 40];
    if (!x->choice.selection.variant) {
        add(columns, "uses", "nothing");
        add(columns, "why", x->choice.error.message);
        return;
    }
    choice_print(&x->choice.selection, text, sizeof(text));
    add(columns, "uses", text);
    add(columns, "from", x->choice.selection.source);
    add(columns, "why", x->choice.selection.reason);
    if (!x->winner.entry)
        add(columns, "results", "none matches");
    else if (x->winner.entry->is_default)
        add(columns, "results", "nothing was faster than the default when it was measured");
    else if (!x->choice.is_used)
        add(columns, "results", "the best one can't run here");
    if (x->winner.entry)
        print_winner(x, columns);
}

static bool print_others(const struct explanation *x, FILE *file) {
    static const char *const titles[] = {"shape", "variant and values", "layer", "why not"};
    struct columns columns = {.alignment = "llll", .titles = titles};
    size_t shown = 0;
    for (; shown < x->other_count && shown < MOST_OTHERS; ++shown) {
        const struct standing *other = &x->others[shown];
        char shape[SHAPE_TEXT_BYTES], text[RESULTS_TEXT_BYTES], why[REASON_BYTES];
        shape_print(&other->entry->shape, shape);
        results_print(other->entry, text);
        reasons_print(other, &x->winner, &x->problem, x->caps, why);
        columns_add(&columns, (const char *const[]){shape, text, other->entry->layer, why});
    }
    if (shown)
        fputs("  other results:\n", file);
    if (!columns_print(&columns, "    ", file))
        return false;
    if (shown < x->other_count)
        fprintf(file, "    and %zu more; --json has all\n", x->other_count - shown);
    return true;
}

/* Without the name that the message begins with. */
static const char *reason_of(const struct alternative *a) {
    const char *colon = strncmp(a->error.message, "variant ", strlen("variant "))
                            ? NULL
                            : strstr(a->error.message, ": ");
    return colon ? colon + strlen(": ") : a->error.message;
}

static bool print_alternatives(const struct explanation *x, FILE *file) {
    struct columns columns = {.alignment = "ll"};
    for (int i = 0; i < x->alternative_count; ++i) {
        const struct alternative *a = &x->alternatives[i];
        char values[RESULTS_TEXT_BYTES] = "", text[RESULTS_TEXT_BYTES + sizeof(a->error.message)];
        if (a->can_run)
            mha_tuning_print(a->variant, &a->selection.tuning, values, sizeof(values));
        if (a->can_run)
            snprintf(text, sizeof(text), "not preferred%s%s", values[0] ? "; would use " : "",
                     values);
        else
            snprintf(text, sizeof(text), "can't run: %s", reason_of(a));
        columns_add(&columns, (const char *const[]){a->variant->name, text});
    }
    fputs("  other variants:\n", file);
    return columns_print(&columns, "    ", file);
}

bool explanation_print(const struct explanation *x, FILE *file) {
    struct columns columns = {.alignment = "ll"};
    char shape[SHAPE_TEXT_BYTES];
    shape_print(&x->shape, shape);
    fprintf(file, "%s\n", shape);
    print_choice(x, &columns);
    return columns_print(&columns, "  ", file) && print_others(x, file) &&
           print_alternatives(x, file);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static json_t *write_standing(const struct standing *standing) {
    json_t *json = results_write(standing->entry);
    json_t *distance = isfinite(standing->distance) ? json_real(standing->distance) : json_null();
    json_object_set_new(json, "match", json_string(mha_config_match_name(standing->match)));
    json_object_set_new(json, "distance", distance);
    return json;
}

static json_t *write_others(const struct explanation *x) {
    json_t *list = json_array();
    for (size_t i = 0; i < x->other_count; ++i) {
        char why[REASON_BYTES];
        json_t *other = write_standing(&x->others[i]);
        reasons_print(&x->others[i], &x->winner, &x->problem, x->caps, why);
        json_object_set_new(other, "why", text_write(why));
        json_array_append_new(list, other);
    }
    return list;
}

static json_t *write_selection(const struct selection *s) {
    return json_pack("{s:s, s:o, s:s, s:s}", "variant", s->variant->name, "params",
                     mha_config_write_tuning(s->variant, &s->tuning), "source", s->source, "why",
                     s->reason);
}

static json_t *write_alternatives(const struct explanation *x) {
    json_t *list = json_array();
    for (int i = 0; i < x->alternative_count; ++i) {
        const struct alternative *a = &x->alternatives[i];
        json_t *params =
            a->can_run ? mha_config_write_tuning(a->variant, &a->selection.tuning) : json_null();
        json_array_append_new(list,
                              json_pack("{s:s, s:b, s:o, s:o}", "variant", a->variant->name,
                                        "can_run", a->can_run, "params", params, "why",
                                        text_write(a->can_run ? "not preferred" : reason_of(a))));
    }
    return list;
}

json_t *explanation_write(const struct explanation *x) {
    char shape[SHAPE_TEXT_BYTES];
    shape_print(&x->shape, shape);
    return json_pack(
        "{s:s, s:o, s:o, s:o, s:o, s:b, s:o, s:o}", "shape_text", shape, "shape",
        mha_config_write_shape(&x->shape), "choice",
        x->choice.selection.variant ? write_selection(&x->choice.selection) : json_null(), "error",
        x->choice.selection.variant ? json_null() : text_write(x->choice.error.message), "result",
        x->winner.entry ? write_standing(&x->winner) : json_null(), "is_used", x->choice.is_used,
        "other_results", write_others(x), "other_variants", write_alternatives(x));
}
