/* One attention on host arrays through libmha-cl: uploads, plans, runs, downloads. */
#ifndef EXAMPLES_ATTEND_H
#define EXAMPLES_ATTEND_H

#include "device.h"
#include "failure.h"
#include "mha_cl.h"

/* Shapes of contiguous fp32 arrays: q [batch][q_heads][seqlen_q][head_dim_qk],
 * k [batch][kv_heads][seqlen_kv][head_dim_qk], v [batch][kv_heads][seqlen_kv][head_dim_v]. */
typedef struct attention_shape {
    int64_t batch, q_heads, kv_heads, seqlen_q, seqlen_kv, head_dim_qk, head_dim_v;
    double scale;
} attention_shape;

typedef struct attention_inputs {
    const float *q, *k, *v;
} attention_inputs;

typedef struct attention_result {
    float *o;       /* [batch][q_heads][seqlen_q][head_dim_v] */
    float *lse;     /* [batch][q_heads][seqlen_q] */
    float *weights; /* [batch][q_heads][seqlen_q][seqlen_kv]; NULL unless asked for */
    mha_plan_info plan;
    double milliseconds; /* on the device; 0 where it has no profile */
} attention_result;

/* `variant` NULL leaves the choice to the library's selection. */
bool attend(mha_engine *engine, const device *d, const attention_shape *shape,
            const attention_inputs *inputs, const char *variant, bool with_weights,
            attention_result *result, failure *f);

/* Safe on a zeroed result. */
void attention_result_free(attention_result *result);

/* Elements of the tensors. */
size_t shape_q(const attention_shape *shape);
size_t shape_k(const attention_shape *shape);
size_t shape_v(const attention_shape *shape);
size_t shape_o(const attention_shape *shape);
size_t shape_lse(const attention_shape *shape);
size_t shape_weights(const attention_shape *shape);

#endif
