/* In: texts of tuning files; a problem and a device. Out: entries; the one that serves best. */
#include "config_json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Fowler-Noll-Vo (FNV-1a), the terminating NUL included, which keeps texts apart. */
static uint64_t hash_text(uint64_t hash, const char *text) {
    do
        hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
    while (*text++);
    return hash;
}

static uint64_t hash_domain(uint64_t hash, const struct variant_tunable *tunable) {
    char number[16];
    hash = hash_text(hash, mha_tunable_names[tunable->tunable]);
    for (int i = 0; i < MHA_MAX_VALUES && tunable->values[i]; ++i) {
        snprintf(number, sizeof(number), "%d", tunable->values[i]);
        hash = hash_text(hash, number);
    }
    return hash;
}

void mha_kernel_hash(const struct variant *variant, char text[17]) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (int i = 0; i < MHA_MAX_FILES && variant->files[i]; ++i)
        for (const struct kernel_text *t = mha_kernel_texts; t->name; ++t)
            if (!strcmp(t->name, variant->files[i]))
                hash = hash_text(hash_text(hash, t->name), t->text);
    for (int i = 0; i < TUNABLE_COUNT && variant->tunables[i].values[0]; ++i)
        hash = hash_domain(hash, &variant->tunables[i]);
    snprintf(text, 17, "%016" PRIx64, hash);
}

static void copy_printable(char *to, const char *from, size_t bytes) {
    size_t i = 0;
    for (; i + 1 < bytes && from[i]; ++i)
        to[i] = from[i];
    to[i] = 0;
    for (i = 0; to[i]; ++i)
        if (to[i] < ' ' || to[i] > '~')
            to[i] = '?';
}

struct config_device mha_config_device(const struct device_caps *caps) {
    struct config_device device = {
        .vendor_id = caps->vendor_id,
        .compute_units = caps->compute_units,
        .float_vector = caps->float_vector,
        .is_cpu = caps->is_cpu,
    };
    copy_printable(device.name, caps->name, sizeof(device.name));
    copy_printable(device.platform, caps->platform, sizeof(device.platform));
    copy_printable(device.version, caps->version, sizeof(device.version));
    copy_printable(device.driver, caps->driver, sizeof(device.driver));
    return device;
}

/* ---- Reading -------------------------------------------------------------------------------- */

/* A file asks for as much memory as it has entries, never more than there may be. */
static bool reserve(struct config *config, const struct allocator *allocator, size_t more) {
    if (more > CONFIG_MAX_ALL - config->count)
        more = CONFIG_MAX_ALL - config->count;
    if (config->count + more <= config->capacity)
        return true;
    const size_t capacity = config->count + more;
    struct config_entry *entries = mha_allocate(allocator, capacity * sizeof(*entries));
    if (!entries)
        return false;
    if (config->count)
        memcpy(entries, config->entries, config->count * sizeof(*entries));
    mha_release(allocator, config->entries);
    config->entries = entries;
    config->capacity = capacity;
    return true;
}

bool mha_config_add(struct config *config, const struct allocator *allocator,
                    const struct config_entry *entry) {
    if (!reserve(config, allocator, 1) || config->count == config->capacity)
        return false;
    config->entries[config->count++] = *entry;
    return true;
}

static bool read_one(const json_t *json, const struct config_device *device,
                     struct config_entry *entry, char *why, size_t why_bytes) {
    if (!mha_config_read_entry(json, entry, why, why_bytes))
        return false;
    entry->device = *device;
    return mha_config_read_driver(json, &entry->device, why, why_bytes);
}

static void set_origin(struct config_entry *entry, const char *origin) {
    const size_t length = strlen(origin), most = sizeof(entry->origin) - 1;
    strcpy(entry->origin, origin + (length > most ? length - most : 0));
}

bool mha_config_parse(struct config *config, const struct allocator *allocator, const char *text,
                      size_t bytes, const char *layer, int precedence, const char *origin,
                      const struct log_target *log) {
    struct config_device device;
    char why[200] = "", first[200] = "";
    json_t *root = NULL;
    if (bytes > CONFIG_MAX_BYTES) {
        mha_log(log, MHA_LOG_WARNING, "tuning results: %s skipped: more than %u bytes", origin,
                CONFIG_MAX_BYTES);
        return true;
    }
    const enum config_text kind =
        mha_config_read_text(text, bytes, &root, &device, why, sizeof(why));
    if (kind == CONFIG_TEXT_NO_MEMORY)
        return false;
    if (kind != CONFIG_TEXT_GOOD) {
        mha_log(log, MHA_LOG_WARNING, "tuning results: %s skipped: %s", origin, why);
        return true;
    }
    const json_t *entries = json_object_get(root, "entries");
    const size_t count = json_array_size(entries);
    size_t skipped = 0, first_skipped = 0;
    const bool has_memory = reserve(config, allocator, count);
    for (size_t i = 0; has_memory && i < count; ++i) {
        bool is_read = false;
        if (config->count == CONFIG_MAX_ALL)
            snprintf(why, sizeof(why), "more than %d entries", CONFIG_MAX_ALL);
        else
            is_read = read_one(json_array_get(entries, i), &device, &config->entries[config->count],
                               why, sizeof(why));
        if (is_read) {
            config->entries[config->count].layer = layer;
            set_origin(&config->entries[config->count], origin);
            config->entries[config->count++].precedence = precedence;
        } else if (!skipped++) {
            first_skipped = i;
            memcpy(first, why, sizeof(first));
        }
    }
    json_decref(root);
    if (skipped)
        mha_log(log, MHA_LOG_WARNING,
                "tuning results: %s: %zu of %zu entries skipped; number %zu: %s", origin, skipped,
                count, first_skipped + 1, first);
    return has_memory;
}

void mha_config_release(struct config *config, const struct allocator *allocator) {
    mha_release(allocator, config->entries);
    *config = (struct config){.entries = NULL};
}

/* ---- Matching ------------------------------------------------------------------------------- */

static bool is_wanted(const struct config_entry *entry, const struct problem *problem) {
    return !(problem->operation == OPERATION_ATTENTION && (problem->flags & MHA_BATCH_INVARIANT)) &&
           !problem->is_batch_invariant &&
           (!problem->variant[0] || !strcmp(problem->variant, entry->variant->name));
}

/* Of the devices alone. */
static enum config_match match_devices(const struct config_device *a,
                                       const struct config_device *b) {
    const bool is_platform = !strcmp(a->platform, b->platform);
    if (is_platform && !strcmp(a->name, b->name) && a->compute_units == b->compute_units)
        return strcmp(a->driver, b->driver) ? MATCH_STALE : MATCH_EXACT;
    if (a->is_cpu != b->is_cpu || a->float_vector != b->float_vector)
        return MATCH_SEED;
    if (is_platform && a->vendor_id == b->vendor_id)
        return MATCH_FAMILY;
    /* A GPU's width says nothing of what suits it; another vendor's values may be far worse than
     * the heuristic's. */
    return a->is_cpu || a->vendor_id == b->vendor_id ? MATCH_TYPE : MATCH_SEED;
}

/* Values that nothing beat are the heuristic's, whatever they come to here. */
static bool is_legal(const struct config_entry *entry, const struct problem *problem,
                     const struct device_caps *caps) {
    char why[160];
    struct tuning tuning = entry->tuning;
    if (entry->is_default)
        return true;
    mha_tuning_fit(entry->variant, problem, &tuning);
    return entry->variant->legal(problem, caps, &tuning, why, sizeof(why));
}

/* kernel_hash: what the entry's variant has now. */
static enum config_match match_entry(const struct config_entry *entry,
                                     const struct problem *problem, const struct device_caps *caps,
                                     const struct config_device *device, const char *kernel_hash,
                                     double *distance) {
    const struct shape shape = mha_shape_of(problem);
    *distance = INFINITY;
    if (!is_wanted(entry, problem) || !mha_shape_is_kin(&shape, &entry->shape))
        return MATCH_NONE;
    const struct shape_position here = mha_shape_position(&shape, caps->compute_units);
    const struct shape_position there =
        mha_shape_position(&entry->shape, entry->device.compute_units);
    *distance = mha_shape_distance(&here, &there);
    if (!isfinite(*distance))
        return MATCH_NONE;
    if (strcmp(entry->kernel_hash, kernel_hash) != 0 || !is_legal(entry, problem, caps))
        return MATCH_SEED;
    return match_devices(&entry->device, device);
}

enum config_match mha_config_match(const struct config_entry *entry, const struct problem *problem,
                                   const struct device_caps *caps, double *distance) {
    const struct config_device device = mha_config_device(caps);
    char kernel_hash[17];
    mha_kernel_hash(entry->variant, kernel_hash);
    return match_entry(entry, problem, caps, &device, kernel_hash, distance);
}

struct found {
    const struct config_entry *entry;
    enum config_match match;
    double distance;
};

static bool is_better(const struct found *a, const struct found *b) {
    if (!b->entry || a->match != b->match)
        return !b->entry || a->match < b->match;
    if (a->entry->precedence != b->entry->precedence)
        return a->entry->precedence > b->entry->precedence;
    if (a->distance != b->distance)
        return a->distance < b->distance;
    return strcmp(a->entry->date, b->entry->date) > 0;
}

const struct config_entry *mha_config_find(const struct config *config,
                                           const struct problem *problem,
                                           const struct device_caps *caps,
                                           enum config_match *match) {
    const struct config_device device = mha_config_device(caps);
    struct found best = {NULL, MATCH_NONE, INFINITY};
    /* By variant, since the hash of its kernels takes longer than everything else here. */
    for (size_t v = 0; v < mha_variant_count; ++v) {
        char kernel_hash[17] = "";
        for (size_t i = 0; i < config->count; ++i) {
            struct found found = {.entry = &config->entries[i]};
            if (found.entry->variant != mha_variants[v])
                continue;
            if (!kernel_hash[0])
                mha_kernel_hash(mha_variants[v], kernel_hash);
            found.match =
                match_entry(found.entry, problem, caps, &device, kernel_hash, &found.distance);
            if (found.match <= MATCH_TYPE && is_better(&found, &best))
                best = found;
        }
    }
    *match = best.match;
    return best.entry;
}

const char *mha_config_match_name(enum config_match match) {
    static const char *const names[] = {
        [MATCH_EXACT] = "same device",
        [MATCH_STALE] = "same device, another driver",
        [MATCH_FAMILY] = "same family of devices",
        [MATCH_TYPE] = "same type of device",
        [MATCH_SEED] = "only a start for a search",
        [MATCH_NONE] = "no match",
    };
    return names[match];
}
