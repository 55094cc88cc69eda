/* The features of the interface, each as the members it sets in a test case. */
#ifndef TESTS_FEATURE_TABLE_H
#define TESTS_FEATURE_TABLE_H

#include "cases.h"

/* In `set`, a size of NO_SIZE means 0, and 0 leaves the case as it is. */
#define NO_SIZE (-1)

struct feature {
    const char *name; /* "group/member"; the members of a group follow each other */
    struct test_case set;
};

extern const struct feature features[];
extern const size_t feature_count;

/* Sets what the feature sets; flags are added. */
void feature_apply(struct test_case *test, const struct feature *feature);

/* Whether the feature at `index` is the first of its group. */
bool feature_begins_group(size_t index);

const char *layout_name(enum layout layout);

#endif
