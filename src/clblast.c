/* In: a matrix product. Out: CLBlast's kernels on the caller's queue.
 *
 * CLBlast keeps compiled programs for the process's life, one for each set of values, in tables of
 * its own under a lock. */
#include "provider.h"

#include "clblast_values.h"

#include <clblast_c.h>

/* Before 1.6.3 the second form of the indirect kernel needs square tiles to be right; values of the
 * database for some devices are not square (CLBlast's pull request 543). */
#define NEEDS_SQUARE_TILES                                                                         \
    (CLBLAST_VERSION_MAJOR * 10000 + CLBLAST_VERSION_MINOR * 100 + CLBLAST_VERSION_PATCH < 10603)

const bool mha_clblast_is_built = true;

static size_t round_up(size_t x, size_t step) {
    return (x + step - 1) / step * step;
}

static size_t base_align(const struct device_caps *caps) {
    return caps->base_align_bits >= 8 ? caps->base_align_bits / 8 : 1;
}

size_t mha_clblast_workspace(const struct problem *p, const struct device_caps *caps,
                             const struct tuning *tuning) {
    size_t row_tile = MHA_CLBLAST_TILE, column_tile = MHA_CLBLAST_TILE,
           depth_tile = MHA_CLBLAST_TILE;
    if (tuning->value[GEMM_KERNEL] == CLBLAST_DIRECT)
        return 0;
    if (tuning->value[GEMM_KERNEL] > CLBLAST_OWN) {
        const struct clblast_values values = mha_clblast_values(tuning);
        row_tile = values.value[XGEMM_MWG];
        column_tile = values.value[XGEMM_NWG];
        depth_tile = values.value[XGEMM_KWG] * values.value[XGEMM_KREG];
    }
    const size_t rows = round_up((size_t)mha_clblast_rows(p, caps), row_tile);
    const size_t columns = round_up((size_t)p->out_features, column_tile);
    const size_t depth = round_up((size_t)p->in_features, depth_tile);
    const size_t element = mha_dtype_bytes(p->dtype);
    const size_t parts[] = {
        mha_size_product(rows, depth, element, 1), mha_size_product(columns, depth, element, 1),
        mha_size_product(rows, columns, element, 1),
        base_align(caps), /* the buffer begins at the next place where one may */
    };
    size_t total = 0;
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); ++i) {
        if (parts[i] > SIZE_MAX - total)
            return SIZE_MAX;
        total += parts[i];
    }
    return total;
}

static cl_int get_temporary_bytes(cl_command_queue queue, const struct clblast_product *p,
                                  size_t *bytes) {
    return (cl_int)(p->dtype == MHA_F64 ? CLBlastDGemmTempBufferSize : CLBlastSGemmTempBufferSize)(
        CLBlastLayoutRowMajor, CLBlastTransposeNo, CLBlastTransposeYes, p->rows, p->columns,
        p->depth, p->a_offset, p->a_stride, p->b_offset, p->b_stride, p->c_offset, p->c_stride,
        &queue, bytes);
}

/* A part of the workspace as a buffer of its own; no memory is allocated. */
static cl_int make_temporary(const struct device_caps *caps, const struct clblast_product *p,
                             size_t bytes, cl_mem *temporary) {
    cl_mem root = NULL;
    size_t origin = 0;
    cl_int code;
    if ((code = clGetMemObjectInfo(p->workspace, CL_MEM_ASSOCIATED_MEMOBJECT, sizeof(root), &root,
                                   NULL)) ||
        (root &&
         (code = clGetMemObjectInfo(p->workspace, CL_MEM_OFFSET, sizeof(origin), &origin, NULL))))
        return code;
    const size_t begin = origin + p->workspace_offset_bytes;
    cl_buffer_region region = {.origin = round_up(begin, base_align(caps)), .size = bytes};
    if (region.origin - begin + bytes > p->workspace_bytes)
        return CL_INVALID_BUFFER_SIZE;
    *temporary = clCreateSubBuffer(root ? root : p->workspace, CL_MEM_READ_WRITE,
                                   CL_BUFFER_CREATE_TYPE_REGION, &region, &code);
    return code;
}

static cl_int enqueue(const struct device_caps *caps, cl_command_queue queue,
                      const struct clblast_product *p, cl_event *event) {
    cl_mem temporary = NULL;
    size_t bytes = 0;
    cl_int code;
    if ((code = get_temporary_bytes(queue, p, &bytes)) ||
        (bytes && (code = make_temporary(caps, p, bytes, &temporary))))
        return code;
    const double beta = p->accumulate ? 1 : 0;
    if (p->dtype == MHA_F64)
        code = (cl_int)CLBlastDgemmWithTempBuffer(
            CLBlastLayoutRowMajor, CLBlastTransposeNo, CLBlastTransposeYes, p->rows, p->columns,
            p->depth, 1, p->a, p->a_offset, p->a_stride, p->b, p->b_offset, p->b_stride, beta, p->c,
            p->c_offset, p->c_stride, &queue, event, temporary);
    else
        code = (cl_int)CLBlastSgemmWithTempBuffer(
            CLBlastLayoutRowMajor, CLBlastTransposeNo, CLBlastTransposeYes, p->rows, p->columns,
            p->depth, 1, p->a, p->a_offset, p->a_stride, p->b, p->b_offset, p->b_stride,
            (float)beta, p->c, p->c_offset, p->c_stride, &queue, event, temporary);
    /* Enqueued commands keep it alive. */
    if (temporary)
        clReleaseMemObject(temporary);
    return code;
}

cl_int mha_clblast_enqueue(const struct mha_plan *plan, cl_command_queue queue,
                           const struct clblast_product *product, cl_event *event) {
    const mha_engine *engine = plan->engine;
    cl_int code = mha_clblast_acquire(engine->device, product->dtype, &plan->selection.tuning);
    if (code)
        return code;
    code = enqueue(&engine->caps, queue, product, event);
    mha_clblast_release();
    return code;
}

static cl_int make_zeroed(const struct mha_plan *plan, cl_command_queue queue, size_t bytes,
                          cl_mem *buffer) {
    const cl_uint zero = 0;
    cl_int code;
    *buffer = clCreateBuffer(plan->engine->context, CL_MEM_READ_WRITE, bytes, NULL, &code);
    return code ? code
                : clEnqueueFillBuffer(queue, *buffer, &zero, sizeof(zero), 0, bytes, 0, NULL, NULL);
}

static cl_int check_own_values(const struct mha_plan *plan) {
    const cl_device_id device = plan->engine->device;
    const mha_dtype dtype = plan->problem.dtype;
    struct clblast_values own;
    if (!NEEDS_SQUARE_TILES || plan->selection.tuning.value[GEMM_KERNEL] > CLBLAST_OWN)
        return CL_SUCCESS;
    const cl_int code = mha_clblast_acquire(device, dtype, &plan->selection.tuning);
    if (code)
        return code;
    const bool is_read = mha_clblast_read_all(device, dtype, &own);
    mha_clblast_release();
    return is_read && own.value[XGEMM_GEMMK] == 1 && own.value[XGEMM_MWG] != own.value[XGEMM_NWG]
               ? CL_INVALID_OPERATION
               : CL_SUCCESS;
}

/* A product of one element runs the direct kernel, one as large as the calls' the indirect ones,
 * unless even that is small. */
cl_int mha_clblast_warm_up(const struct mha_plan *plan, cl_command_queue queue) {
    const struct problem *p = &plan->problem;
    const int rows = mha_clblast_rows(p, &plan->engine->caps);
    const size_t element = mha_dtype_bytes(p->dtype);
    const size_t columns = (size_t)p->out_features, depth = (size_t)p->in_features;
    struct clblast_product product = {
        .dtype = p->dtype,
        .rows = (size_t)rows,
        .columns = columns,
        .depth = depth,
        .a_stride = depth,
        .b_stride = depth,
        .c_stride = columns,
        .workspace_bytes = plan->workspace_bytes,
    };
    cl_int code = check_own_values(plan);
    if (code)
        return code;
    /* A plan may need no workspace. */
    const size_t workspace_bytes = plan->workspace_bytes / 4 * 4;
    if (!(code = make_zeroed(plan, queue, (size_t)rows * depth * element, &product.a)) &&
        !(code = make_zeroed(plan, queue, columns * depth * element, &product.b)) &&
        !(code = make_zeroed(plan, queue, (size_t)rows * columns * element, &product.c)) &&
        (!workspace_bytes ||
         !(code = make_zeroed(plan, queue, workspace_bytes, &product.workspace))) &&
        !(code = mha_clblast_enqueue(plan, queue, &product, NULL))) {
        product.rows = product.columns = product.depth = 1;
        code = mha_clblast_enqueue(plan, queue, &product, NULL);
    }
    const cl_int finished = clFinish(queue);
    const cl_mem buffers[] = {product.a, product.b, product.c, product.workspace};
    for (size_t i = 0; i < sizeof(buffers) / sizeof(*buffers); ++i)
        if (buffers[i])
            clReleaseMemObject(buffers[i]);
    return code ? code : finished;
}
