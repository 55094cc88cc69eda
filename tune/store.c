/* In: entries. Out: the device's tuning file with them, or a fragment beside it.
 *
 * The folder's lock is held from reading a file until its successor is in place, so that no two
 * processes replace the same one. The lock goes with the process that has it. A file is only ever
 * replaced by rename(): who reads sees the old one or the new one. */
#include "store.h"

#include "config_files.h"
#include "document.h"
#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define LOCK_NAME ".lock"
#define LOCK_SECONDS 10
#define MAX_NAME 256

static const struct allocator plain_allocator;

/* An open folder, and where the reason of a failure goes. */
struct store {
    const char *path;
    int folder, lock; /* -1: not open */
    char *why;
    size_t why_bytes;
};

static bool fail(const struct store *store, const char *name, const char *reason) {
    snprintf(store->why, store->why_bytes, "%s/%s: %s", store->path, name, reason);
    return false;
}

/* ---- Names ---------------------------------------------------------------------------------- */

bool store_folder(char *path, size_t bytes, char *why, size_t why_bytes) {
    if (mha_config_user_folder("XDG_CONFIG_HOME", ".config", CONFIG_FOLDER, path, bytes))
        return true;
    snprintf(why, why_bytes, "neither XDG_CONFIG_HOME nor HOME is an absolute path");
    return false;
}

/* Letters and digits of a text, in lower case, with a dash for all between; at most 40. */
static void write_words(char *key, const char *text) {
    size_t used = 0;
    for (; *text && used < 40; ++text) {
        const char c = *text >= 'A' && *text <= 'Z' ? (char)(*text - 'A' + 'a') : *text;
        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
            key[used++] = c;
        else if (used && key[used - 1] != '-')
            key[used++] = '-';
    }
    key[used] = 0;
}

static uint32_t hash_device(const struct config_device *device) {
    char text[300];
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a, folded */
    const int n = snprintf(text, sizeof(text), "%s\n%s\n%u", device->platform, device->name,
                           device->compute_units);
    for (int i = 0; i < n; ++i)
        hash = (hash ^ (unsigned char)text[i]) * UINT64_C(0x100000001b3);
    return (uint32_t)(hash ^ hash >> 32);
}

/* Of a device's files: the main one's is KEY.json, a fragment's KEY.XXXXXXXX.json. */
static void write_key(const struct config_device *device, char key[MAX_NAME]) {
    char platform[41], name[41];
    write_words(platform, device->platform);
    write_words(name, device->name);
    snprintf(key, MAX_NAME, "%s-%s-%08" PRIx32, platform, name, hash_device(device));
}

void store_path(const char *folder, const struct config_device *device, char *path, size_t bytes) {
    char key[MAX_NAME];
    write_key(device, key);
    snprintf(path, bytes, "%s/%s" CONFIG_ENDING, folder, key);
}

static bool is_fragment(const char *name, const char *key) {
    static const char digits[] = "0123456789abcdef";
    const size_t length = strlen(key);
    return !strncmp(name, key, length) && name[length] == '.' &&
           strspn(name + length + 1, digits) == 8 && !strcmp(name + length + 9, CONFIG_ENDING);
}

/* ---- Folder and lock ------------------------------------------------------------------------ */

static bool open_store(struct store *store) {
    struct stat st;
    store->folder = store->lock = -1;
    if (!files_make_folder(store->path, store->why, store->why_bytes))
        return false;
    store->folder = open(store->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (store->folder < 0 || fstat(store->folder, &st))
        return fail(store, "", strerror(errno));
    if (!mha_config_is_safe(&st))
        return fail(store, "",
                    "others than this user and root may write this folder, so that the library "
                    "would not read it");
    return true;
}

static void close_store(struct store *store) {
    if (store->lock >= 0)
        close(store->lock);
    if (store->folder >= 0)
        close(store->folder);
}

/* False, with the reason, where there is none to be had in time. */
static bool lock_store(struct store *store) {
    store->lock = openat(store->folder, LOCK_NAME,
                         O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    if (store->lock < 0)
        return fail(store, LOCK_NAME, strerror(errno));
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    while (flock(store->lock, LOCK_EX | LOCK_NB)) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return fail(store, LOCK_NAME, strerror(errno));
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec - start.tv_sec >= LOCK_SECONDS)
            return fail(store, LOCK_NAME, "another process has held the lock for too long");
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
    return true;
}

/* ---- Files ---------------------------------------------------------------------------------- */

/* Damaged files are kept for whoever wants to look; the lock is held. */
static bool set_aside(const struct store *store, const char *name, char *note, size_t note_bytes) {
    char aside[2 * MAX_NAME];
    struct stat st;
    int number = 0;
    do
        snprintf(aside, sizeof(aside), "%s.damaged-%d", name, ++number);
    while (!fstatat(store->folder, aside, &st, AT_SYMLINK_NOFOLLOW));
    if (errno != ENOENT || renameat(store->folder, name, store->folder, aside))
        return fail(store, name, strerror(errno));
    snprintf(note, note_bytes, "%s was damaged and is now %s", name, aside);
    return true;
}

enum found { FOUND_GOOD, FOUND_NONE, FOUND_DAMAGED, FOUND_FORBIDDEN };

/* FOUND_FORBIDDEN, with a reason: what must be left as it is. */
static enum found read_document(const struct store *store, const char *name,
                                struct document *document) {
    char *text, why[200] = "no memory for it";
    size_t bytes;
    enum config_text kind = CONFIG_TEXT_NO_MEMORY;
    *document = (struct document){.root = NULL};
    const enum config_file file = mha_config_read_file(&plain_allocator, store->folder, name, true,
                                                       &text, &bytes, why, sizeof(why));
    if (file == CONFIG_FILE_MISSING) {
        /* A link to nothing is missing too, but its name is taken. */
        struct stat st;
        return fstatat(store->folder, name, &st, AT_SYMLINK_NOFOLLOW) ? FOUND_NONE : FOUND_DAMAGED;
    }
    if (file == CONFIG_FILE_ODD)
        return FOUND_DAMAGED;
    if (file == CONFIG_FILE_GOOD)
        kind = document_read(document, text, bytes, why, sizeof(why));
    mha_release(&plain_allocator, text);
    if (kind == CONFIG_TEXT_GOOD)
        return FOUND_GOOD;
    if (file == CONFIG_FILE_GOOD && kind == CONFIG_TEXT_BAD)
        return FOUND_DAMAGED;
    fail(store, name, why);
    return FOUND_FORBIDDEN;
}

static bool write_file(const struct store *store, const char *temporary, const char *text) {
    /* What a process left that was killed here. */
    unlinkat(store->folder, temporary, 0);
    const int file = openat(store->folder, temporary,
                            O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (file < 0)
        return fail(store, temporary, strerror(errno));
    bool is_written = files_write(file, text, strlen(text)) && files_sync(file);
    int code = errno;
    if (close(file) && is_written) {
        is_written = false;
        code = errno;
    }
    return is_written || fail(store, temporary, strerror(code));
}

/* Under the lock, or with a name that nobody else has. */
static bool write_document(const struct store *store, const char *name,
                           const struct document *document) {
    char temporary[2 * MAX_NAME];
    snprintf(temporary, sizeof(temporary), ".%s.new", name);
    if (document_count(document) > CONFIG_MAX_ENTRIES)
        return fail(store, name, "would have more entries than are read; prune it");
    char *text = document_text(document);
    if (!text)
        return fail(store, name, "no memory for its text");
    bool is_written = true;
    if (strlen(text) > CONFIG_MAX_BYTES)
        is_written = fail(store, name, "would be larger than what is read; prune it");
    else if (!write_file(store, temporary, text))
        is_written = false;
    else if (renameat(store->folder, temporary, store->folder, name) || !files_sync(store->folder))
        is_written = fail(store, name, strerror(errno));
    if (!is_written)
        unlinkat(store->folder, temporary, 0);
    free(text);
    return is_written;
}

/* ---- Merging -------------------------------------------------------------------------------- */

/* Entries on their way into a file of their device. */
struct parcel {
    const struct config_device *device;
    const json_t *entries;
    bool is_newest; /* just measured */
};

static bool put_all(const struct store *store, struct document *document,
                    const struct parcel *parcel) {
    size_t i;
    const json_t *entry;
    json_array_foreach(parcel->entries, i, entry) {
        if (!document_put(document, entry, parcel->device, parcel->is_newest, store->why,
                          store->why_bytes))
            return false;
    }
    return true;
}

static bool is_of_device(const struct document *document, const struct config_device *device) {
    return !strcmp(document->device.platform, device->platform) &&
           !strcmp(document->device.name, device->name) &&
           document->device.compute_units == device->compute_units;
}

/* The names of a folder, as an array of texts; NULL with a reason. */
static json_t *list_names(const struct store *store) {
    const int folder = openat(store->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *listing = folder < 0 ? NULL : fdopendir(folder);
    json_t *names = json_array();
    if (!listing) {
        fail(store, "", strerror(errno));
        if (folder >= 0)
            close(folder);
        json_decref(names);
        return NULL;
    }
    for (const struct dirent *entry; (entry = readdir(listing));)
        json_array_append_new(names, json_string(entry->d_name));
    closedir(listing);
    return names;
}

/* Puts the entries of the device's fragments into the document. Names of what was taken, and is of
 * no use once the document is written, go to `taken`. */
static bool take_fragments(const struct store *store, const struct config_device *device,
                           struct document *document, json_t *taken, char *note,
                           size_t note_bytes) {
    char key[MAX_NAME];
    bool is_taken = true;
    size_t i;
    json_t *name, *names = list_names(store);
    write_key(device, key);
    json_array_foreach(names, i, name) {
        struct document fragment;
        if (!is_taken || !is_fragment(json_string_value(name), key))
            continue;
        const enum found found = read_document(store, json_string_value(name), &fragment);
        if (found == FOUND_DAMAGED)
            is_taken = set_aside(store, json_string_value(name), note, note_bytes);
        else if (found == FOUND_GOOD && is_of_device(&fragment, device)) {
            const struct parcel parcel = {&fragment.device, fragment.entries, false};
            is_taken = put_all(store, document, &parcel) && !json_array_append(taken, name);
        }
        document_release(&fragment);
    }
    json_decref(names);
    return names && is_taken;
}

static bool merge_locked(const struct store *store, const struct parcel *parcel, char *note,
                         size_t note_bytes) {
    char name[MAX_NAME + sizeof(CONFIG_ENDING)];
    struct document document;
    json_t *taken = json_array();
    bool is_merged = false;
    write_key(parcel->device, name);
    strcat(name, CONFIG_ENDING);
    const enum found found = read_document(store, name, &document);
    if (found == FOUND_FORBIDDEN)
        goto done;
    if (found == FOUND_DAMAGED && !set_aside(store, name, note, note_bytes))
        goto done;
    if (found != FOUND_GOOD && !document_create(&document, parcel->device)) {
        fail(store, name, "no memory for it");
        goto done;
    }
    if (!is_of_device(&document, parcel->device)) {
        fail(store, name, "is of another device; give it another name");
        goto done;
    }
    is_merged = take_fragments(store, parcel->device, &document, taken, note, note_bytes) &&
                put_all(store, &document, parcel) && write_document(store, name, &document);
    for (size_t i = 0; is_merged && i < json_array_size(taken); ++i)
        unlinkat(store->folder, json_string_value(json_array_get(taken, i)), 0);
done:
    document_release(&document);
    json_decref(taken);
    return is_merged;
}

/* Without the lock nothing that is there may be replaced. */
static bool write_fragment(const struct store *store, const struct parcel *parcel, char *name,
                           size_t name_bytes) {
    char key[MAX_NAME];
    struct document document;
    struct stat st;
    uint32_t number;
    write_key(parcel->device, key);
    do {
        if (getrandom(&number, sizeof(number), 0) != sizeof(number))
            return fail(store, key, strerror(errno));
        snprintf(name, name_bytes, "%s.%08" PRIx32 CONFIG_ENDING, key, number);
    } while (!fstatat(store->folder, name, &st, AT_SYMLINK_NOFOLLOW));
    const bool is_written =
        (document_create(&document, parcel->device) || fail(store, name, "no memory for it")) &&
        put_all(store, &document, parcel) && write_document(store, name, &document);
    document_release(&document);
    return is_written;
}

/* What every merge comes to. */
static bool deliver(const char *folder, const struct parcel *parcel, char *written,
                    size_t written_bytes, char *why, size_t why_bytes) {
    struct store store = {.path = folder, .why = why, .why_bytes = why_bytes};
    char fragment[2 * MAX_NAME], note[4 * MAX_NAME] = "", path[4096 + MAX_NAME];
    bool is_delivered = false;
    store_path(folder, parcel->device, path, sizeof(path));
    if (open_store(&store)) {
        if (lock_store(&store))
            is_delivered = merge_locked(&store, parcel, note, sizeof(note));
        else {
            snprintf(note, sizeof(note), "%s; this went to a file of its own", why);
            is_delivered = write_fragment(&store, parcel, fragment, sizeof(fragment));
            snprintf(path, sizeof(path), "%s/%s", folder, fragment);
        }
    }
    close_store(&store);
    if (is_delivered)
        snprintf(why, why_bytes, "%s", note);
    if (written)
        snprintf(written, written_bytes, "%s", is_delivered ? path : "");
    return is_delivered;
}

bool store_check(const char *folder, const struct config_device *device, char *why,
                 size_t why_bytes) {
    struct store store = {.path = folder, .why = why, .why_bytes = why_bytes};
    struct document document = {.root = NULL};
    char name[MAX_NAME + sizeof(CONFIG_ENDING)];
    write_key(device, name);
    strcat(name, CONFIG_ENDING);
    bool is_good = open_store(&store);
    if (is_good && faccessat(store.folder, ".", W_OK, AT_EACCESS))
        is_good = fail(&store, name, strerror(errno));
    is_good = is_good && read_document(&store, name, &document) != FOUND_FORBIDDEN;
    document_release(&document);
    close_store(&store);
    return is_good;
}

bool store_merge(const char *folder, const struct config_device *device,
                 const struct config_entry *entries, size_t count, char *written,
                 size_t written_bytes, char *why, size_t why_bytes) {
    json_t *array = json_array();
    bool is_merged = array;
    for (size_t i = 0; is_merged && i < count; ++i) {
        struct config_entry entry = entries[i], check;
        entry.device = *device;
        json_t *json = mha_config_write_entry(&entry);
        char reason[200] = "no memory for it";
        /* What could not be read again is never written. */
        is_merged = json && mha_config_read_entry(json, &check, reason, sizeof(reason));
        if (json_array_append_new(array, json))
            is_merged = false;
        if (!is_merged)
            snprintf(why, why_bytes, "entry %zu can't be kept: %s", i + 1, reason);
    }
    is_merged = is_merged && deliver(folder, &(struct parcel){device, array, true}, written,
                                     written_bytes, why, why_bytes);
    json_decref(array);
    return is_merged;
}

bool store_import(const char *folder, const char *text, size_t bytes, size_t *count, char *why,
                  size_t why_bytes) {
    struct document document;
    *count = 0;
    if (bytes > CONFIG_MAX_BYTES) {
        snprintf(why, why_bytes, "more than %u bytes", CONFIG_MAX_BYTES);
        return false;
    }
    snprintf(why, why_bytes, "no memory for it");
    if (document_read(&document, text, bytes, why, why_bytes) != CONFIG_TEXT_GOOD)
        return false;
    json_t *known = json_array();
    for (size_t i = 0; i < document_count(&document); ++i)
        if (document.identities[i].is_known)
            json_array_append(known, json_array_get(document.entries, i));
    *count = json_array_size(known);
    const bool is_imported =
        deliver(folder, &(struct parcel){&document.device, known, false}, NULL, 0, why, why_bytes);
    json_decref(known);
    document_release(&document);
    return is_imported;
}

/* ---- Pruning -------------------------------------------------------------------------------- */

static bool prune_file(const struct store *store, const char *name,
                       bool (*keep)(const void *context, const struct config_entry *entry),
                       const void *context, size_t *removed) {
    struct document document;
    bool is_pruned = true;
    if (read_document(store, name, &document) == FOUND_GOOD) {
        const size_t count = document_filter(&document, keep, context);
        is_pruned = !count || write_document(store, name, &document);
        *removed += is_pruned ? count : 0;
    }
    document_release(&document);
    return is_pruned;
}

static bool merge_if_fragment(const struct store *store, const char *name, char *note,
                              size_t note_bytes) {
    struct document document;
    char key[MAX_NAME];
    bool is_merged = true;
    if (read_document(store, name, &document) == FOUND_GOOD) {
        write_key(&document.device, key);
        if (is_fragment(name, key))
            is_merged = merge_locked(store, &(struct parcel){&document.device, NULL, false}, note,
                                     note_bytes);
    }
    document_release(&document);
    return is_merged;
}

/* Tuning files of a folder, whatever their names. */
static bool is_tuning_file(const char *name) {
    const char *ending = strrchr(name, '.');
    return name[0] != '.' && ending && !strcmp(ending, CONFIG_ENDING);
}

bool store_prune(const char *folder,
                 bool (*keep)(const void *context, const struct config_entry *entry),
                 const void *context, size_t *removed, char *why, size_t why_bytes) {
    struct store store = {.path = folder, .why = why, .why_bytes = why_bytes};
    char note[4 * MAX_NAME] = "";
    bool is_pruned = open_store(&store) && lock_store(&store);
    *removed = 0;
    for (int pass = 0; is_pruned && pass < 2; ++pass) {
        size_t i;
        json_t *name, *names = list_names(&store);
        is_pruned = names;
        json_array_foreach(names, i, name) {
            const char *text = json_string_value(name);
            if (!is_pruned || !is_tuning_file(text))
                continue;
            is_pruned = pass ? prune_file(&store, text, keep, context, removed)
                             : merge_if_fragment(&store, text, note, sizeof(note));
        }
        json_decref(names);
    }
    close_store(&store);
    if (is_pruned)
        snprintf(why, why_bytes, "%s", note);
    return is_pruned;
}
