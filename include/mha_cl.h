/* libmha-cl: multi-head attention on any OpenCL device.
 *
 *   o = softmax(scale * q k^T + bias, masked) v        (Vaswani et al. 2017, arXiv:1706.03762)
 *
 * Three operations, each with a descriptor, a plan and an enqueue of its own: attention; a linear
 * projection, y = x W^T + b; and the whole multi-head attention layer, which is projections of the
 * inputs to q, k and v, attention, and a projection of its output.
 *
 * Life of a program: mha_engine_create() once per (context, device); mha_plan_create() or another
 * of the plan calls once per kind of work; mha_enqueue_attention() and its like as often as wanted.
 * All compilation happens when the plan is made; an enqueue allocates no device memory, compiles
 * nothing, flushes nothing and never blocks.
 *
 * Terms, used everywhere: q, k, v, o are the tensors; q_heads and kv_heads their heads; query head
 * h reads key/value head h / (q_heads / kv_heads); seqlen_q and seqlen_kv count tokens;
 * head_dim_qk is the width of a row of q and k, head_dim_v that of v and o; lse is the natural
 * logarithm of the softmax denominator.
 *
 * Ownership: descriptors and arguments are copied, never kept. OpenCL objects given to the library
 * stay the caller's; the engine retains the context and the device. Events returned are the
 * caller's to release. There is no global state.
 *
 * Errors: every call that can fail returns an mha_status and, where `error` is not NULL, fills it
 * with a message that names the values at fault. On failure an output handle is NULL, nothing is
 * enqueued (but see mha_enqueue_attention) and nothing leaks.
 */
#ifndef MHA_CL_H
#define MHA_CL_H

#ifndef CL_TARGET_OPENCL_VERSION
#define CL_TARGET_OPENCL_VERSION 300 /* what CL/cl.h declares; the library itself needs 1.2 */
#endif
#ifdef __APPLE__
#include <OpenCL/opencl.h>
#else
#include <CL/cl.h>
#endif
#include <stddef.h>
#include <stdint.h>

#define MHA_VERSION_MAJOR 0
#define MHA_VERSION_MINOR 1
#define MHA_VERSION_PATCH 0
#define MHA_VERSION ((MHA_VERSION_MAJOR << 16) | (MHA_VERSION_MINOR << 8) | MHA_VERSION_PATCH)

#if defined(_WIN32) && defined(MHA_BUILD_SHARED)
#define MHA_API __declspec(dllexport)
#elif defined(__GNUC__)
#define MHA_API __attribute__((visibility("default")))
#else
#define MHA_API
#endif

/* A versioned struct with its defaults: all zero but struct_size. */
#ifdef __cplusplus
template <class T> inline T mha_init() {
    T value = T();
    value.struct_size = sizeof(T);
    return value;
}
#define MHA_INIT(type) mha_init<type>()
extern "C" {
#else
#define MHA_INIT(type)                                                                             \
    { .struct_size = sizeof(type) }
#endif

/* ---- Status ------------------------------------------------------------------------------- */

typedef enum mha_status {
    MHA_SUCCESS = 0,
    MHA_ERR_NULL = -1,         /* a required pointer or handle is NULL */
    MHA_ERR_STRUCT_SIZE = -2,  /* struct_size is zero, too small, or not of this struct */
    MHA_ERR_FLAGS = -3,        /* unknown bit, or a field set whose bit is off */
    MHA_ERR_DTYPE = -4,        /* not an mha_dtype, or not one this tensor may have */
    MHA_ERR_SHAPE = -5,        /* a size below its minimum, or kv_heads does not divide q_heads */
    MHA_ERR_OVERFLOW = -6,     /* sizes or strides whose product leaves 64 bits, or size_t */
    MHA_ERR_VALUE = -7,        /* a number out of range: softcap <= 0, scale NaN, window < -1 */
    MHA_ERR_STRIDE = -8,       /* a negative stride, or an output whose rows overlap */
    MHA_ERR_LIMIT = -9,        /* actual sizes exceed the maxima the plan was made for */
    MHA_ERR_MISALIGNED = -10,  /* an offset that is not a multiple of the element's size */
    MHA_ERR_BUFFER_SIZE = -11, /* a tensor reaches beyond the end of its buffer */
    MHA_ERR_WORKSPACE = -12,   /* workspace missing or too small */
    MHA_ERR_ALIAS = -13,       /* an output overlaps an input, another output or the workspace */
    MHA_ERR_CONTEXT = -14,     /* an OpenCL object of another context, not a valid one, not a
                                   buffer, or one the device may not read or write as needed */
    MHA_ERR_QUEUE = -15,       /* the queue's device or context is not the engine's */
    MHA_ERR_WAIT_LIST = -16,   /* n_wait and wait disagree, or an event of another context */
    MHA_ERR_DEVICE = -17,      /* the device lacks what the library needs; the message says what */
    MHA_ERR_UNSUPPORTED = -18, /* valid, but no variant on this device can do it */
    MHA_ERR_VARIANT = -19,     /* no variant of that name, or it can't do this */
    MHA_ERR_HOST_MEMORY = -20, /* host allocation failed */
    MHA_ERR_DEVICE_MEMORY = -21, /* the OpenCL runtime is out of memory or resources */
    MHA_ERR_BUILD = -22,         /* the device's compiler failed; see mha_engine_build_log() */
    MHA_ERR_OPENCL = -23,        /* another OpenCL call failed; see mha_error.cl_error */
    MHA_ERR_FORKED = -24,        /* the engine was made in a parent process */
    MHA_ERR_PLAN = -25           /* the plan is of another operation */
} mha_status;

/* What went wrong. Owned by the caller; may be uninitialised; written whenever it is given, also
 * on success (then status is MHA_SUCCESS and message is empty). */
typedef struct mha_error {
    mha_status status;
    cl_int cl_error;   /* CL_SUCCESS where no OpenCL call was at fault */
    char message[504]; /* one line, NUL-terminated, with the values at fault */
} mha_error;

/* The name of a status, such as "MHA_ERR_SHAPE". Never NULL; static storage. */
MHA_API const char *mha_status_name(mha_status status);

/* MHA_VERSION of the library at run time. */
MHA_API uint32_t mha_version(void);

/* ---- Engine ------------------------------------------------------------------------------- */

/* Device facts, compiled programs and the program cache of one (context, device).
 * Thread-safety: an engine may be used from any number of threads at once. */
typedef struct mha_engine mha_engine;

typedef enum mha_log_level {
    MHA_LOG_INFO = 0,
    MHA_LOG_WARNING = 1,
    MHA_LOG_ERROR = 2
} mha_log_level;

/* Called from any thread that calls the library, possibly from several at once. `message` is one
 * or more lines and lives only during the call. It must not call the library. */
typedef void (*mha_log_fn)(void *user, mha_log_level level, const char *message);

/* Host memory. The callbacks must not call the library. `allocate` returns NULL on failure, else
 * memory aligned for any object. */
typedef void *(*mha_allocate_fn)(void *user, size_t bytes);
typedef void (*mha_release_fn)(void *user, void *memory);

/* Program cache. The callbacks must not call the library, and may be called from any thread that
 * makes a plan. `key` is 64 hexadecimal digits. load: copies at most `bytes` bytes of the entry to
 * `data` and returns the entry's full size, 0 if there is none (data may be NULL when bytes is 0).
 * store: keeps a copy. Contents are checked when loaded; a bad entry is rebuilt. */
typedef size_t (*mha_cache_load_fn)(void *user, const char *key, void *data, size_t bytes);
typedef void (*mha_cache_store_fn)(void *user, const char *key, const void *data, size_t bytes);

#define MHA_ENGINE_HERMETIC (1ull << 0)      /* touch neither files nor environment */
#define MHA_ENGINE_NO_DISK_CACHE (1ull << 1) /* keep no program binaries on disk */
#define MHA_ENGINE_UNTUNED (1ull << 2)       /* use no tuning results, not even the built-in */

typedef struct mha_engine_desc {
    size_t struct_size;
    uint64_t flags;
    cl_context context;  /* retained */
    cl_device_id device; /* retained; one of the context's devices */
    mha_log_fn log;      /* optional */
    void *log_user;
    mha_allocate_fn allocate; /* optional, together with release */
    mha_release_fn release;
    void *allocator_user;
    mha_cache_load_fn cache_load; /* optional, together with cache_store; replaces the disk */
    mha_cache_store_fn cache_store;
    void *cache_user;
    const char *cache_dir;  /* folder for program binaries; NULL: $XDG_CACHE_HOME/mha-cl or
                               $HOME/.cache/mha-cl. It must be the user's own, and nobody else may
                               write it. */
    const char *kernel_dir; /* development: read the .cl files from here instead of the built-in */
    /* Results of mha-tune: a file or a folder of them, and the text of one; each NULL for none.
     * They come before those of the user ($XDG_CONFIG_HOME/mha-cl/tune or
     * $HOME/.config/mha-cl/tune), of the system (/etc/mha-cl/tune) and the built-in ones, in that
     * order. All are read here, once. What is damaged, of another kind of device, or in a file or
     * folder that others than this process's user and root may write or own is skipped, as is a
     * path that leads nowhere: the log says what and why, no call fails because of it, and
     * mha_plan_info.source tells whether a plan came of a result. Plans with batch invariance use
     * none. MHA_ERR_FLAGS together with MHA_ENGINE_UNTUNED, and for a path with
     * MHA_ENGINE_HERMETIC. */
    const char *tuning_path;
    const char *tuning_text;
} mha_engine_desc;

#define MHA_ENGINE_DESC_INIT MHA_INIT(mha_engine_desc)

/* *engine is NULL on failure. */
MHA_API mha_status mha_engine_create(const mha_engine_desc *desc, mha_engine **engine,
                                     mha_error *error);

/* Drops the caller's reference and sets *engine to NULL; plans keep the engine alive. NULL and
 * pointers to NULL are ignored. */
MHA_API void mha_engine_destroy(mha_engine **engine);

typedef struct mha_engine_info {
    size_t struct_size;
    char device_name[128];
    char platform_name[128];
    char driver_version[128];
    uint64_t programs_compiled; /* from source, since the engine was made */
    uint64_t programs_loaded;   /* from the program cache */
} mha_engine_info;

#define MHA_ENGINE_INFO_INIT MHA_INIT(mha_engine_info)

/* Fills the info->struct_size bytes of *info, zero where the library knows less. */
MHA_API mha_status mha_engine_get_info(const mha_engine *engine, mha_engine_info *info,
                                       mha_error *error);

/* Copies at most `bytes` bytes, NUL included, of the compiler's log of the last build that failed;
 * returns the full size, NUL included (1 for none). */
MHA_API size_t mha_engine_build_log(const mha_engine *engine, char *text, size_t bytes);

/* ---- Attention: what to compute ------------------------------------------------------------ */

/* Storage types. fp16 and bf16 work on every device; accumulation is fp32 (fp64 for MHA_F64, which
 * needs cl_khr_fp64). */
typedef enum mha_dtype { MHA_F32 = 0, MHA_F16 = 1, MHA_BF16 = 2, MHA_F64 = 3 } mha_dtype;

/* i_aligned = i + offset: which key position query i stands at, for causal, window and ALiBi. */
typedef enum mha_alignment {
    MHA_TOP_LEFT = 0,          /* offset 0, as PyTorch's is_causal */
    MHA_BOTTOM_RIGHT = 1,      /* kv_len[b] - q_len[b], as FlashAttention; may be negative */
    MHA_EXPLICIT = 2,          /* args.position_offset, as ONNX with a cache: the past's length */
    MHA_EXPLICIT_PER_BATCH = 3 /* args.position_offsets, int32 [batch] */
} mha_alignment;

/* The stage of the scores that args.scores receives, as the ONNX Attention operator counts them.
 * Every stage is written for keys below the batch's key length and is beyond it -inf (weights: 0).
 */
typedef enum mha_scores_stage {
    MHA_STAGE_WEIGHTS = 0, /* after softmax: the attention weights P */
    MHA_STAGE_SCALED = 1,  /* scale * q k^T */
    MHA_STAGE_SOFTCAP = 2, /* after softcap */
    MHA_STAGE_MASKED = 3   /* after bias, ALiBi and masks */
} mha_scores_stage;

/* Features; a field that belongs to a bit must be zero while the bit is off. */
#define MHA_SCALE (1ull << 0)   /* desc.scale instead of 1/sqrt(head_dim_qk) */
#define MHA_SOFTCAP (1ull << 1) /* s = cap * tanh(s / cap), before bias and masks */
#define MHA_BIAS (1ull << 2)    /* args.bias is added; -inf masks */
#define MHA_MASK (1ull << 3)    /* args.mask, one byte each: nonzero = keep, 0 = mask */
#define MHA_ALIBI (1ull << 4)   /* - slope[h] * |i_aligned - j|  (Press et al., arXiv:2108.12409) */
#define MHA_CAUSAL (1ull << 5)  /* keeps j <= i_aligned */
#define MHA_WINDOW (1ull << 6)  /* keeps i_aligned - left <= j <= i_aligned + right */
#define MHA_SINKS (1ull << 7)   /* a logit per query head that joins the denominator only */
#define MHA_KV_LENGTHS                                                                             \
    (1ull << 8) /* args.kv_lengths, int32 [batch]: keys from there on don't exist */
#define MHA_RAGGED_Q (1ull << 9)         /* q, o packed as [total_q] tokens, args.cu_seqlens_q */
#define MHA_RAGGED_KV (1ull << 10)       /* k, v packed as [total_kv] tokens, args.cu_seqlens_kv */
#define MHA_LSE (1ull << 11)             /* args.lse is written */
#define MHA_SCORES (1ull << 12)          /* args.scores is written, at desc.scores_stage */
#define MHA_BATCH_INVARIANT (1ull << 13) /* a row's bits do not depend on what shares its batch */

/* What a plan is made for: types, features, head sizes and the maxima of the rest. */
typedef struct mha_attention_desc {
    size_t struct_size;
    uint64_t flags;
    mha_dtype dtype;               /* of q, k, v and o */
    mha_dtype bias_dtype;          /* MHA_BIAS: F32, F16, BF16, or F64 where dtype is F64 */
    int64_t q_heads;               /* >= 1, a multiple of kv_heads */
    int64_t kv_heads;              /* >= 1 */
    int64_t head_dim_qk;           /* >= 1 */
    int64_t head_dim_v;            /* >= 1 */
    int64_t max_batch;             /* >= 0 */
    int64_t max_seqlen_q;          /* >= 0 */
    int64_t max_seqlen_kv;         /* >= 0 */
    double scale;                  /* MHA_SCALE: finite */
    double softcap;                /* MHA_SOFTCAP: finite, > 0 */
    int64_t window_left;           /* MHA_WINDOW: >= 0, or -1 for no bound */
    int64_t window_right;          /* MHA_WINDOW: >= 0, or -1 for no bound */
    mha_alignment alignment;       /* nonzero only with MHA_CAUSAL, MHA_WINDOW or MHA_ALIBI */
    mha_scores_stage scores_stage; /* nonzero only with MHA_SCORES */
    size_t workspace_limit_bytes;  /* 0: no limit but the device's largest allocation */
    const char *variant; /* NULL: selection chooses; else a name mha_variant_name() gives */
} mha_attention_desc;

#define MHA_ATTENTION_DESC_INIT MHA_INIT(mha_attention_desc)

/* Name of variant `index`, NULL beyond the last. Static storage. */
MHA_API const char *mha_variant_name(size_t index);

/* Whether mha_plan_create() would find a variant for this: the same validation and selection,
 * without compiling. MHA_SUCCESS, or why not. */
MHA_API mha_status mha_attention_supported(const mha_engine *engine, const mha_attention_desc *desc,
                                           mha_error *error);

/* ---- Plan --------------------------------------------------------------------------------- */

/* A validated descriptor, its kernels compiled. Immutable.
 * Thread-safety: one plan may be enqueued from several threads at once, and the kernels of its
 * calls do not interleave on a queue; executions that overlap need workspaces and outputs of their
 * own. Calls of different plans that share a workspace are the caller's to keep apart. */
typedef struct mha_plan mha_plan;

/* Validates, selects a variant and compiles, or loads from the program cache. Everything the
 * device's driver would compile late, at a first launch, is forced here: this call may take
 * seconds and blocks. *plan is NULL on failure. */
MHA_API mha_status mha_plan_create(mha_engine *engine, const mha_attention_desc *desc,
                                   mha_plan **plan, mha_error *error);

/* Sets *plan to NULL. Safe while enqueued work is in flight, and in any order with the engine. */
MHA_API void mha_plan_destroy(mha_plan **plan);

typedef struct mha_plan_info {
    size_t struct_size;
    size_t workspace_bytes; /* what args.workspace must hold for the plan's maxima */
    char variant[32];
    char parameters[256]; /* "BLOCK_Q=96 BLOCK_KV=128 ..." */
    char source[64];      /* where they came from: "heuristic", or the table of tuning results
                             and how it matches, such as "user table: same device" */
    char reason[256];     /* why this variant */
    double flops;         /* floating-point operations of one call at the plan's maxima: 2 per
                             multiply-add of every matrix product, masks not taken off */
    double bytes;         /* its inputs, weights and outputs, read or written once; of a layer, also
                             what passes from stage to stage */
    size_t packed_bytes;  /* of the weights packed for this plan; 0 for an attention */
    /* Weights packed by one plan are good for every plan of the same packed_layout on the same
     * device, whatever its maxima, its other features and its MHA_*_PACKED flag; but not for
     * keeping them on disk. 0 for an attention. */
    uint64_t packed_layout;
} mha_plan_info;

#define MHA_PLAN_INFO_INIT MHA_INIT(mha_plan_info)

/* Fills the info->struct_size bytes of *info, zero where the library knows less. */
MHA_API mha_status mha_plan_get_info(const mha_plan *plan, mha_plan_info *info, mha_error *error);

/* ---- Arguments of a call ------------------------------------------------------------------- */

/* A reference to device memory. Kinds beyond MHA_BUFFER are reserved. */
typedef enum mha_memory_kind { MHA_BUFFER = 0 } mha_memory_kind;
typedef struct mha_memory {
    mha_memory_kind kind;
    union {
        cl_mem buffer; /* a buffer or sub-buffer of the engine's context */
        void *pointer; /* reserved for shared virtual memory */
    };
    size_t offset_bytes; /* any multiple of the element's size */
} mha_memory;

/* q, k, v or o: element (b, h, t, d) lies at b * stride_batch + h * stride_head +
 * t * stride_token + d elements from the memory's start. Strides are >= 0 and taken literally;
 * 0 broadcasts (inputs only). Ragged: t counts from cu_seqlens[b] and stride_batch must be 0. */
typedef struct mha_tensor {
    mha_memory memory;
    int64_t stride_batch, stride_head, stride_token;
} mha_tensor;

/* bias or mask over (batch, head, query, key); stride 0 broadcasts. */
typedef struct mha_score_tensor {
    mha_memory memory;
    int64_t stride_batch, stride_head, stride_query, stride_key;
} mha_score_tensor;

/* Members whose flag is off in the plan must be zero. */
typedef struct mha_attention_args {
    size_t struct_size;
    int64_t batch;           /* 0 .. max_batch */
    int64_t seqlen_q;        /* 0 .. max_seqlen_q; ragged: the longest */
    int64_t seqlen_kv;       /* 0 .. max_seqlen_kv; ragged: the longest */
    int64_t total_q;         /* MHA_RAGGED_Q: tokens in q and o */
    int64_t total_kv;        /* MHA_RAGGED_KV: tokens in k and v */
    int64_t position_offset; /* MHA_EXPLICIT */
    mha_tensor q, k, v, o;
    mha_score_tensor bias;       /* MHA_BIAS: desc.bias_dtype */
    mha_score_tensor mask;       /* MHA_MASK: bytes */
    mha_memory alibi_slopes;     /* MHA_ALIBI: fp32 [q_heads] */
    mha_memory sinks;            /* MHA_SINKS: fp32 [q_heads] */
    mha_memory kv_lengths;       /* MHA_KV_LENGTHS: int32 [batch], clamped to 0 .. seqlen_kv */
    mha_memory cu_seqlens_q;     /* MHA_RAGGED_Q: int32 [batch + 1], from 0, not falling */
    mha_memory cu_seqlens_kv;    /* MHA_RAGGED_KV: int32 [batch + 1], from 0, not falling */
    mha_memory position_offsets; /* MHA_EXPLICIT_PER_BATCH: int32 [batch] */
    mha_memory lse;        /* MHA_LSE: fp32 [batch][q_heads][seqlen_q]; ragged [q_heads][total_q] */
    mha_memory scores;     /* MHA_SCORES: fp32 (fp64 where dtype is), [batch][q_heads][seqlen_q]
                              [seqlen_kv]; ragged [q_heads][total_q][seqlen_kv] */
    mha_memory workspace;  /* mha_plan_info.workspace_bytes; may be NULL where that is 0 */
    cl_event *first_event; /* optional: the event of the call's first kernel, for
                              mha_profile_span(); the caller's to release. NULL on failure */
} mha_attention_args;

#define MHA_ATTENTION_ARGS_INIT MHA_INIT(mha_attention_args)

/* A buffer from a byte on. */
MHA_API mha_memory mha_buffer(cl_mem buffer, size_t offset_bytes);

/* Contiguous [batch][heads][tokens][head_dim]. */
MHA_API mha_tensor mha_tensor_bhnd(cl_mem buffer, size_t offset_bytes, int64_t heads,
                                   int64_t tokens, int64_t head_dim);
/* Contiguous [batch][tokens][heads][head_dim]. */
MHA_API mha_tensor mha_tensor_bnhd(cl_mem buffer, size_t offset_bytes, int64_t heads,
                                   int64_t tokens, int64_t head_dim);
/* One of q, k, v (part 0, 1, 2) in a packed [batch][tokens][3][heads][head_dim]. */
MHA_API mha_tensor mha_tensor_qkv(cl_mem buffer, size_t offset_bytes, mha_dtype dtype, int part,
                                  int64_t heads, int64_t tokens, int64_t head_dim);

/* Contiguous [token][width], for ragged batches. */
MHA_API mha_tensor mha_tensor_rows(cl_mem buffer, size_t offset_bytes, int64_t width);

/* Enqueues one attention on `queue`, in-order or out-of-order, after the n_wait events in `wait`.
 * `event`, if not NULL, receives one event that completes after all of the call's kernels; it is
 * the caller's to release. Zero batch or zero queries write nothing but honour the wait list and
 * the event. If OpenCL fails midway, what was already enqueued completes, no event is given and
 * the outputs are undefined; every other failure enqueues nothing. o, lse and scores may overlap
 * neither one another nor any input nor the workspace; inputs may overlap each other. */
MHA_API mha_status mha_enqueue_attention(mha_plan *plan, cl_command_queue queue,
                                         const mha_attention_args *args, cl_uint n_wait,
                                         const cl_event *wait, cl_event *event, mha_error *error);

/* Nanoseconds from the start of `first` to the end of `last`, both complete and of a queue with
 * profiling; 0 where the profile can't be had. */
MHA_API uint64_t mha_profile_span(cl_event first, cl_event last);

/* ---- Linear projection ---------------------------------------------------------------------- */

/* y = x W^T + b, as PyTorch's Linear: x [rows][in_features], W [out_features][in_features],
 * b [out_features], y [rows][out_features]. Accumulated in fp32 (fp64 where dtype is MHA_F64),
 * rounded once. */
#define MHA_LINEAR_BIAS (1ull << 48)   /* b is added */
#define MHA_LINEAR_PACKED (1ull << 49) /* args.weight is what mha_enqueue_linear_pack() wrote */

typedef struct mha_linear_desc {
    size_t struct_size;
    uint64_t flags;
    mha_dtype dtype;        /* of x and y */
    mha_dtype weight_dtype; /* of W and b; MHA_F64 exactly where dtype is */
    int64_t in_features;    /* >= 1 */
    int64_t out_features;   /* >= 1 */
    int64_t max_rows;       /* >= 0 */
    size_t workspace_limit_bytes;
    const char *variant; /* NULL: selection chooses */
} mha_linear_desc;

#define MHA_LINEAR_DESC_INIT MHA_INIT(mha_linear_desc)

/* Rows of contiguous elements, stride_row elements apart; >= 0, 0 repeats one row (inputs only). */
typedef struct mha_matrix {
    mha_memory memory;
    int64_t stride_row;
} mha_matrix;

typedef struct mha_linear_args {
    size_t struct_size;
    int64_t rows; /* 0 .. max_rows */
    mha_matrix x, y;
    mha_memory weight;     /* [out_features][in_features], or packed: plan info's packed_bytes */
    mha_memory bias;       /* MHA_LINEAR_BIAS without MHA_LINEAR_PACKED: [out_features] */
    mha_memory workspace;  /* mha_plan_info.workspace_bytes; may be NULL where that is 0 */
    cl_event *first_event; /* as in mha_attention_args */
} mha_linear_args;

#define MHA_LINEAR_ARGS_INIT MHA_INIT(mha_linear_args)

/* Name of variant `index` of linear projections, NULL beyond the last. Static storage. */
MHA_API const char *mha_linear_variant_name(size_t index);

/* As mha_attention_supported() and mha_plan_create(), for a linear projection. */
MHA_API mha_status mha_linear_supported(const mha_engine *engine, const mha_linear_desc *desc,
                                        mha_error *error);
MHA_API mha_status mha_linear_plan_create(mha_engine *engine, const mha_linear_desc *desc,
                                          mha_plan **plan, mha_error *error);

/* As mha_enqueue_attention(). */
MHA_API mha_status mha_enqueue_linear(mha_plan *plan, cl_command_queue queue,
                                      const mha_linear_args *args, cl_uint n_wait,
                                      const cl_event *wait, cl_event *event, mha_error *error);

/* Rearranges weight, and bias with MHA_LINEAR_BIAS, for the plan's kernels: once, since weights do
 * not change between calls. `packed` receives plan info's packed_bytes, for calls with
 * MHA_LINEAR_PACKED; packed_layout tells which plans may share them. */
MHA_API mha_status mha_enqueue_linear_pack(mha_plan *plan, cl_command_queue queue,
                                           const mha_memory *weight, const mha_memory *bias,
                                           const mha_memory *packed, cl_uint n_wait,
                                           const cl_event *wait, cl_event *event, mha_error *error);

/* ---- Multi-head attention layer -------------------------------------------------------------- */

/* Projects the inputs to q, k and v, attends, merges the heads and projects the output:
 *
 *   q = query Wq^T + bq,  k = key Wk^T + bk,  v = value Wv^T + bv,
 *   y = merge_heads(attention(q, k, v)) Wo^T + bo
 *
 * Rows of Wq are ordered [q_heads][head_dim_qk], of Wk [kv_heads][head_dim_qk], of Wv
 * [kv_heads][head_dim_v]; Wo is [embed_out][q_heads * head_dim_v]. Every weight is laid out as
 * PyTorch's Linear, [out][in], contiguous; one that a model stores as [in][out] must be transposed
 * first, which can't be seen from here.
 *
 * What a model does between projection and attention (rotary embeddings, norms of q and k) has no
 * place in a layer: there mha_enqueue_linear(), the model's own kernel and mha_enqueue_attention()
 * take its place.
 *
 * Decoding: a second plan with max_seqlen_q 1 serves single tokens faster than the one made for
 * prompts; both share the packed weights where their packed_layout is the same. */
#define MHA_LAYER_FUSED_QKV                                                                        \
    (1ull << 32) /* self-attention: one input, args.query, and one weight, Wq, Wk, Wv stacked */
#define MHA_LAYER_QKV_BIAS (1ull << 33)    /* bq, bk and bv */
#define MHA_LAYER_OUTPUT (1ull << 34)      /* the output projection; without it y is merged heads */
#define MHA_LAYER_OUTPUT_BIAS (1ull << 35) /* bo; only with MHA_LAYER_OUTPUT */
#define MHA_LAYER_PACKED (1ull << 36)      /* args.packed is what mha_enqueue_layer_pack() wrote */
#define MHA_LAYER_KV_CACHE                                                                         \
    (1ull << 37) /* projected k and v are written to attention.k and .v, which may hold a past */

typedef struct mha_layer_desc {
    size_t struct_size;
    uint64_t flags;
    const mha_attention_desc *attention; /* heads, head sizes, maxima, dtype and every feature;
                                            its workspace_limit_bytes is the attention's alone */
    mha_dtype weight_dtype;              /* of all weights; MHA_F64 exactly where dtype is */
    int64_t embed_q;                     /* width of query, >= 1 */
    int64_t embed_k;                     /* of key and of value, >= 1; 0 with */
    int64_t embed_v;                     /* MHA_LAYER_FUSED_QKV */
    int64_t embed_out;                   /* MHA_LAYER_OUTPUT: width of y, >= 1 */
    const char *projection_variant;      /* NULL: selection chooses, for each projection */
} mha_layer_desc;

#define MHA_LAYER_DESC_INIT MHA_INIT(mha_layer_desc)

/* Members whose flag is off must be zero. */
typedef struct mha_layer_weights {
    size_t struct_size;
    mha_memory qkv;                    /* MHA_LAYER_FUSED_QKV: [rows of Wq, Wk and Wv][embed_q] */
    mha_memory q, k, v;                /* else: one each */
    mha_memory qkv_bias;               /* MHA_LAYER_QKV_BIAS: with MHA_LAYER_FUSED_QKV */
    mha_memory q_bias, k_bias, v_bias; /* and without; zeros where a model has not all three */
    mha_memory output;                 /* MHA_LAYER_OUTPUT */
    mha_memory output_bias;            /* MHA_LAYER_OUTPUT_BIAS */
} mha_layer_weights;

#define MHA_LAYER_WEIGHTS_INIT MHA_INIT(mha_layer_weights)

typedef struct mha_layer_args {
    size_t struct_size;
    /* batch, lengths, positions, bias, mask and the other inputs and outputs of the attention; its
     * q, o, workspace and first_event must be zero. So must k and v, but with MHA_LAYER_KV_CACHE
     * they hold seqlen_kv tokens: the past, and from token seqlen_past on the projected key and
     * value. */
    const mha_attention_args *attention;
    int64_t seqlen_past; /* MHA_LAYER_KV_CACHE: 0 .. seqlen_kv, which counts it too; one number for
                            the whole batch; 0 with MHA_RAGGED_KV. With a past, causal, window and
                            ALiBi need MHA_BOTTOM_RIGHT or an explicit alignment */
    /* [batch][token][embed], as mha_tensor_bnhd() with one head gives, ragged mha_tensor_rows().
     * query and y have seqlen_q tokens, key and value seqlen_kv - seqlen_past; ragged: total_q and
     * total_kv, stride_batch 0; rows of y beyond the last sequence are then undefined. key and
     * value must be zero with MHA_LAYER_FUSED_QKV, which needs as many queries as new keys. */
    mha_tensor query, key, value;
    mha_tensor y; /* width embed_out, or q_heads * head_dim_v without MHA_LAYER_OUTPUT */
    const mha_layer_weights *weights; /* NULL with MHA_LAYER_PACKED */
    mha_memory packed;                /* MHA_LAYER_PACKED: plan info's packed_bytes */
    mha_memory workspace;             /* mha_plan_info.workspace_bytes */
    cl_event *first_event;            /* as in mha_attention_args */
} mha_layer_args;

#define MHA_LAYER_ARGS_INIT MHA_INIT(mha_layer_args)

/* As mha_attention_supported() and mha_plan_create(), for a layer. Of its mha_plan_info, bytes and
 * sizes are the whole layer's, variant and reason the attention's; see mha_plan_stage(). */
MHA_API mha_status mha_layer_supported(const mha_engine *engine, const mha_layer_desc *desc,
                                       mha_error *error);
MHA_API mha_status mha_layer_plan_create(mha_engine *engine, const mha_layer_desc *desc,
                                         mha_plan **plan, mha_error *error);

/* Stage `index` of a layer's plan in order of execution, for mha_plan_get_info(): borrowed, lives
 * as long as the layer's plan. *name, if name is not NULL: "qkv", "q", "k", "v", "attention" or
 * "output". NULL beyond the last, and for a plan that is no layer's. A call may run "qkv" and
 * "attention" as one kernel: the attention's reason says whether; MHA_BATCH_INVARIANT, or a variant
 * asked for by name, keeps them apart. */
MHA_API const mha_plan *mha_plan_stage(const mha_plan *plan, size_t index, const char **name);

/* As mha_enqueue_attention(): y may overlap no input, weight or workspace. */
MHA_API mha_status mha_enqueue_layer(mha_plan *plan, cl_command_queue queue,
                                     const mha_layer_args *args, cl_uint n_wait,
                                     const cl_event *wait, cl_event *event, mha_error *error);

/* As mha_enqueue_linear_pack(), for all weights of the layer. */
MHA_API mha_status mha_enqueue_layer_pack(mha_plan *plan, cl_command_queue queue,
                                          const mha_layer_weights *weights,
                                          const mha_memory *packed, cl_uint n_wait,
                                          const cl_event *wait, cl_event *event, mha_error *error);

#ifdef __cplusplus
}
#endif
#endif
