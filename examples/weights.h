/* Trained weights from a safetensors file to buffers of the storage type. */
#ifndef EXAMPLES_WEIGHTS_H
#define EXAMPLES_WEIGHTS_H

#include "model_ops.h"
#include "safetensors.h"

/* The fp32 tensor `name` of shape [rows][columns], or [rows] where columns is 0. */
bool weights_read(const model_ops *ops, const st_file *file, const char *name, int64_t rows,
                  int64_t columns, cl_mem *buffer, failure *f);

/* One tensor of a list, and where it goes. */
typedef struct weight_slot {
    const char *name;
    int64_t rows, columns;
    cl_mem *buffer;
} weight_slot;
bool weights_read_all(const model_ops *ops, const st_file *file, const weight_slot *slots, int n,
                      failure *f);

/* Opens DIR/name, where DIR is `folder` or, if that is NULL, mha-cl/models in the user's cache. A
 * missing file fails with what to do about it. */
st_file *weights_open(const char *folder, const char *name, failure *f);

/* The path of a file there; false where it is too long or there is no home. */
bool weights_path(const char *folder, const char *name, char *path, size_t bytes, failure *f);

#endif
