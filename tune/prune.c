/* In: tuning files of a folder, the devices that are there. Out: the files without results that
 * serve no longer, fragments merged. */
#include "columns.h"
#include "remote.h"
#include "results.h"
#include "store.h"

#include <stdlib.h>
#include <string.h>

#define MAX_DEVICES 64
#define MAX_PATH_BYTES 4096

/* What decides about a result. */
struct pruning {
    const struct options *options;
    struct config config; /* before */
    struct results_fact *facts;
    struct config_device devices[MAX_DEVICES];
    int device_count;
};

static void add_device(void *user, const struct remote_device *device) {
    struct pruning *pruning = user;
    if (pruning->device_count < MAX_DEVICES)
        pruning->devices[pruning->device_count++] = device->identity;
}

enum driver { DRIVER_PRESENT, DRIVER_OLD, DRIVER_UNKNOWN };

/* Old: the device is there, with another driver. */
static enum driver judge_driver(const struct pruning *pruning, const struct config_device *d) {
    enum driver result = DRIVER_UNKNOWN;
    for (int i = 0; i < pruning->device_count; ++i)
        if (results_is_same_device(&pruning->devices[i], d)) {
            if (!strcmp(pruning->devices[i].driver, d->driver))
                return DRIVER_PRESENT;
            result = DRIVER_OLD;
        }
    return result;
}

/* Why `better`, a result of the same class with these kernels, makes the entry superfluous; NULL
 * where it does not. */
static const char *judge_pair(const struct pruning *pruning, const struct config_entry *entry,
                              const struct config_entry *better) {
    if (strcmp(entry->device.driver, better->device.driver) != 0)
        return judge_driver(pruning, &entry->device) == DRIVER_OLD &&
                       judge_driver(pruning, &better->device) == DRIVER_PRESENT
                   ? "there is one of the driver that is now in use"
                   : NULL;
    const int order = strcmp(better->date, entry->date);
    if (order > 0 || (!order && results_gain(better) > results_gain(entry)))
        return "there is a later or better one of its class";
    return NULL;
}

/* NULL for a result that stays. */
static const char *judge(const struct pruning *pruning, const struct config_entry *entry) {
    const struct results_fact fact = results_fact(entry);
    const char *why = NULL;
    if (!results_is_asked(entry, pruning->options))
        return NULL;
    if (!fact.is_current)
        return "its kernels have changed since";
    for (size_t i = 0; i < pruning->config.count && !why; ++i) {
        const struct config_entry *other = &pruning->config.entries[i];
        if (pruning->facts[i].is_current &&
            results_is_same_device(&entry->device, &other->device) &&
            !strcmp(fact.shape_class, pruning->facts[i].shape_class))
            why = judge_pair(pruning, entry, other);
    }
    return why;
}

static bool is_kept(const void *context, const struct config_entry *entry) {
    return !judge(context, entry);
}

static int report(const struct pruning *pruning, size_t removed) {
    struct columns columns = {.alignment = "llll"};
    json_t *list = json_array();
    for (size_t i = 0; i < pruning->config.count; ++i) {
        const struct config_entry *e = &pruning->config.entries[i];
        const char *why = judge(pruning, e);
        char shape[SHAPE_TEXT_BYTES], text[RESULTS_TEXT_BYTES];
        if (!why)
            continue;
        if (pruning->options->is_json) {
            json_t *json = results_write(e);
            json_object_set_new(json, "why", json_string(why));
            json_array_append_new(list, json);
            continue;
        }
        shape_print(&e->shape, shape);
        results_print(e, text);
        columns_add(&columns, (const char *const[]){e->device.name, shape, why, text});
    }
    if (pruning->options->is_json)
        return results_dump(json_pack("{s:o, s:I}", "removed", list, "count", (json_int_t)removed));
    json_decref(list);
    const bool is_whole = columns_print(&columns, "  ", stdout);
    printf("%zu of %zu results removed\n", removed, pruning->config.count);
    return is_whole ? EXIT_TUNED : EXIT_USAGE;
}

int command_prune(const struct options *options) {
    struct pruning pruning = {.options = options};
    char folder[MAX_PATH_BYTES], why[400];
    size_t removed = 0;
    int code = EXIT_USAGE;
    if (!options_folder(options, folder, sizeof(folder), why, sizeof(why)))
        return results_complain(why);
    if (!results_load_folder(&pruning.config, options->config))
        return EXIT_USAGE;
    pruning.facts = results_facts(&pruning.config);
    if (!pruning.facts)
        goto done;
    if (!remote_list(options->worker, add_device, &pruning, why, sizeof(why)))
        fprintf(stderr, "mha-tune: results of older drivers stay: %s\n", why);
    const bool is_pruned = store_prune(folder, is_kept, &pruning, &removed, why, sizeof(why));
    if (why[0])
        results_complain(why);
    if (is_pruned)
        code = report(&pruning, removed);
done:
    free(pruning.facts);
    results_release(&pruning.config);
    return code;
}
