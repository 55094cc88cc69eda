/* A test case: a kind of attention, its sizes, its layout and what its inputs are like; and the
 * buffers of one, with a host image of every byte. */
#ifndef TESTS_CASES_H
#define TESTS_CASES_H

#include "device.h"
#include "numbers.h"
#include "reference.h"

enum layout {
    LAYOUT_BHND,
    LAYOUT_BNHD,
    LAYOUT_PADDED,       /* gaps in every stride, odd offsets, bias and mask with key stride 2 */
    LAYOUT_PACKED_QKV,   /* forces seqlen_kv, kv_heads and head_dim_v to those of q */
    LAYOUT_INTERLEAVED,  /* a slice of a cache [batch][tokens][2][heads][head_dim] of k and v */
    LAYOUT_BROADCAST_KV, /* one k and v for all batches and heads, by strides of 0 */
    LAYOUT_COUNT
};

/* Axes of bias and mask that are broadcast. */
#define AXIS_BATCH 1u
#define AXIS_HEAD 2u
#define AXIS_QUERY 4u
#define AXIS_KEY 8u

enum pattern {
    PATTERN_DEFAULT,    /* mask: 30 % off; bias: all finite */
    PATTERN_SPARSE,     /* 30 % masked */
    PATTERN_EMPTY_ROWS, /* every third query is left without a key */
    PATTERN_LEADING     /* the first three quarters of the keys are masked: whole tiles */
};

enum fill {
    FILL_RANDOM,  /* scores with a standard deviation near 2 */
    FILL_WIDE,    /* scores up to about +-logits */
    FILL_SHIFTED, /* all scores within +-5 of logits (odd heads: -logits), exact in fp32 */
    FILL_CONSTANT_V
};

/* Rows of k and v that no query sees, and the one that fewest see, hold this. */
enum poison { POISON_NONE, POISON_NAN, POISON_INF };

/* Zero means the default of every member but the sizes. */
struct test_case {
    char name[128];
    const char *variant; /* NULL: selection chooses */
    mha_dtype dtype;
    uint64_t flags;
    int64_t batch, q_heads, kv_heads, seqlen_q, seqlen_kv, head_dim_qk, head_dim_v;
    int64_t slack; /* how far the plan's maxima exceed the actual sizes */
    double scale, softcap;
    int64_t window_left, window_right;
    mha_alignment alignment;
    int64_t position; /* of MHA_EXPLICIT; the mean of MHA_EXPLICIT_PER_BATCH */
    mha_scores_stage scores_stage;
    mha_dtype bias_dtype;
    unsigned bias_broadcast, mask_broadcast; /* AXIS_* */
    enum pattern bias_pattern, mask_pattern;
    bool has_zero_lengths; /* all kv_lengths are 0 */
    enum layout layout;
    enum fill fill;
    double logits;
    enum poison poison;
    bool is_out_of_order;
    bool is_tight; /* nothing lies behind the last row of bias and mask */
    uint64_t seed;
};

/* Elements on each side of every tensor that nothing may read or write; tight ones have none behind
 * them. */
#define CANARY_ELEMENTS 128
/* Bytes nobody wrote: a NaN in every storage type. */
#define CANARY_BITS 0xfff5

struct test_buffer {
    enum number type;
    size_t bytes;
    unsigned char *image; /* what the device's copy holds before the call */
    double *values;       /* of each element of image */
    cl_mem mem;
    bool is_tight;        /* the device's copy ends where reading on is a fault, as far as it can */
    unsigned char *pages; /* that hold it then */
};

/* Element (x0, x1, x2, x3), each below its extent, of a buffer. */
struct test_view {
    struct test_buffer *buffer;     /* NULL: the call has no such tensor */
    int64_t offset;                 /* elements */
    struct reference_tensor tensor; /* tensor.data points into buffer->values */
    int64_t extent[4];
};

#define MAX_BUFFERS 16

struct case_data {
    struct test_case test;
    mha_attention_desc desc;
    struct reference_input in;
    struct test_buffer buffers[MAX_BUFFERS];
    int buffer_count;
    struct test_view q, k, v, o, bias, mask, alibi_slopes, sinks;
    struct test_view kv_lengths, cu_seqlens_q, cu_seqlens_kv, position_offsets, lse, scores;
    struct test_view workspace;
};

/* The descriptor of a plan for the case. */
void case_get_desc(const struct test_case *test, mha_attention_desc *desc);

/* Gives the inputs their values. */
void case_fill(struct case_data *data);

/* Makes the inputs and the images of all buffers but the workspace, no OpenCL object. */
void case_init(struct case_data *data, const struct test_case *test);
void case_release(struct case_data *data);

/* Adds the workspace, makes the OpenCL buffers and fills *args. */
void case_upload(struct case_data *data, const struct test_device *device, size_t workspace_bytes,
                 mha_attention_args *args);
void case_release_buffers(struct case_data *data);

/* `elements` canaries, on the host. */
void buffer_init(struct test_buffer *buffer, enum number type, int64_t elements);
/* Makes the device's copy. */
void buffer_upload(struct test_buffer *buffer, const struct test_device *device);
void buffer_release_device(struct test_buffer *buffer);

/* Of elements of the buffer. */
int64_t view_index(const struct test_view *view, int64_t x0, int64_t x1, int64_t x2, int64_t x3);
double view_get(const struct test_view *view, int64_t x0, int64_t x1, int64_t x2, int64_t x3);
void view_put(const struct test_view *view, int64_t x0, int64_t x1, int64_t x2, int64_t x3,
              double value);
size_t view_offset_bytes(const struct test_view *view);
/* As arguments of a call; all zero for a view without a buffer. */
mha_memory view_memory(const struct test_view *view);
mha_tensor view_tensor(const struct test_view *view);

#endif
