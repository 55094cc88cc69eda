/* In: buffers. Out: the kernels of model_kernels.cl enqueued on the device's queue. */
#include "model_ops.h"

#include "calls.h"
#include "source.h"

#include <stdio.h>
#include <stdlib.h>

#define ROW_GROUP 64    /* work-items for a row, where a row is not one work-item's */
#define ITEM_GROUP 64   /* of the kernels that take any size */
#define ITEM_ELEMENTS 8 /* of gelu and the sums */

static const char *const kernel_names[N_MODEL_KERNELS] = {
    [KERNEL_LAYER_NORM] = "layer_norm", [KERNEL_GELU] = "gelu",         [KERNEL_ADD] = "add",
    [KERNEL_ADD_SCALED] = "add_scaled", [KERNEL_FROM_F32] = "from_f32", [KERNEL_TO_F32] = "to_f32",
    [KERNEL_PATCHES] = "patches",       [KERNEL_GATHER] = "gather",
};

static void print_build_log(const model_ops *ops) {
    static char log[8192];
    if (clGetProgramBuildInfo(ops->program, ops->d->id, CL_PROGRAM_BUILD_LOG, sizeof(log) - 1, log,
                              NULL) == CL_SUCCESS)
        fprintf(stderr, "%s\n", log);
}

/* A CPU runs the work-items of a group in turn, so a row in one piece is best there. */
static size_t choose_row_group(const device *d) {
    cl_device_type type = 0;
    size_t largest = 0;
    if (clGetDeviceInfo(d->id, CL_DEVICE_TYPE, sizeof(type), &type, NULL) != CL_SUCCESS ||
        clGetDeviceInfo(d->id, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof(largest), &largest, NULL) !=
            CL_SUCCESS)
        return 1;
    return type & CL_DEVICE_TYPE_CPU || largest < ROW_GROUP ? 1 : ROW_GROUP;
}

static bool build(model_ops *ops, failure *f) {
    const char *text = model_kernel_texts[0].text;
    char options[80];
    cl_int status;
    snprintf(options, sizeof(options), "-cl-std=CL1.2 -DGROUP=%zu%s", ops->row_group,
             ops->dtype == MHA_F16 ? " -DSTORE_HALF" : "");
    ops->program = clCreateProgramWithSource(ops->d->context, 1, &text, NULL, &status);
    if (status != CL_SUCCESS)
        return fail_cl(f, "clCreateProgramWithSource", status);
    status = clBuildProgram(ops->program, 1, &ops->d->id, options, NULL, NULL);
    if (status == CL_SUCCESS)
        return true;
    print_build_log(ops);
    return fail_cl(f, "clBuildProgram of model_kernels.cl", status);
}

bool model_ops_open(const device *d, mha_dtype dtype, model_ops *ops, failure *f) {
    *ops = (model_ops){.d = d, .dtype = dtype, .row_group = choose_row_group(d)};
    ops->element = dtype == MHA_F16 ? sizeof(cl_half) : sizeof(cl_float);
    bool ok = build(ops, f);
    for (int i = 0; ok && i < N_MODEL_KERNELS; ++i) {
        cl_int status;
        ops->kernels[i] = clCreateKernel(ops->program, kernel_names[i], &status);
        if (status != CL_SUCCESS)
            ok = fail(f, EXIT_OPENCL, "clCreateKernel of %s failed: OpenCL error %d",
                      kernel_names[i], status);
    }
    if (!ok)
        model_ops_close(ops);
    return ok;
}

void model_ops_close(model_ops *ops) {
    for (int i = 0; i < N_MODEL_KERNELS; ++i)
        if (ops->kernels[i])
            clReleaseKernel(ops->kernels[i]);
    if (ops->program)
        clReleaseProgram(ops->program);
    *ops = (model_ops){0};
}

/* Takes over `event`, where one was asked for. */
static bool record(const model_ops *ops, work kind, cl_event event, failure *f) {
    if (!ops->profile)
        return true;
    clRetainEvent(event); /* first and last */
    return profile_add(ops->profile, kind, event, event, f);
}

typedef struct argument {
    size_t bytes;
    const void *value;
} argument;

#define ARGUMENT(x)                                                                                \
    { .bytes = sizeof(x), .value = &(x) }

/* `items` in work-groups of `group`; the last `argument` has 0 bytes. */
static bool launch(const model_ops *ops, model_kernel which, work kind, size_t items, size_t group,
                   const argument *arguments, failure *f) {
    cl_kernel kernel = ops->kernels[which];
    size_t global = (items + group - 1) / group * group;
    cl_event event = NULL;
    if (items == 0)
        return true;
    for (cl_uint i = 0; arguments[i].bytes; ++i) {
        cl_int status = clSetKernelArg(kernel, i, arguments[i].bytes, arguments[i].value);
        if (status != CL_SUCCESS)
            return fail(f, EXIT_OPENCL, "clSetKernelArg %u of %s failed: OpenCL error %d", i,
                        kernel_names[which], status);
    }
    cl_int status = clEnqueueNDRangeKernel(ops->d->queue, kernel, 1, NULL, &global, &group, 0, NULL,
                                           ops->profile ? &event : NULL);
    if (status != CL_SUCCESS)
        return fail(f, EXIT_OPENCL, "%s of %zu work-items can't be enqueued: OpenCL error %d",
                    kernel_names[which], global, status);
    return record(ops, kind, event, f);
}

bool op_layer_norm(const model_ops *ops, cl_mem from, cl_mem to, const layer_norm_weights *weights,
                   size_t rows, size_t width, float epsilon, failure *f) {
    const cl_int n = (cl_int)width;
    const argument arguments[] = {ARGUMENT(from),
                                  ARGUMENT(to),
                                  ARGUMENT(weights->weight),
                                  ARGUMENT(weights->bias),
                                  ARGUMENT(n),
                                  ARGUMENT(epsilon),
                                  {0}};
    return launch(ops, KERNEL_LAYER_NORM, WORK_ROWS, rows * ops->row_group, ops->row_group,
                  arguments, f);
}

static size_t items_of(size_t elements) {
    return (elements + ITEM_ELEMENTS - 1) / ITEM_ELEMENTS;
}

bool op_gelu(const model_ops *ops, cl_mem x, size_t elements, failure *f) {
    const cl_ulong count = elements;
    const argument arguments[] = {ARGUMENT(x), ARGUMENT(count), {0}};
    return launch(ops, KERNEL_GELU, WORK_ROWS, items_of(elements), ITEM_GROUP, arguments, f);
}

bool op_add(const model_ops *ops, cl_mem x, cl_mem y, cl_mem scale, size_t rows, size_t width,
            failure *f) {
    const cl_ulong count = rows * width;
    const cl_int n = (cl_int)width;
    const argument plain[] = {ARGUMENT(x), ARGUMENT(y), ARGUMENT(count), {0}};
    const argument scaled[] = {ARGUMENT(x),     ARGUMENT(y), ARGUMENT(scale),
                               ARGUMENT(count), ARGUMENT(n), {0}};
    return launch(ops, scale ? KERNEL_ADD_SCALED : KERNEL_ADD, WORK_ROWS, items_of(rows * width),
                  ITEM_GROUP, scale ? scaled : plain, f);
}

static bool convert(const model_ops *ops, model_kernel which, cl_mem from, cl_mem to,
                    size_t elements, failure *f) {
    const cl_ulong count = elements;
    const argument arguments[] = {ARGUMENT(from), ARGUMENT(to), ARGUMENT(count), {0}};
    return launch(ops, which, WORK_INPUT, elements, ITEM_GROUP, arguments, f);
}

bool op_from_f32(const model_ops *ops, cl_mem f32, cl_mem to, size_t elements, failure *f) {
    return convert(ops, KERNEL_FROM_F32, f32, to, elements, f);
}

bool op_to_f32(const model_ops *ops, cl_mem from, cl_mem f32, size_t elements, failure *f) {
    return convert(ops, KERNEL_TO_F32, from, f32, elements, f);
}

bool op_patches(const model_ops *ops, cl_mem pixels, cl_mem rows, int size, int side, failure *f) {
    const cl_int n = size, m = side;
    const size_t grid = (size_t)(size / side);
    const cl_ulong count = grid * grid * 3 * (size_t)side * (size_t)side;
    const argument arguments[] = {ARGUMENT(pixels), ARGUMENT(rows), ARGUMENT(count),
                                  ARGUMENT(n),      ARGUMENT(m),    {0}};
    return launch(ops, KERNEL_PATCHES, WORK_INPUT, count, ITEM_GROUP, arguments, f);
}

bool op_gather(const model_ops *ops, cl_mem ids, cl_mem places, const gather_tables *tables,
               cl_mem y, size_t rows, size_t width, failure *f) {
    const cl_ulong count = rows * width;
    const cl_int n = (cl_int)width;
    const argument arguments[] = {ARGUMENT(ids),
                                  ARGUMENT(places),
                                  ARGUMENT(tables->words),
                                  ARGUMENT(tables->positions),
                                  ARGUMENT(tables->type),
                                  ARGUMENT(y),
                                  ARGUMENT(count),
                                  ARGUMENT(n),
                                  {0}};
    return launch(ops, KERNEL_GATHER, WORK_INPUT, count, ITEM_GROUP, arguments, f);
}

bool op_copy(const model_ops *ops, cl_mem from, size_t from_at, cl_mem to, size_t to_at,
             size_t elements, failure *f) {
    cl_int status =
        clEnqueueCopyBuffer(ops->d->queue, from, to, from_at * ops->element, to_at * ops->element,
                            elements * ops->element, 0, NULL, NULL);
    return status == CL_SUCCESS || fail_cl(f, "clEnqueueCopyBuffer", status);
}

float *op_read(const model_ops *ops, cl_mem from, size_t elements, failure *f) {
    const size_t bytes = elements * sizeof(float);
    float *values = malloc(bytes);
    cl_mem f32 = NULL;
    bool ok = values || fail_memory(f, bytes);
    if (ok && ops->dtype != MHA_F32) {
        model_ops quiet = *ops;
        quiet.profile = NULL; /* no part of the model */
        ok = make_buffer(ops->d->context, bytes, NULL, &f32, f) &&
             op_to_f32(&quiet, from, f32, elements, f);
    }
    ok = ok && read_buffer(ops->d, f32 ? f32 : from, 0, bytes, values, f);
    release_buffer(&f32);
    if (!ok) {
        free(values);
        values = NULL;
    }
    return values;
}
