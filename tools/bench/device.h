/* What benchmark programs share: a device with an engine, buffers, times, the device's FMA peak.
 * Whatever fails ends the program with a message. */
#ifndef BENCH_DEVICE_H
#define BENCH_DEVICE_H

#include "mha_cl.h"

#include <stddef.h>

#define MAX_ROUNDS 1000

struct bench {
    cl_device_id device;
    cl_context context;
    cl_command_queue queue;
    mha_engine *engine;
    cl_kernel peak;
    cl_mem peak_out;
    size_t peak_groups, peak_group;
    double peak_flops; /* of one launch */
    char name[256];
};

/* Times, or anything of which less is better. */
struct series {
    double values[MAX_ROUNDS];
    int count;
};

/* The first device whose own or whose platform's name holds `name`, in any case; NULL: the first.
 */
void bench_open(struct bench *bench, const char *name);

/* Its parts, without what the peak needs. */
void bench_open_queue(struct bench *bench, const char *name);
void bench_open_engine(struct bench *bench);

void bench_close(struct bench *bench);

void bench_check(mha_status status, const mha_error *error);
void bench_check_cl(cl_int code, const char *call);

/* Uninitialised, at least one byte. */
cl_mem bench_buffer(const struct bench *bench, size_t bytes);

/* A kernel of a program's text; the caller's to release. */
cl_kernel bench_kernel(const struct bench *bench, const char *source, const char *name,
                       const char *options);

/* fp32, evenly distributed over -range .. range; the same in every run. */
cl_mem bench_random(const struct bench *bench, size_t elements, float range);

/* After all that is on the queue. */
double bench_seconds(const struct bench *bench);

/* Multiply-adds of fp32 that do nothing else: bench.peak_flops of them; and their GFLOP/s. */
void bench_enqueue_peak(const struct bench *bench);
double bench_fma_peak(const struct bench *bench);

void series_add(struct series *series, double value);
double series_minimum(const struct series *series);
double series_median(const struct series *series);

#endif
