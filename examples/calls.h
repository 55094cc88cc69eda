/* Calls of OpenCL and libmha-cl that several files make, their errors turned into failures. */
#ifndef EXAMPLES_CALLS_H
#define EXAMPLES_CALLS_H

#include "device.h"
#include "failure.h"
#include "mha_cl.h"

/* All return false and fill *f. `call` is the name of the call that gave `status`. */
bool fail_cl(failure *f, const char *call, cl_int status);

/* Prints the compiler's log to standard error where compilation was at fault. */
bool fail_mha(failure *f, const mha_engine *engine, const mha_error *error);

bool fail_memory(failure *f, size_t bytes);

bool open_engine(const device *d, mha_engine **engine, failure *f);

/* With what `host` holds, where it is not NULL. */
bool make_buffer(cl_context context, size_t bytes, const void *host, cl_mem *buffer, failure *f);

/* Reads after all that was enqueued before; blocks. */
bool read_buffer(const device *d, cl_mem buffer, size_t offset, size_t bytes, void *host,
                 failure *f);

/* Ignores NULL, and makes NULL. */
void release_buffer(cl_mem *buffer);

#endif
