/* The projection of heads to q, k and v and their attention, by one work-group: what it projects is
 * in its core's caches when it attends to it. For CPU-like devices: work-group size 1, explicit
 * vectors, no barrier.
 *
 * In: panel_attend.cl, panel_product.cl. Out: q, k and v, where the heads of a token lie side by
 * side, and what attend() gives. Grid: batch * groups work-groups of one work-item, each of
 * group_heads heads of k and v, whose columns are whole panels, and the heads of q that share them.
 */

/* Columns left .. left + columns of rows of batch entry b; y is where the first of them goes.
 * Between slices of x sums lie there: nothing is lost, since what is stored is what is computed in.
 */
static inline void project(const struct mha_gemm_args *a, global const storage *x,
                           global const weight_storage *packed, int b, int rows, int left,
                           int columns, global storage *y, long y_stride) {
    x += a->x_offset + b * a->x_stride_batch;
    for (int begin = 0; begin < a->in_features; begin += BLOCK_K) {
        const int depth = min(BLOCK_K, a->in_features - begin);
        for (int c = 0; c < columns; c += PANEL)
            for (int i = 0; i < rows; i += MICRO_M) {
                const int panel = (left + c) / PANEL, count = min(MICRO_M, rows - i);
                global storage *to = y + i * y_stride + c;
                X_SPACE const real *row[MICRO_M];
                realv sum[MICRO_M][PANEL_VECTORS];
                if (begin == 0)
                    begin_tile(a, sum, packed, panel);
#pragma unroll
                for (int r = 0; r < MICRO_M; ++r) {
                    const int last = min(r, count - 1);
                    row[r] = x + (i + last) * a->x_stride_token + begin;
#pragma unroll
                    for (int v = 0; v < PANEL_VECTORS; ++v)
                        if (begin > 0)
                            sum[r][v] = load_v(to + last * y_stride + v * VEC);
                }
                multiply_tile(a, sum, row, packed, panel, begin, depth);
#pragma unroll
                for (int r = 0; r < MICRO_M; ++r)
                    if (r < count)
#pragma unroll
                        for (int v = 0; v < PANEL_VECTORS; ++v)
                            store_v(sum[r][v], to + r * y_stride + v * VEC);
            }
    }
}

kernel void panel_qkv(global storage *q, global storage *k, global storage *v,
                      ATTENTION_OTHER_BUFFERS, global const storage *restrict x,
                      global const weight_storage *restrict packed,
                      const struct mha_panel_qkv_args args, local realv *memory) {
    const struct mha_attention_kernel_args *a = &args.attention;
    const long block = get_group_id(0) + a->first_block;
    if (block >= a->blocks)
        return;
    const struct place at = get_place(a, block, args.groups, 1);
    const struct sequence s =
        get_sequence(a, at.b, kv_lengths, cu_seqlens_q, cu_seqlens_kv, positions);
    const int q_heads = args.group_heads * (a->q_heads / a->kv_heads);
    /* A loop, so that compilers make one piece of code of it. */
#pragma unroll 1
    for (int t = 0; t < 3; ++t) {
        const bool is_q = t == 0, is_v = t == 2;
        const int heads = is_q ? q_heads : args.group_heads, h = at.h * heads;
        const int dim = is_v ? a->head_dim_v : a->head_dim_qk;
        const int left = a->head_dim_qk * ((is_q ? 0 : a->q_heads) + (is_v ? a->kv_heads : 0));
        global storage *y = is_q ? q + s.q : is_v ? v + s.v : k + s.k;
        const long stride = is_q ? a->q.stride_token : is_v ? a->v.stride_token : a->k.stride_token;
        project(&args.gemm, x, packed, at.b, is_q ? s.q_len : s.kv_len, left + h * dim, heads * dim,
                y + h * dim, stride);
    }
    for (int h = 0; h < q_heads; ++h) {
        const struct place head = {.b = at.b, .h = at.h * q_heads + h};
        attend(a, &s, &head, q, k, v, o, bias, mask, slopes, sinks, lse, scores, scratch, memory);
    }
}
