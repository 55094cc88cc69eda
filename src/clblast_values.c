/* In: a plan's tuning. Out: CLBlast uses the values that it stands for. */
#include "clblast_values.h"

#include <clblast_c.h>
#include <pthread.h>
#include <string.h>

#define MAX_KERNEL_PARAMETERS 16

/* In the order of enum clblast_parameter. */
static const struct {
    const char *name;
    int first, count;
    const char *parameters[MAX_KERNEL_PARAMETERS];
} kernels[] = {
    {"Xgemm",
     XGEMM_GEMMK,
     16,
     {"GEMMK", "KREG", "KWG", "KWI", "MDIMA", "MDIMC", "MWG", "NDIMB", "NDIMC", "NWG", "SA", "SB",
      "STRM", "STRN", "VWM", "VWN"}},
    {"XgemmDirect",
     DIRECT_KWID,
     10,
     {"KWID", "MDIMAD", "MDIMCD", "NDIMBD", "NDIMCD", "PADA", "PADB", "VWMD", "VWND", "WGD"}},
    {"GemmRoutine", ROUTINE_MIN_INDIRECT, 1, {"XGEMM_MIN_INDIRECT_SIZE"}},
};
#define KERNELS ((int)(sizeof(kernels) / sizeof(*kernels)))

/* More than any product's: none has more elements than 2^31. */
#define NEVER_INDIRECT 65536

/* The kernel that a plan does not use is compiled all the same: one of 64 work-items with small
 * tiles. */
static const struct clblast_values idle = {{
    [XGEMM_KREG] = 1,    [XGEMM_KWG] = 16,    [XGEMM_KWI] = 1,     [XGEMM_MDIMA] = 8,
    [XGEMM_MDIMC] = 8,   [XGEMM_MWG] = 8,     [XGEMM_NDIMB] = 8,   [XGEMM_NDIMC] = 8,
    [XGEMM_NWG] = 8,     [XGEMM_VWM] = 1,     [XGEMM_VWN] = 1,     [DIRECT_KWID] = 2,
    [DIRECT_MDIMAD] = 8, [DIRECT_MDIMCD] = 8, [DIRECT_NDIMBD] = 8, [DIRECT_NDIMCD] = 8,
    [DIRECT_PADA] = 1,   [DIRECT_PADB] = 1,   [DIRECT_VWMD] = 1,   [DIRECT_VWND] = 1,
    [DIRECT_WGD] = 8,
}};

static void set_direct(const int *v, size_t *value) {
    value[ROUTINE_MIN_INDIRECT] = NEVER_INDIRECT;
    value[DIRECT_WGD] = (size_t)v[MWG];
    value[DIRECT_KWID] = (size_t)v[KWI];
    value[DIRECT_MDIMCD] = value[DIRECT_MDIMAD] = (size_t)v[MDIMC];
    value[DIRECT_NDIMCD] = value[DIRECT_NDIMBD] = (size_t)v[NDIMC];
    value[DIRECT_VWMD] = (size_t)v[VWM];
    value[DIRECT_VWND] = (size_t)v[VWN];
}

/* Flags are 1 and 2 in the tuning, 0 and 1 in CLBlast. */
static void set_indirect(const int *v, size_t *value) {
    const bool is_second = v[GEMM_KERNEL] == CLBLAST_INDIRECT_2;
    value[ROUTINE_MIN_INDIRECT] = CLBLAST_LEAST_INDIRECT;
    value[XGEMM_GEMMK] = is_second;
    value[XGEMM_KREG] = is_second ? (size_t)v[KWI] : 1;
    value[XGEMM_KWG] = is_second ? 1 : (size_t)v[KWG];
    value[XGEMM_KWI] = is_second ? 1 : (size_t)v[KWI];
    value[XGEMM_MWG] = (size_t)v[MWG];
    value[XGEMM_NWG] = (size_t)v[is_second ? MWG : NWG];
    value[XGEMM_MDIMC] = value[XGEMM_MDIMA] = (size_t)v[MDIMC];
    value[XGEMM_NDIMC] = value[XGEMM_NDIMB] = (size_t)v[NDIMC];
    value[XGEMM_VWM] = (size_t)v[VWM];
    value[XGEMM_VWN] = (size_t)v[VWN];
    value[XGEMM_STRM] = v[STRM] == 2;
    value[XGEMM_STRN] = v[STRN] == 2;
    value[XGEMM_SA] = v[SA] == 2;
    value[XGEMM_SB] = v[SB] == 2;
}

struct clblast_values mha_clblast_values(const struct tuning *tuning) {
    struct clblast_values values = idle;
    if (tuning->value[GEMM_KERNEL] == CLBLAST_DIRECT)
        set_direct(tuning->value, values.value);
    else
        set_indirect(tuning->value, values.value);
    return values;
}

bool mha_clblast_read_all(cl_device_id device, mha_dtype dtype, struct clblast_values *values) {
    for (int k = 0; k < KERNELS; ++k)
        if (!mha_clblast_read(device, dtype == MHA_F64, kernels[k].name, kernels[k].parameters,
                              values->value + kernels[k].first, (size_t)kernels[k].count))
            return false;
    return true;
}

/* ---- What CLBlast uses now ------------------------------------------------------------------ */

/* A device and precision whose values were changed. Device handles are CLBlast's keys too. */
struct state {
    cl_device_id device;
    mha_dtype dtype;
    struct clblast_values own, now;
    bool is_known[KERNELS]; /* whether CLBlast has what `now` says */
};

/* CLBlast's parameters are the process's, and so is what is known of them. */
static struct {
    pthread_rwlock_t lock; /* writers change values, readers use them */
    int count;
    struct state states[64];
} process = {.lock = PTHREAD_RWLOCK_INITIALIZER};

static struct state *find_state(cl_device_id device, mha_dtype dtype) {
    for (int i = 0; i < process.count; ++i)
        if (process.states[i].device == device && process.states[i].dtype == dtype)
            return &process.states[i];
    return NULL;
}

static struct state *add_state(cl_device_id device, mha_dtype dtype) {
    if (process.count == (int)(sizeof(process.states) / sizeof(*process.states)))
        return NULL;
    struct state *state = &process.states[process.count];
    *state = (struct state){.device = device, .dtype = dtype};
    if (!mha_clblast_read_all(device, dtype, &state->own))
        return NULL;
    state->now = state->own;
    memset(state->is_known, true, sizeof(state->is_known));
    ++process.count;
    return state;
}

static bool has_values(const struct state *state, const struct clblast_values *wanted, int kernel) {
    const int first = kernels[kernel].first;
    return state->is_known[kernel] && !memcmp(state->now.value + first, wanted->value + first,
                                              (size_t)kernels[kernel].count * sizeof(size_t));
}

static bool has_all_values(const struct state *state, const struct clblast_values *wanted) {
    for (int k = 0; k < KERNELS; ++k)
        if (!has_values(state, wanted, k))
            return false;
    return true;
}

static cl_int set_values(struct state *state, const struct clblast_values *wanted) {
    for (int k = 0; k < KERNELS; ++k) {
        const size_t first = (size_t)kernels[k].first, count = (size_t)kernels[k].count;
        const char *names[MAX_KERNEL_PARAMETERS];
        if (has_values(state, wanted, k))
            continue;
        memcpy(names, kernels[k].parameters, sizeof(names));
        const cl_int code = (cl_int)CLBlastOverrideParameters(
            state->device, kernels[k].name,
            state->dtype == MHA_F64 ? CLBlastPrecisionDouble : CLBlastPrecisionSingle, count, names,
            wanted->value + first);
        state->is_known[k] = !code;
        if (code)
            return code;
        memcpy(state->now.value + first, wanted->value + first, count * sizeof(size_t));
    }
    return CL_SUCCESS;
}

cl_int mha_clblast_acquire(cl_device_id device, mha_dtype dtype, const struct tuning *tuning) {
    const bool is_own = tuning->value[GEMM_KERNEL] <= CLBLAST_OWN;
    struct clblast_values wanted = {{0}};
    if (!is_own)
        wanted = mha_clblast_values(tuning);
    pthread_rwlock_rdlock(&process.lock);
    struct state *state = find_state(device, dtype);
    if (is_own && state)
        wanted = state->own;
    /* Nobody changed them, or these are the ones. */
    if (state ? has_all_values(state, &wanted) : is_own)
        return CL_SUCCESS;
    pthread_rwlock_unlock(&process.lock);
    /* The values must hold until the product is enqueued: it is done as a writer. */
    pthread_rwlock_wrlock(&process.lock);
    state = find_state(device, dtype);
    if (!state)
        state = add_state(device, dtype);
    const cl_int code = state ? set_values(state, &wanted) : CL_INVALID_OPERATION;
    if (code)
        pthread_rwlock_unlock(&process.lock);
    return code;
}

void mha_clblast_release(void) {
    pthread_rwlock_unlock(&process.lock);
}
