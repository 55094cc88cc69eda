/* What the C file that tools/embed.py makes of model_kernels.cl includes. */
#ifndef EXAMPLES_SOURCE_H
#define EXAMPLES_SOURCE_H

#include <stddef.h> /* that file needs NULL */

struct kernel_text {
    const char *name, *text;
};
extern const struct kernel_text model_kernel_texts[]; /* ends with a NULL name */

#endif
