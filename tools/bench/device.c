/* In: a device's name. Out: what a benchmark measures with. */
#include "device.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Twelve independent chains hide the latency of a multiply-add on any device. */
#define CHAINS 12
#define STEPS 20000

static const char peak_source[] =
    "kernel void peak(global FLOATV *out, int steps, float m) {\n"
    "    FLOATV sum[12];\n"
    "#pragma unroll\n"
    "    for (int i = 0; i < 12; ++i) sum[i] = i + (float)get_global_id(0);\n"
    "    const FLOATV x = m, y = 1e-3f;\n"
    "    for (int j = 0; j < steps; ++j) {\n"
    "#pragma unroll\n"
    "        for (int i = 0; i < 12; ++i) sum[i] = sum[i] * x + y;\n"
    "    }\n"
    "    FLOATV all = 0;\n"
    "#pragma unroll\n"
    "    for (int i = 0; i < 12; ++i) all += sum[i];\n"
    "    out[get_global_id(0)] = all;\n"
    "}\n";

static void fail(const char *what, const char *why) {
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

void bench_check(mha_status status, const mha_error *error) {
    if (status)
        fail(mha_status_name(status), error->message);
}

void bench_check_cl(cl_int code, const char *call) {
    char text[40];
    snprintf(text, sizeof(text), "OpenCL error %d", (int)code);
    if (code)
        fail(call, text);
}

static int has_part(const char *text, const char *part) {
    const size_t length = strlen(part);
    for (; *text; ++text) {
        size_t i = 0;
        while (i < length && tolower((unsigned char)text[i]) == tolower((unsigned char)part[i]))
            ++i;
        if (i == length)
            return 1;
    }
    return length == 0;
}

static int find_device(struct bench *b, const char *name) {
    cl_platform_id platforms[16];
    cl_uint platform_count = 0;
    clGetPlatformIDs(16, platforms, &platform_count);
    for (cl_uint p = 0; p < platform_count && p < 16; ++p) {
        char platform[128] = "";
        cl_device_id devices[16];
        cl_uint device_count = 0;
        clGetPlatformInfo(platforms[p], CL_PLATFORM_NAME, sizeof(platform), platform, NULL);
        if (clGetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, 16, devices, &device_count))
            continue;
        for (cl_uint d = 0; d < device_count && d < 16; ++d) {
            char device[128] = "";
            clGetDeviceInfo(devices[d], CL_DEVICE_NAME, sizeof(device), device, NULL);
            snprintf(b->name, sizeof(b->name), "%s / %s", platform, device);
            b->device = devices[d];
            if (!name || has_part(b->name, name))
                return 1;
        }
    }
    return 0;
}

cl_kernel bench_kernel(const struct bench *b, const char *source, const char *name,
                       const char *options) {
    cl_int code;
    cl_program program = clCreateProgramWithSource(b->context, 1, &source, NULL, &code);
    bench_check_cl(code, "clCreateProgramWithSource");
    bench_check_cl(clBuildProgram(program, 1, &b->device, options, NULL, NULL), "clBuildProgram");
    cl_kernel kernel = clCreateKernel(program, name, &code);
    bench_check_cl(code, "clCreateKernel");
    clReleaseProgram(program);
    return kernel;
}

static void make_peak(struct bench *b) {
    char options[64];
    cl_device_type type = 0;
    cl_uint units = 1, width = 1;
    clGetDeviceInfo(b->device, CL_DEVICE_TYPE, sizeof(type), &type, NULL);
    clGetDeviceInfo(b->device, CL_DEVICE_MAX_COMPUTE_UNITS, sizeof(units), &units, NULL);
    clGetDeviceInfo(b->device, CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT, sizeof(width), &width, NULL);
    const int is_cpu = (type & CL_DEVICE_TYPE_CPU) != 0;
    const cl_uint lanes = is_cpu && width >= 4 ? (width > 16 ? 16 : width) : 4;
    b->peak_group = is_cpu ? 1 : 64;
    b->peak_groups = units * (is_cpu ? 8 : 32);
    b->peak_flops = 2.0 * lanes * CHAINS * STEPS * (double)(b->peak_group * b->peak_groups);
    snprintf(options, sizeof(options), "-cl-std=CL1.2 -DFLOATV=float%u", lanes);
    b->peak = bench_kernel(b, peak_source, "peak", options);
    b->peak_out = bench_buffer(b, b->peak_group * b->peak_groups * lanes * sizeof(float));
}

void bench_open_queue(struct bench *b, const char *name) {
    cl_int code;
    *b = (struct bench){.device = NULL};
    if (!find_device(b, name))
        fail(name ? name : "OpenCL", "no such device");
    b->context = clCreateContext(NULL, 1, &b->device, NULL, NULL, &code);
    bench_check_cl(code, "clCreateContext");
    b->queue = clCreateCommandQueue(b->context, b->device, 0, &code);
    bench_check_cl(code, "clCreateCommandQueue");
}

void bench_open_engine(struct bench *b) {
    mha_engine_desc desc = MHA_ENGINE_DESC_INIT;
    mha_error error;
    desc.context = b->context;
    desc.device = b->device;
    bench_check(mha_engine_create(&desc, &b->engine, &error), &error);
}

void bench_open(struct bench *b, const char *name) {
    bench_open_queue(b, name);
    bench_open_engine(b);
    make_peak(b);
}

void bench_close(struct bench *b) {
    if (b->peak) {
        clReleaseMemObject(b->peak_out);
        clReleaseKernel(b->peak);
    }
    mha_engine_destroy(&b->engine);
    clReleaseCommandQueue(b->queue);
    clReleaseContext(b->context);
}

cl_mem bench_buffer(const struct bench *b, size_t bytes) {
    cl_int code;
    cl_mem buffer = clCreateBuffer(b->context, CL_MEM_READ_WRITE, bytes ? bytes : 1, NULL, &code);
    bench_check_cl(code, "clCreateBuffer");
    return buffer;
}

cl_mem bench_random(const struct bench *b, size_t elements, float range) {
    float *values = malloc(elements * sizeof(*values));
    uint32_t state = 1;
    if (!values)
        fail("malloc", "no memory");
    for (size_t i = 0; i < elements; ++i) {
        state = state * 1664525u + 1013904223u; /* Numerical Recipes' linear congruence */
        values[i] = ((float)(state >> 8) / (float)(1 << 23) - 1) * range;
    }
    cl_mem buffer = bench_buffer(b, elements * sizeof(*values));
    bench_check_cl(clEnqueueWriteBuffer(b->queue, buffer, CL_TRUE, 0, elements * sizeof(*values),
                                        values, 0, NULL, NULL),
                   "clEnqueueWriteBuffer");
    free(values);
    return buffer;
}

double bench_seconds(const struct bench *b) {
    struct timespec now;
    bench_check_cl(clFinish(b->queue), "clFinish");
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void bench_enqueue_peak(const struct bench *b) {
    const cl_int steps = STEPS;
    const float m = 0.999f;
    const size_t global = b->peak_group * b->peak_groups;
    cl_int code;
    if ((code = clSetKernelArg(b->peak, 0, sizeof(cl_mem), &b->peak_out)) ||
        (code = clSetKernelArg(b->peak, 1, sizeof(steps), &steps)) ||
        (code = clSetKernelArg(b->peak, 2, sizeof(m), &m)) ||
        (code = clEnqueueNDRangeKernel(b->queue, b->peak, 1, NULL, &global, &b->peak_group, 0, NULL,
                                       NULL)))
        bench_check_cl(code, "the FMA peak's kernel");
}

double bench_fma_peak(const struct bench *b) {
    const double begun = bench_seconds(b);
    bench_enqueue_peak(b);
    return b->peak_flops / (bench_seconds(b) - begun) * 1e-9;
}

void series_add(struct series *s, double value) {
    if (s->count < MAX_ROUNDS)
        s->values[s->count++] = value;
}

double series_minimum(const struct series *s) {
    double least = s->values[0];
    for (int i = 1; i < s->count; ++i)
        least = s->values[i] < least ? s->values[i] : least;
    return least;
}

static int compare(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double series_median(const struct series *s) {
    struct series sorted = *s;
    qsort(sorted.values, (size_t)sorted.count, sizeof(*sorted.values), compare);
    return sorted.values[sorted.count / 2];
}
