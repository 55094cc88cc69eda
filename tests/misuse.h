/* Changes to a struct, listed in a table: each makes one thing wrong. */
#ifndef TESTS_MISUSE_H
#define TESTS_MISUSE_H

#include "mha_cl.h"

#include <stdbool.h>

/* One member and its new value. */
struct edit {
    size_t offset, bytes; /* bytes 0: no edit */
    union {
        int64_t i64;
        int i32;
        double f64;
        const void *pointer;
    } value;
};

#define EDIT(type, member, kind, v)                                                                \
    {                                                                                              \
        offsetof(type, member), sizeof(((type *)0)->member), {                                     \
            .kind = (v)                                                                            \
        }                                                                                          \
    }

#define MAX_EDITS 4

struct misuse {
    const char *name;
    mha_status expected;
    const char *text; /* the message must contain this */
    struct edit edits[MAX_EDITS];
};

void misuse_apply(const struct misuse *misuse, void *object);

/* Whether a call failed as expected, with a message that says why; prints what is wrong. */
bool misuse_check(const struct misuse *misuse, const char *call, mha_status status,
                  const mha_error *error);

#endif
