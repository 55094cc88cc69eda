/* In: an identity text and a binary. Out: entries "header, identity, binary" under a key that is a
 * hash of the identity. Entries are written to a temporary file and renamed: a reader sees the old
 * one, the new one or none. */
#include "cache.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* After FNV-1a, from a given basis, but words at a time: bytes would take a tenth of a plan from
 * the cache. The high half is folded down, since a product carries nothing from high bits to low
 * ones. Not cryptographic: it need not be, since an entry's whole identity is compared when it is
 * loaded and who can write the folder is the user. */
static uint64_t hash_bytes(uint64_t basis, const void *data, size_t bytes) {
    const unsigned char *p = data;
    for (size_t i = 0; i < bytes; i += sizeof(uint64_t)) {
        const size_t rest = bytes - i;
        uint64_t word = 0;
        memcpy(&word, p + i, rest < sizeof(word) ? rest : sizeof(word));
        basis = (basis ^ word) * UINT64_C(0x100000001b3);
        basis ^= basis >> 32;
    }
    return basis;
}

#define HASH_BASIS UINT64_C(0xcbf29ce484222325)

static void make_key(char key[65], const char *identity) {
    const size_t bytes = strlen(identity);
    uint64_t basis = HASH_BASIS;
    for (int i = 0; i < 4; ++i) {
        basis = hash_bytes(basis + (uint64_t)i, identity, bytes);
        snprintf(key + 16 * i, 17, "%016" PRIx64, basis);
    }
}

struct entry_header {
    char magic[8];
    uint64_t identity_bytes, binary_bytes, checksum;
};

static const char entry_magic[8] = "MHACL02";

/* Creates `path` and its parents with mode 0700, and checks that it is the user's own. */
static bool prepare_dir(char *path, const struct log_target *log) {
    for (char *p = path + 1;; ++p) {
        const char c = *p;
        if (c != '/' && c != 0)
            continue;
        *p = 0;
        const bool failed = mkdir(path, 0700) && errno != EEXIST;
        *p = c;
        if (failed) {
            mha_log(log, MHA_LOG_WARNING, "no program cache: can't make %s: %s", path,
                    strerror(errno));
            return false;
        }
        if (c == 0)
            break;
    }
    struct stat st;
    if (lstat(path, &st) || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() ||
        (st.st_mode & (S_IWGRP | S_IWOTH))) {
        mha_log(log, MHA_LOG_WARNING,
                "no program cache: %s is not a folder that only this user can write", path);
        return false;
    }
    return true;
}

static char *default_dir(const struct allocator *allocator) {
    const char *base = secure_getenv("XDG_CACHE_HOME"), *home = secure_getenv("HOME");
    char path[1024];
    int n = -1;
    if (base && base[0] == '/')
        n = snprintf(path, sizeof(path), "%s/mha-cl", base);
    else if (home && home[0] == '/')
        n = snprintf(path, sizeof(path), "%s/.cache/mha-cl", home);
    return n > 0 && (size_t)n < sizeof(path) ? mha_copy_text(allocator, path) : NULL;
}

mha_status mha_cache_init(struct cache *cache, const mha_engine_desc *desc,
                          const struct allocator *allocator, const struct log_target *log,
                          mha_error *error) {
    *cache = (struct cache){desc->cache_load, desc->cache_store, desc->cache_user, NULL};
    if (cache->load || (desc->flags & (MHA_ENGINE_HERMETIC | MHA_ENGINE_NO_DISK_CACHE)))
        return MHA_SUCCESS;
    if (desc->cache_dir && !(cache->dir = mha_copy_text(allocator, desc->cache_dir)))
        return mha_fail(error, MHA_ERR_HOST_MEMORY, "no memory for cache_dir");
    if (!desc->cache_dir)
        cache->dir = default_dir(allocator);
    if (cache->dir && (!cache->dir[0] || !prepare_dir(cache->dir, log))) {
        mha_release(allocator, cache->dir);
        cache->dir = NULL;
    }
    return MHA_SUCCESS;
}

void mha_cache_release(struct cache *cache, const struct allocator *allocator) {
    mha_release(allocator, cache->dir);
    cache->dir = NULL;
}

bool mha_cache_is_on(const struct cache *cache) {
    return cache->store || cache->dir;
}

static bool read_all(int file, void *data, size_t bytes) {
    for (char *p = data; bytes;) {
        const ssize_t n = read(file, p, bytes);
        if (n <= 0)
            return false;
        p += n;
        bytes -= (size_t)n;
    }
    return true;
}

static bool write_all(int file, const void *data, size_t bytes) {
    for (const char *p = data; bytes;) {
        const ssize_t n = write(file, p, bytes);
        if (n <= 0)
            return false;
        p += n;
        bytes -= (size_t)n;
    }
    return true;
}

/* No program is anywhere near this large; a damaged or hostile file is not read. */
#define MAX_ENTRY_BYTES ((size_t)256 << 20)

static unsigned char *load_file(const struct allocator *allocator, const char *dir, const char *key,
                                size_t *bytes) {
    char path[1200];
    unsigned char *data = NULL;
    struct stat st;
    snprintf(path, sizeof(path), "%s/%s.bin", dir, key);
    /* O_NONBLOCK: opening a FIFO in the folder must not hang. */
    const int file = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (file < 0)
        return NULL;
    if (!fstat(file, &st) && S_ISREG(st.st_mode) && st.st_uid == geteuid() && st.st_size > 0 &&
        (size_t)st.st_size <= MAX_ENTRY_BYTES) {
        *bytes = (size_t)st.st_size;
        data = mha_allocate(allocator, *bytes);
        if (data && !read_all(file, data, *bytes)) {
            mha_release(allocator, data);
            data = NULL;
        }
    }
    close(file);
    return data;
}

static void store_file(const char *dir, const char *key, const void *data, size_t bytes) {
    char path[1200], temporary[1200];
    snprintf(path, sizeof(path), "%s/%s.bin", dir, key);
    snprintf(temporary, sizeof(temporary), "%s/%s.XXXXXX", dir, key);
    const int file = mkstemp(temporary);
    if (file < 0)
        return;
    const bool is_written = write_all(file, data, bytes);
    if (close(file) || !is_written || rename(temporary, path))
        unlink(temporary);
}

static unsigned char *load_user(const struct cache *cache, const struct allocator *allocator,
                                const char *key, size_t *bytes) {
    *bytes = cache->load(cache->user, key, NULL, 0);
    if (!*bytes || *bytes > MAX_ENTRY_BYTES)
        return NULL;
    unsigned char *data = mha_allocate(allocator, *bytes);
    if (data && cache->load(cache->user, key, data, *bytes) != *bytes) {
        mha_release(allocator, data);
        return NULL;
    }
    return data;
}

unsigned char *mha_cache_load(const struct cache *cache, const struct allocator *allocator,
                              const char *identity, size_t *bytes) {
    char key[65];
    size_t entry_bytes = 0;
    unsigned char *entry = NULL;
    make_key(key, identity);
    if (cache->load)
        entry = load_user(cache, allocator, key, &entry_bytes);
    else if (cache->dir)
        entry = load_file(allocator, cache->dir, key, &entry_bytes);
    if (!entry)
        return NULL;
    struct entry_header header;
    const size_t identity_bytes = strlen(identity);
    if (entry_bytes >= sizeof(header)) {
        memcpy(&header, entry, sizeof(header));
        const size_t rest = entry_bytes - sizeof(header);
        if (!memcmp(header.magic, entry_magic, sizeof(entry_magic)) &&
            header.identity_bytes == identity_bytes && identity_bytes < rest &&
            header.binary_bytes == rest - identity_bytes &&
            !memcmp(entry + sizeof(header), identity, identity_bytes) &&
            header.checksum == hash_bytes(HASH_BASIS, entry + sizeof(header), rest)) {
            *bytes = (size_t)header.binary_bytes;
            memmove(entry, entry + sizeof(header) + identity_bytes, *bytes);
            return entry;
        }
    }
    mha_release(allocator, entry);
    return NULL;
}

void mha_cache_store(const struct cache *cache, const struct allocator *allocator,
                     const char *identity, const unsigned char *binary, size_t bytes) {
    const size_t identity_bytes = strlen(identity);
    const size_t entry_bytes = sizeof(struct entry_header) + identity_bytes + bytes;
    unsigned char *entry = mha_allocate(allocator, entry_bytes);
    if (!entry || entry_bytes > MAX_ENTRY_BYTES) {
        mha_release(allocator, entry);
        return;
    }
    struct entry_header header = {.identity_bytes = identity_bytes, .binary_bytes = bytes};
    memcpy(header.magic, entry_magic, sizeof(entry_magic));
    unsigned char *body = entry + sizeof(header);
    memcpy(body, identity, identity_bytes);
    memcpy(body + identity_bytes, binary, bytes);
    header.checksum = hash_bytes(HASH_BASIS, body, identity_bytes + bytes);
    memcpy(entry, &header, sizeof(header));
    char key[65];
    make_key(key, identity);
    if (cache->store)
        cache->store(cache->user, key, entry, entry_bytes);
    else
        store_file(cache->dir, key, entry, entry_bytes);
    mha_release(allocator, entry);
}
