/* What the three kernels of the staged path share: which tile a work-item has, and where the
 * probabilities lie.
 *
 * In: mask.cl, BLOCK_Q, BLOCK_KV (a work-item's tile), WORK_GROUP. */

#ifndef BLOCK_Q
#define BLOCK_Q 4
#endif
#ifndef BLOCK_KV
#define BLOCK_KV 4
#endif
#ifndef MICRO_D
#define MICRO_D 2
#endif
#ifndef WORK_GROUP
#define WORK_GROUP 1
#endif

/* One (batch, head) and the first query of a tile, from the number of the work-item. */
struct staged_tile {
    int pair; /* within the chunk */
    int b, h, i;
    long rest; /* the number within the row of tiles: which keys, which value dims */
};

static inline struct staged_tile get_tile(const struct mha_attention_kernel_args *a, long item,
                                          long per_row) {
    const int rows = (a->seqlen_q + BLOCK_Q - 1) / BLOCK_Q;
    struct staged_tile t;
    t.rest = item % per_row;
    item /= per_row;
    t.i = (int)(item % rows) * BLOCK_Q;
    const long pair = item / rows;
    t.pair = (int)min(pair, (long)a->chunk_pairs); /* chunk_pairs: beyond the last */
    t.h = (int)((a->first_pair + t.pair) % a->q_heads);
    t.b = (int)((a->first_pair + t.pair) / a->q_heads);
    return t;
}

/* Row i of S, then of P: in the caller's scores where those are the weights, else in scratch. */
static inline global real *probability_row(const struct mha_attention_kernel_args *a,
                                           const struct sequence *s, int pair, int b, int h, int i,
                                           global real *scores, global real *scratch) {
    if ((a->flags & FLAG_SCORES) && a->scores_stage == STAGE_WEIGHTS)
        return scores + a->scores_offset + row_index(a, s, b, h, i) * a->seqlen_kv;
    return scratch + a->scratch_offset + ((long)pair * a->seqlen_q + i) * a->seqlen_kv;
}
