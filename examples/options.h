/* The command line of attention-map. */
#ifndef EXAMPLES_OPTIONS_H
#define EXAMPLES_OPTIONS_H

#include "failure.h"

typedef struct options {
    const char *file;
    const char *out;
    const char *photo;   /* NULL: the one that the file's metadata names */
    const char *word;    /* NULL: "it" */
    const char *device;  /* NULL: the best */
    const char *variant; /* NULL: the library's selection */
    bool help;           /* asked for, and printed */
} options;

bool options_parse(int argc, char **argv, options *o, failure *f);

#endif
