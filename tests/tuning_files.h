/* Tuning files for tests: a device that nobody has, entries for it, folders, texts, accidents. */
#ifndef TUNING_FILES_H
#define TUNING_FILES_H

#include "config_json.h"

#define PATH_BYTES 512

/* malloc */
extern const struct allocator tuning_allocator;

struct device_caps tuning_caps(void);

/* Attention of 4 x 12 heads over 197 tokens in f32, variant panel, as measured on tuning_caps();
 * those of different numbers (0 .. 4095) are for different head sizes. */
struct config_entry tuning_entry(int number);
struct problem tuning_problem(const struct shape *shape);

/* A file with entries 0 .. count - 1; to be released with free(). */
char *tuning_text(int count);

/* A new folder of its own; removed, with all in it. */
void tuning_make_folder(char path[PATH_BYTES]);
void tuning_remove_folder(const char *path);
void tuning_path(char path[PATH_BYTES], const char *folder, const char *name);
void tuning_write(const char *path, const char *text, size_t bytes);
/* NUL-terminated, to be released with free(); NULL where there is no such file. */
char *tuning_read(const char *path);
/* Names in a folder that end so. */
int tuning_count_files(const char *folder, const char *ending);

/* What was logged. */
struct tuning_log {
    int count;
    char last[1024];
};
struct log_target tuning_log_target(struct tuning_log *log);

/* Entries of a folder as an engine would see them, where the application names it; to be released.
 */
struct config tuning_load(const char *path, struct tuning_log *log);

/* Of all files of the folder together; the test fails where there is something to complain of. */
size_t tuning_count_entries(const char *folder);
const struct config_entry *tuning_find(const struct config *config, const struct shape *shape);

/* xorshift64*: the same numbers everywhere. *state must not be 0. */
uint64_t tuning_random(uint64_t *state);

#endif
