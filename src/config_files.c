/* In: the folders where tuning files may lie, and what the application gives. Out: their entries.
 * A file takes effect only where nobody but the user and root can have written it. */
#include "config_files.h"

#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool mha_config_is_safe(const struct stat *st) {
    return (st->st_uid == geteuid() || st->st_uid == 0) && !(st->st_mode & (S_IWGRP | S_IWOTH));
}

bool mha_config_user_folder(const char *variable, const char *otherwise, const char *below,
                            char *path, size_t bytes) {
    const char *base = secure_getenv(variable), *home = secure_getenv("HOME");
    int n = -1;
    if (base && base[0] == '/')
        n = snprintf(path, bytes, "%s/%s", base, below);
    else if (home && home[0] == '/')
        n = snprintf(path, bytes, "%s/%s/%s", home, otherwise, below);
    return n > 0 && (size_t)n < bytes;
}

/* Up to `bytes` bytes; fewer where the file ends before. */
static bool read_all(int file, char *text, size_t *bytes) {
    size_t used = 0;
    while (used < *bytes) {
        const ssize_t n = read(file, text + used, *bytes - used);
        if (n < 0 && errno != EINTR)
            return false;
        if (n == 0)
            break;
        used += n > 0 ? (size_t)n : 0;
    }
    *bytes = used;
    text[used] = 0;
    return true;
}

static enum config_file read_open_file(const struct allocator *allocator, int file, char **text,
                                       size_t *bytes, char *why, size_t why_bytes) {
    struct stat st;
    if (fstat(file, &st)) {
        snprintf(why, why_bytes, "%s", strerror(errno));
        return CONFIG_FILE_UNREADABLE;
    }
    if (!S_ISREG(st.st_mode)) {
        snprintf(why, why_bytes, "not a regular file");
        return CONFIG_FILE_ODD;
    }
    if (!mha_config_is_safe(&st)) {
        snprintf(why, why_bytes, "others than this user and root may write it");
        return CONFIG_FILE_UNSAFE;
    }
    if (st.st_size > (off_t)CONFIG_MAX_BYTES) {
        snprintf(why, why_bytes, "more than %u bytes", CONFIG_MAX_BYTES);
        return CONFIG_FILE_ODD;
    }
    *bytes = (size_t)st.st_size;
    *text = mha_allocate(allocator, *bytes + 1);
    if (!*text) {
        snprintf(why, why_bytes, "no memory for %zu bytes", *bytes);
        return CONFIG_FILE_NO_MEMORY;
    }
    if (read_all(file, *text, bytes))
        return CONFIG_FILE_GOOD;
    snprintf(why, why_bytes, "%s", strerror(errno));
    mha_release(allocator, *text);
    *text = NULL;
    return CONFIG_FILE_UNREADABLE;
}

enum config_file mha_config_read_file(const struct allocator *allocator, int folder,
                                      const char *name, bool follows_links, char **text,
                                      size_t *bytes, char *why, size_t why_bytes) {
    *text = NULL;
    *bytes = 0;
    /* O_NONBLOCK: opening a FIFO must not wait for a writer. */
    const int file =
        openat(folder, name,
               O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | (follows_links ? 0 : O_NOFOLLOW));
    if (file >= 0) {
        const enum config_file result =
            read_open_file(allocator, file, text, bytes, why, why_bytes);
        close(file);
        return result;
    }
    if (errno == ELOOP) {
        snprintf(why, why_bytes, "a link, which may not be followed here");
        return CONFIG_FILE_UNSAFE;
    }
    snprintf(why, why_bytes, "%s", strerror(errno));
    /* ENXIO: a socket. */
    return errno == ENOENT || errno == ENOTDIR ? CONFIG_FILE_MISSING
           : errno == ENXIO                    ? CONFIG_FILE_ODD
                                               : CONFIG_FILE_UNREADABLE;
}

/* ---- Layers --------------------------------------------------------------------------------- */

enum layer { LAYER_SHIPPED, LAYER_SYSTEM, LAYER_USER, LAYER_APPLICATION };
static const char *const layer_names[] = {"shipped", "system", "user", "application"};

/* What every step below needs. */
struct load {
    struct config *config;
    const struct allocator *allocator;
    const struct log_target *log;
    enum layer layer;
};

static bool load_text(const struct load *load, const char *text, size_t bytes, const char *origin) {
    return mha_config_parse(load->config, load->allocator, text, bytes, layer_names[load->layer],
                            (int)load->layer, origin, load->log);
}

static void warn(const struct load *load, const char *path, const char *why) {
    mha_log(load->log, MHA_LOG_WARNING, "tuning results: %s skipped: %s", path, why);
}

/* False only when memory runs out, as everywhere below. */
static bool load_file(const struct load *load, int folder, const char *name, bool follows_links,
                      const char *path) {
    char why[160], *text;
    size_t bytes;
    const enum config_file result = mha_config_read_file(
        load->allocator, folder, name, follows_links, &text, &bytes, why, sizeof(why));
    bool has_memory = result != CONFIG_FILE_NO_MEMORY;
    if (result == CONFIG_FILE_GOOD)
        has_memory = load_text(load, text, bytes, path);
    /* A fragment that was listed and is gone was merged into its device's file, which comes later
     * in the order of names. */
    else if (has_memory && (result != CONFIG_FILE_MISSING || folder == AT_FDCWD))
        warn(load, path, why);
    mha_release(load->allocator, text);
    return has_memory;
}

/* The first names of a folder in the order of bytes: which those are must not depend on the order
 * in which a file system lists them. */
struct names {
    char name[CONFIG_MAX_FILES][sizeof(((struct dirent *)0)->d_name)];
    size_t count, left_out;
};

static bool is_tuning_file(const char *name) {
    const size_t length = strlen(name), ending = sizeof(CONFIG_ENDING) - 1;
    return name[0] != '.' && length > ending && !strcmp(name + length - ending, CONFIG_ENDING);
}

static void add_name(struct names *names, const char *name) {
    size_t at = names->count;
    while (at && strcmp(names->name[at - 1], name) > 0)
        --at;
    if (names->count == CONFIG_MAX_FILES)
        ++names->left_out;
    else
        ++names->count;
    if (at == CONFIG_MAX_FILES)
        return;
    memmove(names->name[at + 1], names->name[at],
            (names->count - at - 1) * sizeof(names->name[at]));
    strcpy(names->name[at], name);
}

static bool load_names(const struct load *load, int folder, const char *path,
                       const struct names *names) {
    bool has_memory = true;
    for (size_t i = 0; has_memory && i < names->count; ++i) {
        char file[4096 + sizeof(names->name[i])];
        snprintf(file, sizeof(file), "%s/%s", path, names->name[i]);
        has_memory = load_file(load, folder, names->name[i], true, file);
    }
    if (names->left_out)
        mha_log(load->log, MHA_LOG_WARNING,
                "tuning results: %s: %zu files skipped: more than %d, in the order of names", path,
                names->left_out, CONFIG_MAX_FILES);
    return has_memory;
}

/* `folder` is closed. */
static bool load_folder(const struct load *load, int folder, const char *path) {
    struct stat st;
    DIR *listing = fstat(folder, &st) ? NULL : fdopendir(folder);
    if (!listing) {
        warn(load, path, strerror(errno));
        close(folder);
        return true;
    }
    bool has_memory = true;
    if (mha_config_is_safe(&st)) {
        struct names *names = mha_allocate_zeroed(load->allocator, sizeof(*names));
        has_memory = names;
        for (const struct dirent *entry; names && (entry = readdir(listing));)
            if (is_tuning_file(entry->d_name))
                add_name(names, entry->d_name);
        has_memory = has_memory && load_names(load, folder, path, names);
        mha_release(load->allocator, names);
    } else
        warn(load, path, "others than this user and root may write this folder");
    closedir(listing);
    return has_memory;
}

static int open_folder(const char *path, bool follows_links) {
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (follows_links ? 0 : O_NOFOLLOW));
}

/* A folder that need not be there. */
static bool load_optional(const struct load *load, const char *path) {
    const int folder = open_folder(path, true);
    if (folder >= 0)
        return load_folder(load, folder, path);
    if (errno != ENOENT && errno != ENOTDIR)
        warn(load, path, strerror(errno));
    return true;
}

/* In a folder that anybody may write, a link may lead anywhere. */
static bool is_in_safe_folder(const char *path) {
    char parent[4096];
    struct stat st;
    const char *slash = strrchr(path, '/');
    const int length = slash ? (int)(slash - path) + 1 : 0;
    const int n = snprintf(parent, sizeof(parent), "%.*s.", length, path);
    return n > 0 && (size_t)n < sizeof(parent) && !stat(parent, &st) && mha_config_is_safe(&st);
}

/* What the application names: a folder or a file. */
static bool load_path(const struct load *load, const char *path) {
    const bool follows_links = is_in_safe_folder(path);
    const int folder = open_folder(path, follows_links);
    if (folder >= 0)
        return load_folder(load, folder, path);
    return load_file(load, AT_FDCWD, path, follows_links, path);
}

bool mha_config_load(struct config *config, const struct allocator *allocator, bool is_hermetic,
                     const char *path, const char *text, const struct log_target *log) {
    struct load load = {config, allocator, log, LAYER_SHIPPED};
    char folder[4096];
    bool has_memory = true;
    for (const struct kernel_text *t = mha_shipped_tables; has_memory && t->name; ++t)
        has_memory = load_text(&load, t->text, strlen(t->text), t->name);
    load.layer = LAYER_SYSTEM;
    if (has_memory && !is_hermetic)
        has_memory = load_optional(&load, "/etc/" CONFIG_FOLDER);
    load.layer = LAYER_USER;
    if (has_memory && !is_hermetic &&
        mha_config_user_folder("XDG_CONFIG_HOME", ".config", CONFIG_FOLDER, folder, sizeof(folder)))
        has_memory = load_optional(&load, folder);
    load.layer = LAYER_APPLICATION;
    if (has_memory && path)
        has_memory = load_path(&load, path);
    if (has_memory && text)
        has_memory = load_text(&load, text, strlen(text), "text of the application");
    return has_memory;
}
