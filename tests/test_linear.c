/* Linear projections: every variant, storage type and packing, at sizes that are multiples of
 * nothing. */
#include "guarded.h"
#include "reference_layer.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct linear_case {
    char name[128];
    const char *variant; /* NULL: selection chooses */
    mha_dtype dtype, weight_dtype;
    uint64_t flags; /* MHA_LINEAR_* */
    int64_t rows, out_features, in_features;
    int64_t slack;       /* how far the plan's maximum exceeds rows */
    int64_t padding;     /* elements between rows of x and of y */
    bool repeats_x;      /* one row of x for all, by a stride of 0 */
    int64_t packer_rows; /* the plan that packs the weights is one for so many rows; 0: the same */
    uint64_t seed;
};

struct linear_data {
    struct guarded guarded;
    struct test_view x, y, weight, bias, packed, workspace;
};

static void init_data(struct linear_data *data, const struct linear_case *t,
                      const mha_plan_info *info) {
    const enum number type = (enum number)t->dtype, weight_type = (enum number)t->weight_dtype;
    const int64_t weight_bytes = (int64_t)number_bytes(weight_type);
    const int64_t m = t->rows, n = t->out_features, k = t->in_features;
    const int64_t x_row = t->repeats_x ? 0 : k + t->padding, y_row = n + t->padding;
    struct random random = {t->seed};
    struct guarded *g = &data->guarded;
    *data = (struct linear_data){.guarded = {.count = 0}};
    data->x =
        guarded_add(g, "x", type, (int64_t[]){1, 1, m, k}, (int64_t[]){0, 0, x_row, 1}, t->padding);
    data->y = guarded_add(g, "y", type, (int64_t[]){1, 1, m, n}, (int64_t[]){0, 0, y_row, 1},
                          2 * t->padding);
    data->weight = guarded_add(g, "weight", weight_type, (int64_t[]){1, 1, n, k}, NULL, t->padding);
    if (t->flags & MHA_LINEAR_BIAS)
        data->bias = guarded_add_vector(g, "bias", weight_type, n, 1 + t->padding);
    /* As whole elements, at an odd one. */
    data->packed =
        guarded_add_vector(g, "packed", weight_type, (int64_t)info->packed_bytes / weight_bytes, 1);
    data->workspace = guarded_add_vector(g, "workspace", weight_type,
                                         (int64_t)info->workspace_bytes / weight_bytes, 1);
    view_fill(&data->x, 1, &random);
    view_fill(&data->weight, 1, &random);
    if (data->bias.buffer)
        view_fill(&data->bias, 2, &random);
}

static mha_linear_desc get_desc(const struct linear_case *t) {
    mha_linear_desc desc = MHA_LINEAR_DESC_INIT;
    desc.flags = t->flags;
    desc.dtype = t->dtype;
    desc.weight_dtype = t->weight_dtype;
    desc.in_features = t->in_features;
    desc.out_features = t->out_features;
    desc.max_rows = t->rows + t->slack;
    desc.variant = t->variant;
    return desc;
}

static bool call_linear(const struct test_device *device, mha_plan *plan,
                        const struct linear_case *t, const struct linear_data *data,
                        char failure[FAILURE_BYTES]) {
    const bool is_packed = t->flags & MHA_LINEAR_PACKED;
    mha_linear_args args = MHA_LINEAR_ARGS_INIT;
    mha_error e;
    cl_event event = NULL;
    args.rows = t->rows;
    args.x = (mha_matrix){view_memory(&data->x), data->x.tensor.stride[2]};
    args.y = (mha_matrix){view_memory(&data->y), data->y.tensor.stride[2]};
    args.weight = view_memory(is_packed ? &data->packed : &data->weight);
    args.bias = is_packed ? (mha_memory){.offset_bytes = 0} : view_memory(&data->bias);
    args.workspace = view_memory(&data->workspace);
    const mha_status status = mha_enqueue_linear(plan, device->queue, &args, 0, NULL, &event, &e);
    if (status)
        snprintf(failure, FAILURE_BYTES, "mha_enqueue_linear: %s: %.300s", mha_status_name(status),
                 e.message);
    else if (!event || clWaitForEvents(1, &event))
        snprintf(failure, FAILURE_BYTES, "the event did not complete");
    if (event)
        clReleaseEvent(event);
    return !failure[0];
}

/* By another plan than the call's, if they say that they may share weights. */
static mha_plan *make_packer(const struct test_device *device, const struct linear_case *t,
                             const mha_plan *plan) {
    mha_plan_info info = MHA_PLAN_INFO_INIT, other = MHA_PLAN_INFO_INIT;
    mha_linear_desc desc = get_desc(t);
    mha_plan *packer = NULL;
    mha_error e;
    if (!t->packer_rows)
        return NULL;
    desc.flags &= ~MHA_LINEAR_PACKED;
    desc.max_rows = t->packer_rows;
    cr_assert_eq(mha_linear_plan_create(device->engine, &desc, &packer, &e), MHA_SUCCESS, "%s",
                 e.message);
    mha_plan_get_info(plan, &info, NULL);
    mha_plan_get_info(packer, &other, NULL);
    if (info.packed_layout != other.packed_layout)
        mha_plan_destroy(&packer);
    else
        cr_expect_eq(info.packed_bytes, other.packed_bytes);
    return packer;
}

static bool pack(const struct test_device *device, mha_plan *plan, struct linear_data *data,
                 char failure[FAILURE_BYTES]) {
    const mha_memory weight = view_memory(&data->weight), bias = view_memory(&data->bias);
    const mha_memory packed = view_memory(&data->packed);
    struct guarded *g = &data->guarded;
    const struct taken taken = {&data->packed, NULL};
    mha_error e;
    const mha_status status = mha_enqueue_linear_pack(
        plan, device->queue, &weight, data->bias.buffer ? &bias : NULL, &packed, 0, NULL, NULL, &e);
    if (status) {
        snprintf(failure, FAILURE_BYTES, "mha_enqueue_linear_pack: %s: %.300s",
                 mha_status_name(status), e.message);
        return false;
    }
    clFinish(device->queue);
    if (!buffers_take(device, g->buffers, g->count, g->names, &taken, 1, failure))
        return false;
    /* The calls that follow may only read it. */
    struct test_buffer *buffer = data->packed.buffer;
    device_check(clEnqueueReadBuffer(device->queue, buffer->mem, CL_TRUE, 0, buffer->bytes,
                                     buffer->image, 0, NULL, NULL),
                 "clEnqueueReadBuffer");
    return true;
}

static bool run_linear(const struct test_device *device, mha_plan *plan,
                       const struct linear_case *t, struct linear_data *data, double *got,
                       char failure[FAILURE_BYTES]) {
    const size_t bytes = (size_t)view_count(&data->y) * sizeof(double);
    double *again = malloc(bytes + sizeof(double));
    struct guarded *g = &data->guarded;
    const int repeats = device_is_slow() ? 2 : 3;
    cr_assert_not_null(again);
    bool is_ok = true;
    if (t->flags & MHA_LINEAR_PACKED) {
        mha_plan *packer = make_packer(device, t, plan);
        is_ok = pack(device, packer ? packer : plan, data, failure);
        mha_plan_destroy(&packer);
    }
    for (int n = 0; n < repeats && is_ok; ++n) {
        const struct taken taken[] = {{&data->y, n ? again : got}, {&data->workspace, NULL}};
        is_ok = call_linear(device, plan, t, data, failure) &&
                buffers_take(device, g->buffers, g->count, g->names, taken, 2, failure);
        if (is_ok && n && memcmp(got, again, bytes)) {
            snprintf(failure, FAILURE_BYTES, "call %d gave other bits than the first", n + 1);
            is_ok = false;
        }
    }
    free(again);
    return is_ok;
}

static bool judge(const struct linear_case *t, const struct linear_data *data, const double *got,
                  char failure[FAILURE_BYTES]) {
    const struct reference_projection projection = {
        .weight = data->weight.tensor.data,
        .bias = data->bias.tensor.data,
        .in_features = t->in_features,
        .out_features = t->out_features,
    };
    const int64_t count = view_count(&data->y);
    double *results[3];
    for (int n = 0; n < 3; ++n) {
        results[n] = malloc((size_t)(count + 1) * sizeof(double));
        cr_assert_not_null(results[n]);
        reference_linear(t->dtype, &projection, data->x.tensor.data, data->x.tensor.stride[2],
                         t->rows, n ? REFERENCE_PLAIN : REFERENCE_EXACT, n == 2, results[n]);
    }
    const struct comparison comparison = {
        .name = "y",
        .got = got,
        .exact = results[0],
        .plain = {results[1], results[2]},
        .count = count,
        .width = t->out_features,
        .magnitude = largest_finite(results[0], count, 0),
        .epsilon = number_epsilon(t->dtype == MHA_F64 ? NUMBER_F64 : NUMBER_F32),
    };
    const bool is_ok = comparison_holds(&comparison, failure);
    for (int n = 0; n < 3; ++n)
        free(results[n]);
    return is_ok;
}

/* The plan says what it is: 2 operations per multiply-add, every byte moved once. */
static bool check_info(const struct linear_case *t, const mha_plan_info *info,
                       char failure[FAILURE_BYTES]) {
    const double rows = (double)(t->rows + t->slack), n = (double)t->out_features,
                 k = (double)t->in_features;
    const double element = (double)number_bytes((enum number)t->dtype),
                 weight = (double)number_bytes((enum number)t->weight_dtype);
    const double has_bias = t->flags & MHA_LINEAR_BIAS ? 1 : 0;
    const double bytes = rows * (n + k) * element + n * (k + has_bias) * weight;
    if (info->flops == 2 * rows * n * k && info->bytes == bytes &&
        (double)info->packed_bytes >= n * (k + has_bias) * weight &&
        (!t->variant || !strcmp(info->variant, t->variant)))
        return true;
    snprintf(failure, FAILURE_BYTES, "info: variant %s, %g flops, %g bytes (not %g), %zu packed",
             info->variant, info->flops, info->bytes, bytes, info->packed_bytes);
    return false;
}

static bool run_plan(const struct test_device *device, mha_plan *plan, const struct linear_case *t,
                     char failure[FAILURE_BYTES]) {
    static struct linear_data data;
    mha_plan_info info = MHA_PLAN_INFO_INIT;
    mha_plan_get_info(plan, &info, NULL);
    if (!check_info(t, &info, failure))
        return false;
    init_data(&data, t, &info);
    guarded_upload(&data.guarded, device);
    double *got = malloc((size_t)(view_count(&data.y) + 1) * sizeof(*got));
    cr_assert_not_null(got);
    const bool is_ok =
        run_linear(device, plan, t, &data, got, failure) && judge(t, &data, got, failure);
    if (!is_ok) {
        const size_t used = strlen(failure);
        snprintf(failure + used, FAILURE_BYTES - used, " [%s %.120s]", info.variant,
                 info.parameters);
    }
    free(got);
    guarded_release(&data.guarded);
    return is_ok;
}

static enum outcome attempt_linear(const struct test_device *device, const void *test,
                                   char text[FAILURE_BYTES]) {
    const struct linear_case *t = test;
    const mha_linear_desc desc = get_desc(t);
    enum outcome outcome;
    mha_plan *plan = NULL;
    mha_error refusal, e;
    const mha_status supported = mha_linear_supported(device->engine, &desc, &refusal);
    const mha_status created = mha_linear_plan_create(device->engine, &desc, &plan, &e);
    if (supported) {
        outcome = harness_may_refuse(device, t->variant, t->dtype, &refusal, created, text)
                      ? OUTCOME_SKIPPED
                      : OUTCOME_FAILED;
    } else if (created) {
        snprintf(text, FAILURE_BYTES, "supported, but mha_linear_plan_create: %s: %.300s",
                 mha_status_name(created), e.message);
        outcome = OUTCOME_FAILED;
    } else {
        outcome = run_plan(device, plan, t, text) ? OUTCOME_PASSED : OUTCOME_FAILED;
    }
    mha_plan_destroy(&plan);
    return outcome;
}

/* ---- Cases ---------------------------------------------------------------------------------- */

static const struct {
    mha_dtype dtype, weight_dtype;
} type_pairs[] = {
    {MHA_F32, MHA_F32},   {MHA_F32, MHA_F16},  {MHA_F32, MHA_BF16}, {MHA_F16, MHA_F32},
    {MHA_F16, MHA_F16},   {MHA_F16, MHA_BF16}, {MHA_BF16, MHA_F32}, {MHA_BF16, MHA_F16},
    {MHA_BF16, MHA_BF16}, {MHA_F64, MHA_F64},
};

/* Tiles are multiples of 2 to 24 rows and 8 to 256 columns, slices 8 to 768 deep. */
static const struct {
    int64_t rows, out_features, in_features, padding;
    bool repeats_x, is_small;
} sizes[] = {
    {1, 1, 1, 0, false, true},      {1, 2, 3, 0, false, false},      {2, 1, 5, 3, false, false},
    {3, 5, 2, 1, true, true},       {5, 3, 7, 0, false, false},      {7, 11, 13, 5, false, true},
    {13, 7, 1, 0, false, false},    {1, 70, 70, 0, false, true},     {4, 17, 31, 3, false, false},
    {6, 33, 16, 0, true, false},    {12, 32, 64, 0, false, false},   {17, 19, 23, 7, false, true},
    {23, 47, 5, 0, false, false},   {49, 65, 17, 1, false, false},   {64, 64, 64, 8, false, false},
    {70, 70, 70, 0, true, false},   {130, 300, 40, 3, false, false}, {3, 37, 1700, 0, false, false},
    {13, 70, 769, 1, false, false}, {50, 33, 1537, 0, false, false}, {0, 3, 4, 0, false, true},
};

static const uint64_t flag_sets[] = {0, MHA_LINEAR_BIAS, MHA_LINEAR_PACKED,
                                     MHA_LINEAR_BIAS | MHA_LINEAR_PACKED};

static const char *variant_title(size_t index) {
    return index ? mha_linear_variant_name(index - 1) : "auto";
}

/* Every size with every packing in fp32; in the other types a size takes its turn of them. Most
 * plans have the largest size's maximum, so that they share programs; but a simulator takes time
 * for all of a tile. */
static void run_sizes(const struct test_device *device, size_t variant, size_t pair,
                      struct tally *tally) {
    const bool is_slow = device_is_slow();
    for (size_t s = 0; s < sizeof(sizes) / sizeof(*sizes); ++s)
        for (size_t f = 0; f < sizeof(flag_sets) / sizeof(*flag_sets); ++f) {
            const bool has_turn = (s + pair) % 4 == f;
            if ((pair || is_slow) && !has_turn)
                continue;
            if (is_slow && (!sizes[s].is_small || (s + pair) % 3))
                continue;
            struct linear_case test = {
                .variant = variant ? mha_linear_variant_name(variant - 1) : NULL,
                .dtype = type_pairs[pair].dtype,
                .weight_dtype = type_pairs[pair].weight_dtype,
                .flags = flag_sets[f],
                .rows = sizes[s].rows,
                .out_features = sizes[s].out_features,
                .in_features = sizes[s].in_features,
                .slack = (pair || f) && !is_slow ? 140 - sizes[s].rows : 0,
                .padding = sizes[s].padding,
                .repeats_x = sizes[s].repeats_x,
                .packer_rows = pair ? 0 : 1 + (int64_t)s % 2 * 6,
                .seed = 100 * s + f,
            };
            snprintf(test.name, sizeof(test.name), "%s/%s_%s/%lldx%lldx%lld%s%s%s", tally->title,
                     number_name((enum number)test.dtype),
                     number_name((enum number)test.weight_dtype), (long long)test.rows,
                     (long long)test.out_features, (long long)test.in_features,
                     test.repeats_x ? "/repeated" : "", test.flags & MHA_LINEAR_BIAS ? "/bias" : "",
                     test.flags & MHA_LINEAR_PACKED ? "/packed" : "");
            harness_attempt(device, test.name, test.dtype, attempt_linear, &test, tally);
        }
}

/* Weights may be shared by plans whose layouts are equal: never where the weights themselves can't
 * be the same, always with the plan that differs only in taking them packed. */
Test(linear, packed_layouts) {
    static const struct linear_case plain = {.rows = 5, .out_features = 33, .in_features = 7};
    struct linear_case cases[] = {plain, plain, plain, plain, plain, plain};
    enum { SAME, WIDER, DEEPER, HALF, BIAS, PACKED };
    struct test_device device;
    uint64_t layouts[sizeof(cases) / sizeof(*cases)];
    cases[WIDER].out_features = 34;
    cases[DEEPER].in_features = 8;
    cases[HALF].weight_dtype = MHA_F16;
    cases[BIAS].flags = MHA_LINEAR_BIAS;
    cases[PACKED].flags = MHA_LINEAR_PACKED;
    device_open(&device);
    for (size_t n = 0; n < sizeof(cases) / sizeof(*cases); ++n) {
        const mha_linear_desc desc = get_desc(&cases[n]);
        mha_plan_info info = MHA_PLAN_INFO_INIT;
        mha_plan *plan = NULL;
        mha_error e;
        cr_assert_eq(mha_linear_plan_create(device.engine, &desc, &plan, &e), MHA_SUCCESS, "%s",
                     e.message);
        mha_plan_get_info(plan, &info, NULL);
        layouts[n] = info.packed_layout;
        mha_plan_destroy(&plan);
        cr_expect_neq(layouts[n], 0);
        cr_expect((layouts[n] == layouts[SAME]) == (n == SAME || n == PACKED), "case %zu", n);
    }
    device_close(&device);
}

ParameterizedTestParameters(linear, sizes) {
    static size_t variants[16];
    size_t count = 0;
    while (variant_title(count)) {
        variants[count] = count;
        ++count;
    }
    return cr_make_param_array(size_t, variants, count);
}

ParameterizedTest(size_t *variant, linear, sizes, .timeout = 3600) {
    struct test_device device;
    device_open(&device);
    /* Its kernels read beyond edges what they then discard, which Oclgrind reports. */
    if (!strcmp(variant_title(*variant), "clblast") && strstr(device.name, "Oclgrind"))
        cr_skip_test("CLBlast's kernels are not the library's");
    struct tally tally = {.suite = "linear", .title = variant_title(*variant)};
    for (size_t pair = 0; pair < sizeof(type_pairs) / sizeof(*type_pairs); ++pair)
        run_sizes(&device, *variant, pair, &tally);
    device_close(&device);
    tally_finish(&tally);
}
