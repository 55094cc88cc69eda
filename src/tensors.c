/* Layouts that applications use, as strides. */
#include "desc.h"

/* -1, which every call refuses as a stride, where the product leaves 64 bits. */
static int64_t product(int64_t a, int64_t b, int64_t c) {
    int64_t result;
    if (a < 0 || b < 0 || c < 0 || !mha_add_product(&result, 0, a, b) ||
        !mha_add_product(&result, 0, result, c))
        return -1;
    return result;
}

mha_memory mha_buffer(cl_mem buffer, size_t offset_bytes) {
    return (mha_memory){.kind = MHA_BUFFER, .buffer = buffer, .offset_bytes = offset_bytes};
}

mha_tensor mha_tensor_rows(cl_mem buffer, size_t offset_bytes, int64_t width) {
    return (mha_tensor){.memory = mha_buffer(buffer, offset_bytes), .stride_token = width};
}

mha_tensor mha_tensor_bhnd(cl_mem buffer, size_t offset_bytes, int64_t heads, int64_t tokens,
                           int64_t head_dim) {
    return (mha_tensor){
        .memory = mha_buffer(buffer, offset_bytes),
        .stride_batch = product(heads, tokens, head_dim),
        .stride_head = product(tokens, head_dim, 1),
        .stride_token = head_dim,
    };
}

mha_tensor mha_tensor_bnhd(cl_mem buffer, size_t offset_bytes, int64_t heads, int64_t tokens,
                           int64_t head_dim) {
    return (mha_tensor){
        .memory = mha_buffer(buffer, offset_bytes),
        .stride_batch = product(tokens, heads, head_dim),
        .stride_head = head_dim,
        .stride_token = product(heads, head_dim, 1),
    };
}

mha_tensor mha_tensor_qkv(cl_mem buffer, size_t offset_bytes, mha_dtype dtype, int part,
                          int64_t heads, int64_t tokens, int64_t head_dim) {
    const size_t element_bytes = (unsigned)dtype <= MHA_F64 ? mha_dtype_bytes(dtype) : 0;
    const size_t part_bytes = (size_t)heads * (size_t)head_dim * element_bytes;
    return (mha_tensor){
        .memory = mha_buffer(buffer, offset_bytes + (size_t)part * part_bytes),
        .stride_batch = product(product(3, heads, head_dim), tokens, 1),
        .stride_head = head_dim,
        .stride_token = product(3, heads, head_dim),
    };
}
