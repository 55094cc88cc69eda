/* In: mha_layer_desc. Out: a layer's plan. */
#include "layer.h"
#include "select.h"

#include <string.h>

/* Of version 0.1: what every caller has. Never to change. */
#define FIRST_DESC_BYTES (offsetof(mha_layer_desc, projection_variant) + sizeof(char *))

#define ALL_FLAGS ((MHA_LAYER_KV_CACHE << 1) - MHA_LAYER_FUSED_QKV)

/* Parts of workspaces and of packed weights begin on cache lines of any device. */
#define PART_ALIGNMENT 256

static const char *const stage_names[LAYER_STAGES] = {"q", "k", "v", "attention", "output"};

/* What a layer is to be: its stages' problems, and what their selections need. A stage that the
 * layer lacks has no in_features (or is the attention). */
struct blueprint {
    struct problem stages[LAYER_STAGES];
    struct {
        size_t workspace_bytes, packed_bytes;
    } sizes[LAYER_STAGES];
    struct layer layer;
    size_t packed_bytes;
};

static bool has_stage(const struct blueprint *b, int stage) {
    return stage == LAYER_ATTENTION || b->stages[stage].in_features > 0;
}

static mha_status check_desc(const mha_layer_desc *d, mha_error *error) {
    if (d->flags & ~ALL_FLAGS)
        return mha_fail(error, MHA_ERR_FLAGS,
                        "flags 0x%llx has bits that are no MHA_LAYER_* of this version; those of "
                        "the attention belong into desc.attention->flags",
                        (unsigned long long)d->flags);
    if (!d->attention)
        return mha_fail(error, MHA_ERR_NULL, "desc.attention is NULL");
    if ((d->flags & MHA_LAYER_OUTPUT_BIAS) && !(d->flags & MHA_LAYER_OUTPUT))
        return mha_fail(error, MHA_ERR_FLAGS, "MHA_LAYER_OUTPUT_BIAS needs MHA_LAYER_OUTPUT");
    const bool is_fused = d->flags & MHA_LAYER_FUSED_QKV;
    const struct {
        const char *name;
        int64_t value;
        bool is_used;
        const char *flag;
    } sizes[] = {
        {"embed_q", d->embed_q, true, ""},
        {"embed_k", d->embed_k, !is_fused, "with MHA_LAYER_FUSED_QKV"},
        {"embed_v", d->embed_v, !is_fused, "with MHA_LAYER_FUSED_QKV"},
        {"embed_out", d->embed_out, d->flags & MHA_LAYER_OUTPUT, "without MHA_LAYER_OUTPUT"},
    };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); ++i) {
        mha_status status;
        if (sizes[i].is_used && (status = mha_check_size(sizes[i].name, sizes[i].value, 1, error)))
            return status;
        if (!sizes[i].is_used && sizes[i].value)
            return mha_fail(error, MHA_ERR_FLAGS, "%s is %lld, it must be 0 %s", sizes[i].name,
                            (long long)sizes[i].value, sizes[i].flag);
    }
    return mha_check_variant(d->projection_variant, error);
}

static mha_status check_with_attention(const mha_layer_desc *d, const struct problem *attention,
                                       mha_error *error) {
    if ((unsigned)d->weight_dtype > MHA_F64 ||
        (d->weight_dtype == MHA_F64) != (attention->dtype == MHA_F64))
        return mha_fail(error, MHA_ERR_DTYPE, "weight_dtype %d does not go with dtype %d",
                        (int)d->weight_dtype, (int)attention->dtype);
    const uint64_t ragged = attention->flags & (MHA_RAGGED_Q | MHA_RAGGED_KV);
    if ((d->flags & MHA_LAYER_FUSED_QKV) && ragged && ragged != (MHA_RAGGED_Q | MHA_RAGGED_KV))
        return mha_fail(error, MHA_ERR_FLAGS,
                        "with MHA_LAYER_FUSED_QKV queries and keys are both ragged or neither is");
    return MHA_SUCCESS;
}

struct projection {
    bool exists;
    enum layer_stage stage;
    int64_t rows, in_features;
    bool has_bias;
    struct segment segments[MHA_MAX_SEGMENTS];
};

static mha_status set_projection(struct blueprint *b, const mha_layer_desc *d,
                                 const struct projection *projection, mha_error *error) {
    struct problem *p = &b->stages[projection->stage];
    int64_t out_features = 0;
    mha_status status;
    *p = (struct problem){
        .operation = OPERATION_LINEAR,
        .flags = (projection->has_bias ? MHA_LINEAR_BIAS : 0) |
                 (d->flags & MHA_LAYER_PACKED ? MHA_LINEAR_PACKED : 0),
        .dtype = b->stages[LAYER_ATTENTION].dtype,
        .weight_dtype = d->weight_dtype,
        .workspace_limit_bytes = SIZE_MAX,
        .is_batch_invariant = b->stages[LAYER_ATTENTION].flags & MHA_BATCH_INVARIANT,
        .is_scattered = d->flags & MHA_LAYER_KV_CACHE && projection->stage != LAYER_OUTPUT,
    };
    if (d->projection_variant)
        strcpy(p->variant, d->projection_variant);
    for (int s = 0; s < MHA_MAX_SEGMENTS; ++s) {
        p->segments[s] = projection->segments[s];
        out_features += (int64_t)p->segments[s].heads * p->segments[s].head_dim;
    }
    if ((status = mha_check_size("tokens of all batch entries", projection->rows, 0, error)) ||
        (status =
             mha_check_size("input width of a projection", projection->in_features, 1, error)) ||
        (status = mha_check_size("output width of a projection", out_features, 1, error)))
        return status;
    p->rows = (int32_t)projection->rows;
    p->in_features = (int32_t)projection->in_features;
    p->out_features = (int32_t)out_features;
    return MHA_SUCCESS;
}

static mha_status set_projections(struct blueprint *b, const mha_layer_desc *d, mha_error *error) {
    const struct problem *a = &b->stages[LAYER_ATTENTION];
    const int64_t q_rows = (int64_t)a->batch * a->seqlen_q;
    const int64_t kv_rows = (int64_t)a->batch * a->seqlen_kv;
    const int64_t merged = (int64_t)a->q_heads * a->head_dim_v;
    const struct segment q = {a->q_heads, a->head_dim_qk}, k = {a->kv_heads, a->head_dim_qk};
    const struct segment v = {a->kv_heads, a->head_dim_v}, y = {1, (int32_t)d->embed_out};
    const bool is_fused = d->flags & MHA_LAYER_FUSED_QKV, has_bias = d->flags & MHA_LAYER_QKV_BIAS;
    const bool has_output = d->flags & MHA_LAYER_OUTPUT;
    const bool has_output_bias = d->flags & MHA_LAYER_OUTPUT_BIAS;
    const struct projection projections[] = {
        {is_fused, LAYER_Q, q_rows, d->embed_q, has_bias, {q, k, v}},
        {!is_fused, LAYER_Q, q_rows, d->embed_q, has_bias, {q}},
        {!is_fused, LAYER_K, kv_rows, d->embed_k, has_bias, {k}},
        {!is_fused, LAYER_V, kv_rows, d->embed_v, has_bias, {v}},
        {has_output, LAYER_OUTPUT, q_rows, merged, has_output_bias, {y}},
    };
    for (size_t i = 0; i < sizeof(projections) / sizeof(*projections); ++i) {
        mha_status status;
        if (projections[i].exists && (status = set_projection(b, d, &projections[i], error)))
            return status;
    }
    return MHA_SUCCESS;
}

static mha_status make_blueprint(struct blueprint *b, const mha_layer_desc *desc,
                                 mha_error *error) {
    mha_layer_desc d;
    mha_status status;
    *b = (struct blueprint){.layer = {.flags = 0}};
    if (!desc)
        return mha_fail(error, MHA_ERR_NULL, "desc is NULL");
    if ((status =
             mha_read_struct(&d, sizeof(d), FIRST_DESC_BYTES, desc, "mha_layer_desc", error)) ||
        (status = check_desc(&d, error)) ||
        (status = mha_attention_problem_init(&b->stages[LAYER_ATTENTION], d.attention, error)) ||
        (status = check_with_attention(&d, &b->stages[LAYER_ATTENTION], error)) ||
        (status = set_projections(b, &d, error)))
        return status;
    b->layer.flags = d.flags;
    b->layer.embed[0] = (int32_t)d.embed_q;
    b->layer.embed[1] = (int32_t)d.embed_k;
    b->layer.embed[2] = (int32_t)d.embed_v;
    b->layer.embed_out = (int32_t)d.embed_out;
    return MHA_SUCCESS;
}

int64_t mha_layer_token_stride(const struct mha_plan *plan, enum layer_stage stage) {
    const struct layer *layer = plan->layer;
    const bool is_one = layer->flags & MHA_LAYER_FUSED_QKV && !(layer->flags & MHA_LAYER_KV_CACHE);
    const struct problem *a = &layer->stages[LAYER_ATTENTION]->problem;
    if (is_one)
        return layer->stages[LAYER_Q]->problem.out_features;
    return stage == LAYER_Q   ? (int64_t)a->q_heads * a->head_dim_qk
           : stage == LAYER_K ? (int64_t)a->kv_heads * a->head_dim_qk
                              : (int64_t)a->kv_heads * a->head_dim_v;
}

/* Appends a part to *total; false where size_t can't hold that. */
static bool append_part(size_t bytes, size_t *total, size_t *offset) {
    const size_t begin = *total + (PART_ALIGNMENT - *total % PART_ALIGNMENT) % PART_ALIGNMENT;
    if (begin < *total || bytes > SIZE_MAX - begin)
        return false;
    *offset = begin;
    *total = begin + bytes;
    return true;
}

/* Workspace and packed weights, within what the device can allocate. */
static mha_status lay_out(struct blueprint *b, const struct device_caps *caps, mha_error *error) {
    struct layer *layer = &b->layer;
    const struct problem *a = &b->stages[LAYER_ATTENTION];
    struct layer_memory *m = &layer->memory;
    const size_t element = mha_dtype_bytes(a->dtype);
    const size_t q_rows = (size_t)a->batch * (size_t)a->seqlen_q;
    const size_t kv_rows = (size_t)a->batch * (size_t)a->seqlen_kv;
    const size_t q_heads = (size_t)a->q_heads, kv_heads = (size_t)a->kv_heads;
    const bool has_cache = layer->flags & MHA_LAYER_KV_CACHE;
    const bool has_output = layer->flags & MHA_LAYER_OUTPUT;
    const struct {
        size_t heads, head_dim, rows, *offset;
    } parts[] = {
        {q_heads, (size_t)a->head_dim_qk, q_rows, &m->q},
        {kv_heads, (size_t)a->head_dim_qk, has_cache ? 0 : kv_rows, &m->k},
        {kv_heads, (size_t)a->head_dim_v, has_cache ? 0 : kv_rows, &m->v},
        {q_heads, (size_t)a->head_dim_v, has_output ? q_rows : 0, &m->o},
    };
    size_t scratch = 0;
    bool fits = true;
    m->bytes = b->packed_bytes = 0;
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); ++i)
        fits = fits && append_part(mha_size_product(parts[i].heads, parts[i].head_dim,
                                                    parts[i].rows, element),
                                   &m->bytes, parts[i].offset);
    if ((layer->flags & MHA_LAYER_FUSED_QKV) && !has_cache) {
        /* One matrix: k and v begin at columns of q's rows. */
        m->k = m->q + q_heads * (size_t)a->head_dim_qk * element;
        m->v = m->k + kv_heads * (size_t)a->head_dim_qk * element;
    }
    for (int s = 0; s < LAYER_STAGES; ++s) {
        if (b->sizes[s].workspace_bytes > scratch)
            scratch = b->sizes[s].workspace_bytes;
        fits = fits && append_part(b->sizes[s].packed_bytes, &b->packed_bytes, &layer->packed[s]);
    }
    fits = fits && append_part(scratch, &m->bytes, &m->scratch);
    if (fits && m->bytes <= caps->max_alloc_bytes && b->packed_bytes <= caps->max_alloc_bytes)
        return MHA_SUCCESS;
    return mha_fail(error, MHA_ERR_UNSUPPORTED,
                    "needs more than %zu bytes of workspace or %zu of packed weights, the device's "
                    "largest allocation is %llu",
                    m->bytes, b->packed_bytes, (unsigned long long)caps->max_alloc_bytes);
}

/* What selection would choose, without compiling. */
static mha_status check_support(struct blueprint *b, const mha_engine *engine, mha_error *error) {
    const struct device_caps *caps = &engine->caps;
    for (int s = 0; s < LAYER_STAGES; ++s) {
        struct selection selection;
        mha_status status;
        if (!has_stage(b, s))
            continue;
        if ((status = mha_select(&b->stages[s], caps, &engine->config, 0, &selection, error)))
            return status;
        b->sizes[s].workspace_bytes =
            selection.variant->workspace_bytes(&b->stages[s], caps, &selection.tuning);
        b->sizes[s].packed_bytes =
            mha_packed_bytes(&b->stages[s], selection.variant, &selection.tuning);
    }
    return lay_out(b, caps, error);
}

mha_status mha_layer_supported(const mha_engine *engine, const mha_layer_desc *desc,
                               mha_error *error) {
    struct blueprint b;
    mha_status status;
    if ((status = mha_plan_check_engine(engine, error)) ||
        (status = make_blueprint(&b, desc, error)) || (status = check_support(&b, engine, error)))
        return status;
    return mha_succeed(error);
}

mha_status mha_layer_plan_create(mha_engine *engine, const mha_layer_desc *desc, mha_plan **plan,
                                 mha_error *error) {
    struct blueprint b;
    mha_plan *p = NULL;
    mha_status status;
    if (!plan)
        return mha_fail(error, MHA_ERR_NULL, "plan is NULL");
    *plan = NULL;
    if ((status = mha_plan_check_engine(engine, error)) ||
        (status = make_blueprint(&b, desc, error)) || (status = check_support(&b, engine, error)))
        return status;
    p = mha_plan_allocate(engine, &(struct problem){.operation = OPERATION_LAYER}, error);
    if (!p)
        return MHA_ERR_HOST_MEMORY;
    p->layer = mha_allocate_zeroed(&engine->allocator, sizeof(*p->layer));
    if (!p->layer) {
        status = mha_fail(error, MHA_ERR_HOST_MEMORY, "no memory for a layer");
        goto fail;
    }
    for (int s = 0; s < LAYER_STAGES; ++s) {
        if (!has_stage(&b, s))
            continue;
        if ((status = mha_plan_make(engine, &b.stages[s], &p->layer->stages[s], error)))
            goto fail;
        /* Another variant than the first choice may need more. */
        b.sizes[s].workspace_bytes = p->layer->stages[s]->workspace_bytes;
        b.sizes[s].packed_bytes = p->layer->stages[s]->packed_bytes;
        p->packed_layout = (p->packed_layout ^ p->layer->stages[s]->packed_layout) * 0x100000001b3;
    }
    if ((status = lay_out(&b, &engine->caps, error)))
        goto fail;
    memcpy(b.layer.stages, p->layer->stages, sizeof(b.layer.stages));
    *p->layer = b.layer;
    mha_layer_merge(p->layer);
    p->workspace_bytes = b.layer.memory.bytes;
    p->packed_bytes = b.packed_bytes;
    *plan = p;
    return mha_succeed(error);
fail:
    mha_plan_destroy(&p);
    return status;
}

void mha_layer_release(struct mha_plan *plan) {
    if (!plan->layer)
        return;
    for (int s = 0; s < LAYER_STAGES; ++s)
        mha_plan_destroy(&plan->layer->stages[s]);
    mha_plan_destroy(&plan->layer->merged);
    mha_release(&plan->engine->allocator, plan->layer);
}

const mha_plan *mha_plan_stage(const mha_plan *plan, size_t index, const char **name) {
    if (name)
        *name = NULL;
    if (!plan || !plan->layer)
        return NULL;
    for (int s = 0; s < LAYER_STAGES; ++s) {
        if (!plan->layer->stages[s] || index-- > 0)
            continue;
        if (name)
            *name =
                s == LAYER_Q && plan->layer->flags & MHA_LAYER_FUSED_QKV ? "qkv" : stage_names[s];
        return plan->layer->stages[s];
    }
    return NULL;
}
