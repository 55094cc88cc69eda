/* In: a device. Out: its peak of fp32 multiply-adds, and the bandwidth of its global memory. */
#include "rates.h"

#include <stdio.h>

/* Chains of multiply-adds that do not wait for one another hide their latency on any device. Sums
 * of what was read are written, so that no compiler leaves the reading out. */
static const char source[] =
    "#define CHAINS 12\n"
    "kernel void multiply_add(global LANES *out, int steps, float factor) {\n"
    "    LANES sum[CHAINS];\n"
    "    #pragma unroll\n"
    "    for (int c = 0; c < CHAINS; ++c)\n"
    "        sum[c] = (LANES)(c + (float)get_global_id(0));\n"
    "    for (int step = 0; step < steps; ++step) {\n"
    "        #pragma unroll\n"
    "        for (int c = 0; c < CHAINS; ++c)\n"
    "            sum[c] = sum[c] * (LANES)factor + (LANES)0.5f;\n"
    "    }\n"
    "    #pragma unroll\n"
    "    for (int c = 1; c < CHAINS; ++c)\n"
    "        sum[0] += sum[c];\n"
    "    out[get_global_id(0)] = sum[0];\n"
    "}\n"
    "kernel void read_all(global const LANES *in, global LANES *out, int count, int first, int "
    "next)\n"
    "{\n"
    "    LANES sum[4] = {0, 0, 0, 0};\n"
    "    size_t at = get_global_id(0) * (size_t)first;\n"
    "    for (int n = 0; n < count; n += 4) {\n"
    "        #pragma unroll\n"
    "        for (int i = 0; i < 4; ++i, at += (size_t)next)\n"
    "            sum[i] += in[at];\n"
    "    }\n"
    "    out[get_global_id(0)] = sum[0] + sum[1] + sum[2] + sum[3];\n"
    "}\n";
#define CHAINS 12

/* A launch this long is longer than what starting it costs. */
#define LAUNCH_NS 5e6
#define LAUNCHES 5
#define MOST_LAUNCHES 1024 /* at a time */
#define STEADY 0.02

struct gauge {
    const struct target *target;
    cl_kernel kernel;
    cl_mem in, out;
    cl_uint lanes;
    size_t group, global;
};

static bool fail(char *why, size_t why_bytes, cl_int code) {
    snprintf(why, why_bytes, "can't measure the device's rates: OpenCL error %d", (int)code);
    return false;
}

static void release(struct gauge *g) {
    if (g->kernel)
        clReleaseKernel(g->kernel);
    if (g->in)
        clReleaseMemObject(g->in);
    if (g->out)
        clReleaseMemObject(g->out);
}

static bool init(struct gauge *g, const struct target *t, const char *name, char *why,
                 size_t why_bytes) {
    const char *text = source;
    char options[64];
    const struct device_caps *caps = &t->caps;
    const bool is_vector = caps->is_cpu && caps->float_vector >= 4;
    cl_int code;
    *g = (struct gauge){.target = t, .lanes = 4, .group = 1};
    /* One work-item of a CPU fills its vectors; elsewhere many together do. */
    if (is_vector)
        g->lanes = caps->float_vector >= 16 ? 16 : caps->float_vector >= 8 ? 8 : 4;
    while (!caps->is_cpu && g->group < 64 && g->group < caps->max_work_group)
        g->group *= 2;
    g->global = g->group * caps->compute_units * (caps->is_cpu ? 8 : 32);
    snprintf(options, sizeof(options), "-cl-std=CL1.2 -DLANES=float%u", g->lanes);
    cl_program program = clCreateProgramWithSource(t->context, 1, &text, NULL, &code);
    if (!code)
        code = clBuildProgram(program, 1, &t->device, options, NULL, NULL);
    if (!code)
        g->kernel = clCreateKernel(program, name, &code);
    if (program)
        clReleaseProgram(program);
    if (code)
        return fail(why, why_bytes, code);
    g->out = target_buffer(t, g->global * g->lanes * sizeof(cl_float), why, why_bytes);
    return g->out;
}

/* Nanoseconds of so many launches; 0 with *code where one fails. */
static double launch(const struct gauge *g, int count, cl_int *code) {
    const double begun = target_clock();
    for (int n = 0; n < count; ++n)
        if ((*code = clEnqueueNDRangeKernel(g->target->queue, g->kernel, 1, NULL, &g->global,
                                            &g->group, 0, NULL, NULL)))
            return 0;
    *code = clFinish(g->target->queue);
    return *code ? 0 : target_clock() - begun;
}

bool rates_measure_flops(struct target *t, char *why, size_t why_bytes) {
    const float factor = 0.999f;
    struct gauge g;
    cl_int code = CL_SUCCESS;
    if (t->rates.flops > 0)
        return true;
    bool is_ok = init(&g, t, "multiply_add", why, why_bytes);
    cl_int steps = 64;
    /* Until it gets no faster: clocks rise under load, and an idle device's have fallen. */
    for (int n = 0; is_ok && n < LAUNCHES;) {
        if (!(code = clSetKernelArg(g.kernel, 0, sizeof(cl_mem), &g.out)) &&
            !(code = clSetKernelArg(g.kernel, 1, sizeof(steps), &steps)))
            code = clSetKernelArg(g.kernel, 2, sizeof(factor), &factor);
        const double ns = code ? 0 : launch(&g, 1, &code);
        if (code || ns <= 0) {
            is_ok = fail(why, why_bytes, code);
            break;
        }
        /* From short to long: nobody knows how slow a device is. */
        if (ns < LAUNCH_NS && steps < 1 << 24) {
            steps *= 4;
            continue;
        }
        const double rate = 2e9 * CHAINS * steps * g.lanes * (double)g.global / ns;
        n = rate > (1 + STEADY) * t->rates.flops ? 1 : n + 1;
        t->rates.flops = rate > t->rates.flops ? rate : t->rates.flops;
    }
    release(&g);
    return is_ok;
}

/* Well beyond the caches, within what one allocation may be. */
static double reading_bytes(const struct target *t) {
    const double least = 64 << 20, most = 512 << 20;
    double bytes = 2 * t->cache_bytes;
    bytes = bytes < least ? least : bytes > most ? most : bytes;
    if (bytes > (double)t->caps.max_alloc_bytes / 2)
        bytes = (double)t->caps.max_alloc_bytes / 2;
    return t->global_bytes > 0 && bytes > t->global_bytes / 8 ? t->global_bytes / 8 : bytes;
}

bool rates_measure_bytes(struct target *t, char *why, size_t why_bytes) {
    const cl_float one = 1;
    struct gauge g;
    cl_int code = CL_SUCCESS;
    if (t->rates.bytes > 0)
        return true;
    bool is_ok = init(&g, t, "read_all", why, why_bytes);
    const double vector_bytes = (double)g.lanes * sizeof(cl_float);
    const cl_int count = (cl_int)(reading_bytes(t) / vector_bytes / (double)g.global) / 4 * 4 + 4;
    const size_t bytes = (size_t)count * g.global * g.lanes * sizeof(cl_float);
    /* A CPU's work-item reads on and on; elsewhere neighbours read side by side. */
    const cl_int first = t->caps.is_cpu ? count : 1;
    const cl_int next = t->caps.is_cpu ? 1 : (cl_int)g.global;
    if (is_ok)
        is_ok = (g.in = target_buffer(t, bytes, why, why_bytes));
    if (is_ok &&
        ((code = clEnqueueFillBuffer(t->queue, g.in, &one, sizeof(one), 0, bytes, 0, NULL, NULL)) ||
         (code = clSetKernelArg(g.kernel, 0, sizeof(cl_mem), &g.in)) ||
         (code = clSetKernelArg(g.kernel, 1, sizeof(cl_mem), &g.out)) ||
         (code = clSetKernelArg(g.kernel, 2, sizeof(count), &count)) ||
         (code = clSetKernelArg(g.kernel, 3, sizeof(first), &first)) ||
         (code = clSetKernelArg(g.kernel, 4, sizeof(next), &next))))
        is_ok = fail(why, why_bytes, code);
    int times = 1;
    for (int n = 0; is_ok && n < LAUNCHES;) {
        const double ns = launch(&g, times, &code);
        if (code || ns <= 0) {
            is_ok = fail(why, why_bytes, code);
            break;
        }
        if (ns < LAUNCH_NS && times < MOST_LAUNCHES) {
            times *= 2;
            continue;
        }
        const double rate = 1e9 * (double)bytes * times / ns;
        t->rates.bytes = rate > t->rates.bytes ? rate : t->rates.bytes;
        ++n;
    }
    release(&g);
    return is_ok;
}
