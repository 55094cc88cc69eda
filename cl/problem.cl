/* Where a (batch, head, query) finds its rows, which keys it may see, and what its LSE is.
 *
 * In: arguments.h, types.cl. Out: ATTENTION_BUFFERS, ATTENTION_OTHER_BUFFERS; struct place,
 * get_place(); struct sequence, get_sequence(); row_index(); struct key_range, get_key_range();
 * get_lse(); write_part(). */

/* Every attention kernel begins with these, so that the host sets them by one piece of code. */
#define ATTENTION_BUFFERS                                                                          \
    global const storage *restrict q, global const storage *restrict k,                            \
        global const storage *restrict v, ATTENTION_OTHER_BUFFERS
#define ATTENTION_OTHER_BUFFERS                                                                    \
    global storage *restrict o, global const uchar *restrict bias,                                 \
        global const uchar *restrict mask, global const float *restrict slopes,                    \
        global const float *restrict sinks, global const int *restrict kv_lengths,                 \
        global const int *restrict cu_seqlens_q, global const int *restrict cu_seqlens_kv,         \
        global const int *restrict positions, global float *restrict lse,                          \
        global real *restrict scores, global real *restrict scratch

/* A work-group's place in a grid of parts * batch * heads * per_head; heads are q_heads or
 * kv_heads, per_head counts queries or blocks of queries. */
struct place {
    int part, b, h, i;
};

static inline struct place get_place(const struct mha_attention_kernel_args *a, long block,
                                     int heads, int per_head) {
    struct place p;
    p.i = (int)(block % per_head);
    block /= per_head;
    p.h = (int)(block % heads);
    block /= heads;
    p.b = (int)(block % a->batch);
    p.part = (int)(block / a->batch);
    return p;
}

/* One batch entry: its lengths, the element offsets of its first token, and its alignment. */
struct sequence {
    int q_len, kv_len;
    long q, k, v, o; /* of token 0 of head 0 */
    long first_row;  /* ragged: rows of q before this batch entry */
    int position;    /* i_aligned = i + position */
};

static inline struct sequence get_sequence(const struct mha_attention_kernel_args *a, int b,
                                           global const int *kv_lengths,
                                           global const int *cu_seqlens_q,
                                           global const int *cu_seqlens_kv,
                                           global const int *positions) {
    struct sequence s;
    long q_token = 0, kv_token = 0;
    s.q_len = a->seqlen_q;
    s.kv_len = a->seqlen_kv;
    if (a->flags & FLAG_RAGGED_Q) {
        q_token = clamp((long)cu_seqlens_q[a->cu_seqlens_q_offset + b], 0L, a->total_q);
        const long end =
            clamp((long)cu_seqlens_q[a->cu_seqlens_q_offset + b + 1], q_token, a->total_q);
        s.q_len = (int)min(end - q_token, (long)a->seqlen_q);
    }
    if (a->flags & FLAG_RAGGED_KV) {
        kv_token = clamp((long)cu_seqlens_kv[a->cu_seqlens_kv_offset + b], 0L, a->total_kv);
        const long end =
            clamp((long)cu_seqlens_kv[a->cu_seqlens_kv_offset + b + 1], kv_token, a->total_kv);
        s.kv_len = (int)min(end - kv_token, (long)a->seqlen_kv);
    }
    if (a->flags & FLAG_KV_LENGTHS)
        s.kv_len = clamp(kv_lengths[a->kv_lengths_offset + b], 0, s.kv_len);
    s.first_row = q_token;
    s.q = a->q.offset + b * a->q.stride_batch + q_token * a->q.stride_token;
    s.k = a->k.offset + b * a->k.stride_batch + kv_token * a->k.stride_token;
    s.v = a->v.offset + b * a->v.stride_batch + kv_token * a->v.stride_token;
    s.o = a->o.offset + b * a->o.stride_batch + q_token * a->o.stride_token;
    s.position = 0;
    if (a->alignment == ALIGN_BOTTOM_RIGHT)
        s.position = s.kv_len - s.q_len;
    else if (a->alignment == ALIGN_EXPLICIT)
        s.position = a->position_offset;
    else if (a->alignment == ALIGN_EXPLICIT_PER_BATCH)
        s.position = clamp(positions[a->positions_offset + b], -MHA_MAX_POSITION, MHA_MAX_POSITION);
    return s;
}

/* Index of row (b, h, i) in [batch][q_heads][seqlen_q], ragged [q_heads][total_q]. */
static inline long row_index(const struct mha_attention_kernel_args *a, const struct sequence *s,
                             int b, int h, int i) {
    if (a->flags & FLAG_RAGGED_Q)
        return h * a->total_q + s->first_row + i;
    return ((long)b * a->q_heads + h) * a->seqlen_q + i;
}

/* The keys that lengths, causal and window leave to query i: lo <= j < hi, empty where lo >= hi.
 * Both ends never fall as i rises. */
struct key_range {
    int lo, hi;
};

static inline struct key_range get_key_range(const struct mha_attention_kernel_args *a,
                                             const struct sequence *s, int i) {
    const int aligned = i + s->position;
    struct key_range range = {0, s->kv_len};
    if (a->flags & FLAG_CAUSAL)
        range.hi = min(range.hi, aligned + 1);
    if (a->flags & FLAG_WINDOW) {
        if (a->window_right >= 0)
            range.hi = min(range.hi, aligned + a->window_right + 1);
        if (a->window_left >= 0)
            range.lo = max(range.lo, aligned - a->window_left);
    }
    range.hi = max(range.hi, 0);
    return range;
}

/* Of exponentials that were taken with row_max; -inf for a row that sees no key. */
static inline float get_lse(real row_max, real sum) {
    return (float)(sum == 0 ? NEG_INF : row_max + log(sum));
}

/* Row `index` of part `split` of the keys, for combine.cl: `acc` is divided by the sum, 0 for no
 * key. */
static inline void write_part(const struct mha_attention_kernel_args *a, int split, long index,
                              local const real *acc, real row_max, real sum, global real *scratch) {
    const long part = split * a->split_rows + index;
    global real *out = scratch + a->scratch_offset + part * a->head_dim_v;
    scratch[a->scratch_stats_offset + 2 * part] = row_max;
    scratch[a->scratch_stats_offset + 2 * part + 1] = sum;
    for (int d = 0; d < a->head_dim_v; ++d)
        out[d] = sum == 0 ? (real)0 : acc[d] / sum;
}
