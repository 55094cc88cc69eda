/* CLBlast's parameters as tunables, without a device: which values are legal, that no two stand for
 * the same, and how they are printed. */
#include "clblast_tunings.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct device_caps make_caps(bool is_cpu, cl_uint vector, size_t work_group,
                                    cl_ulong local_bytes) {
    return (struct device_caps){
        .is_cpu = is_cpu,
        .has_fp64 = true,
        .compute_units = 16,
        .clock_mhz = 1000,
        .float_vector = vector,
        .max_work_group = work_group,
        .max_work_item = work_group,
        .local_bytes = local_bytes,
        .max_alloc_bytes = (cl_ulong)1 << 30,
        .address_bits = 64,
        .max_loops = INFINITY,
    };
}

Test(clblast_domain, refuses_what_cannot_run) {
    const struct {
        struct tuning tuning;
        const char *reason; /* NULL: legal */
    } cases[] = {
        {own(), NULL},
        {direct(), NULL},
        {indirect(), NULL},
        {staged(), NULL},
        {second_form(), NULL},
        {smallest(CLBLAST_DIRECT), NULL},
        {smallest(CLBLAST_INDIRECT), NULL},
        {smallest(CLBLAST_INDIRECT_2), NULL},
        {TUNING({MWG, 16}), "no effect"},
        {TUNING({GEMM_KERNEL, CLBLAST_DIRECT}, {NWG, 16}), "NWG 16 has no effect"},
        {TUNING({GEMM_KERNEL, CLBLAST_DIRECT}, {SA, 2}), "SA 2 has no effect"},
        {TUNING({GEMM_KERNEL, CLBLAST_INDIRECT_2}, {STRM, 2}), "STRM 2 has no effect"},
        {TUNING({GEMM_KERNEL, CLBLAST_DIRECT}, {MDIMC, 8}, {VWM, 2}), "not a multiple of MDIMC"},
        {TUNING({GEMM_KERNEL, CLBLAST_DIRECT}, {NDIMC, 8}, {VWN, 2}), "not a multiple of NDIMC"},
        {TUNING({GEMM_KERNEL, CLBLAST_INDIRECT}, {MWG, 32}, {NWG, 32}, {KWI, 8}),
         "KWI 8 unrolls too much"},
        {TUNING({GEMM_KERNEL, CLBLAST_DIRECT}, {KWI, 16}), "not a multiple of KWI"},
        {TUNING({GEMM_KERNEL, CLBLAST_INDIRECT}, {MWG, 64}, {NWG, 32}), "512 results"},
        {TUNING({GEMM_KERNEL, CLBLAST_DIRECT}, {MWG, 32}), "256 results, more than 64"},
        {TUNING({GEMM_KERNEL, CLBLAST_INDIRECT}, {MWG, 32}, {NDIMC, 32}, {NWG, 32}, {SA, 2}),
         "KWG 16 is not a multiple"},
        {TUNING({GEMM_KERNEL, CLBLAST_INDIRECT}, {MWG, 32}, {MDIMC, 32}, {SB, 2}),
         "KWG 16 is not a multiple"},
        {TUNING({GEMM_KERNEL, CLBLAST_INDIRECT}, {MDIMC, 8}, {STRM, 2}), "nothing to stride"},
        {TUNING({GEMM_KERNEL, CLBLAST_INDIRECT}, {NDIMC, 4}, {VWN, 2}, {STRN, 2}),
         "nothing to stride"},
        {TUNING({GEMM_KERNEL, CLBLAST_INDIRECT_2}, {VWN, 2}), "KWI 1 is not a multiple of VWN 2"},
        {TUNING({GEMM_KERNEL, CLBLAST_DIRECT}, {MWG, 32}, {MDIMC, 32}, {NDIMC, 32}),
         "work-groups of 1024"},
        {TUNING({GEMM_KERNEL, CLBLAST_INDIRECT}, {MWG, 32}, {VWM, 16}), "vectors of 16"},
        {TUNING({GEMM_KERNEL, CLBLAST_DIRECT}, {MWG, 128}, {MDIMC, 16}, {NDIMC, 16}),
         "local memory"},
    };
    const struct device_caps caps = make_caps(false, 1, 256, 48 << 10);
    const struct problem problem = problem_of(MHA_F32, ROWS, IN, OUT);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); ++i) {
        char why[200] = "";
        const bool is_legal =
            mha_variant_clblast.legal(&problem, &caps, &cases[i].tuning, why, sizeof(why));
        cr_expect_eq(is_legal, !cases[i].reason, "%zu: %s", i, why);
        if (cases[i].reason)
            cr_expect(strstr(why, cases[i].reason), "%zu: %s", i, why);
    }
}

/* So that a search gets from one kernel to another in a step. */
Test(clblast_domain, first_values_are_legal_with_every_kernel) {
    const struct device_caps caps = make_caps(true, 8, 1024, 32 << 10);
    const struct problem problem = problem_of(MHA_F64, ROWS, IN, OUT);
    for (int kernel = CLBLAST_OWN; kernel <= CLBLAST_INDIRECT_2; ++kernel) {
        const struct tuning tuning = smallest((enum clblast_kernel)kernel);
        char why[200] = "";
        cr_expect(mha_variant_clblast.legal(&problem, &caps, &tuning, why, sizeof(why)), "%d: %s",
                  kernel, why);
    }
}

/* Small devices and small products still have CLBlast's own choice. */
Test(clblast_domain, own_values_need_nothing) {
    const struct device_caps tiny = make_caps(true, 4, 1, 16 << 10);
    const struct device_caps usual = make_caps(false, 1, 256, 48 << 10);
    const struct problem problem = problem_of(MHA_F32, ROWS, IN, OUT);
    const struct problem small = problem_of(MHA_F32, 1, IN, OUT);
    const struct tuning tunings[] = {own(), smallest(CLBLAST_DIRECT), smallest(CLBLAST_INDIRECT)};
    for (int i = 0; i < 3; ++i) {
        char why[200];
        cr_expect_eq(mha_variant_clblast.legal(&problem, &tiny, &tunings[i], why, sizeof(why)),
                     i == 0);
        cr_expect_eq(mha_variant_clblast.legal(&small, &usual, &tunings[i], why, sizeof(why)),
                     i < 2);
    }
}

static int compare_hashes(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static uint64_t hash_values(const struct tuning *tuning) {
    const struct clblast_values values = mha_clblast_values(tuning);
    uint64_t hash = 0xcbf29ce484222325;
    for (int i = 0; i < CLBLAST_PARAMETERS; ++i)
        hash = (hash ^ values.value[i]) * 0x100000001b3;
    return hash;
}

/* The next combination of the domains; false after the last. */
static bool next_tuning(int *indices, struct tuning *tuning) {
    const struct variant_tunable *tunables = mha_variant_clblast.tunables;
    int i = 0;
    while (tunables[i].values[0]) {
        const bool is_last = !tunables[i].values[++indices[i]];
        if (is_last)
            indices[i] = 0;
        tuning->value[tunables[i].tunable] = tunables[i].values[indices[i]];
        if (!is_last)
            return true;
        ++i;
    }
    return false;
}

/* Thousands of tunings, each with values of its own for CLBlast. */
Test(clblast_domain, no_two_tunings_are_the_same, .timeout = 120) {
    static uint64_t hashes[1 << 20];
    const struct device_caps caps = make_caps(true, 16, 4096, 512 << 10);
    const struct problem problem = problem_of(MHA_F32, 788, 768, 2304);
    int indices[TUNABLE_COUNT] = {0};
    struct tuning tuning = own();
    size_t count = 0, twice = 0;
    char why[200];
    do {
        if (tuning.value[GEMM_KERNEL] == CLBLAST_OWN ||
            !mha_variant_clblast.legal(&problem, &caps, &tuning, why, sizeof(why)))
            continue;
        cr_assert_lt(count, sizeof(hashes) / sizeof(*hashes));
        hashes[count++] = hash_values(&tuning);
    } while (next_tuning(indices, &tuning));
    qsort(hashes, count, sizeof(*hashes), compare_hashes);
    for (size_t i = 1; i < count; ++i)
        twice += hashes[i] == hashes[i - 1];
    cr_expect_gt(count, 10000);
    cr_expect_eq(twice, 0, "%zu of %zu", twice, count);
}

Test(clblast_domain, parameters_are_printed) {
    const struct tuning tuning = own(), other = direct();
    mha_plan_info info;
    struct tuning largest = own();
    char text[sizeof(info.parameters)];
    mha_tuning_print(&mha_variant_clblast, &tuning, text, sizeof(text));
    cr_expect_str_eq(text, "GEMM_KERNEL=1");
    mha_tuning_print(&mha_variant_clblast, &other, text, sizeof(text));
    cr_expect_str_eq(text, "GEMM_KERNEL=2 MWG=16 KWI=2 MDIMC=8 NDIMC=4 VWM=2 VWN=4");
    for (int i = 0; mha_variant_clblast.tunables[i].values[0]; ++i)
        for (int v = 0; mha_variant_clblast.tunables[i].values[v]; ++v)
            largest.value[mha_variant_clblast.tunables[i].tunable] =
                mha_variant_clblast.tunables[i].values[v];
    largest.value[GEMM_KERNEL] = CLBLAST_INDIRECT;
    mha_tuning_print(&mha_variant_clblast, &largest, text, sizeof(text));
    cr_expect(strstr(text, " SB=2"), "%s", text);
}
