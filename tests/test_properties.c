/* What must hold between calls: algebra, the same bits again, the same bits elsewhere. */
#include "harness.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct setting {
    struct test_device device;
    const char *title, *variant;
    int failures;
};

static struct test_case base_case(const struct setting *s, mha_dtype dtype) {
    const bool is_slow = device_is_slow();
    return (struct test_case){
        .variant = s->variant,
        .dtype = dtype,
        .flags = MHA_LSE,
        .batch = 3,
        .q_heads = 2,
        .kv_heads = 2,
        .seqlen_q = is_slow ? 7 : 75,
        .seqlen_kv = is_slow ? 21 : 141,
        .head_dim_qk = is_slow ? 16 : 32,
        .head_dim_v = is_slow ? 16 : 32,
        .seed = 42,
    };
}

static void fail(struct setting *s, const char *property, mha_dtype dtype, const char *why) {
    fprintf(stderr, "FAILED %s/%s/%s: %s\n", s->title, number_name((enum number)dtype), property,
            why);
    ++s->failures;
}

/* Runs the case; NULL outputs and true where this device has no fp64. */
static bool run(struct setting *s, const char *property, struct case_data *data,
                struct outputs *outputs) {
    char failure[FAILURE_BYTES] = "";
    mha_error error;
    mha_plan *plan = harness_get_plan(&s->device, &data->desc, &error);
    if (plan && harness_execute(&s->device, plan, data, outputs, failure))
        return true;
    fail(s, property, data->test.dtype, plan ? failure : error.message);
    return false;
}

static bool has_dtype(const struct setting *s, mha_dtype dtype) {
    return dtype != MHA_F64 || s->device.has_fp64;
}

/* Runs `changed`; its outputs must be within the error bound of what `original` must give. */
static void expect_equivalent(struct setting *s, const char *property, struct case_data *original,
                              struct case_data *changed) {
    struct outputs outputs = {0};
    char failure[FAILURE_BYTES] = "";
    if (run(s, property, changed, &outputs) && !harness_compare(original, &outputs, failure))
        fail(s, property, original->test.dtype, failure);
    outputs_release(&outputs);
    case_release(original);
    case_release(changed);
}

/* dst(b, h, t, :) = src(b0 + b, h / group, t0 + t * step, :), as far as dst goes. */
static void copy_tokens(const struct test_view *dst, const struct test_view *src, int64_t b0,
                        int64_t group, int64_t t0, int64_t step) {
    for (int64_t b = 0; b < dst->extent[0]; ++b)
        for (int64_t h = 0; h < dst->extent[1]; ++h)
            for (int64_t t = 0; t < dst->extent[2]; ++t)
                for (int64_t d = 0; d < dst->extent[3]; ++d)
                    view_put(dst, b, h, t, d, view_get(src, b0 + b, h / group, t0 + t * step, d));
}

/* ---- Algebra ------------------------------------------------------------------------------- */

static void constant_v(struct setting *s, mha_dtype dtype) {
    struct test_case test = base_case(s, dtype);
    struct case_data data;
    struct outputs outputs = {0};
    test.fill = FILL_CONSTANT_V;
    test.flags |= MHA_CAUSAL;
    case_init(&data, &test);
    const double tolerance = 8 * 1.25 * number_epsilon(dtype == MHA_F64 ? NUMBER_F64 : NUMBER_F32);
    const int64_t count = reference_rows(&data.in) * test.head_dim_v;
    if (run(s, "constant_v", &data, &outputs))
        for (int64_t n = 0; n < count; ++n)
            if (!(fabs(outputs.o[n] - 1.25) <= tolerance)) {
                fail(s, "constant_v", dtype, "a weighted mean of equal values is another value");
                break;
            }
    outputs_release(&outputs);
    case_release(&data);
}

static void permuted_keys(struct setting *s, mha_dtype dtype) {
    const struct test_case test = base_case(s, dtype);
    struct case_data original, changed;
    case_init(&original, &test);
    case_init(&changed, &test);
    const int64_t last = test.seqlen_kv - 1;
    copy_tokens(&changed.k, &original.k, 0, 1, last, -1);
    copy_tokens(&changed.v, &original.v, 0, 1, last, -1);
    expect_equivalent(s, "permuted_keys", &original, &changed);
}

static void shifted_bias_row(struct setting *s, mha_dtype dtype) {
    struct test_case test = base_case(s, dtype);
    struct case_data original, changed;
    test.flags = MHA_BIAS;
    case_init(&original, &test);
    case_init(&changed, &test);
    for (int64_t b = 0; b < test.batch; ++b)
        for (int64_t h = 0; h < test.q_heads; ++h)
            for (int64_t i = 0; i < test.seqlen_q; ++i)
                for (int64_t j = 0; j < test.seqlen_kv; ++j) {
                    /* Few bits: the sum must not be rounded. */
                    const double bias = round(64 * view_get(&original.bias, b, h, i, j)) / 64;
                    view_put(&original.bias, b, h, i, j, bias);
                    view_put(&changed.bias, b, h, i, j, bias + (double)(i % 4));
                }
    expect_equivalent(s, "shifted_bias_row", &original, &changed);
}

/* Keys from 4 on are masked, by the bias or the mask, while ALiBi takes their scores beyond fp32;
 * of the others the farthest one outweighs the rest altogether. */
static void hide_infinity(struct setting *s, mha_dtype dtype, uint64_t flag) {
    struct test_case test = base_case(s, dtype);
    struct case_data data;
    struct outputs outputs = {0};
    test.flags = flag | MHA_ALIBI;
    test.seqlen_q = 1;
    case_init(&data, &test);
    for (int64_t h = 0; h < test.q_heads; ++h)
        view_put(&data.alibi_slopes, 0, 0, 0, h, -1e38);
    for (int64_t b = 0; b < test.batch; ++b)
        for (int64_t h = 0; h < test.q_heads; ++h)
            for (int64_t j = 0; j < test.seqlen_kv; ++j) {
                if (flag == MHA_BIAS)
                    view_put(&data.bias, b, h, 0, j, j < 4 ? 0 : -INFINITY);
                else
                    view_put(&data.mask, b, h, 0, j, j < 4);
            }
    const int64_t rows = test.batch * test.q_heads, dim = test.head_dim_v;
    bool is_right = run(s, "masked_infinity", &data, &outputs);
    if (is_right) {
        for (int64_t n = 0; n < rows * dim; ++n) {
            const int64_t row = n / dim;
            is_right &= outputs.o[n] ==
                        view_get(&data.v, row / test.q_heads, row % test.q_heads, 3, n % dim);
        }
        if (!is_right)
            fail(s, "masked_infinity", dtype, "a masked key takes part");
    }
    outputs_release(&outputs);
    case_release(&data);
}

static void masked_infinity(struct setting *s, mha_dtype dtype) {
    hide_infinity(s, dtype, MHA_BIAS);
    hide_infinity(s, dtype, MHA_MASK);
}

static void expanded_heads(struct setting *s, mha_dtype dtype) {
    struct test_case test = base_case(s, dtype);
    struct case_data original, changed;
    test.q_heads = 6;
    case_init(&original, &test);
    test.kv_heads = 6;
    case_init(&changed, &test);
    copy_tokens(&changed.q, &original.q, 0, 1, 0, 1);
    copy_tokens(&changed.k, &original.k, 0, 3, 0, 1);
    copy_tokens(&changed.v, &original.v, 0, 3, 0, 1);
    expect_equivalent(s, "expanded_heads", &original, &changed);
}

static void causal_prefix(struct setting *s, mha_dtype dtype) {
    struct test_case test = base_case(s, dtype);
    struct case_data whole, prefix;
    struct outputs outputs = {0}, part = {0};
    char failure[FAILURE_BYTES] = "";
    test.flags |= MHA_CAUSAL;
    test.batch = 1;
    test.q_heads = test.kv_heads = 1;
    case_init(&whole, &test);
    test.seqlen_q = test.seqlen_kv = whole.test.seqlen_q / 2;
    case_init(&prefix, &test);
    copy_tokens(&prefix.q, &whole.q, 0, 1, 0, 1);
    copy_tokens(&prefix.k, &whole.k, 0, 1, 0, 1);
    copy_tokens(&prefix.v, &whole.v, 0, 1, 0, 1);
    /* One head of one sequence: the rows of the prefix are the first of the whole. */
    if (run(s, "causal_prefix", &whole, &outputs)) {
        if (!harness_compare(&prefix, &outputs, failure))
            fail(s, "causal_prefix", dtype, failure);
        if (run(s, "causal_prefix", &prefix, &part) && !harness_compare(&prefix, &part, failure))
            fail(s, "causal_prefix", dtype, failure);
    }
    outputs_release(&outputs);
    outputs_release(&part);
    case_release(&whole);
    case_release(&prefix);
}

/* Many keys for one query: what splits differs most here from what does not. */
static void split_keys(struct setting *s, mha_dtype dtype) {
    struct test_case test = base_case(s, dtype);
    struct case_data original, changed;
    test.seqlen_q = 2;
    test.seqlen_kv = device_is_slow() ? 150 : 3001;
    case_init(&original, &test);
    case_init(&changed, &test);
    expect_equivalent(s, "split_keys", &original, &changed);
}

/* ---- The same bits ------------------------------------------------------------------------- */

#define RERUNS 20

static void determinism(struct setting *s, mha_dtype dtype) {
    const int64_t seqlens[] = {base_case(s, dtype).seqlen_q, 1};
    for (int shape = 0; shape < 2; ++shape) {
        struct test_case test = base_case(s, dtype);
        struct case_data data;
        uint64_t hash = 0;
        test.seqlen_q = seqlens[shape];
        test.seqlen_kv *= shape ? 7 : 1;
        case_init(&data, &test);
        for (int n = 0; n < RERUNS; ++n) {
            struct outputs outputs = {0};
            if (n == RERUNS / 2)
                harness_release_plans();
            data.test.is_out_of_order = n % 4 == 3;
            const bool is_ok = run(s, "determinism", &data, &outputs);
            if (is_ok && n && outputs.hash != hash)
                fail(s, "determinism", dtype, "a rerun gave other bits");
            hash = n ? hash : outputs.hash;
            outputs_release(&outputs);
            if (!is_ok)
                break;
        }
        case_release(&data);
    }
}

/* Row (b, h, i) of `batch` must have the bits of row (0, h, 0) of `alone`, for every head. */
static void expect_same_rows(struct setting *s, const char *property, const struct case_data *batch,
                             const struct outputs *all, const struct case_data *alone,
                             const struct outputs *one, int64_t b, int64_t i) {
    const int64_t width = batch->in.head_dim_v;
    const struct reference_sequence all_s = reference_get_sequence(&batch->in, b);
    const struct reference_sequence one_s = reference_get_sequence(&alone->in, 0);
    for (int64_t h = 0; h < batch->in.q_heads; ++h)
        for (int64_t n = 0; n < one_s.q_len; ++n) {
            const int64_t row = reference_row(&batch->in, &all_s, b, h, i + n);
            const int64_t other = reference_row(&alone->in, &one_s, 0, h, n);
            if (memcmp(all->o + row * width, one->o + other * width,
                       (size_t)width * sizeof(double)) ||
                memcmp(&all->lse[row], &one->lse[other], sizeof(double))) {
                fail(s, property, batch->test.dtype, "a row has other bits alone than in a batch");
                return;
            }
        }
}

/* The same of bias or mask, if there is one: b 0 of dst has the rows of b of src from query i on.
 */
static void copy_scores(const struct test_view *dst, const struct test_view *src, int64_t b,
                        int64_t i) {
    for (int64_t h = 0; dst->buffer && h < dst->extent[1]; ++h)
        for (int64_t n = 0; n < dst->extent[2]; ++n)
            for (int64_t j = 0; j < dst->extent[3]; ++j)
                view_put(dst, 0, h, n, j, view_get(src, b, h, i + n, j));
}

/* The last entry of a batch alone, whole (query < 0) or one of its queries; in the batch's plan
 * or in one of its own. */
static void run_alone(struct setting *s, const char *property, struct case_data *batch,
                      const struct outputs *all, int64_t query, bool has_own_plan) {
    const int64_t b = batch->test.batch - 1;
    struct test_case test = batch->test;
    struct case_data alone;
    struct outputs one = {0};
    const int64_t first = query < 0 ? 0 : query;
    test.batch = 1;
    test.position += first;
    if (query >= 0)
        test.seqlen_q = 1;
    case_init(&alone, &test);
    if (!has_own_plan)
        alone.desc = batch->desc;
    copy_tokens(&alone.q, &batch->q, b, 1, first, 1);
    copy_tokens(&alone.k, &batch->k, b, 1, 0, 1);
    copy_tokens(&alone.v, &batch->v, b, 1, 0, 1);
    copy_scores(&alone.bias, &batch->bias, b, first);
    copy_scores(&alone.mask, &batch->mask, b, first);
    if (run(s, property, &alone, &one))
        expect_same_rows(s, property, batch, all, &alone, &one, b, first);
    outputs_release(&one);
    case_release(&alone);
}

/* Key counts that are no multiple of a vector: what is left over may be computed in another way for
 * a row with another behind it, but must come out the same. */
static void batch_invariance(struct setting *s, mha_dtype dtype) {
    static const struct {
        const char *name;
        uint64_t flags;
        int64_t seqlen_kv;
    } shapes[] = {
        {"batch_invariance", 0, 141},
        {"batch_invariance/many_keys", 0, 1100},
        {"batch_invariance/alibi", MHA_ALIBI, 141},
        {"batch_invariance/terms", MHA_BIAS | MHA_MASK | MHA_ALIBI, 141},
        {"batch_invariance/many_terms", MHA_BIAS | MHA_MASK | MHA_ALIBI, 1100},
    };
    for (size_t n = 0; n < sizeof(shapes) / sizeof(*shapes); ++n) {
        struct test_case test = base_case(s, dtype);
        struct case_data batch;
        struct outputs all = {0};
        const char *name = shapes[n].name;
        test.flags |= MHA_BATCH_INVARIANT | shapes[n].flags;
        test.batch = 4;
        if (!device_is_slow())
            test.seqlen_kv = shapes[n].seqlen_kv;
        /* A query alone stays where it was. */
        if (shapes[n].flags & MHA_ALIBI)
            test.alignment = MHA_EXPLICIT;
        case_init(&batch, &test);
        if (run(s, name, &batch, &all))
            for (int own = 0; own < 2; ++own) {
                run_alone(s, name, &batch, &all, -1, own);
                run_alone(s, name, &batch, &all, 0, own);
                run_alone(s, name, &batch, &all, test.seqlen_q / 2, own);
                run_alone(s, name, &batch, &all, test.seqlen_q - 1, own);
            }
        outputs_release(&all);
        case_release(&batch);
    }
}

/* ---- The same bits elsewhere ---------------------------------------------------------------- */

enum place { PLACE_START, PLACE_ODD_OFFSET, PLACE_SUB_BUFFER, PLACE_SUB_BUFFER_ODD, PLACE_COUNT };

struct placed {
    cl_mem parent, buffer; /* equal but for sub-buffers */
    size_t offset, bytes;
};

/* A copy of `bytes` bytes of an image, from `begin` on, with canaries wherever it leaves room. */
static struct placed place_bytes(const struct test_device *device, const unsigned char *image,
                                 size_t begin, size_t bytes, size_t element, enum place place) {
    cl_uint align_bits = 0;
    cl_int code;
    clGetDeviceInfo(device->id, CL_DEVICE_MEM_BASE_ADDR_ALIGN, sizeof(align_bits), &align_bits,
                    NULL);
    const size_t align = align_bits / 8 > 0 ? align_bits / 8 : 1;
    const bool is_sub = place == PLACE_SUB_BUFFER || place == PLACE_SUB_BUFFER_ODD;
    const bool is_odd = place == PLACE_ODD_OFFSET || place == PLACE_SUB_BUFFER_ODD;
    struct placed placed = {.offset = is_odd ? 3 * element : 0, .bytes = bytes};
    const size_t origin = is_sub ? align : 0, total = origin + placed.offset + bytes + 64;
    unsigned char *initial = malloc(total);
    cr_assert_not_null(initial);
    memset(initial, 0xff, total);
    memcpy(initial + origin + placed.offset, image + begin, bytes);
    placed.parent = clCreateBuffer(device->context, CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR, total,
                                   initial, &code);
    device_check(code, "clCreateBuffer");
    free(initial);
    placed.buffer = placed.parent;
    if (is_sub) {
        const cl_buffer_region region = {origin, total - origin};
        placed.buffer = clCreateSubBuffer(placed.parent, CL_MEM_READ_WRITE,
                                          CL_BUFFER_CREATE_TYPE_REGION, &region, &code);
        device_check(code, "clCreateSubBuffer");
    }
    return placed;
}

static struct placed place_view(const struct test_device *device, const struct test_view *view,
                                enum place place) {
    const size_t element = number_bytes(view->buffer->type);
    const size_t begin = view_offset_bytes(view);
    return place_bytes(device, view->buffer->image, begin,
                       view->buffer->bytes - begin - CANARY_ELEMENTS * element, element, place);
}

static void release_placed(struct placed *placed) {
    if (placed->parent != placed->buffer)
        clReleaseMemObject(placed->buffer);
    clReleaseMemObject(placed->parent);
}

/* o's bytes of the call with every tensor at such a place; the caller's to free. */
static unsigned char *run_placed(struct setting *s, struct case_data *data, mha_plan *plan,
                                 size_t workspace_bytes, enum place place, size_t *bytes) {
    enum { Q, K, V, O, LSE, WORKSPACE, COUNT };
    const struct test_view *views[] = {&data->q, &data->k, &data->v, &data->o, &data->lse};
    const size_t wide = data->test.dtype == MHA_F64 ? 8 : 4;
    struct placed placed[COUNT];
    mha_attention_args args;
    mha_error error;
    case_upload(data, &s->device, 0, &args);
    mha_memory *memories[] = {&args.q.memory, &args.k.memory, &args.v.memory,
                              &args.o.memory, &args.lse,      &args.workspace};
    unsigned char *workspace = calloc(1, workspace_bytes + 1);
    cr_assert_not_null(workspace);
    for (int n = 0; n < COUNT; ++n) {
        placed[n] = n == WORKSPACE
                        ? place_bytes(&s->device, workspace, 0, workspace_bytes, wide, place)
                        : place_view(&s->device, views[n], place);
        *memories[n] = (mha_memory){.buffer = placed[n].buffer, .offset_bytes = placed[n].offset};
    }
    free(workspace);
    const mha_status status =
        mha_enqueue_attention(plan, s->device.queue, &args, 0, NULL, NULL, &error);
    if (status)
        fail(s, "places", data->test.dtype, error.message);
    *bytes = placed[O].bytes;
    unsigned char *o = malloc(*bytes);
    cr_assert_not_null(o);
    device_check(clEnqueueReadBuffer(s->device.queue, placed[O].buffer, CL_TRUE, placed[O].offset,
                                     *bytes, o, 0, NULL, NULL),
                 "clEnqueueReadBuffer");
    for (int n = 0; n < COUNT; ++n)
        release_placed(&placed[n]);
    case_release_buffers(data);
    return o;
}

static void places(struct setting *s, mha_dtype dtype) {
    const struct test_case test = base_case(s, dtype);
    struct case_data data;
    mha_error error;
    mha_plan_info info = {.struct_size = sizeof(info)};
    size_t bytes = 0;
    unsigned char *first = NULL;
    case_init(&data, &test);
    mha_plan *plan = harness_get_plan(&s->device, &data.desc, &error);
    if (!plan)
        fail(s, "places", dtype, error.message);
    else
        mha_plan_get_info(plan, &info, NULL);
    for (int place = 0; plan && place < PLACE_COUNT; ++place) {
        unsigned char *o =
            run_placed(s, &data, plan, info.workspace_bytes, (enum place)place, &bytes);
        if (first && memcmp(first, o, bytes))
            fail(s, "places", dtype, "other bits at an offset than at a buffer's start");
        if (first)
            free(o);
        else
            first = o;
    }
    free(first);
    case_release(&data);
}

/* ---- Tests --------------------------------------------------------------------------------- */

ParameterizedTestParameters(properties, hold) {
    static size_t variants[32];
    for (size_t n = 0; n < harness_variant_count(); ++n)
        variants[n] = n;
    return cr_make_param_array(size_t, variants, harness_variant_count());
}

ParameterizedTest(size_t *variant, properties, hold, .timeout = 3600) {
    void (*const properties[])(struct setting *, mha_dtype) = {
        constant_v,    permuted_keys, shifted_bias_row, masked_infinity, expanded_heads,
        causal_prefix, split_keys,    determinism,      places,          batch_invariance,
    };
    struct setting s = {.title = harness_variant_title(*variant),
                        .variant = harness_variant(*variant)};
    device_open(&s.device);
    for (int dtype = 0; dtype < 4; ++dtype)
        for (size_t n = 0; n < sizeof(properties) / sizeof(*properties); ++n)
            if (has_dtype(&s, (mha_dtype)dtype))
                properties[n](&s, (mha_dtype)dtype);
    harness_release_plans();
    device_close(&s.device);
    cr_assert_eq(s.failures, 0, "%d properties of %s do not hold", s.failures, s.title);
}
