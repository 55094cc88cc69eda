/* Facts about a device on their way from a worker to its parent. */
#ifndef TUNE_CAPS_JSON_H
#define TUNE_CAPS_JSON_H

#include "config.h"

#include <jansson.h>

/* New reference; NULL when memory runs out. Bytes of texts that are no UTF-8 become '?'. */
json_t *caps_write(const struct device_caps *caps);

/* Every member must be there, and in the range of its type; the reason in `why` if not. */
bool caps_read(const json_t *json, struct device_caps *caps, char *why, size_t why_bytes);

/* Any text as a JSON string: what is not UTF-8 becomes '?'. */
json_t *text_write(const char *text);

/* Cut to `bytes`, what is not printable ASCII made '?': fit for a terminal, a log, and JSON. */
void text_copy(char *copy, size_t bytes, const char *text);

#endif
