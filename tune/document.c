/* In: the text of a tuning file, entries. Out: the text with the entries merged into it. */
#include "document.h"

#include "results.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Enough for what is written here, and what is read comes from here: 0.1 stays 0.1. */
#define NUMBERS JSON_REAL_PRECISION(15)

static bool set_up(struct document *document) {
    document->entries = json_object_get(document->root, "entries");
    document->kernel_hashes = calloc(mha_variant_count, sizeof(*document->kernel_hashes));
    document->identities =
        calloc(json_array_size(document->entries) + 1, sizeof(*document->identities));
    return document->entries && document->kernel_hashes && document->identities;
}

bool document_create(struct document *document, const struct config_device *device) {
    json_t *root = json_object();
    *document = (struct document){.root = root, .device = *device};
    return !json_object_set_new(root, "format", json_string(CONFIG_FORMAT)) &&
           !json_object_set_new(root, "schema", json_integer(CONFIG_SCHEMA)) &&
           !json_object_set_new(root, "device", mha_config_write_device(device)) &&
           !json_object_set_new(root, "entries", json_array()) && set_up(document);
}

/* False for an entry that this version does not know. */
static bool read_known(const json_t *json, const struct config_device *device,
                       struct config_entry *entry, char *why, size_t why_bytes) {
    if (!mha_config_read_entry(json, entry, why, why_bytes))
        return false;
    entry->device = *device;
    return mha_config_read_driver(json, &entry->device, why, why_bytes);
}

static const char *current_hash(const struct document *document, const struct variant *variant) {
    size_t i = 0;
    while (mha_variants[i] != variant)
        ++i;
    if (!document->kernel_hashes[i][0])
        mha_kernel_hash(variant, document->kernel_hashes[i]);
    return document->kernel_hashes[i];
}

static struct identity identify(const struct document *document, const json_t *json,
                                const struct config_device *device) {
    struct config_entry entry;
    struct identity identity = {.is_known = false};
    char why[200];
    if (!read_known(json, device, &entry, why, sizeof(why)))
        return identity;
    identity.is_known = true;
    identity.is_current = !strcmp(entry.kernel_hash, current_hash(document, entry.variant));
    mha_shape_class(&entry.shape, device->compute_units, identity.shape_class);
    strcpy(identity.driver, entry.device.driver);
    strcpy(identity.kernel_hash, entry.kernel_hash);
    strcpy(identity.date, entry.date);
    identity.gain = results_gain(&entry);
    return identity;
}

enum config_text document_read(struct document *document, const char *text, size_t bytes, char *why,
                               size_t why_bytes) {
    *document = (struct document){.root = NULL};
    const enum config_text result =
        mha_config_read_text(text, bytes, &document->root, &document->device, why, why_bytes);
    if (result != CONFIG_TEXT_GOOD)
        return result;
    if (!set_up(document)) {
        document_release(document);
        return CONFIG_TEXT_NO_MEMORY;
    }
    for (size_t i = 0; i < document_count(document); ++i)
        document->identities[i] =
            identify(document, json_array_get(document->entries, i), &document->device);
    return result;
}

void document_release(struct document *document) {
    json_decref(document->root);
    free(document->identities);
    free(document->kernel_hashes);
    *document = (struct document){.root = NULL};
}

size_t document_count(const struct document *document) {
    return json_array_size(document->entries);
}

static bool is_same(const struct identity *a, const struct identity *b) {
    return a->is_known && b->is_known && !strcmp(a->shape_class, b->shape_class) &&
           !strcmp(a->driver, b->driver) &&
           ((a->is_current && b->is_current) || !strcmp(a->kernel_hash, b->kernel_hash));
}

static void remove_at(struct document *document, size_t i) {
    const size_t after = document_count(document) - i - 1;
    memmove(&document->identities[i], &document->identities[i + 1],
            after * sizeof(*document->identities));
    json_array_remove(document->entries, i);
}

/* A copy that names its driver, which is not that of every file it may be put into. */
static json_t *copy_entry(const json_t *entry, const struct config_device *device) {
    json_t *copy = json_deep_copy(entry);
    if (json_is_object(copy) && !json_object_get(copy, "driver") &&
        json_object_set_new(copy, "driver", json_string(device->driver))) {
        json_decref(copy);
        return NULL;
    }
    return copy;
}

static bool append(struct document *document, json_t *entry, const struct identity *identity) {
    const size_t count = document_count(document);
    struct identity *identities = realloc(document->identities, (count + 1) * sizeof(*identities));
    if (!identities)
        return false;
    identities[count] = *identity;
    document->identities = identities;
    return !json_array_append(document->entries, entry);
}

bool document_put(struct document *document, const json_t *entry,
                  const struct config_device *device, bool is_newest, char *why, size_t why_bytes) {
    json_t *copy = copy_entry(entry, device);
    if (!copy) {
        snprintf(why, why_bytes, "no memory for an entry");
        return false;
    }
    const struct identity identity = identify(document, copy, device);
    size_t place = SIZE_MAX;
    bool is_wanted = true;
    /* From the end, so that the first of several is the one that is replaced. */
    for (size_t i = document_count(document); i-- > 0;) {
        const struct identity *other = &document->identities[i];
        if (!identity.is_known && json_equal(json_array_get(document->entries, i), copy))
            is_wanted = false;
        if (!is_same(&identity, other))
            continue;
        const int order = strcmp(identity.date, other->date);
        if (!is_newest && (order < 0 || (!order && identity.gain < other->gain)))
            is_wanted = false;
        else {
            if (place != SIZE_MAX)
                remove_at(document, place);
            place = i;
        }
    }
    bool is_put = true;
    if (is_wanted && place == SIZE_MAX)
        is_put = append(document, copy, &identity);
    else if (is_wanted) {
        is_put = !json_array_set(document->entries, place, copy);
        document->identities[place] = identity;
    }
    json_decref(copy);
    if (!is_put)
        snprintf(why, why_bytes, "no memory for an entry");
    return is_put;
}

size_t document_filter(struct document *document,
                       bool (*keep)(const void *context, const struct config_entry *entry),
                       const void *context) {
    size_t removed = 0;
    for (size_t i = document_count(document); i-- > 0;) {
        struct config_entry entry;
        char why[200];
        if (read_known(json_array_get(document->entries, i), &document->device, &entry, why,
                       sizeof(why)) &&
            !keep(context, &entry)) {
            remove_at(document, i);
            ++removed;
        }
    }
    return removed;
}

static bool print_entries(FILE *file, const json_t *entries) {
    size_t i;
    const json_t *entry;
    bool is_printed = fputs("[", file) >= 0;
    json_array_foreach(entries, i, entry) {
        is_printed = is_printed && fputs(i ? ",\n" : "\n", file) >= 0 &&
                     !json_dumpf(entry, file, JSON_ENCODE_ANY | NUMBERS);
    }
    return is_printed && fputs("\n]", file) >= 0;
}

static bool print(FILE *file, const struct document *document) {
    const char *name, *separator = "";
    json_t *member;
    bool is_printed = fputs("{", file) >= 0;
    json_object_foreach(document->root, name, member) {
        json_t *text = json_string(name);
        is_printed =
            is_printed && text && fprintf(file, "%s\n", separator) > 0 &&
            !json_dumpf(text, file, JSON_ENCODE_ANY) && fputs(": ", file) >= 0 &&
            (member == document->entries ? print_entries(file, member)
                                         : !json_dumpf(member, file, JSON_ENCODE_ANY | NUMBERS));
        json_decref(text);
        separator = ",";
    }
    return is_printed && fputs("\n}\n", file) >= 0;
}

char *document_text(const struct document *document) {
    char *text = NULL;
    size_t bytes;
    FILE *file = open_memstream(&text, &bytes);
    if (!file)
        return NULL;
    const bool is_printed = print(file, document);
    if (!fclose(file) && is_printed)
        return text;
    free(text);
    return NULL;
}
