/* Host time of libmha-cl: what an engine, a plan and its first call, of a layer after its weights
 * are packed, take in a new process, and what an enqueue takes beyond the kernels and arguments
 * that it gives to OpenCL.
 *
 * mha-bench-latency DEVICE SHAPE     SHAPE: 0 (also prints what the columns are) to 2
 *
 * One enqueue's clSetKernelArg() and clEnqueueNDRangeKernel() are recorded, by functions of this
 * program that stand before those of the OpenCL library, and called once more without libmha-cl.
 * The queue waits for an event all the while, so that no kernel takes time from the host. "builds"
 * is what clBuildProgram() and clCreateKernel() take of a plan, which for a program from the cache
 * is the driver's work alone. With an empty cache the plan is cold, in the next process its program
 * comes from the cache (tools/bench.sh --latency runs both). */
#include "contender.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_RECORDED 512
#define MAX_ARGUMENT 1024
#define CALLS 20 /* enqueues between two waits */
#define ROUNDS 30

/* ---- What the library asks of OpenCL --------------------------------------------------------- */

struct recorded {
    cl_kernel kernel;
    bool is_argument; /* clSetKernelArg(), else clEnqueueNDRangeKernel() */
    cl_uint index, dimensions;
    bool is_local; /* no value */
    size_t bytes;
    unsigned char value[MAX_ARGUMENT];
    size_t offset[3], global[3], local[3];
    bool has_offset, has_local;
};

static struct recorded record[MAX_RECORDED];
static int recorded;
static bool is_recording;
/* In calls that make programs and kernels, whatever the library does. */
static double build_seconds;

typedef cl_int (*set_argument)(cl_kernel, cl_uint, size_t, const void *);
typedef cl_int (*enqueue_kernel)(cl_command_queue, cl_kernel, cl_uint, const size_t *,
                                 const size_t *, const size_t *, cl_uint, const cl_event *,
                                 cl_event *);
typedef cl_int (*build_program)(cl_program, cl_uint, const cl_device_id *, const char *,
                                void(CL_CALLBACK *)(cl_program, void *), void *);
typedef cl_kernel (*create_kernel)(cl_program, const char *, cl_int *);
static set_argument real_set_argument;
static enqueue_kernel real_enqueue_kernel;
static build_program real_build_program;
static create_kernel real_create_kernel;
static cl_int (*real_release_kernel)(cl_kernel);
static cl_int (*real_release_memory)(cl_mem);

static double host_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void give_up(const char *why) {
    fprintf(stderr, "mha-bench-latency: %s\n", why);
    exit(1);
}

/* ISO C knows no way from an object's address to a function's. */
static void find_real_calls(void) {
    *(void **)&real_set_argument = dlsym(RTLD_NEXT, "clSetKernelArg");
    *(void **)&real_enqueue_kernel = dlsym(RTLD_NEXT, "clEnqueueNDRangeKernel");
    *(void **)&real_build_program = dlsym(RTLD_NEXT, "clBuildProgram");
    *(void **)&real_create_kernel = dlsym(RTLD_NEXT, "clCreateKernel");
    *(void **)&real_release_kernel = dlsym(RTLD_NEXT, "clReleaseKernel");
    *(void **)&real_release_memory = dlsym(RTLD_NEXT, "clReleaseMemObject");
    if (!real_set_argument || !real_enqueue_kernel || !real_build_program || !real_create_kernel ||
        !real_release_kernel || !real_release_memory)
        give_up("the OpenCL library lacks calls");
}

static struct recorded *next_record(cl_kernel kernel) {
    if (recorded == MAX_RECORDED)
        give_up("an enqueue makes more calls than expected");
    record[recorded] = (struct recorded){.kernel = kernel};
    return &record[recorded++];
}

CL_API_ENTRY cl_int CL_API_CALL clSetKernelArg(cl_kernel kernel, cl_uint index, size_t bytes,
                                               const void *value) {
    if (is_recording) {
        struct recorded *r = next_record(kernel);
        if (bytes > MAX_ARGUMENT && value)
            give_up("an argument is larger than expected");
        r->is_argument = true;
        r->index = index;
        r->bytes = bytes;
        r->is_local = !value;
        if (value)
            memcpy(r->value, value, bytes);
    }
    return real_set_argument(kernel, index, bytes, value);
}

CL_API_ENTRY cl_int CL_API_CALL clEnqueueNDRangeKernel(cl_command_queue queue, cl_kernel kernel,
                                                       cl_uint dimensions, const size_t *offset,
                                                       const size_t *global, const size_t *local,
                                                       cl_uint waits, const cl_event *wait_list,
                                                       cl_event *event) {
    if (is_recording) {
        struct recorded *r = next_record(kernel);
        r->dimensions = dimensions;
        r->has_offset = offset;
        r->has_local = local;
        for (cl_uint i = 0; i < dimensions; ++i) {
            r->offset[i] = offset ? offset[i] : 0;
            r->global[i] = global[i];
            r->local[i] = local ? local[i] : 0;
        }
    }
    return real_enqueue_kernel(queue, kernel, dimensions, offset, global, local, waits, wait_list,
                               event);
}

CL_API_ENTRY cl_int CL_API_CALL clBuildProgram(cl_program program, cl_uint count,
                                               const cl_device_id *devices, const char *options,
                                               void(CL_CALLBACK *notify)(cl_program, void *),
                                               void *data) {
    const double begun = host_seconds();
    const cl_int code = real_build_program(program, count, devices, options, notify, data);
    build_seconds += host_seconds() - begun;
    return code;
}

CL_API_ENTRY cl_kernel CL_API_CALL clCreateKernel(cl_program program, const char *name,
                                                  cl_int *code) {
    const double begun = host_seconds();
    cl_kernel kernel = real_create_kernel(program, name, code);
    build_seconds += host_seconds() - begun;
    return kernel;
}

/* CLBlast lets go of its kernels and buffers with each product; those that are recorded stay. */
CL_API_ENTRY cl_int CL_API_CALL clReleaseKernel(cl_kernel kernel) {
    return is_recording ? CL_SUCCESS : real_release_kernel(kernel);
}

CL_API_ENTRY cl_int CL_API_CALL clReleaseMemObject(cl_mem memory) {
    return is_recording ? CL_SUCCESS : real_release_memory(memory);
}

static void replay(const struct bench *b) {
    for (int i = 0; i < recorded; ++i) {
        const struct recorded *r = &record[i];
        bench_check_cl(
            r->is_argument
                ? real_set_argument(r->kernel, r->index, r->bytes, r->is_local ? NULL : r->value)
                : real_enqueue_kernel(b->queue, r->kernel, r->dimensions,
                                      r->has_offset ? r->offset : NULL, r->global,
                                      r->has_local ? r->local : NULL, 0, NULL, NULL),
            "a recorded call");
    }
}

/* ---- Problems -------------------------------------------------------------------------------- */

static const struct shape {
    const char *name;
    struct bench_case problem;
} shapes[] = {
    {"attention B1 H12 N197 D64",
     {.dtype = MHA_F32,
      .batch = 1,
      .q_heads = 12,
      .kv_heads = 12,
      .seqlen_q = 197,
      .seqlen_kv = 197,
      .head_dim = 64}},
    {"attention B1 Hq32 Hkv8 Nq1 Nkv4096 D128",
     {.dtype = MHA_F32,
      .batch = 1,
      .q_heads = 32,
      .kv_heads = 8,
      .seqlen_q = 1,
      .seqlen_kv = 4096,
      .head_dim = 128}},
    {"layer B1 N197 E768",
     {.is_layer = true,
      .dtype = MHA_F32,
      .batch = 1,
      .q_heads = 12,
      .kv_heads = 12,
      .seqlen_q = 197,
      .seqlen_kv = 197,
      .head_dim = 64}},
};

/* What the buffers hold plays no part. */
static struct bench_case make_case(const struct bench *b, const struct shape *s) {
    struct bench_case c = s->problem;
    const size_t embed = (size_t)(c.q_heads * c.head_dim);
    const size_t rows = (size_t)c.seqlen_q * embed;
    const size_t keys = (size_t)(c.seqlen_kv * c.kv_heads * c.head_dim);
    c.o = bench_random(b, rows, 1);
    if (c.is_layer) {
        c.x = bench_random(b, rows, 1);
        c.qkv_weight = bench_random(b, 3 * embed * embed, 1);
        c.qkv_bias = bench_random(b, 3 * embed, 1);
        c.output_weight = bench_random(b, embed * embed, 1);
        c.output_bias = bench_random(b, embed, 1);
    } else {
        c.q = bench_random(b, rows, 1);
        c.k = bench_random(b, keys, 1);
        c.v = bench_random(b, keys, 1);
    }
    return c;
}

/* ---- Times ----------------------------------------------------------------------------------- */

/* Host seconds of one call, of many while the queue waits; without a state, of what is recorded. */
static double time_calls(const struct bench *b, const struct bench_case *c, void *state) {
    cl_int code;
    cl_event gate = clCreateUserEvent(b->context, &code);
    bench_check_cl(code, "clCreateUserEvent");
    bench_check_cl(clEnqueueBarrierWithWaitList(b->queue, 1, &gate, NULL),
                   "clEnqueueBarrierWithWaitList");
    const double begun = host_seconds();
    for (int i = 0; i < CALLS; ++i) {
        if (state)
            contender_mha.call(state, b, c);
        else
            replay(b);
    }
    const double taken = (host_seconds() - begun) / CALLS;
    bench_check_cl(clSetUserEventStatus(gate, CL_COMPLETE), "clSetUserEventStatus");
    bench_check_cl(clFinish(b->queue), "clFinish");
    clReleaseEvent(gate);
    return taken;
}

static void measure(struct bench *b, const struct shape *s) {
    static struct series ours, theirs, beyond;
    char why[400];
    mha_error error;
    mha_plan *plan;
    double begun = host_seconds();
    bench_open_engine(b);
    const double engine_seconds = host_seconds() - begun;
    begun = host_seconds();
    bench_check(bench_make_plan(b, &s->problem, &plan, &error), &error);
    const double plan_seconds = host_seconds() - begun, of_it_builds = build_seconds;
    struct bench_case c = make_case(b, s);
    void *state = bench_open_plan(b, &c, plan, why, sizeof(why));
    if (!state)
        give_up(why);
    bench_check_cl(clFinish(b->queue), "clFinish");
    begun = host_seconds();
    contender_mha.call(state, b, &c);
    bench_check_cl(clFinish(b->queue), "clFinish");
    const double first_seconds = host_seconds() - begun;
    is_recording = true;
    contender_mha.call(state, b, &c);
    is_recording = false;
    bench_check_cl(clFinish(b->queue), "clFinish");
    if (!recorded)
        give_up("the library's OpenCL calls were not seen");
    for (int round = 0; round < ROUNDS; ++round) {
        const double own = time_calls(b, &c, state), other = time_calls(b, &c, NULL);
        series_add(&ours, own);
        series_add(&theirs, other);
        series_add(&beyond, own - other);
    }
    printf("  %-40s %8.2f %8.2f %8.2f %8.2f %8.2f %8.2f %8.2f %8d\n", s->name, 1e3 * engine_seconds,
           1e3 * plan_seconds, 1e3 * of_it_builds, 1e3 * first_seconds, 1e6 * series_median(&ours),
           1e6 * series_median(&theirs), 1e6 * series_median(&beyond), recorded);
    contender_mha.close(state);
    case_close(&c);
}

int main(int argc, char **argv) {
    const int count = (int)(sizeof(shapes) / sizeof(*shapes));
    const int index = argc == 3 ? atoi(argv[2]) : -1;
    struct bench b;
    if (index < 0 || index >= count) {
        fprintf(stderr, "usage: %s DEVICE 0..%d\n", argv[0], count - 1);
        return 2;
    }
    find_real_calls();
    bench_open_queue(&b, argv[1]);
    if (index == 0) {
        printf("  %-40.40s %8s %8s %8s %8s %8s %8s %8s %8s\n", b.name, "engine", "plan", "of it",
               "first", "enqueue", "replayed", "beyond", "replayed");
        printf("  %-40s %8s %8s %8s %8s %8s %8s %8s %8s\n", "", "ms", "ms", "builds", "call ms",
               "us", "us", "us", "calls");
    }
    measure(&b, &shapes[index]);
    bench_close(&b);
    return 0;
}
