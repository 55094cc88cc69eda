/* In: folders of tuning files. Out: their entries, filtered, compared, and as text or JSON. */
#include "results.h"

#include "benchmark.h"
#include "caps_json.h"
#include "config_json.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct allocator plain_allocator;

int results_complain(const char *why) {
    fprintf(stderr, "mha-tune: %s\n", why);
    return EXIT_USAGE;
}

/* ---- Reading --------------------------------------------------------------------------------- */

static void print_warning(void *user, mha_log_level level, const char *message) {
    (void)user;
    if (level >= MHA_LOG_WARNING)
        results_complain(message);
}

static const struct log_target warnings = {.function = print_warning};

static bool load(struct config *config, bool is_hermetic, const char *folder) {
    *config = (struct config){.entries = NULL};
    if (mha_config_load(config, &plain_allocator, is_hermetic, folder, NULL, &warnings))
        return true;
    results_release(config);
    results_complain("no memory for tuning results");
    return false;
}

bool results_load(struct config *config, const char *folder) {
    return load(config, false, folder);
}

bool results_load_folder(struct config *config, const char *folder) {
    const bool is_shipped = folder && !strcmp(folder, "shipped");
    const char *layer = is_shipped ? "shipped" : folder ? "application" : "user";
    if (!load(config, folder, is_shipped ? NULL : folder))
        return false;
    size_t kept = 0;
    for (size_t i = 0; i < config->count; ++i)
        if (!strcmp(config->entries[i].layer, layer))
            config->entries[kept++] = config->entries[i];
    config->count = kept;
    return true;
}

void results_check(const char *text, size_t bytes, const char *origin) {
    struct config config = {.entries = NULL};
    mha_config_parse(&config, &plain_allocator, text, bytes, "application", 0, origin, &warnings);
    results_release(&config);
}

void results_release(struct config *config) {
    mha_config_release(config, &plain_allocator);
}

int results_shapes(const struct options *options, struct shape shapes[MAX_SHAPES]) {
    int count = 0;
    char why[200];
    for (; count < options->shape_count; ++count)
        shapes[count] = options->shapes[count];
    for (const struct benchmark_shape *b = benchmark_shapes; !options->shape_count && b->text; ++b)
        if (count < MAX_SHAPES && shape_parse(b->text, &shapes[count], why, sizeof(why)))
            ++count;
    return count;
}

/* ---- Comparing ------------------------------------------------------------------------------- */

bool results_is_same_shape(const struct shape *a, const struct shape *b) {
    char text[SHAPE_TEXT_BYTES], other[SHAPE_TEXT_BYTES];
    shape_print(a, text);
    shape_print(b, other);
    return a->operation == b->operation && !strcmp(text, other);
}

bool results_is_asked(const struct config_entry *e, const struct options *options) {
    bool is_asked = !options->shape_count;
    for (int i = 0; i < options->shape_count && !is_asked; ++i)
        is_asked = results_is_same_shape(&e->shape, &options->shapes[i]);
    return is_asked && results_is_called(&e->device, options->device);
}

bool results_is_called(const struct config_device *device, const char *name) {
    return !name || strcasestr(device->name, name) || strcasestr(device->platform, name) ||
           strcasestr(device->version, name);
}

bool results_is_same_device(const struct config_device *a, const struct config_device *b) {
    return !strcmp(a->platform, b->platform) && !strcmp(a->name, b->name) &&
           a->compute_units == b->compute_units;
}

bool results_is_same(const struct config_entry *a, const struct config_entry *b) {
    return results_is_same_device(&a->device, &b->device) &&
           results_is_same_shape(&a->shape, &b->shape) &&
           !strcmp(a->device.driver, b->device.driver) && !strcmp(a->kernel_hash, b->kernel_hash) &&
           !strcmp(a->date, b->date) && a->variant == b->variant &&
           a->is_default == b->is_default && !memcmp(&a->tuning, &b->tuning, sizeof(a->tuning)) &&
           a->ns == b->ns;
}

bool results_is_current(const struct config_entry *e) {
    char hash[17];
    mha_kernel_hash(e->variant, hash);
    return !strcmp(e->kernel_hash, hash);
}

struct results_fact results_fact(const struct config_entry *e) {
    struct results_fact fact = {.is_current = results_is_current(e)};
    mha_shape_class(&e->shape, e->device.compute_units, fact.shape_class);
    return fact;
}

struct results_fact *results_facts(const struct config *config) {
    struct results_fact *facts = calloc(config->count + 1, sizeof(*facts));
    for (size_t i = 0; facts && i < config->count; ++i)
        facts[i] = results_fact(&config->entries[i]);
    if (!facts)
        results_complain("no memory for tuning results");
    return facts;
}

void results_stamp(struct config_entry *e) {
    const time_t now = time(NULL);
    struct tm utc;
    mha_kernel_hash(e->variant, e->kernel_hash);
    gmtime_r(&now, &utc);
    strftime(e->date, sizeof(e->date), "%Y-%m-%d", &utc);
    snprintf(e->library, sizeof(e->library), "%d.%d.%d", MHA_VERSION_MAJOR, MHA_VERSION_MINOR,
             MHA_VERSION_PATCH);
}

double results_gain(const struct config_entry *e) {
    return e->is_default ? 1 : e->default_ns / e->ns;
}

/* ---- Showing --------------------------------------------------------------------------------- */

void results_print(const struct config_entry *e, char text[RESULTS_TEXT_BYTES]) {
    char values[RESULTS_TEXT_BYTES - 40] = "";
    if (e->is_default) {
        snprintf(text, RESULTS_TEXT_BYTES, "the default (%s)", e->variant->name);
        return;
    }
    mha_tuning_print(e->variant, &e->tuning, values, sizeof(values));
    snprintf(text, RESULTS_TEXT_BYTES, "%s %s", e->variant->name, values);
}

void results_print_ms(double ns, char text[RESULTS_TIME_BYTES]) {
    snprintf(text, RESULTS_TIME_BYTES, "%.4f", ns * 1e-6);
}

json_t *results_write(const struct config_entry *e) {
    char text[SHAPE_TEXT_BYTES];
    shape_print(&e->shape, text);
    json_t *json = mha_config_write_entry(e);
    json_t *more =
        json_pack("{s:s, s:o, s:s, s:o, s:f, s:b}", "shape_text", text, "device",
                  mha_config_write_device(&e->device), "layer", e->layer, "file",
                  text_write(e->origin), "gain", results_gain(e), "current", results_is_current(e));
    const bool is_whole = json && more && !json_object_update(json, more);
    json_decref(more);
    if (is_whole)
        return json;
    json_decref(json);
    return NULL;
}

int results_dump(json_t *json) {
    if (!json)
        return results_complain("no memory for JSON");
    const bool is_written = !json_dumpf(json, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) &&
                            puts("") != EOF && !fflush(stdout);
    json_decref(json);
    return is_written ? EXIT_TUNED : results_complain("standard output can't be written");
}
