/* CLBlast's parameters as tunables, on a device: that they reach CLBlast, that plans of different
 * values do not meet, and that the results are right with all of them.
 *
 * The executable exports a clBuildProgram of its own, which counts (see opencl_faults.c). */
#include "clblast_tunings.h"
#include "device.h"
#include "numbers.h"
#include "select.h"

#include <clblast_c.h>
#include <criterion/criterion.h>
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CANARIES = 64 };

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

/* ---- Plans and calls ------------------------------------------------------------------------ */

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

/* ---- Values --------------------------------------------------------------------------------- */

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
