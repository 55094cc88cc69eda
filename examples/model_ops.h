/* The small kernels of a transformer: each call enqueues one. Tensors are buffers of rows without
 * gaps, in the storage type that the operations were opened for. */
#ifndef EXAMPLES_MODEL_OPS_H
#define EXAMPLES_MODEL_OPS_H

#include "device.h"
#include "failure.h"
#include "profile.h"

typedef enum model_kernel {
    KERNEL_LAYER_NORM,
    KERNEL_GELU,
    KERNEL_ADD,
    KERNEL_ADD_SCALED,
    KERNEL_FROM_F32,
    KERNEL_TO_F32,
    KERNEL_PATCHES,
    KERNEL_GATHER,
    N_MODEL_KERNELS
} model_kernel;

typedef struct model_ops {
    const device *d;  /* must live as long */
    mha_dtype dtype;  /* MHA_F32 or MHA_F16 */
    size_t element;   /* its bytes */
    size_t row_group; /* work-items that share a row of a layer norm */
    cl_program program;
    cl_kernel kernels[N_MODEL_KERNELS];
    profile *profile; /* receives an event per call; NULL: nothing is recorded */
} model_ops;

/* Compiles; *ops must be zeroed or closed. */
bool model_ops_open(const device *d, mha_dtype dtype, model_ops *ops, failure *f);

/* Safe on zeroed operations. */
void model_ops_close(model_ops *ops);

typedef struct layer_norm_weights {
    cl_mem weight, bias;
} layer_norm_weights;

/* `to` may be `from`. */
bool op_layer_norm(const model_ops *ops, cl_mem from, cl_mem to, const layer_norm_weights *weights,
                   size_t rows, size_t width, float epsilon, failure *f);
bool op_gelu(const model_ops *ops, cl_mem x, size_t elements, failure *f);

/* x += y * scale; `scale` [width] may be NULL for 1. */
bool op_add(const model_ops *ops, cl_mem x, cl_mem y, cl_mem scale, size_t rows, size_t width,
            failure *f);

/* Between fp32 and the storage type. */
bool op_from_f32(const model_ops *ops, cl_mem f32, cl_mem to, size_t elements, failure *f);
bool op_to_f32(const model_ops *ops, cl_mem from, cl_mem f32, size_t elements, failure *f);

/* fp32 pixels [3][size][size] -> rows [(size / side)^2][3 * side * side]. */
bool op_patches(const model_ops *ops, cl_mem pixels, cl_mem rows, int size, int side, failure *f);

/* y[row] = words[ids[row]] + positions[places[row]] + type; ids and places are int32. */
typedef struct gather_tables {
    cl_mem words, positions, type;
} gather_tables;
bool op_gather(const model_ops *ops, cl_mem ids, cl_mem places, const gather_tables *tables,
               cl_mem y, size_t rows, size_t width, failure *f);

/* Between buffers of the storage type, in elements. */
bool op_copy(const model_ops *ops, cl_mem from, size_t from_at, cl_mem to, size_t to_at,
             size_t elements, failure *f);

/* The first `elements` of a buffer of the storage type, in fp32, for free(); blocks. NULL on
 * failure. */
float *op_read(const model_ops *ops, cl_mem from, size_t elements, failure *f);

#endif
