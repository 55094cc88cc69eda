/* The by-value arguments of all kernels, shared by host and device.
 *
 * In: included by src/ (C) and, as the first text of every program, by the kernels (OpenCL C).
 * Only 8-byte members first, then 4-byte ones, an even number of them: host and device lay the
 * structs out alike without packing. Offsets and strides count elements. */
#ifndef MHA_ARGUMENTS_H
#define MHA_ARGUMENTS_H

#ifdef __OPENCL_C_VERSION__
typedef long mha_long;
typedef int mha_int;
#else
#include <CL/cl_platform.h>
typedef cl_long mha_long;
typedef cl_int mha_int;
#endif

/* The values of the public MHA_* bits and enums that a kernel reads; src/enqueue.c asserts them. */
#define FLAG_SOFTCAP (1 << 1)
#define FLAG_BIAS (1 << 2)
#define FLAG_MASK (1 << 3)
#define FLAG_ALIBI (1 << 4)
#define FLAG_CAUSAL (1 << 5)
#define FLAG_WINDOW (1 << 6)
#define FLAG_SINKS (1 << 7)
#define FLAG_KV_LENGTHS (1 << 8)
#define FLAG_RAGGED_Q (1 << 9)
#define FLAG_RAGGED_KV (1 << 10)
#define FLAG_LSE (1 << 11)
#define FLAG_SCORES (1 << 12)

/* Not a public one: rows of k and v, more than caches hold, are asked for ahead. */
#define FLAG_FETCH (1 << 30)

#define DTYPE_F32 0
#define DTYPE_F16 1
#define DTYPE_BF16 2
#define DTYPE_F64 3

#define ALIGN_TOP_LEFT 0
#define ALIGN_BOTTOM_RIGHT 1
#define ALIGN_EXPLICIT 2
#define ALIGN_EXPLICIT_PER_BATCH 3

#define STAGE_WEIGHTS 0
#define STAGE_SCALED 1
#define STAGE_SOFTCAP 2
#define STAGE_MASKED 3

/* No length or position offset is larger, and no window as much as twice that: then an aligned
 * position plus a window still fits 32 bits. */
#define MHA_MAX_POSITION (1 << 29)

struct mha_tensor_args {
    mha_long offset, stride_batch, stride_head, stride_token;
};

struct mha_score_args {
    mha_long offset, stride_batch, stride_head, stride_query, stride_key;
};

/* What every kernel's struct begins with: the part of the grid that a dispatch covers. */
struct mha_grid_args {
    mha_long first_block; /* of this dispatch, where a launch is cut into several */
    mha_long blocks;      /* of the whole grid */
};

struct mha_attention_kernel_args {
    mha_long first_block, blocks; /* as mha_grid_args */
    struct mha_tensor_args q, k, v, o;
    struct mha_score_args bias, mask;
    mha_long alibi_offset, sinks_offset;
    mha_long kv_lengths_offset, cu_seqlens_q_offset, cu_seqlens_kv_offset, positions_offset;
    mha_long lse_offset, scores_offset;
    mha_long total_q, total_kv;
    mha_long scratch_offset;       /* staged: probabilities; split: partial outputs; in reals */
    mha_long scratch_stats_offset; /* split: their largest scores and sums, in reals */
    mha_long split_rows;           /* split: rows of o over all heads and batches; else 0 */
    mha_long first_pair;           /* staged: first (batch, head) of this chunk */
    mha_long scale_bits;           /* a float or a double, by the kernel's real type */
    mha_long softcap_bits;
    mha_int flags;
    mha_int batch, q_heads, kv_heads;
    mha_int seqlen_q, seqlen_kv;
    mha_int head_dim_qk, head_dim_v;
    mha_int alignment, position_offset;
    mha_int window_left, window_right; /* < 0: no bound */
    mha_int bias_dtype;
    mha_int scores_stage;
    mha_int block_q, block_kv;  /* tile sizes that need no compilation */
    mha_int blocks_q;           /* blocks of queries per head */
    mha_int splits, split_keys; /* split: parts of the KV sequence and the keys of each */
    mha_int chunk_pairs;        /* staged: (batch, head) pairs of this chunk */
};

#define FLAG_LINEAR_BIAS 1

/* Tensors that a linear projection's columns are shared out to: q, k and v. */
#define MHA_MAX_SEGMENTS 3

/* Row r of x and y is token r % tokens of batch entry r / tokens. Column c of y belongs to the
 * first segment s with c < segment_end[s]; it is element d of head h there, where h * head_dim[s] +
 * d counts from the segment's first column. */
struct mha_gemm_args {
    mha_long first_block, blocks; /* as mha_grid_args */
    mha_long x_offset, x_stride_batch, x_stride_token;
    mha_long weight_offset, bias_offset;
    mha_long packed_offset, packed_bias_offset;
    struct mha_tensor_args y[MHA_MAX_SEGMENTS];
    mha_int segment_end[MHA_MAX_SEGMENTS];
    mha_int head_dim[MHA_MAX_SEGMENTS];
    mha_int flags;
    mha_int rows, tokens, in_features, out_features;
    mha_int block_m, block_n; /* tile sizes that need no compilation */
    mha_int blocks_n;         /* blocks of columns */
};

/* An attention whose q, k and v the kernel projects itself. */
struct mha_panel_qkv_args {
    struct mha_attention_kernel_args attention; /* with the grid */
    struct mha_gemm_args gemm;                  /* x, packed weights and in_features */
    mha_int group_heads;                        /* heads of k and v of a work-group */
    mha_int groups;                             /* work-groups of a batch entry */
};

#endif
