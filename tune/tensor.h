/* Tensors of a correctness check: known values, and canaries wherever there are none. */
#ifndef TUNE_TENSOR_H
#define TUNE_TENSOR_H

#include "numbers.h"
#include "target.h"

/* Elements before and after each tensor that nothing may read or write, and 16 bits of them: a NaN
 * in every floating-point type. */
#define MARGIN_ELEMENTS 128
#define CANARY_BITS 0xfff5

/* An endless sequence of values that comes round only after a prime number of elements: neither
 * rows nor heads repeat. */
struct pattern {
    enum number type;
    double *values;
    unsigned char *storage;
};

/* Uniform from low to high, rounded to the type. False when memory runs out. */
bool pattern_init(struct pattern *pattern, enum number type, double low, double high,
                  uint64_t seed);
void pattern_release(struct pattern *pattern);

/* Elements from number `first` of the sequence on, as the device stores them or as doubles. */
void pattern_store(const struct pattern *pattern, int64_t first, int64_t count, void *storage);
void pattern_values(const struct pattern *pattern, int64_t first, int64_t count, double *values);

/* [batch][tokens][heads][width] in memory, or of a cache [batch][heads][tokens][width]; rows are
 * counted as [batch][heads][tokens]. */
struct tensor {
    enum number type;
    int64_t batch, heads, tokens, width;
    int64_t stride_batch, stride_head, stride_token;
    size_t elements; /* of the buffer, margins included */
    cl_mem buffer;   /* NULL: there is no such tensor */
};

/* Strides and size, no buffer. `padding`: elements between rows. */
struct tensor tensor_layout(enum number type, int64_t batch, int64_t heads, int64_t tokens,
                            int64_t width, int64_t padding);

/* The same of a cache, to which tokens are added head by head. */
struct tensor tensor_cache_layout(enum number type, int64_t batch, int64_t heads, int64_t tokens,
                                  int64_t width, int64_t padding);

/* The element with which a row begins, from the buffer's start. */
int64_t tensor_row(const struct tensor *tensor, int64_t row);

mha_tensor tensor_argument(const struct tensor *tensor);
mha_memory tensor_memory(const struct tensor *tensor);

/* Makes the buffer. Row r holds the elements of the pattern from r * width on;
 * pattern NULL: canaries only. False with a reason. */
bool tensor_upload(struct tensor *tensor, const struct target *target,
                   const struct pattern *pattern, char *why, size_t why_bytes);

/* Makes the buffer with the contents of another tensor of this layout. False with a reason. */
bool tensor_copy(struct tensor *tensor, const struct target *target, const struct tensor *from,
                 char *why, size_t why_bytes);

/* Canaries everywhere, again. */
bool tensor_clear(const struct tensor *tensor, const struct target *target, char *why,
                  size_t why_bytes);

/* Reads the whole buffer to *bytes, which is the caller's to free. */
bool tensor_download(const struct tensor *tensor, const struct target *target,
                     unsigned char **bytes, char *why, size_t why_bytes);

/* Whether every element was written with a number of at most `limit` (INFINITY: with anything), and
 * nothing else was; not of a cache. */
bool tensor_is_intact(const struct tensor *tensor, const unsigned char *bytes, double limit,
                      const char *name, char *why, size_t why_bytes);

/* Only that the margins are as they were: for memory that kernels may use as they like. */
bool tensor_has_margins(const struct tensor *tensor, const struct target *target, const char *name,
                        char *why, size_t why_bytes);

void tensor_release(struct tensor *tensor);

#endif
