/* What files that must not lose anything are written with. */
#ifndef TUNE_FILES_H
#define TUNE_FILES_H

#include <stdbool.h>
#include <stddef.h>

/* Makes `path` and its parents where they are missing; false with a reason. */
bool files_make_folder(const char *path, char *why, size_t why_bytes);

/* All of it, or false with errno. */
bool files_write(int file, const void *data, size_t bytes);

/* fsync(), where the file is one that can be synced; false with errno. */
bool files_sync(int file);

#endif
