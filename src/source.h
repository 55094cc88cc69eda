/* Values -> the text of a program: a prelude of #defines, then the kernel files in order. */
#ifndef MHA_SOURCE_H
#define MHA_SOURCE_H

#include "allocator.h"
#include "variants.h"

/* The .cl files, embedded by tools/embed.py; ends with a NULL name. */
struct kernel_text {
    const char *name, *text;
};
extern const struct kernel_text mha_kernel_texts[];

/* *text: the program, to be released with mha_release(); NULL on failure.
 * kernel_dir: read the files from there instead of the embedded texts; NULL for embedded. */
mha_status mha_source_make(const struct allocator *allocator, const struct problem *problem,
                           const struct variant *variant, const struct tuning *tuning,
                           const char *kernel_dir, char **text, mha_error *error);

#endif
