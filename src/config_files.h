/* Tuning files from disk, for the library, which only reads, and for who writes them. */
#ifndef MHA_CONFIG_FILES_H
#define MHA_CONFIG_FILES_H

#include "allocator.h"

#include <stdbool.h>
#include <sys/stat.h>

/* Below $XDG_CONFIG_HOME, or $HOME/.config. */
#define CONFIG_FOLDER "mha-cl/tune"
#define CONFIG_ENDING ".json"

enum config_file {
    CONFIG_FILE_GOOD,
    CONFIG_FILE_MISSING,
    CONFIG_FILE_UNSAFE, /* others than this user and root may write it, or it is a link */
    CONFIG_FILE_ODD,    /* not a regular file, or too large */
    CONFIG_FILE_UNREADABLE,
    CONFIG_FILE_NO_MEMORY
};

/* *text, to be released with mha_release(), is NULL but for CONFIG_FILE_GOOD; else `why`, with no
 * name. `folder` is open, or AT_FDCWD. */
enum config_file mha_config_read_file(const struct allocator *allocator, int folder,
                                      const char *name, bool follows_links, char **text,
                                      size_t *bytes, char *why, size_t why_bytes);

/* Whether only this user and root may write a file or the names in a folder. */
bool mha_config_is_safe(const struct stat *status);

/* The user's folder for `below`, such as CONFIG_FOLDER: $VARIABLE/below, or $HOME/otherwise/below.
 * Both must be absolute; false where there is neither, or it is too long. */
bool mha_config_user_folder(const char *variable, const char *otherwise, const char *below,
                            char *path, size_t bytes);

#endif
