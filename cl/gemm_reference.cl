/* y = x W^T + b, plainly: one work-item per row of x and 16 columns. It runs everywhere.
 *
 * In: gemm.cl. Grid: rows * blocks_n work-groups of one work-item. */

kernel void gemm_reference(GEMM_BUFFERS, const struct mha_gemm_args a) {
    const long block = get_group_id(0) + a.first_block;
    if (block >= a.blocks)
        return;
    const int i = (int)(block / a.blocks_n), left = (int)(block % a.blocks_n) * a.block_n;
    x += get_x(&a, i);
    for (int c = left; c < min(left + a.block_n, a.out_features); ++c) {
        real sum = a.flags & FLAG_LINEAR_BIAS ? load_weight(bias, a.bias_offset + c) : (real)0;
        for (int k = 0; k < a.in_features; ++k)
            sum += load(x + k) * load_weight(weight, a.weight_offset + (long)c * a.in_features + k);
        const struct column column = get_column(&a, y0, y1, y2, c);
        store(sum, get_y(&a, &column, i));
    }
}
