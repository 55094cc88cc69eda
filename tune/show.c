/* In: tuning files. Out: their entries as tables, one for each device and driver, or as JSON. */
#include "columns.h"
#include "results.h"

#include <string.h>

static bool is_same_group(const struct config_entry *a, const struct config_entry *b) {
    return results_is_same_device(&a->device, &b->device) &&
           !strcmp(a->device.driver, b->device.driver);
}

static void add_entry(struct columns *columns, const struct config_entry *e) {
    char shape[SHAPE_TEXT_BYTES], values[RESULTS_TEXT_BYTES], ms[RESULTS_TIME_BYTES], gain[24],
        error[24];
    shape_print(&e->shape, shape);
    results_print(e, values);
    results_print_ms(e->ns, ms);
    snprintf(gain, sizeof(gain), "%.2fx", results_gain(e));
    snprintf(error, sizeof(error), "%.1e", e->max_error);
    columns_add(columns,
                (const char *const[]){shape, ms, gain, error, e->rigor, e->date, e->layer,
                                      results_is_current(e) ? "current" : "changed", values});
}

/* All entries of the device and driver of number `first`. */
static bool print_group(const struct config *config, size_t first, const struct options *options) {
    static const char *const titles[] = {
        "shape", "ms", "gain", "error", "rigor", "date", "layer", "kernels", "variant and values"};
    struct columns columns = {.alignment = "lrrrlllll", .titles = titles};
    const struct config_entry *entries = config->entries;
    const struct config_device *device = &entries[first].device;
    for (size_t i = 0; i < first; ++i)
        if (results_is_asked(&entries[i], options) && is_same_group(&entries[i], &entries[first]))
            return true;
    printf("%s / %s, %u compute units, driver %s\n", device->platform, device->name,
           device->compute_units, device->driver);
    for (size_t i = first; i < config->count; ++i)
        if (results_is_asked(&entries[i], options) && is_same_group(&entries[i], &entries[first]))
            add_entry(&columns, &entries[i]);
    return columns_print(&columns, "  ", stdout);
}

static int show_json(const struct config *config, const struct options *options) {
    json_t *list = json_array();
    for (size_t i = 0; i < config->count; ++i)
        if (results_is_asked(&config->entries[i], options) &&
            json_array_append_new(list, results_write(&config->entries[i]))) {
            json_decref(list);
            list = NULL;
        }
    return results_dump(list);
}

int command_show(const struct options *options) {
    struct config config;
    int code = EXIT_TUNED;
    bool is_any = false;
    if (!(options->config ? results_load_folder(&config, options->config)
                          : results_load(&config, NULL)))
        return EXIT_USAGE;
    if (options->is_json)
        code = show_json(&config, options);
    for (size_t i = 0; !options->is_json && !code && i < config.count; ++i)
        if (results_is_asked(&config.entries[i], options)) {
            is_any = true;
            code = print_group(&config, i, options) ? EXIT_TUNED : EXIT_USAGE;
        }
    if (!options->is_json && !is_any)
        puts("there are no such results");
    results_release(&config);
    return code;
}
