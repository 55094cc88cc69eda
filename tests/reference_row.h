/* One row of attention in the arithmetic REAL; included once for each type.
 *
 * In: REAL, and ROW_FUNCTION, the name to define. */

static void ROW_FUNCTION(const struct reference_input *in, const struct reference_sequence *s,
                         int64_t b, int64_t h, int64_t i, bool is_reverse, double *s_out,
                         REAL *scores, REAL *acc, struct row_result *result) {
    const int64_t h_kv = h / (in->q_heads / in->kv_heads);
    const int64_t first = is_reverse ? in->head_dim_qk - 1 : 0, step = is_reverse ? -1 : 1;
    const double *q = in->q.data + reference_element(&in->q, b, h, s->q_start + i);
    const REAL scale =
        (REAL)(in->flags & MHA_SCALE ? in->scale : 1 / sqrt((double)in->head_dim_qk));
    REAL row_max = -(REAL)INFINITY;
    bool has_nan = false;

    result->is_empty = true;
    for (int64_t j = 0; j < s->kv_len; ++j) {
        const double *k = in->k.data + reference_element(&in->k, b, h_kv, s->kv_start + j);
        REAL sum = 0;
        for (int64_t n = 0, d = first; n < in->head_dim_qk; ++n, d += step)
            sum += (REAL)q[d] * (REAL)k[d];
        REAL score = scale * sum;
        if (in->scores_stage == MHA_STAGE_SCALED)
            s_out[j] = (double)score;
        if (in->flags & MHA_SOFTCAP)
            score = (REAL)in->softcap * tanh(score / (REAL)in->softcap);
        if (in->scores_stage == MHA_STAGE_SOFTCAP)
            s_out[j] = (double)score;
        if (in->flags & MHA_BIAS)
            score += (REAL)score_element(&in->bias, b, h, i, j);
        if (in->flags & MHA_ALIBI)
            score -= (REAL)in->alibi_slopes[h] * (REAL)llabs(i + s->position - j);
        /* A mask is selected, never added: it hides a NaN too. */
        if (is_masked(in, s, b, h, i, j))
            score = -(REAL)INFINITY;
        if (in->scores_stage == MHA_STAGE_MASKED)
            s_out[j] = (double)score;
        scores[j] = score;
        has_nan |= isnan(score);
        row_max = score > row_max ? score : row_max;
        result->is_empty &= score == -(REAL)INFINITY;
    }

    REAL sum = 0;
    if (in->flags & MHA_SINKS && (REAL)in->sinks[h] > row_max)
        row_max = (REAL)in->sinks[h];
    if (has_nan)
        row_max = (REAL)NAN;
    if (in->flags & MHA_SINKS && in->sinks[h] != -INFINITY)
        sum = exp((REAL)in->sinks[h] - row_max);
    for (int64_t n = 0; n < s->kv_len; ++n) {
        const int64_t j = is_reverse ? s->kv_len - 1 - n : n;
        scores[j] = scores[j] == -(REAL)INFINITY ? -1 : exp(scores[j] - row_max);
        if (scores[j] != -1)
            sum += scores[j];
    }
    result->lse = sum == 0 ? -INFINITY : (double)(row_max + log(sum));

    for (int64_t d = 0; d < in->head_dim_v; ++d)
        acc[d] = 0;
    for (int64_t n = 0; n < s->kv_len; ++n) {
        const int64_t j = is_reverse ? s->kv_len - 1 - n : n;
        const double *v = in->v.data + reference_element(&in->v, b, h_kv, s->kv_start + j);
        const bool is_kept = scores[j] != -1;
        const REAL p = is_kept ? scores[j] / sum : 0;
        if (in->scores_stage == MHA_STAGE_WEIGHTS)
            s_out[j] = (double)p;
        for (int64_t d = 0; is_kept && d < in->head_dim_v; ++d)
            acc[d] += p * (REAL)v[d];
    }
    for (int64_t d = 0; d < in->head_dim_v; ++d)
        result->o[d] = (double)acc[d];
}
