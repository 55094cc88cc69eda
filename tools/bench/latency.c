/* Host time of libmha-cl: what an engine, a plan and its first call take in a new process, and what
 * an enqueue takes beyond the kernels and arguments that it gives to OpenCL.
 *
 * mha-bench-latency DEVICE SHAPE     SHAPE: 0 (also prints what the columns are) to 2
 *
 * One enqueue's clSetKernelArg() and clEnqueueNDRangeKernel() are recorded, by functions of this
 * program that stand before those of the OpenCL library, and called once more without libmha-cl.
 * The queue waits for an event all the while, so that no kernel takes time from the host. "builds"
 * is what clBuildProgram() and clCreateKernel() take of a plan, which for a program from the cache
 * is the driver's work alone. With an empty cache the plan is cold, in the next process its program
 * comes from the cache (tools/bench.sh --latency runs both). */
#include "device.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_RECORDED 512
#define MAX_ARGUMENT 512
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
static double
    build_seconds; /* in calls that make programs and kernels, whatever the library does */

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

struct shape {
    const char *name;
    int64_t heads, kv_heads, tokens, keys, head_dim;
    bool is_layer;
};

static const struct shape shapes[] = {
    {"attention B1 H12 N197 D64", 12, 12, 197, 197, 64, false},
    {"attention B1 Hq32 Hkv8 Nq1 Nkv4096 D128", 32, 8, 1, 4096, 128, false},
    {"layer B1 N197 E768", 12, 12, 197, 197, 64, true},
};

struct call {
    mha_plan *plan;
    bool is_layer;
    mha_attention_args attention;
    mha_layer_args layer;
    cl_mem memory[6]; /* of a layer: x, y, weights packed; of attention: q, k, v, o; workspace */
};

static void make_plan(const struct bench *b, const struct shape *s, struct call *c) {
    mha_attention_desc desc = MHA_ATTENTION_DESC_INIT;
    mha_layer_desc layer = MHA_LAYER_DESC_INIT;
    mha_error error;
    desc.dtype = MHA_F32;
    desc.q_heads = s->heads;
    desc.kv_heads = s->kv_heads;
    desc.head_dim_qk = desc.head_dim_v = s->head_dim;
    desc.max_batch = 1;
    desc.max_seqlen_q = s->tokens;
    desc.max_seqlen_kv = s->keys;
    layer.flags = MHA_LAYER_FUSED_QKV | MHA_LAYER_QKV_BIAS | MHA_LAYER_OUTPUT |
                  MHA_LAYER_OUTPUT_BIAS | MHA_LAYER_PACKED;
    layer.attention = &desc;
    layer.embed_q = layer.embed_out = s->heads * s->head_dim;
    c->is_layer = s->is_layer;
    bench_check(s->is_layer ? mha_layer_plan_create(b->engine, &layer, &c->plan, &error)
                            : mha_plan_create(b->engine, &desc, &c->plan, &error),
                &error);
}

/* What the buffers hold plays no part; a layer's weights are never packed. */
static void make_buffers(const struct bench *b, const struct shape *s, struct call *c) {
    const int64_t width = s->heads * s->head_dim;
    mha_plan_info info = MHA_PLAN_INFO_INIT;
    mha_error error;
    bench_check(mha_plan_get_info(c->plan, &info, &error), &error);
    const size_t rows = (size_t)(s->tokens * width) * sizeof(float);
    const size_t keys = (size_t)(s->keys * s->kv_heads * s->head_dim) * sizeof(float);
    const size_t bytes[] = {rows, s->is_layer ? info.packed_bytes : keys, keys, rows,
                            info.workspace_bytes};
    for (size_t i = 0; i < sizeof(bytes) / sizeof(*bytes); ++i)
        c->memory[i] = bench_random(b, bytes[i] / sizeof(float) + 1, 1);
    c->attention = (mha_attention_args)MHA_ATTENTION_ARGS_INIT;
    c->attention.batch = 1;
    c->attention.seqlen_q = s->tokens;
    c->attention.seqlen_kv = s->keys;
    if (s->is_layer) {
        c->layer = (mha_layer_args)MHA_LAYER_ARGS_INIT;
        c->layer.attention = &c->attention;
        c->layer.query = mha_tensor_bnhd(c->memory[0], 0, 1, s->tokens, width);
        c->layer.y = mha_tensor_bnhd(c->memory[3], 0, 1, s->tokens, width);
        c->layer.packed = mha_buffer(c->memory[1], 0);
        c->layer.workspace = mha_buffer(c->memory[4], 0);
        return;
    }
    c->attention.q = mha_tensor_bhnd(c->memory[0], 0, s->heads, s->tokens, s->head_dim);
    c->attention.k = mha_tensor_bhnd(c->memory[1], 0, s->kv_heads, s->keys, s->head_dim);
    c->attention.v = mha_tensor_bhnd(c->memory[2], 0, s->kv_heads, s->keys, s->head_dim);
    c->attention.o = mha_tensor_bhnd(c->memory[3], 0, s->heads, s->tokens, s->head_dim);
    c->attention.workspace = mha_buffer(c->memory[4], 0);
}

static void enqueue(const struct bench *b, const struct call *c) {
    mha_error error;
    bench_check(c->is_layer ? mha_enqueue_layer(c->plan, b->queue, &c->layer, 0, NULL, NULL, &error)
                            : mha_enqueue_attention(c->plan, b->queue, &c->attention, 0, NULL, NULL,
                                                    &error),
                &error);
}

static void release(struct call *c) {
    mha_plan_destroy(&c->plan);
    for (size_t i = 0; i < sizeof(c->memory) / sizeof(*c->memory); ++i)
        if (c->memory[i])
            clReleaseMemObject(c->memory[i]);
}

/* ---- Times ----------------------------------------------------------------------------------- */

/* Host seconds of one call, of many while the queue waits. */
static double time_calls(const struct bench *b, const struct call *c) {
    cl_int code;
    cl_event gate = clCreateUserEvent(b->context, &code);
    bench_check_cl(code, "clCreateUserEvent");
    bench_check_cl(clEnqueueBarrierWithWaitList(b->queue, 1, &gate, NULL),
                   "clEnqueueBarrierWithWaitList");
    const double begun = host_seconds();
    for (int i = 0; i < CALLS; ++i) {
        if (c)
            enqueue(b, c);
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
    struct call c = {.plan = NULL};
    double begun = host_seconds();
    bench_open_engine(b);
    const double engine = host_seconds() - begun;
    begun = host_seconds();
    make_plan(b, s, &c);
    const double plan = host_seconds() - begun, build = build_seconds;
    make_buffers(b, s, &c);
    bench_check_cl(clFinish(b->queue), "clFinish");
    begun = host_seconds();
    enqueue(b, &c);
    bench_check_cl(clFinish(b->queue), "clFinish");
    const double first = host_seconds() - begun;
    is_recording = true;
    enqueue(b, &c);
    is_recording = false;
    bench_check_cl(clFinish(b->queue), "clFinish");
    if (!recorded)
        give_up("the library's OpenCL calls were not seen");
    for (int round = 0; round < ROUNDS; ++round) {
        const double own = time_calls(b, &c), other = time_calls(b, NULL);
        series_add(&ours, own);
        series_add(&theirs, other);
        series_add(&beyond, own - other);
    }
    printf("  %-40s %8.2f %8.2f %8.2f %8.2f %8.2f %8.2f %8.2f %8d\n", s->name, 1e3 * engine,
           1e3 * plan, 1e3 * build, 1e3 * first, 1e6 * series_median(&ours),
           1e6 * series_median(&theirs), 1e6 * series_median(&beyond), recorded);
    release(&c);
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
