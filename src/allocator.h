/* Host memory through the application's callbacks, or malloc. */
#ifndef MHA_ALLOCATOR_H
#define MHA_ALLOCATOR_H

#include "mha_cl.h"

struct allocator {
    mha_allocate_fn allocate; /* NULL: malloc and free */
    mha_release_fn release;
    void *user;
};

void *mha_allocate(const struct allocator *allocator, size_t bytes); /* uninitialised */
void *mha_allocate_zeroed(const struct allocator *allocator, size_t bytes);
void mha_release(const struct allocator *allocator, void *memory);        /* NULL is ignored */
char *mha_copy_text(const struct allocator *allocator, const char *text); /* NULL on failure */

#endif
