/* Fills y with the bias, for a matrix product that is then added to it.
 *
 * In: gemm.cl. Grid: rows * blocks_n work-groups, block_n columns each; neighbours write side by
 * side. */

kernel void gemm_bias(GEMM_BUFFERS, const struct mha_gemm_args a) {
    const long block = get_group_id(0) + a.first_block;
    if (block >= a.blocks)
        return;
    const int i = (int)(block / a.blocks_n), left = (int)(block % a.blocks_n) * a.block_n;
    for (int c = left + (int)get_local_id(0); c < min(left + a.block_n, a.out_features);
         c += (int)get_local_size(0)) {
        const struct column column = get_column(&a, y0, y1, y2, c);
        store(load_weight(bias, a.bias_offset + c), get_y(&a, &column, i));
    }
}
