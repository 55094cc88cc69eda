/* In: a matrix product. Out: CLBlast's kernels on the caller's queue.
 *
 * CLBlast keeps compiled programs for the process's life, in tables of its own under a lock. */
#include "clblast.h"

#include <clblast_c.h>

const bool mha_clblast_is_built = true;

/* Its indirect kernels take operands padded to multiples of their tiles, in the temporary buffer;
 * its tuner tries no tile that is larger. */
#define LARGEST_TILE 128

static size_t round_up(size_t x, size_t step) {
    return (x + step - 1) / step * step;
}

static size_t base_align(const struct device_caps *caps) {
    return caps->base_align_bits >= 8 ? caps->base_align_bits / 8 : 1;
}

size_t mha_clblast_workspace(const struct problem *p, const struct device_caps *caps) {
    const size_t rows = round_up((size_t)p->rows, LARGEST_TILE);
    const size_t columns = round_up((size_t)p->out_features, LARGEST_TILE);
    const size_t depth = round_up((size_t)p->in_features, LARGEST_TILE);
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

cl_int mha_clblast_enqueue(const struct device_caps *caps, cl_command_queue queue,
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

/* One small product runs its direct kernel and one as large as the plan's the indirect ones, unless
 * even that is small. */
cl_int mha_clblast_warm_up(const struct mha_plan *plan, cl_command_queue queue) {
    const struct problem *p = &plan->problem;
    const size_t element = mha_dtype_bytes(p->dtype);
    const size_t rows = p->rows > 0 ? (size_t)p->rows : 1;
    const size_t columns = (size_t)p->out_features, depth = (size_t)p->in_features;
    const size_t a_bytes = rows * depth * element, b_bytes = columns * depth * element;
    const size_t c_bytes = rows * columns * element;
    cl_mem buffer = NULL;
    cl_int code;
    buffer = clCreateBuffer(plan->engine->context, CL_MEM_READ_WRITE,
                            a_bytes + b_bytes + c_bytes + plan->workspace_bytes, NULL, &code);
    struct clblast_product product = {
        .dtype = p->dtype,
        .rows = rows,
        .columns = columns,
        .depth = depth,
        .a = buffer,
        .b = buffer,
        .c = buffer,
        .workspace = buffer,
        .a_stride = depth,
        .b_offset = a_bytes / element,
        .b_stride = depth,
        .c_offset = (a_bytes + b_bytes) / element,
        .c_stride = columns,
        .workspace_offset_bytes = a_bytes + b_bytes + c_bytes,
        .workspace_bytes = plan->workspace_bytes,
    };
    if (!code)
        code = mha_clblast_enqueue(&plan->engine->caps, queue, &product, NULL);
    product.rows = product.columns = product.depth = 1;
    if (!code)
        code = mha_clblast_enqueue(&plan->engine->caps, queue, &product, NULL);
    if (!code)
        code = clFinish(queue);
    if (buffer)
        clReleaseMemObject(buffer);
    return code;
}
