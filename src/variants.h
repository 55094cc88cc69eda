/* The table of kernel variants: what each needs, what can be tuned, and how it is launched.
 *
 * legal() is one function per variant: selection asks it for its choice, the tuner to enumerate,
 * the config loader to reject a stale entry. */
#ifndef MHA_VARIANTS_H
#define MHA_VARIANTS_H

#include "desc.h"
#include "device.h"

/* Every tunable of every variant; upper-case names are the same in .cl and config files. */
enum tunable {
    VEC,           /* lanes of a vector */
    LANE_VECTORS,  /* vectors of keys side by side in a register tile */
    MICRO_KV,      /* keys in a register tile of QK^T, where lanes are no keys */
    MICRO_D,       /* vectors of value dims in a register tile of PV */
    BLOCK_Q,       /* queries of a work-group */
    BLOCK_KV,      /* keys of a tile */
    THREADS_Q,     /* work-items along the queries of a tile */
    THREADS_KV,    /* work-items along its keys */
    STAGING,       /* of tiles: 1 none, 2 in local memory */
    UNROLL,        /* of register tiles; 1: none */
    WORK_GROUP,    /* work-items where they are independent of one another */
    SPLIT_KEYS,    /* keys of each part: a multiple of BLOCK_KV */
    MICRO_Q,       /* rows of queries in a register tile */
    MICRO_M,       /* rows in a register tile of a projection */
    PANEL_VECTORS, /* vectors of columns side by side in it */
    BLOCK_M,       /* rows of a work-group */
    BLOCK_N,       /* columns of a work-group */
    BLOCK_K,       /* elements of the inner dimension in a slice */
    THREADS_M,     /* work-items along the rows of a tile */
    THREADS_N,     /* work-items along its columns */
    /* Of CLBlast, by the names of its indirect kernel; the direct one's are the same with a D. The
     * second form of the indirect one has rows and columns change places. */
    GEMM_KERNEL, /* 1 all as CLBlast's database has it, 2 direct, 3 indirect, 4 its second form */
    MWG,         /* rows of a work-group; direct: also columns, and inner elements of a tile */
    NWG,         /* columns of a work-group; second form: as many as rows */
    KWG,         /* elements of the inner dimension in a tile */
    KWI,         /* of them unrolled; second form: in a register tile (KREG) */
    MDIMC,       /* work-items along the rows */
    NDIMC,       /* work-items along the columns */
    VWM,         /* lanes of a vector along the rows */
    VWN,         /* lanes of a vector along the columns; second form: the inner dimension */
    STRM,        /* rows of a work-item: 1 side by side, 2 strided */
    STRN,        /* the same of its columns */
    SA,          /* of the left operand's tile: 1 none, 2 in local memory */
    SB,          /* the same of the right operand's */
    TUNABLE_COUNT
};

extern const char *const mha_tunable_names[TUNABLE_COUNT];

struct tuning {
    int value[TUNABLE_COUNT]; /* 0 where the variant does not have it */
};

/* A part of a linear projection that is one matrix product. */
struct product {
    int row, rows, column, columns, segment;
    int idle_kernel; /* one of the variant's kernels that may run with no work */
};

#define KERNEL_CLBLAST (-1)

/* One dispatch, before it is cut for the watchdog: `blocks` work-groups in one dimension. */
struct launch {
    int kernel; /* index into variant.kernels; KERNEL_CLBLAST: CLBlast's, of `product` */
    int64_t blocks;
    size_t local_size;
    double flops; /* of the whole launch, for predicting its time */
    struct product product;
};

/* The by-value argument of a kernel, by its operation. */
union kernel_args {
    struct mha_grid_args grid;
    struct mha_attention_kernel_args attention;
    struct mha_gemm_args gemm;
    struct mha_panel_qkv_args panel_qkv;
};

#define MHA_MAX_KERNELS 3
#define MHA_MAX_FILES 14 /* with the NULL that ends them */
#define MHA_MAX_VALUES 10

struct variant_tunable {
    enum tunable tunable;
    bool is_define;             /* shapes the code; else a kernel argument */
    int values[MHA_MAX_VALUES]; /* the domain, ascending, zero-terminated */
};

struct variant {
    const char *name;
    enum operation operation;
    const char *files[MHA_MAX_FILES];
    struct {
        const char *name;
        bool has_local; /* the last argument is local memory, of local_bytes() */
    } kernels[MHA_MAX_KERNELS];
    struct variant_tunable tunables[TUNABLE_COUNT];
    /* A #define beyond the tunables, from the problem; NULL for none. */
    const char *(*defines)(const struct problem *, char *text, size_t bytes);
    /* What the device alone suggests; always legal() where anything is. */
    void (*heuristic)(const struct problem *, const struct device_caps *, struct tuning *);
    /* Whether these values make any use of one of the variant's tunables; legal() wants those that
     * have none at the first value of their domain. NULL: of all. */
    bool (*uses)(const struct tuning *, enum tunable);
    /* Block sizes of the domain are upper bounds: makes of them equal blocks of the problem's
     * lengths. NULL: values are taken as they are. */
    void (*fit)(const struct problem *, struct tuning *);
    /* Whether these values can run this problem on this device; else why not, in `why`. */
    bool (*legal)(const struct problem *, const struct device_caps *, const struct tuning *,
                  char *why, size_t why_bytes);
    size_t (*local_bytes)(const struct problem *, const struct tuning *);
    /* For the problem's maxima; SIZE_MAX where it can't be counted. */
    size_t (*workspace_bytes)(const struct problem *, const struct device_caps *,
                              const struct tuning *);
    /* Fills *launch for launch number `index` of a call with the sizes of `call`, and what the
     * variant needs in *args; false beyond the last. `plan` has the maxima. */
    bool (*launch)(const struct problem *plan, const struct problem *call,
                   const struct device_caps *, const struct tuning *, int64_t index,
                   struct launch *, union kernel_args *args);
    /* Rows of W that lie interleaved in packed weights; 1: W as it is. NULL: not a projection. */
    int (*panel_columns)(const struct tuning *);
    /* An upper bound of the iterations of all loops of one work-item, at the problem's maxima. */
    double (*loops)(const struct problem *, const struct tuning *);
    bool is_for_cpu;        /* one work-item fills the vectors: a GPU would be idle */
    bool accumulates;       /* a linear projection with bias reads y */
    bool counts_in_32_bits; /* elements of x and y, from their buffers' start */
    double efficiency;      /* fraction of the device's estimated rate, for predicting times */
};

extern const struct variant *const mha_variants[];
extern const size_t mha_variant_count;

/* NULL for a name that no variant of the operation has. */
const struct variant *mha_variant_find(enum operation operation, const char *name);

/* "BLOCK_Q=96 BLOCK_KV=128", of what is used, cut to `bytes`. */
void mha_tuning_print(const struct variant *variant, const struct tuning *tuning, char *text,
                      size_t bytes);

/* variant.fit, where there is one. */
void mha_tuning_fit(const struct variant *variant, const struct problem *problem,
                    struct tuning *tuning);

/* variant.panel_columns where there are no panels. */
int mha_unpacked_columns(const struct tuning *tuning);

/* Work-items of kernels that only copy. */
size_t mha_copy_group(const struct device_caps *caps);

/* variant.defines of linear projections. */
const char *mha_gemm_defines(const struct problem *problem, char *text, size_t bytes);

/* Packed weights of a linear projection, [panels][in_features][panel_columns], then the bias,
 * padded as the rows of W are. Elements are those before the bias; all are SIZE_MAX where they
 * can't be counted, and bytes are 0 for an attention. The layout tells whether two problems' packed
 * weights are interchangeable. */
size_t mha_packed_elements(const struct problem *problem, const struct variant *variant,
                           const struct tuning *tuning);
size_t mha_packed_bytes(const struct problem *problem, const struct variant *variant,
                        const struct tuning *tuning);
uint64_t mha_packed_layout(const struct problem *problem, const struct variant *variant,
                           const struct tuning *tuning);

/* SIZE_MAX where the product leaves size_t. */
size_t mha_size_product(size_t a, size_t b, size_t c, size_t d);

#endif
