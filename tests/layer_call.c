/* In: a layer's plan and a case's data. Out: what the call gave, and a verdict on it. */
#include "layer_case.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The tokens of a cache that the call writes; no view without a cache. */
static struct test_view get_fresh(const struct layer_data *data, const struct test_view *cache) {
    struct test_view view = *cache;
    if (!(data->test.flags & MHA_LAYER_KV_CACHE))
        return (struct test_view){.buffer = NULL};
    view.offset += data->test.past * view.tensor.stride[2];
    view.extent[2] -= data->test.past;
    return view;
}

static double *make_values(int64_t count) {
    double *values = calloc((size_t)count + 1, sizeof(*values));
    cr_assert_not_null(values);
    return values;
}

void layer_outputs_release(struct layer_outputs *outputs) {
    free(outputs->y);
    free(outputs->lse);
    free(outputs->scores);
    free(outputs->k);
    free(outputs->v);
    *outputs = (struct layer_outputs){.y = NULL};
}

enum { OUT_Y, OUT_LSE, OUT_SCORES, OUT_K, OUT_V, OUT_COUNT };

static void get_views(const struct layer_data *data, struct test_view views[OUT_COUNT]) {
    views[OUT_Y] = data->y;
    views[OUT_LSE] = data->attention.lse;
    views[OUT_SCORES] = data->attention.scores;
    views[OUT_K] = get_fresh(data, &data->attention.k);
    views[OUT_V] = get_fresh(data, &data->attention.v);
}

bool layer_outputs_are_equal(const struct layer_data *data, const struct layer_outputs *a,
                             const struct layer_outputs *b) {
    const double *pairs[OUT_COUNT][2] = {
        {a->y, b->y}, {a->lse, b->lse}, {a->scores, b->scores}, {a->k, b->k}, {a->v, b->v}};
    struct test_view views[OUT_COUNT];
    get_views(data, views);
    for (int n = 0; n < OUT_COUNT; ++n)
        if (memcmp(pairs[n][0], pairs[n][1], (size_t)view_count(&views[n]) * sizeof(double)))
            return false;
    return true;
}

bool layer_take(struct layer_data *data, const struct test_device *device,
                struct layer_outputs *outputs, char failure[FAILURE_BYTES]) {
    struct test_view views[OUT_COUNT];
    struct taken taken[OUT_COUNT + 1];
    double **const values[] = {&outputs->y, &outputs->lse, &outputs->scores, &outputs->k,
                               &outputs->v};
    struct guarded *g = &data->guarded;
    struct case_data *a = &data->attention;
    get_views(data, views);
    for (int n = 0; n < OUT_COUNT; ++n) {
        *values[n] = make_values(view_count(&views[n]));
        taken[n] = (struct taken){&views[n], *values[n]};
    }
    taken[OUT_COUNT] = (struct taken){&data->workspace, NULL};
    return buffers_take(device, g->buffers, g->count, g->names, taken, OUT_COUNT + 1, failure) &&
           buffers_take(device, a->buffers, a->buffer_count, NULL, taken, OUT_COUNT + 1, failure);
}

/* On an out-of-order queue the input arrives only by a write that the call must wait for. */
static void delay_query(const struct layer_data *data, cl_command_queue queue, cl_event *event) {
    const struct test_buffer *buffer = data->query.buffer;
    unsigned char *nothing = calloc(1, buffer->bytes);
    cr_assert_not_null(nothing);
    device_check(
        clEnqueueWriteBuffer(queue, buffer->mem, CL_TRUE, 0, buffer->bytes, nothing, 0, NULL, NULL),
        "clEnqueueWriteBuffer");
    free(nothing);
    device_check(clEnqueueWriteBuffer(queue, buffer->mem, CL_FALSE, 0, buffer->bytes, buffer->image,
                                      0, NULL, event),
                 "clEnqueueWriteBuffer");
}

bool layer_call(struct layer_data *data, const struct test_device *device, mha_plan *plan,
                struct layer_outputs *outputs, char failure[FAILURE_BYTES]) {
    const bool is_out_of_order = data->test.attention.is_out_of_order && device->out_of_order;
    const cl_command_queue queue = is_out_of_order ? device->out_of_order : device->queue;
    cl_event written = NULL, done = NULL;
    mha_error e;
    if (is_out_of_order)
        delay_query(data, queue, &written);
    const mha_status status = mha_enqueue_layer(plan, queue, &data->args, written ? 1 : 0,
                                                written ? &written : NULL, &done, &e);
    if (status)
        snprintf(failure, FAILURE_BYTES, "mha_enqueue_layer: %s: %.300s", mha_status_name(status),
                 e.message);
    else if (!done || clWaitForEvents(1, &done))
        snprintf(failure, FAILURE_BYTES, "the event did not complete");
    if (written)
        clReleaseEvent(written);
    if (done)
        clReleaseEvent(done);
    clFinish(queue);
    return !failure[0] && layer_take(data, device, outputs, failure);
}

/* ---- Comparison ----------------------------------------------------------------------------- */

/* Of [outer][tokens][width], the tokens from `past` on, in place. */
static void drop_past(double *values, int64_t outer, int64_t tokens, int64_t past, int64_t width) {
    const size_t bytes = (size_t)((tokens - past) * width) * sizeof(*values);
    for (int64_t n = 0; n < outer; ++n)
        memmove(values + n * (tokens - past) * width, values + (n * tokens + past) * width, bytes);
}

static struct reference_layer_output make_reference(const struct layer_data *data, int which) {
    const struct reference_layer *in = &data->in;
    const struct reference_input *a = &in->attention;
    const int64_t q_rows = reference_rows(a);
    const int64_t kv_rows =
        reference_layer_batch(in, false) * a->kv_heads * reference_layer_tokens(in, false);
    const struct reference_layer_output out = {
        .q = make_values(q_rows * a->head_dim_qk),
        .k = make_values(kv_rows * a->head_dim_qk),
        .v = make_values(kv_rows * a->head_dim_v),
        .lse = make_values(q_rows),
        .scores = make_values(q_rows * a->seqlen_kv),
        .is_empty = NULL,
        .y = make_values(view_count(&data->y)),
    };
    cr_assert(reference_layer(in, which ? REFERENCE_PLAIN : REFERENCE_EXACT, which == 2, &out));
    const int64_t outer = reference_layer_batch(in, false) * a->kv_heads;
    const int64_t tokens = reference_layer_tokens(in, false);
    drop_past(out.k, outer, tokens, in->seqlen_past, a->head_dim_qk);
    drop_past(out.v, outer, tokens, in->seqlen_past, a->head_dim_v);
    return out;
}

static void release_reference(struct reference_layer_output *out) {
    free(out->q);
    free(out->k);
    free(out->v);
    free(out->lse);
    free(out->scores);
    free(out->y);
}

bool layer_compare(const struct layer_data *data, const struct layer_outputs *outputs,
                   char failure[FAILURE_BYTES]) {
    const mha_dtype dtype = data->test.attention.dtype;
    const double epsilon = number_epsilon(dtype == MHA_F64 ? NUMBER_F64 : NUMBER_F32);
    struct test_view views[OUT_COUNT];
    struct reference_layer_output r[3];
    get_views(data, views);
    for (int n = 0; n < 3; ++n)
        r[n] = make_reference(data, n);
    const struct {
        const char *name;
        const double *got, *exact, *plain[2];
        double least, epsilon;
    } parts[OUT_COUNT] = {
        [OUT_Y] = {"y", outputs->y, r[0].y, {r[1].y, r[2].y}, 0, epsilon},
        [OUT_LSE] =
            {"lse", outputs->lse, r[0].lse, {r[1].lse, r[2].lse}, 1, number_epsilon(NUMBER_F32)},
        [OUT_SCORES] =
            {"scores", outputs->scores, r[0].scores, {r[1].scores, r[2].scores}, 1, epsilon},
        [OUT_K] = {"k", outputs->k, r[0].k, {r[1].k, r[2].k}, 0, epsilon},
        [OUT_V] = {"v", outputs->v, r[0].v, {r[1].v, r[2].v}, 0, epsilon},
    };
    bool is_ok = true;
    for (int n = 0; n < OUT_COUNT && is_ok; ++n) {
        const int64_t count = view_count(&views[n]);
        const struct comparison comparison = {
            .name = parts[n].name,
            .got = parts[n].got,
            .exact = parts[n].exact,
            .plain = {parts[n].plain[0], parts[n].plain[1]},
            .count = count,
            .width = views[n].extent[3] > 0 ? views[n].extent[3] : 1,
            .magnitude = largest_finite(parts[n].exact, count, parts[n].least),
            .epsilon = parts[n].epsilon,
        };
        is_ok = comparison_holds(&comparison, failure);
    }
    for (int n = 0; n < 3; ++n)
        release_reference(&r[n]);
    return is_ok;
}
