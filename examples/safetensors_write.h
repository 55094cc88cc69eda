/* Writes safetensors files. */
#ifndef EXAMPLES_SAFETENSORS_WRITE_H
#define EXAMPLES_SAFETENSORS_WRITE_H

#include "failure.h"

#include <stddef.h>
#include <stdint.h>

#define ST_WRITE_MAX_RANK 4

typedef enum st_kind { ST_F32, ST_I32 } st_kind;

typedef struct st_output {
    char name[48];
    st_kind kind;
    int rank;
    int64_t shape[ST_WRITE_MAX_RANK];
    const void *data; /* must live until st_write() */
} st_output;

/* Tensors to write, in the order of their data. */
typedef struct st_list {
    st_output *tensors;
    size_t n, capacity;
} st_list;

/* Copies *tensor, but not its data. */
bool st_list_add(st_list *list, const st_output *tensor, failure *f);

/* Safe on a zeroed list. */
void st_list_free(st_list *list);

/* `model` becomes metadata. */
bool st_write(const char *path, const st_list *list, const char *model, failure *f);

#endif
