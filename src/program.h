/* Compiled programs, kept by their engine: equal text and options give the same program. */
#ifndef MHA_PROGRAM_H
#define MHA_PROGRAM_H

#include "engine.h"
#include "select.h"

struct program {
    struct program *next;
    char *identity; /* everything the binary depends on, source text included */
    cl_program program;
    bool is_from_cache;
    bool is_stored; /* in the cache, or came from it */
};

/* Finds, loads or compiles; without use_cache it does not load. The engine keeps the program as
 * long as it lives. */
mha_status mha_program_get(mha_engine *engine, const struct problem *problem,
                           const struct selection *selection, bool use_cache,
                           struct program **program, mha_error *error);

/* Nobody finds the program again: a cached binary that loads need not work. */
void mha_program_discard(mha_engine *engine, struct program *program);

/* Puts a compiled program's binary into the cache. To be called after its kernels have run once:
 * some runtimes specialise code at the first launch, and the binary then holds that too. */
void mha_program_store(mha_engine *engine, struct program *program);

void mha_programs_release(mha_engine *engine);

#endif
