/* The parts of buffers that a call reads and writes. */
#ifndef MHA_REGIONS_H
#define MHA_REGIONS_H

#include "desc.h"
#include "engine.h"

#define MHA_MAX_REGIONS 40 /* of the largest call, a layer's */

struct axis {
    int64_t count, stride;
    const char *name;
};

enum access { ACCESS_READ = 1, ACCESS_WRITE = 2, ACCESS_READ_WRITE = 3 };

/* What OpenCL says of a buffer. */
struct buffer {
    cl_mem handle, root; /* the same, or what it is a sub-buffer of */
    size_t origin, size; /* origin in the root, in bytes */
    cl_mem_flags flags;
};

/* A part of a buffer that the call reads or writes, in bytes of the root buffer. */
struct region {
    const char *name;
    struct buffer buffer;
    uint64_t begin, end; /* empty where equal */
    enum access access;
    struct axis axes[3]; /* of q, k, v and o, in bytes; the others are contiguous: row_bytes 0 */
    int64_t row_bytes;
};

/* All of one call. */
struct regions {
    const mha_engine *engine;
    struct region list[MHA_MAX_REGIONS];
    int count;
};

/* Shape of a tensor [batch][heads][tokens][head_dim]; ragged: tokens of all batch entries. */
struct extents {
    int64_t batch, heads, tokens, head_dim;
    bool is_ragged;
    const char *token_axis; /* its name in messages; NULL: "token" */
};

/* Resolves a reference of `elements` elements: context, alignment, size; *offset in elements. */
mha_status mha_add_region(const char *name, const mha_memory *memory, int64_t elements,
                          size_t element_bytes, enum access access, struct regions *regions,
                          int64_t *offset, mha_error *error);

/* The same for the workspace, of `bytes` bytes; nothing where that is 0. */
mha_status mha_add_workspace(const mha_memory *memory, size_t bytes, size_t element_bytes,
                             struct regions *regions, int64_t *offset, mha_error *error);

/* The same for a tensor with strides; rows of an output must not touch. */
mha_status mha_add_tensor(const char *name, const mha_tensor *tensor, const struct extents *extents,
                          mha_dtype dtype, enum access access, struct regions *regions,
                          struct mha_tensor_args *args, mha_error *error);

/* Elements from the first to the last, `dim` of them in each row; 0 where an axis is empty. */
mha_status mha_get_extent(const char *tensor, const struct axis *axes, int axis_count, int64_t dim,
                          int64_t *extent, mha_error *error);

/* Outputs may overlap neither one another nor an input. */
mha_status mha_check_aliases(const struct regions *regions, mha_error *error);

/* Whether any member of it is set; padding may hold anything. */
bool mha_memory_is_set(const mha_memory *memory);
bool mha_tensor_is_set(const mha_tensor *tensor);
bool mha_score_tensor_is_set(const mha_score_tensor *tensor);

#endif
