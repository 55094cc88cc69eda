/* CLBlast's own parameters, by its names: what a plan's tuning makes of them, and which it uses.
 *
 * CLBlast keeps parameters per process, device and precision, and compiles a program for each set
 * of values that it meets. So every product sets its plan's values first, unless they are those of
 * the product before: plans of different values live side by side, each as it was measured, and
 * nothing but a plan's creation compiles. Changing values takes CLBlast about half a millisecond of
 * host time; while a plan's creation compiles, products with other values wait. An application that
 * calls CLBlast itself meets the values set last: a matter of speed only. */
#ifndef MHA_CLBLAST_VALUES_H
#define MHA_CLBLAST_VALUES_H

#include <CL/cl.h>
#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Index of each parameter of the kernels that a product may run. */
enum clblast_parameter {
    /* Of the kernel "Xgemm" */
    XGEMM_GEMMK,
    XGEMM_KREG,
    XGEMM_KWG,
    XGEMM_KWI,
    XGEMM_MDIMA,
    XGEMM_MDIMC,
    XGEMM_MWG,
    XGEMM_NDIMB,
    XGEMM_NDIMC,
    XGEMM_NWG,
    XGEMM_SA,
    XGEMM_SB,
    XGEMM_STRM,
    XGEMM_STRN,
    XGEMM_VWM,
    XGEMM_VWN,
    /* Of "XgemmDirect" */
    DIRECT_KWID,
    DIRECT_MDIMAD,
    DIRECT_MDIMCD,
    DIRECT_NDIMBD,
    DIRECT_NDIMCD,
    DIRECT_PADA,
    DIRECT_PADB,
    DIRECT_VWMD,
    DIRECT_VWND,
    DIRECT_WGD,
    /* Of "GemmRoutine": the cube root of the multiply-adds from which on Xgemm runs */
    ROUTINE_MIN_INDIRECT,
    CLBLAST_PARAMETERS
};

struct clblast_values {
    size_t value[CLBLAST_PARAMETERS];
};

/* What CLBlast would use for a kernel now. False where it has not exactly these parameters. */
bool mha_clblast_read(cl_device_id device, bool is_double, const char *kernel,
                      const char *const *names, size_t *values, size_t count);

#ifdef __cplusplus
}
#else

#include "variants.h"

/* GEMM_KERNEL */
enum clblast_kernel {
    CLBLAST_OWN = 1,   /* all as its database has it */
    CLBLAST_DIRECT,    /* one kernel that takes operands as they are: "XgemmDirect" */
    CLBLAST_INDIRECT,  /* kernels that bring operands into shape, then "Xgemm" */
    CLBLAST_INDIRECT_2 /* the same with the other algorithm of "Xgemm" (GEMMK) */
};

/* Products of fewer multiply-adds than its cube run the direct kernel even for plans of the other:
 * bringing operands into shape would take longer. */
#define CLBLAST_LEAST_INDIRECT 128

/* For a tuning whose GEMM_KERNEL is beyond CLBLAST_OWN. */
struct clblast_values mha_clblast_values(const struct tuning *tuning);

/* All that CLBlast would use now; false where this CLBlast has other parameters. */
bool mha_clblast_read_all(cl_device_id device, mha_dtype dtype, struct clblast_values *values);

/* Has CLBlast use the tuning's values on the device until mha_clblast_release(), which is due
 * unless it fails. Others that want the same values need not wait. */
cl_int mha_clblast_acquire(cl_device_id device, mha_dtype dtype, const struct tuning *tuning);
void mha_clblast_release(void);

#endif

#endif
