/* In: sizes. Out: host memory. */
#include "allocator.h"

#include <stdlib.h>
#include <string.h>

void *mha_allocate(const struct allocator *allocator, size_t bytes) {
    return allocator->allocate ? allocator->allocate(allocator->user, bytes) : malloc(bytes);
}

void *mha_allocate_zeroed(const struct allocator *allocator, size_t bytes) {
    void *memory = mha_allocate(allocator, bytes);
    if (memory)
        memset(memory, 0, bytes);
    return memory;
}

void mha_release(const struct allocator *allocator, void *memory) {
    if (!memory)
        return;
    if (allocator->release)
        allocator->release(allocator->user, memory);
    else
        free(memory);
}

char *mha_copy_text(const struct allocator *allocator, const char *text) {
    const size_t bytes = strlen(text) + 1;
    char *copy = mha_allocate(allocator, bytes);
    return copy ? memcpy(copy, text, bytes) : NULL;
}
