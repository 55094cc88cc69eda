/* In: JSON objects. Out: a file with one on each line, in which nothing that was fully written is
 * ever changed. */
#include "journal.h"

#include "config_files.h"
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/* No run of any length writes this much. */
#define MAX_JOURNAL_BYTES ((off_t)256 << 20)

struct journal {
    json_t *lines;
    int file;
    bool is_device; /* which has no end */
    off_t end;      /* of the last full line */
    bool is_torn;   /* there may be part of a line after it */
};

/* NULL, without a word: no JSON object. */
static json_t *parse_line(const char *line, size_t bytes) {
    json_t *json = json_loadb(line, bytes, JSON_REJECT_DUPLICATES, NULL);
    if (json_is_object(json))
        return json;
    json_decref(json);
    return NULL;
}

/* Up to the last full line; a torn one after it can be of an object that is whole, which then only
 * lacks its end. */
static bool read_lines(struct journal *journal, const char *text, size_t bytes, bool *is_open) {
    *is_open = false;
    journal->end = 0;
    for (size_t begin = 0; begin < bytes;) {
        const char *newline = memchr(text + begin, '\n', bytes - begin);
        const size_t length = newline ? (size_t)(newline - text) - begin : bytes - begin;
        json_t *line = parse_line(text + begin, length);
        if (line && json_array_append_new(journal->lines, line))
            return false;
        if (newline || line)
            journal->end = (off_t)(begin + length + (newline ? 1 : 0));
        *is_open = line && !newline;
        begin += length + 1;
    }
    return true;
}

static bool cut(struct journal *journal) {
    if (journal->is_torn && !journal->is_device && ftruncate(journal->file, journal->end))
        return false;
    journal->is_torn = false;
    return true;
}

/* Before anything is cut off: what has lines, but none of them an object, or begins with something
 * else, was never written here. */
static bool is_foreign(const struct journal *journal, const char *text, size_t bytes) {
    return bytes && !json_array_size(journal->lines) && (text[0] != '{' || journal->end);
}

static bool load(struct journal *journal, size_t bytes, const char **why) {
    bool is_open = false, is_read = false;
    char *text = malloc(bytes + 1);
    *why = "no memory for it";
    if (!text)
        return false;
    size_t used = 0;
    ssize_t n;
    while (used < bytes &&
           ((n = read(journal->file, text + used, bytes - used)) > 0 || (n < 0 && errno == EINTR)))
        used += n > 0 ? (size_t)n : 0;
    if (used < bytes)
        *why = "it can't be read";
    else if (read_lines(journal, text, bytes, &is_open)) {
        *why = "it is no journal";
        is_read = !is_foreign(journal, text, bytes);
    }
    free(text);
    if (!is_read)
        return false;
    *why = "its torn last line can't be mended";
    journal->is_torn = (size_t)journal->end < bytes;
    if (!is_open)
        return cut(journal);
    ++journal->end;
    return files_write(journal->file, "\n", 1);
}

/* The name of a new file must outlast a crash too. */
static bool sync_parent(const char *path) {
    char parent[4096];
    const char *slash = strrchr(path, '/');
    const int n =
        snprintf(parent, sizeof(parent), "%.*s.", slash ? (int)(slash - path) + 1 : 0, path);
    if (n < 0 || (size_t)n >= sizeof(parent))
        return false;
    const int folder = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool is_synced = folder >= 0 && files_sync(folder);
    if (folder >= 0)
        close(folder);
    return is_synced;
}

/* Regular files, and devices such as /dev/null, which keep nothing and need no lock. */
static bool prepare(struct journal *journal, const char *path, const char **why) {
    struct stat st;
    *why = NULL;
    if (fstat(journal->file, &st))
        return false;
    journal->is_device = S_ISCHR(st.st_mode);
    if (journal->is_device)
        return true;
    *why = "not a regular file";
    if (!S_ISREG(st.st_mode))
        return false;
    *why = NULL;
    if (flock(journal->file, LOCK_EX | LOCK_NB)) {
        if (errno == EWOULDBLOCK)
            *why = "another run has it";
        return false;
    }
    /* Whoever had the lock may have written since. */
    if (fstat(journal->file, &st))
        return false;
    *why = "it is too large";
    if (st.st_size > MAX_JOURNAL_BYTES || !load(journal, (size_t)st.st_size, why))
        return false;
    *why = NULL;
    return sync_parent(path);
}

struct journal *journal_open(const char *path, char *why, size_t why_bytes) {
    struct journal *journal = malloc(sizeof(*journal));
    const char *reason = "no memory for it";
    if (journal)
        *journal = (struct journal){.lines = json_array(), .file = -1};
    if (journal && journal->lines) {
        /* O_NONBLOCK: opening a FIFO must not wait. */
        journal->file =
            open(path, O_RDWR | O_CREAT | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0600);
        reason = NULL;
        if (journal->file >= 0 && prepare(journal, path, &reason))
            return journal;
    }
    snprintf(why, why_bytes, "can't open the journal %s: %s", path,
             reason ? reason : strerror(errno));
    journal_close(journal);
    return NULL;
}

void journal_close(struct journal *journal) {
    if (!journal)
        return;
    if (journal->file >= 0)
        close(journal->file);
    json_decref(journal->lines);
    free(journal);
}

const json_t *journal_lines(const struct journal *journal) {
    return journal->lines;
}

/* In one write(), and waits until it is on the disk. */
static bool append(struct journal *journal, const char *text, size_t bytes) {
    journal->is_torn = true;
    if (!files_write(journal->file, text, bytes))
        return false;
    /* EINVAL: a device, which can't be synced. */
    if (fdatasync(journal->file) && errno != EINVAL)
        return false;
    journal->end += (off_t)bytes;
    journal->is_torn = false;
    return true;
}

bool journal_write(struct journal *journal, const json_t *line, char *why, size_t why_bytes) {
    char *text = json_is_object(line) ? json_dumps(line, JSON_COMPACT) : NULL;
    if (!text) {
        snprintf(why, why_bytes, "no memory for a line of the journal, or it is no object");
        return false;
    }
    const size_t bytes = strlen(text);
    /* In the NUL's place. */
    text[bytes] = '\n';
    /* A line is not joined to what is left of one that failed. */
    const bool is_written = cut(journal) && append(journal, text, bytes + 1);
    if (!is_written) {
        snprintf(why, why_bytes, "can't write to the journal: %s", strerror(errno));
        cut(journal);
    }
    free(text);
    return is_written;
}

bool journal_path(const char *name, char *path, size_t bytes, char *why, size_t why_bytes) {
    char folder[3072];
    if (!mha_config_user_folder("XDG_STATE_HOME", ".local/state", "mha-cl", folder,
                                sizeof(folder))) {
        snprintf(why, why_bytes, "neither XDG_STATE_HOME nor HOME is an absolute path");
        return false;
    }
    if (!files_make_folder(folder, why, why_bytes))
        return false;
    const int n = snprintf(path, bytes, "%s/%s.jsonl", folder, name);
    if (n > 0 && (size_t)n < bytes)
        return true;
    snprintf(why, why_bytes, "the path of the journal %s is too long", name);
    return false;
}
