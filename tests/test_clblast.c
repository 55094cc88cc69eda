/* CLBlast's parameters as tunables: which values are legal, that they reach CLBlast, that plans of
 * different values do not meet, and that the results are right with all of them.
 *
 * The executable exports a clBuildProgram of its own, which counts (see opencl_faults.c). */
#include "clblast_values.h"
#include "device.h"
#include "numbers.h"
#include "provider.h"
#include "select.h"
#include "variant_list.h"

#include <clblast_c.h>
#include <criterion/criterion.h>
#include <dlfcn.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Multiples of no tile, and just enough for an indirect kernel. */
enum { ROWS = 161, IN = 75, OUT = 190, CANARIES = 64 };

/* Room for a whole message. */
#define WHY_BYTES sizeof(mha_error)

static atomic_int builds;

cl_int clBuildProgram(cl_program program, cl_uint n, const cl_device_id *devices,
                      const char *options, void(CL_CALLBACK *notify)(cl_program, void *),
                      void *user) {
    cl_int (*next)(cl_program, cl_uint, const cl_device_id *, const char *,
                   void(CL_CALLBACK *)(cl_program, void *), void *);
    const void *symbol = dlsym(RTLD_NEXT, "clBuildProgram");
    memcpy(&next, &symbol, sizeof(next));
    ++builds;
    return next(program, n, devices, options, notify, user);
}

/* ---- Tunings -------------------------------------------------------------------------------- */

static struct tuning own(void) {
    struct tuning tuning;
    mha_variant_clblast.heuristic(NULL, NULL, &tuning);
    return tuning;
}

/* What is not named has its domain's first value. */
#define TUNING(...) set_values((const int[][2]){__VA_ARGS__, {TUNABLE_COUNT, 0}})

static struct tuning set_values(const int (*values)[2]) {
    struct tuning tuning = own();
    for (; (*values)[0] != TUNABLE_COUNT; ++values)
        tuning.value[(*values)[0]] = (*values)[1];
    return tuning;
}

static struct tuning direct(void) {
    return TUNING({GEMM_KERNEL, CLBLAST_DIRECT}, {MWG, 16}, {KWI, 2}, {MDIMC, 8}, {NDIMC, 4},
                  {VWM, 2}, {VWN, 4});
}

static struct tuning indirect(void) {
    return TUNING({GEMM_KERNEL, CLBLAST_INDIRECT}, {MWG, 64}, {NWG, 32}, {KWI, 2}, {MDIMC, 8},
                  {NDIMC, 8}, {VWM, 4}, {VWN, 2}, {STRM, 2}, {STRN, 2});
}

static struct tuning staged(void) {
    return TUNING({GEMM_KERNEL, CLBLAST_INDIRECT}, {MWG, 32}, {NWG, 64}, {KWG, 32}, {KWI, 4},
                  {MDIMC, 8}, {NDIMC, 16}, {VWM, 2}, {VWN, 4}, {SA, 2}, {SB, 2});
}

static struct tuning second_form(void) {
    return TUNING({GEMM_KERNEL, CLBLAST_INDIRECT_2}, {MWG, 32}, {KWI, 4}, {MDIMC, 4}, {NDIMC, 4},
                  {VWM, 4}, {VWN, 2});
}

static struct tuning smallest(enum clblast_kernel kernel) {
    return TUNING({GEMM_KERNEL, kernel});
}

/* ---- Plans and calls ------------------------------------------------------------------------ */

static struct problem problem_of(mha_dtype dtype, int rows, int in, int out) {
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

static mha_status try_plan(mha_engine *engine, mha_dtype dtype, struct tuning tuning,
                           mha_plan **plan, mha_error *error) {
    const struct problem problem = problem_of(dtype, ROWS, IN, OUT);
    const struct selection selection = {.variant = &mha_variant_clblast, .tuning = tuning};
    *plan = NULL;
    return mha_plan_make_selected(engine, &problem, &selection, plan, error);
}

static mha_plan *make_plan(mha_engine *engine, mha_dtype dtype, struct tuning tuning) {
    mha_plan *plan;
    mha_error error;
    cr_assert_eq(try_plan(engine, dtype, tuning, &plan, &error), MHA_SUCCESS, "%s", error.message);
    return plan;
}

/* Whole numbers: sums are exact in any order. */
struct operands {
    mha_dtype dtype;
    double x[ROWS * IN], weight[OUT * IN], bias[OUT], y[ROWS * OUT];
    cl_mem buffers[4]; /* x, weight, bias, y with canaries behind it */
};

static cl_mem upload(const struct test_device *device, mha_dtype dtype, const double *values,
                     int64_t count, int64_t canaries) {
    const size_t bytes = number_bytes((enum number)dtype) * (size_t)(count + canaries);
    char *data = malloc(bytes);
    cl_int code;
    cr_assert_not_null(data);
    for (int64_t i = 0; i < count + canaries; ++i)
        number_put((enum number)dtype, data, i, i < count ? values[i] : -12345);
    const cl_mem memory = clCreateBuffer(device->context, CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR,
                                         bytes, data, &code);
    device_check(code, "clCreateBuffer");
    free(data);
    return memory;
}

static struct operands *operands_make(const struct test_device *device, mha_dtype dtype,
                                      uint64_t seed) {
    struct operands *o = calloc(1, sizeof(*o));
    struct random random = {seed};
    cr_assert_not_null(o);
    o->dtype = dtype;
    for (int i = 0; i < ROWS * IN; ++i)
        o->x[i] = (double)random_integer(&random, -9, 9);
    for (int i = 0; i < OUT * IN; ++i)
        o->weight[i] = (double)random_integer(&random, -9, 9);
    for (int i = 0; i < OUT; ++i)
        o->bias[i] = (double)random_integer(&random, -99, 99);
    for (int i = 0; i < ROWS; ++i)
        for (int j = 0; j < OUT; ++j) {
            double sum = o->bias[j];
            for (int k = 0; k < IN; ++k)
                sum += o->x[i * IN + k] * o->weight[j * IN + k];
            o->y[i * OUT + j] = sum;
        }
    o->buffers[0] = upload(device, dtype, o->x, ROWS * IN, 0);
    o->buffers[1] = upload(device, dtype, o->weight, OUT * IN, 0);
    o->buffers[2] = upload(device, dtype, o->bias, OUT, 0);
    o->buffers[3] = upload(device, dtype, o->y, 0, ROWS * OUT + CANARIES);
    return o;
}

static void operands_release(struct operands *o) {
    for (int i = 0; i < 4; ++i)
        clReleaseMemObject(o->buffers[i]);
    free(o);
}

/* One call of so many rows; false with a reason. */
static bool call(const struct test_device *device, cl_command_queue queue, mha_plan *plan,
                 const struct operands *o, int rows, char *why, size_t why_bytes) {
    const size_t element = number_bytes((enum number)o->dtype);
    const size_t bytes = (ROWS * OUT + CANARIES) * element;
    mha_plan_info info = MHA_PLAN_INFO_INIT;
    mha_linear_args args = MHA_LINEAR_ARGS_INIT;
    mha_error error;
    cl_int code = CL_SUCCESS;
    char *got = malloc(bytes);
    bool is_ok = false;
    snprintf(why, why_bytes, "no memory");
    mha_plan_get_info(plan, &info, NULL);
    const cl_mem workspace =
        info.workspace_bytes
            ? clCreateBuffer(device->context, CL_MEM_READ_WRITE, info.workspace_bytes, NULL, &code)
            : NULL;
    if (!got || code)
        goto done;
    args.rows = rows;
    args.x = (mha_matrix){mha_buffer(o->buffers[0], 0), IN};
    args.weight = mha_buffer(o->buffers[1], 0);
    args.bias = mha_buffer(o->buffers[2], 0);
    args.y = (mha_matrix){mha_buffer(o->buffers[3], 0), OUT};
    if (workspace)
        args.workspace = mha_buffer(workspace, 0);
    if (mha_enqueue_linear(plan, queue, &args, 0, NULL, NULL, &error)) {
        snprintf(why, why_bytes, "%s", error.message);
        goto done;
    }
    if (clEnqueueReadBuffer(queue, o->buffers[3], CL_TRUE, 0, bytes, got, 0, NULL, NULL))
        goto done;
    is_ok = true;
    for (int i = 0; i < ROWS * OUT + CANARIES && is_ok; ++i) {
        const double value = number_get((enum number)o->dtype, got, i);
        /* Rows that an earlier call wrote are right, or there was none. */
        const double wanted = i < ROWS * OUT ? o->y[i] : -12345;
        is_ok = value == wanted || (i >= rows * OUT && value == -12345);
        if (!is_ok)
            snprintf(why, why_bytes, "element %d is %g, not %g [%s]", i, value, wanted,
                     info.parameters);
    }
done:
    if (workspace)
        clReleaseMemObject(workspace);
    free(got);
    return is_ok;
}

static void expect_right(const struct test_device *device, mha_plan *plan,
                         const struct operands *o) {
    char why[WHY_BYTES];
    cr_expect(call(device, device->queue, plan, o, ROWS, why, sizeof(why)), "%s", why);
}

static struct clblast_values read_values(const struct test_device *device, mha_dtype dtype) {
    struct clblast_values values;
    cr_assert(mha_clblast_read_all(device->id, dtype, &values));
    return values;
}

static bool are_equal(const struct clblast_values *a, const struct clblast_values *b) {
    return !memcmp(a, b, sizeof(*a));
}

/* ---- The domain, without a device ----------------------------------------------------------- */

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

Test(clblast, refuses_what_cannot_run) {
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
Test(clblast, first_values_are_legal_with_every_kernel) {
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
Test(clblast, own_values_need_nothing) {
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
Test(clblast, no_two_tunings_are_the_same, .timeout = 120) {
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

Test(clblast, parameters_are_printed) {
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

/* ---- On a device ---------------------------------------------------------------------------- */

static void open_device(struct test_device *device) {
    const struct tuning tunings[] = {direct(), indirect(), staged(), second_form()};
    const struct problem problem = problem_of(MHA_F32, ROWS, IN, OUT);
    char why[200];
    device_open(device);
    /* Its kernels read beyond edges what they then discard, which Oclgrind reports. */
    if (strstr(device->name, "Oclgrind"))
        cr_skip_test("CLBlast's kernels are not the library's");
    for (size_t i = 0; i < sizeof(tunings) / sizeof(*tunings); ++i)
        if (!mha_variant_clblast.legal(&problem, &device->engine->caps, &tunings[i], why,
                                       sizeof(why)))
            cr_skip_test("%s: %s", device->name, why);
}

Test(clblast, values_reach_clblast, .timeout = 600) {
    const struct tuning tunings[] = {
        own(), direct(), own(), indirect(), staged(), second_form(), smallest(CLBLAST_INDIRECT),
    };
    struct test_device device;
    open_device(&device);
    const struct clblast_values before = read_values(&device, MHA_F32);
    struct operands *o = operands_make(&device, MHA_F32, 1);
    const size_t count = device_is_slow() ? 3 : sizeof(tunings) / sizeof(*tunings);
    for (size_t i = 0; i < count; ++i) {
        const bool is_own = tunings[i].value[GEMM_KERNEL] == CLBLAST_OWN;
        const struct clblast_values wanted = is_own ? before : mha_clblast_values(&tunings[i]);
        char why[WHY_BYTES];
        mha_plan *plan = make_plan(device.engine, MHA_F32, tunings[i]);
        const struct clblast_values now = read_values(&device, MHA_F32);
        cr_expect(are_equal(&now, &wanted), "tuning %zu", i);
        const int compiled = builds;
        expect_right(&device, plan, o);
        /* Few rows of the same plan. */
        cr_expect(call(&device, device.queue, plan, o, 1, why, sizeof(why)), "%s", why);
        cr_expect_eq(builds, compiled, "a call compiled");
        mha_plan_destroy(&plan);
    }
    operands_release(o);
    device_close(&device);
}

Test(clblast, plans_keep_their_values, .timeout = 600) {
    struct test_device device;
    mha_plan *plans[4];
    const struct tuning tunings[] = {own(), direct(), indirect(), direct()};
    struct clblast_values wanted[4];
    open_device(&device);
    struct operands *o = operands_make(&device, MHA_F32, 2);
    wanted[0] = read_values(&device, MHA_F32);
    int compiled = 0;
    for (int i = 0; i < 4; ++i) {
        compiled = builds;
        plans[i] = make_plan(device.engine, MHA_F32, tunings[i]);
        if (i)
            wanted[i] = mha_clblast_values(&tunings[i]);
    }
    cr_expect_eq(builds, compiled, "values that are known compiled again");
    for (int round = 0; round < 2; ++round)
        for (int i = 0; i < 4; ++i) {
            expect_right(&device, plans[i], o);
            const struct clblast_values now = read_values(&device, MHA_F32);
            cr_expect(are_equal(&now, &wanted[i]), "round %d, plan %d", round, i);
        }
    cr_expect_eq(builds, compiled, "a call compiled");
    for (int i = 0; i < 4; ++i)
        mha_plan_destroy(&plans[i]);
    operands_release(o);
    device_close(&device);
}

static CLBlastStatusCode set_threshold(const struct test_device *device, size_t value) {
    const char *name = "XGEMM_MIN_INDIRECT_SIZE";
    return CLBlastOverrideParameters(device->id, "GemmRoutine", CLBlastPrecisionSingle, 1, &name,
                                     &value);
}

/* CLBlast is told only of changes. */
Test(clblast, same_values_are_set_once, .timeout = 600) {
    struct test_device device;
    open_device(&device);
    const struct clblast_values before = read_values(&device, MHA_F32);
    struct operands *o = operands_make(&device, MHA_F32, 3);
    mha_plan *plan = make_plan(device.engine, MHA_F32, direct());
    cr_assert_eq(set_threshold(&device, 65537), CLBlastSuccess);
    expect_right(&device, plan, o);
    struct clblast_values now = read_values(&device, MHA_F32);
    cr_expect_eq(now.value[ROUTINE_MIN_INDIRECT], 65537, "set again without need");
    mha_plan *own_plan = make_plan(device.engine, MHA_F32, own());
    now = read_values(&device, MHA_F32);
    cr_expect(are_equal(&now, &before));
    expect_right(&device, own_plan, o);
    mha_plan_destroy(&plan);
    mha_plan_destroy(&own_plan);
    operands_release(o);
    device_close(&device);
}

Test(clblast, precisions_are_apart, .timeout = 600) {
    struct test_device device;
    open_device(&device);
    if (!device.has_fp64)
        cr_skip_test("the device has no fp64");
    const struct clblast_values single = read_values(&device, MHA_F32);
    const struct tuning tuning = indirect();
    const struct clblast_values wanted = mha_clblast_values(&tuning);
    struct operands *o = operands_make(&device, MHA_F64, 4);
    mha_plan *plan = make_plan(device.engine, MHA_F64, tuning);
    expect_right(&device, plan, o);
    struct clblast_values now = read_values(&device, MHA_F32);
    cr_expect(are_equal(&now, &single));
    now = read_values(&device, MHA_F64);
    cr_expect(are_equal(&now, &wanted));
    mha_plan_destroy(&plan);
    operands_release(o);
    device_close(&device);
}

/* ---- Faults --------------------------------------------------------------------------------- */

/* Values that no kernel can have: the plan fails, and nothing else does. */
Test(clblast, impossible_values_fail_the_plan_only, .timeout = 600) {
    struct test_device device;
    open_device(&device);
    const struct clblast_values before = read_values(&device, MHA_F32);
    struct operands *o = operands_make(&device, MHA_F32, 5);
    mha_plan *good = make_plan(device.engine, MHA_F32, own()), *bad;
    mha_error error;
    const struct tuning odd =
        TUNING({GEMM_KERNEL, CLBLAST_INDIRECT}, {VWM, 3}, {MDIMC, 8}, {NDIMC, 8});
    cr_expect_eq(try_plan(device.engine, MHA_F32, odd, &bad, &error), MHA_ERR_BUILD, "%s",
                 error.message);
    cr_expect_null(bad);
    expect_right(&device, good, o);
    const struct clblast_values now = read_values(&device, MHA_F32);
    cr_expect(are_equal(&now, &before));
    mha_plan_destroy(&good);
    operands_release(o);
    device_close(&device);
}

/* Older versions of CLBlast compute wrongly with tiles that are not square. */
Test(clblast, known_faults_of_own_values_are_refused, .timeout = 600) {
    static const char *names[] = {"GEMMK", "KREG", "KWG", "KWI", "MDIMA", "MDIMC", "MWG", "NDIMB",
                                  "NDIMC", "NWG",  "SA",  "SB",  "STRM",  "STRN",  "VWM", "VWN"};
    const size_t values[] = {1, 1, 1, 1, 8, 8, 16, 8, 8, 32, 0, 0, 0, 0, 1, 1};
    const bool is_old =
        CLBLAST_VERSION_MAJOR == 1 &&
        (CLBLAST_VERSION_MINOR < 6 || (CLBLAST_VERSION_MINOR == 6 && CLBLAST_VERSION_PATCH < 3));
    struct test_device device;
    mha_plan *plan;
    mha_error error;
    open_device(&device);
    cr_assert_eq(
        CLBlastOverrideParameters(device.id, "Xgemm", CLBlastPrecisionSingle, 16, names, values),
        CLBlastSuccess);
    const mha_status status = try_plan(device.engine, MHA_F32, own(), &plan, &error);
    cr_expect_eq(status, is_old ? MHA_ERR_BUILD : MHA_SUCCESS, "%s", error.message);
    mha_plan_destroy(&plan);
    /* Values of ours have square tiles. */
    struct operands *o = operands_make(&device, MHA_F32, 6);
    plan = make_plan(device.engine, MHA_F32, second_form());
    expect_right(&device, plan, o);
    mha_plan_destroy(&plan);
    operands_release(o);
    device_close(&device);
}

/* ---- Threads -------------------------------------------------------------------------------- */

enum { THREADS = 4, CALLS = 12 };

struct thread {
    const struct test_device *device;
    mha_plan *plan;
    struct operands *operands;
    char why[WHY_BYTES];
    bool is_ok;
};

static void *run_thread(void *data) {
    struct thread *thread = data;
    cl_int code;
    const cl_command_queue queue =
        clCreateCommandQueue(thread->device->context, thread->device->id, 0, &code);
    snprintf(thread->why, sizeof(thread->why), "clCreateCommandQueue: %d", (int)code);
    thread->is_ok = !code;
    for (int i = 0; i < CALLS && thread->is_ok; ++i)
        thread->is_ok = call(thread->device, queue, thread->plan, thread->operands, ROWS,
                             thread->why, sizeof(thread->why));
    if (queue)
        clReleaseCommandQueue(queue);
    return NULL;
}

Test(clblast, threads_with_different_values, .timeout = 600) {
    const struct tuning tunings[THREADS] = {own(), direct(), indirect(), direct()};
    struct thread threads[THREADS];
    pthread_t handles[THREADS];
    struct test_device device;
    open_device(&device);
    for (int i = 0; i < THREADS; ++i)
        threads[i] = (struct thread){
            .device = &device,
            .plan = make_plan(device.engine, MHA_F32, tunings[i]),
            .operands = operands_make(&device, MHA_F32, 7 + (uint64_t)i),
        };
    const int compiled = builds;
    for (int i = 0; i < THREADS; ++i)
        cr_assert_eq(pthread_create(&handles[i], NULL, run_thread, &threads[i]), 0);
    for (int i = 0; i < THREADS; ++i) {
        pthread_join(handles[i], NULL);
        cr_expect(threads[i].is_ok, "thread %d: %s", i, threads[i].why);
        mha_plan_destroy(&threads[i].plan);
        operands_release(threads[i].operands);
    }
    cr_expect_eq(builds, compiled, "a call compiled");
    device_close(&device);
}
