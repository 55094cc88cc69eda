/* The command lines of the programs that run a model. */
#ifndef EXAMPLES_MODEL_OPTIONS_H
#define EXAMPLES_MODEL_OPTIONS_H

#include "failure.h"
#include "mha_cl.h"

typedef struct model_options {
    const char *inputs[2]; /* the second may be NULL */
    const char *out;
    const char *dump;   /* NULL: none */
    const char *models; /* NULL: the user's cache */
    const char *device; /* NULL: the best */
    const char *word;   /* NULL: the program's choice */
    int layer, head;    /* -1: the program's choice */
    mha_dtype dtype;
    bool help; /* asked for, and printed */
} model_options;

/* What differs between the programs. */
typedef struct model_program {
    const char *name, *usage;
    const char *letters; /* of the options it takes: "olh" */
    int max_inputs;
    int layers, heads; /* --layer and --head are below these */
} model_program;

bool model_options_parse(int argc, char **argv, const model_program *program, model_options *o,
                         failure *f);

#endif
