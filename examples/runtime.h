/* What a model runs on: a device, the library's engine and the small kernels. */
#ifndef EXAMPLES_RUNTIME_H
#define EXAMPLES_RUNTIME_H

#include "calls.h"
#include "encoder.h"
#include "model_ops.h"
#include "model_options.h"

typedef struct runtime {
    device d;
    mha_engine *engine;
    model_ops ops;
    profile profile;
} runtime;

/* Prints what it does. */
bool runtime_open(const model_options *o, runtime *r, failure *f);

/* Safe on a zeroed runtime. */
void runtime_close(runtime *r);

/* From here on, operations are recorded in the profile. */
void runtime_record(runtime *r);

/* Waits for all that was enqueued. */
bool runtime_finish(const runtime *r, failure *f);

/* How the attention weights were computed and on what, for a picture. */
void runtime_describe(const runtime *r, const encoder *e, char *text, size_t bytes);

/* The variants that the encoder's plans use, in print. */
void runtime_print_plans(const encoder *e);

#endif
