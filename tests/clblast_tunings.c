/* In: nothing. Out: tunings of CLBlast's kernels and a problem for them. */
#include "clblast_tunings.h"

#include <criterion/criterion.h>

struct tuning own(void) {
    struct tuning tuning;
    mha_variant_clblast.heuristic(NULL, NULL, &tuning);
    return tuning;
}

struct tuning clblast_tuning(const int (*values)[2]) {
    struct tuning tuning = own();
    for (; (*values)[0] != TUNABLE_COUNT; ++values)
        tuning.value[(*values)[0]] = (*values)[1];
    return tuning;
}

struct tuning direct(void) {
    return TUNING({GEMM_KERNEL, CLBLAST_DIRECT}, {MWG, 16}, {KWI, 2}, {MDIMC, 8}, {NDIMC, 4},
                  {VWM, 2}, {VWN, 4});
}

struct tuning indirect(void) {
    return TUNING({GEMM_KERNEL, CLBLAST_INDIRECT}, {MWG, 64}, {NWG, 32}, {KWI, 2}, {MDIMC, 8},
                  {NDIMC, 8}, {VWM, 4}, {VWN, 2}, {STRM, 2}, {STRN, 2});
}

struct tuning staged(void) {
    return TUNING({GEMM_KERNEL, CLBLAST_INDIRECT}, {MWG, 32}, {NWG, 64}, {KWG, 32}, {KWI, 4},
                  {MDIMC, 8}, {NDIMC, 16}, {VWM, 2}, {VWN, 4}, {SA, 2}, {SB, 2});
}

struct tuning second_form(void) {
    return TUNING({GEMM_KERNEL, CLBLAST_INDIRECT_2}, {MWG, 32}, {KWI, 4}, {MDIMC, 4}, {NDIMC, 4},
                  {VWM, 4}, {VWN, 2});
}

struct tuning smallest(enum clblast_kernel kernel) {
    return TUNING({GEMM_KERNEL, kernel});
}

struct problem problem_of(mha_dtype dtype, int rows, int in, int out) {
    mha_linear_desc desc = MHA_LINEAR_DESC_INIT;
    struct problem problem;
    mha_error error;
    desc.flags = MHA_LINEAR_BIAS;
    desc.dtype = desc.weight_dtype = dtype;
    desc.max_rows = rows;
    desc.in_features = in;
    desc.out_features = out;
    desc.variant = "clblast";
    cr_assert_eq(mha_linear_problem_init(&problem, &desc, &error), MHA_SUCCESS, "%s",
                 error.message);
    return problem;
}
