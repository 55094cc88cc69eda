/* Reads safetensors files: 8 bytes of header length (little endian), a JSON header, the data.
 * Everything in the header is checked before anything is used, so that a damaged or hostile file
 * gives a message and nothing else. Format: https://github.com/huggingface/safetensors */
#ifndef EXAMPLES_SAFETENSORS_H
#define EXAMPLES_SAFETENSORS_H

#include "failure.h"

#include <stddef.h>
#include <stdint.h>

#define ST_MAX_RANK 8

typedef struct st_tensor {
    const char *name;
    const char *dtype; /* as the file spells it: "F32", "BF16", ... */
    int rank;
    int64_t shape[ST_MAX_RANK];
    int64_t elements;
    const unsigned char *data; /* not necessarily aligned */
    size_t bytes;
} st_tensor;

typedef struct st_file st_file;

/* NULL on failure. The whole file is read into memory. */
st_file *st_open(const char *path, failure *f);
void st_close(st_file *file);

/* NULL if there is none of that name. Lives as long as the file. */
const st_tensor *st_find(const st_file *file, const char *name);

/* A string of "__metadata__", NULL if there is none. Lives as long as the file. */
const char *st_metadata(const st_file *file, const char *key);

/* A copy of an F32 tensor, for free(); NULL if it has another type, holds nothing, or memory ran
 * out. */
float *st_read_f32(const st_tensor *tensor, failure *f);

#endif
