/* Program binaries that outlive the process: on disk, through the application, or nowhere. */
#ifndef MHA_CACHE_H
#define MHA_CACHE_H

#include "allocator.h"
#include "status.h"

#include <stdbool.h>

struct cache {
    mha_cache_load_fn load; /* NULL: disk, if dir is set */
    mha_cache_store_fn store;
    void *user;
    char *dir; /* NULL: none */
};

/* Decides where entries are kept. An unusable folder is logged and means no cache. */
mha_status mha_cache_init(struct cache *cache, const mha_engine_desc *desc,
                          const struct allocator *allocator, const struct log_target *log,
                          mha_error *error);
void mha_cache_release(struct cache *cache, const struct allocator *allocator);

bool mha_cache_is_on(const struct cache *cache);

/* An entry belongs to an identity, a text that names all that the binary depends on. load returns
 * the binary, to be released with mha_release(), or NULL; anything damaged counts as absent. */
unsigned char *mha_cache_load(const struct cache *cache, const struct allocator *allocator,
                              const char *identity, size_t *bytes);
void mha_cache_store(const struct cache *cache, const struct allocator *allocator,
                     const char *identity, const unsigned char *binary, size_t bytes);

#endif
