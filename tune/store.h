/* Tuning files: where they are, and how entries get into them without losing any.
 *
 * Lock, read again, merge per entry, write a temporary file beside it, fsync, rename, fsync the
 * folder. Where no lock can be had, a fragment with a name of its own, which readers merge. Members
 * and entries that this version does not know are kept. */
#ifndef TUNE_STORE_H
#define TUNE_STORE_H

#include "config.h"

/* `why` is the reason where a call gives false. Where it gives true it is empty, or what the user
 * should be told: that a damaged file was put aside, as NAME.damaged-N, or why there is a fragment.
 */

/* $XDG_CONFIG_HOME/mha-cl/tune, or $HOME/.config/mha-cl/tune. */
bool store_folder(char *path, size_t bytes, char *why, size_t why_bytes);

/* FOLDER/<device-key>.json: letters, digits and dashes of platform and name, then eight digits of a
 * hash of both and of the compute units. */
void store_path(const char *folder, const struct config_device *device, char *path, size_t bytes);

/* Whether results of the device can be kept there, as far as can be told before there are any.
 * Makes the folder. */
bool store_check(const char *folder, const struct config_device *device, char *why,
                 size_t why_bytes);

/* Puts entries into the file, each in place of the one of its shape's class, driver and kernels;
 * entries whose kernels are those of this version replace one another whatever their variants are.
 * The driver is that of `device`. `written`, if not NULL, receives the path that was written, a
 * fragment's perhaps. */
bool store_merge(const char *folder, const struct config_device *device,
                 const struct config_entry *entries, size_t count, char *written,
                 size_t written_bytes, char *why, size_t why_bytes);

/* The same with the entries of another file's text, of whatever device; they replace none of a
 * later date, nor of the same day with a larger gain. *count: how many it has that this version
 * knows. */
bool store_import(const char *folder, const char *text, size_t bytes, size_t *count, char *why,
                  size_t why_bytes);

/* Removes entries that `keep` refuses from every file of the folder, and merges fragments into the
 * files of their devices; *removed: how many. Files that can't be read are left as they are. */
bool store_prune(const char *folder,
                 bool (*keep)(const void *context, const struct config_entry *entry),
                 const void *context, size_t *removed, char *why, size_t why_bytes);

#endif
