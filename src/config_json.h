/* Entries of tuning files as JSON; the one place that knows their members. */
#ifndef MHA_CONFIG_JSON_H
#define MHA_CONFIG_JSON_H

#include "config.h"

#include <jansson.h>

/* A whole file: *root, a new reference, is NULL but for CONFIG_TEXT_GOOD; then format and schema
 * are right, *device is read and "entries" is an array, of anything. Else `why`, in printable
 * ASCII. */
enum config_text {
    CONFIG_TEXT_GOOD,
    CONFIG_TEXT_BAD,
    CONFIG_TEXT_NEWER, /* of a schema that this version does not know */
    CONFIG_TEXT_NO_MEMORY
};
enum config_text mha_config_read_text(const char *text, size_t bytes, json_t **root,
                                      struct config_device *device, char *why, size_t why_bytes);

/* False, with the reason, for anything but a complete entry whose values are in their domains.
 * *entry gets no device, layer or precedence. One that is_default has no values: the heuristic's,
 * which need not be in the domain, are computed anew. */
bool mha_config_read_entry(const json_t *json, struct config_entry *entry, char *why,
                           size_t why_bytes);
bool mha_config_read_device(const json_t *json, struct config_device *device, char *why,
                            size_t why_bytes);

/* device->driver of an entry that has its own, else it stays. */
bool mha_config_read_driver(const json_t *json, struct config_device *device, char *why,
                            size_t why_bytes);

/* {"VEC": 16, ...}: every tunable of the variant, each value from its domain. */
bool mha_config_read_tuning(const json_t *json, const struct variant *variant,
                            struct tuning *tuning, char *why, size_t why_bytes);
bool mha_config_read_shape(const json_t *json, struct shape *shape, char *why, size_t why_bytes);

/* New references; NULL when memory runs out. */
json_t *mha_config_write_entry(const struct config_entry *entry);
json_t *mha_config_write_device(const struct config_device *device);
json_t *mha_config_write_tuning(const struct variant *variant, const struct tuning *tuning);
json_t *mha_config_write_shape(const struct shape *shape);

#endif
