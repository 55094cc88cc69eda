/* A tuning file in memory, as JSON: entries and members that this version does not know stay. */
#ifndef TUNE_DOCUMENT_H
#define TUNE_DOCUMENT_H

#include "config_json.h"

/* What decides which entry takes another's place. */
struct identity {
    bool is_known;   /* to this version; the rest is empty else */
    bool is_current; /* measured with the kernels of this version */
    char shape_class[SHAPE_CLASS_BYTES];
    char driver[sizeof(((struct config_device *)0)->driver)];
    char kernel_hash[17], date[11];
    double gain;
};

struct document {
    json_t *root, *entries; /* entries is a part of root */
    struct config_device device;
    struct identity *identities; /* of each entry */
    char (*kernel_hashes)[17];   /* of each variant; empty where not asked for yet */
};

/* One without entries. False when memory runs out; then *document is empty, which may be released,
 * as it may be after the others. */
bool document_create(struct document *document, const struct config_device *device);
enum config_text document_read(struct document *document, const char *text, size_t bytes, char *why,
                               size_t why_bytes);
void document_release(struct document *document);

size_t document_count(const struct document *document);

/* Adds a copy of an entry that was measured on `device`, in place of those of its shape's class,
 * driver and kernels; two entries with kernels of this version count as of the same kernels, also
 * where their variants differ. Unless `is_newest`, one with a later date stays in its place. An
 * entry that this version does not know is added if it is not there. False with a reason. */
bool document_put(struct document *document, const json_t *entry,
                  const struct config_device *device, bool is_newest, char *why, size_t why_bytes);

/* Removes known entries that `keep` refuses; how many. */
size_t document_filter(struct document *document,
                       bool (*keep)(const void *context, const struct config_entry *entry),
                       const void *context);

/* One line for each entry; to be released with free(), NULL when memory runs out. */
char *document_text(const struct document *document);

#endif
