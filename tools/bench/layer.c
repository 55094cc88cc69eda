/* How fast the multi-head attention layer is on a device, stage by stage, with the library's own
 * matrix products and with CLBlast's, against the FMA peak measured in the same run.
 *
 * mha-bench-layer [--device NAME] [--rounds N]
 *
 * All candidates of a shape run in turn, round after round, so that a drift of the machine's speed
 * meets them alike; the figure is the fastest round's, the spread the median's above it. */
#include "device.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct shape {
    int64_t batch, tokens, embed, heads;
};

static const struct shape shapes[] = {
    {1, 197, 768, 12}, {4, 197, 768, 12}, {1, 257, 384, 6}, {8, 128, 384, 12}, {1, 512, 768, 12},
};

/* NULL: the one that selection chooses. */
static const char *const providers[] = {NULL, "clblast"};
enum { PROVIDERS = sizeof(providers) / sizeof(*providers) };

enum part { LAYER, QKV, ATTENTION, OUTPUT, PARTS };
static const char *const part_names[PARTS] = {"layer", "qkv", "attention", "output"};

struct candidate {
    mha_plan *plan;
    mha_plan_info info;
    cl_mem packed, workspace;
    struct series times; /* seconds */
};

struct buffers {
    cl_mem x, qkv_weight, qkv_bias, output_weight, output_bias, qkv, o, y;
};

static mha_attention_desc attention_desc(const struct shape *s) {
    mha_attention_desc desc = MHA_ATTENTION_DESC_INIT;
    desc.q_heads = desc.kv_heads = s->heads;
    desc.head_dim_qk = desc.head_dim_v = s->embed / s->heads;
    desc.max_batch = s->batch;
    desc.max_seqlen_q = desc.max_seqlen_kv = s->tokens;
    return desc;
}

static mha_status make_linear(const struct bench *b, const struct shape *s, enum part part,
                              const char *provider, mha_plan **plan, mha_error *error) {
    mha_linear_desc desc = MHA_LINEAR_DESC_INIT;
    desc.flags = MHA_LINEAR_BIAS | MHA_LINEAR_PACKED;
    desc.in_features = s->embed;
    desc.out_features = part == QKV ? 3 * s->embed : s->embed;
    desc.max_rows = s->batch * s->tokens;
    desc.variant = provider;
    return mha_linear_plan_create(b->engine, &desc, plan, error);
}

static mha_status make_plan(const struct bench *b, const struct shape *s, enum part part,
                            const char *provider, mha_plan **plan, mha_error *error) {
    const mha_attention_desc attention = attention_desc(s);
    if (part == ATTENTION)
        return mha_plan_create(b->engine, &attention, plan, error);
    if (part != LAYER)
        return make_linear(b, s, part, provider, plan, error);
    mha_layer_desc desc = MHA_LAYER_DESC_INIT;
    desc.flags = MHA_LAYER_FUSED_QKV | MHA_LAYER_QKV_BIAS | MHA_LAYER_OUTPUT |
                 MHA_LAYER_OUTPUT_BIAS | MHA_LAYER_PACKED;
    desc.attention = &attention;
    desc.embed_q = desc.embed_out = s->embed;
    desc.projection_variant = provider;
    return mha_layer_plan_create(b->engine, &desc, plan, error);
}

static void pack(const struct bench *b, const struct buffers *m, enum part part,
                 struct candidate *c) {
    mha_error error;
    const mha_memory packed = mha_buffer(c->packed, 0);
    const mha_memory weight = mha_buffer(part == QKV ? m->qkv_weight : m->output_weight, 0);
    const mha_memory bias = mha_buffer(part == QKV ? m->qkv_bias : m->output_bias, 0);
    if (part == LAYER) {
        const mha_layer_weights weights = {
            .struct_size = sizeof(weights),
            .qkv = mha_buffer(m->qkv_weight, 0),
            .qkv_bias = mha_buffer(m->qkv_bias, 0),
            .output = mha_buffer(m->output_weight, 0),
            .output_bias = mha_buffer(m->output_bias, 0),
        };
        bench_check(
            mha_enqueue_layer_pack(c->plan, b->queue, &weights, &packed, 0, NULL, NULL, &error),
            &error);
    } else if (part != ATTENTION) {
        bench_check(mha_enqueue_linear_pack(c->plan, b->queue, &weight, &bias, &packed, 0, NULL,
                                            NULL, &error),
                    &error);
    }
}

static void run_layer(const struct bench *b, const struct shape *s, const struct buffers *m,
                      const struct candidate *c) {
    mha_attention_args attention = MHA_ATTENTION_ARGS_INIT;
    attention.batch = s->batch;
    attention.seqlen_q = attention.seqlen_kv = s->tokens;
    mha_layer_args args = MHA_LAYER_ARGS_INIT;
    args.attention = &attention;
    args.query = mha_tensor_bnhd(m->x, 0, 1, s->tokens, s->embed);
    args.y = mha_tensor_bnhd(m->y, 0, 1, s->tokens, s->embed);
    args.packed = mha_buffer(c->packed, 0);
    args.workspace = mha_buffer(c->workspace, 0);
    mha_error error;
    bench_check(mha_enqueue_layer(c->plan, b->queue, &args, 0, NULL, NULL, &error), &error);
}

static void run_attention(const struct bench *b, const struct shape *s, const struct buffers *m,
                          const struct candidate *c) {
    const int64_t head_dim = s->embed / s->heads;
    mha_attention_args args = MHA_ATTENTION_ARGS_INIT;
    args.batch = s->batch;
    args.seqlen_q = args.seqlen_kv = s->tokens;
    args.q = mha_tensor_qkv(m->qkv, 0, MHA_F32, 0, s->heads, s->tokens, head_dim);
    args.k = mha_tensor_qkv(m->qkv, 0, MHA_F32, 1, s->heads, s->tokens, head_dim);
    args.v = mha_tensor_qkv(m->qkv, 0, MHA_F32, 2, s->heads, s->tokens, head_dim);
    args.o = mha_tensor_bnhd(m->o, 0, s->heads, s->tokens, head_dim);
    args.workspace = mha_buffer(c->workspace, 0);
    mha_error error;
    bench_check(mha_enqueue_attention(c->plan, b->queue, &args, 0, NULL, NULL, &error), &error);
}

static void run_linear(const struct bench *b, const struct shape *s, const struct buffers *m,
                       enum part part, const struct candidate *c) {
    mha_linear_args args = MHA_LINEAR_ARGS_INIT;
    args.rows = s->batch * s->tokens;
    args.x = (mha_matrix){mha_buffer(part == QKV ? m->x : m->o, 0), s->embed};
    args.y = (mha_matrix){mha_buffer(part == QKV ? m->qkv : m->y, 0),
                          part == QKV ? 3 * s->embed : s->embed};
    args.weight = mha_buffer(c->packed, 0);
    args.workspace = mha_buffer(c->workspace, 0);
    mha_error error;
    bench_check(mha_enqueue_linear(c->plan, b->queue, &args, 0, NULL, NULL, &error), &error);
}

static void run(const struct bench *b, const struct shape *s, const struct buffers *m,
                enum part part, const struct candidate *c) {
    if (part == LAYER)
        run_layer(b, s, m, c);
    else if (part == ATTENTION)
        run_attention(b, s, m, c);
    else
        run_linear(b, s, m, part, c);
}

static struct buffers make_buffers(const struct bench *b, const struct shape *s) {
    const size_t rows = (size_t)(s->batch * s->tokens), e = (size_t)s->embed;
    /* Weights of 1/sqrt(embed): every stage's values stay near 1. */
    const float range = (float)(1 / sqrt((double)s->embed));
    return (struct buffers){
        .x = bench_random(b, rows * e, 1),
        .qkv_weight = bench_random(b, 3 * e * e, range),
        .qkv_bias = bench_random(b, 3 * e, range),
        .output_weight = bench_random(b, e * e, range),
        .output_bias = bench_random(b, e, range),
        .qkv = bench_random(b, rows * 3 * e, 1),
        .o = bench_random(b, rows * e, 1),
        .y = bench_random(b, rows * e, 1),
    };
}

static void release_buffers(const struct buffers *m) {
    const cl_mem all[] = {m->x,           m->qkv_weight, m->qkv_bias, m->output_weight,
                          m->output_bias, m->qkv,        m->o,        m->y};
    for (size_t i = 0; i < sizeof(all) / sizeof(*all); ++i)
        clReleaseMemObject(all[i]);
}

static void print_figure(const struct candidate *c, double peak) {
    const double rate = c->info.flops / series_minimum(&c->times) * 1e-9;
    printf("  %7.3f ms %6.1f GFLOP/s %3.0f %% (+%.0f %%)", 1e3 * series_minimum(&c->times), rate,
           100 * rate / peak, 100 * (series_median(&c->times) / series_minimum(&c->times) - 1));
}

static void bench_shape(struct bench *b, const struct shape *s, int rounds) {
    struct candidate candidates[PARTS][PROVIDERS] = {{{.plan = NULL}}};
    struct buffers m = make_buffers(b, s);
    struct series peaks = {.count = 0};
    for (int part = 0; part < PARTS; ++part)
        for (int p = 0; p < PROVIDERS; ++p) {
            struct candidate *c = &candidates[part][p];
            mha_error error;
            if (p > 0 && part == ATTENTION)
                continue;
            const mha_status status =
                make_plan(b, s, (enum part)part, providers[p], &c->plan, &error);
            if (status == MHA_ERR_VARIANT)
                continue; /* a build without CLBlast */
            bench_check(status, &error);
            c->info = (mha_plan_info)MHA_PLAN_INFO_INIT;
            bench_check(mha_plan_get_info(c->plan, &c->info, &error), &error);
            c->packed = bench_buffer(b, c->info.packed_bytes);
            c->workspace = bench_buffer(b, c->info.workspace_bytes);
            pack(b, &m, (enum part)part, c);
        }
    for (int round = 0; round <= rounds; ++round) {
        const double peak = bench_fma_peak(b);
        if (round)
            series_add(&peaks, 1 / peak);
        for (int part = 0; part < PARTS; ++part)
            for (int p = 0; p < PROVIDERS; ++p) {
                struct candidate *c = &candidates[part][p];
                if (!c->plan)
                    continue;
                const double begun = bench_seconds(b);
                run(b, s, &m, (enum part)part, c);
                const double seconds = bench_seconds(b) - begun;
                if (round) /* the first one warms up */
                    series_add(&c->times, seconds);
            }
    }
    const double peak = 1 / series_minimum(&peaks);
    printf("B%lld N%lld E%lld H%lld, FMA peak %.0f GFLOP/s\n", (long long)s->batch,
           (long long)s->tokens, (long long)s->embed, (long long)s->heads, peak);
    for (int part = 0; part < PARTS; ++part) {
        const struct candidate *own = &candidates[part][0], *other = &candidates[part][1];
        printf("  %-9s", part_names[part]);
        print_figure(own, peak);
        printf("  %s", own->info.variant);
        if (other->plan) {
            print_figure(other, peak);
            printf("  CLBlast: %.2f of its time",
                   series_minimum(&own->times) / series_minimum(&other->times));
        }
        printf("\n");
    }
    for (int part = 0; part < PARTS; ++part)
        for (int p = 0; p < PROVIDERS; ++p) {
            struct candidate *c = &candidates[part][p];
            if (!c->plan)
                continue;
            mha_plan_destroy(&c->plan);
            clReleaseMemObject(c->packed);
            clReleaseMemObject(c->workspace);
        }
    release_buffers(&m);
}

int main(int argc, char **argv) {
    struct bench b;
    const char *device = NULL;
    int rounds = 20;
    for (int i = 1; i < argc; ++i) {
        if (!strcmp(argv[i], "--device") && i + 1 < argc) {
            device = argv[++i];
        } else if (!strcmp(argv[i], "--rounds") && i + 1 < argc && atoi(argv[i + 1]) > 0 &&
                   atoi(argv[i + 1]) <= MAX_ROUNDS) {
            rounds = atoi(argv[++i]);
        } else {
            fprintf(stderr, "usage: %s [--device NAME] [--rounds 1..%d]\n", argv[0], MAX_ROUNDS);
            return 2;
        }
    }
    bench_open(&b, device);
    printf("%s, %d rounds, fp32, weights packed before\n", b.name, rounds);
    for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); ++i)
        bench_shape(&b, &shapes[i], rounds);
    bench_close(&b);
    return 0;
}
