/* In: a plan and a case's data. Out: what the call wrote, or which byte it should have left. */
#include "harness.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HASH_BASIS UINT64_C(0xcbf29ce484222325)
#define HASH_PRIME UINT64_C(0x100000001b3)

void outputs_release(struct outputs *outputs) {
    free(outputs->o);
    free(outputs->lse);
    free(outputs->scores);
    *outputs = (struct outputs){0};
}

static double *make_values(int64_t count) {
    double *values = calloc((size_t)count + 1, sizeof(*values));
    cr_assert_not_null(values);
    return values;
}

/* Takes an element from `bytes`, a copy of the device's buffer, and restores what was there. */
static double take(const struct test_view *view, unsigned char *bytes, int64_t index,
                   uint64_t *hash) {
    const size_t size = number_bytes(view->buffer->type);
    unsigned char *element = bytes + (size_t)index * size;
    const double value = number_get(view->buffer->type, bytes, index);
    for (size_t n = 0; n < size; ++n)
        *hash = (*hash ^ element[n]) * HASH_PRIME;
    memcpy(element, view->buffer->image + (size_t)index * size, size);
    return value;
}

static void take_outputs(const struct case_data *data, const struct test_buffer *buffer,
                         unsigned char *bytes, struct outputs *outputs) {
    const struct reference_input *in = &data->in;
    for (int64_t b = 0; b < in->batch; ++b) {
        const struct reference_sequence s = reference_get_sequence(in, b);
        for (int64_t h = 0; h < in->q_heads; ++h)
            for (int64_t i = 0; i < s.q_len; ++i) {
                const int64_t row = reference_row(in, &s, b, h, i);
                if (buffer == data->o.buffer)
                    for (int64_t d = 0; d < in->head_dim_v; ++d)
                        outputs->o[row * in->head_dim_v + d] =
                            take(&data->o, bytes, view_index(&data->o, b, h, s.q_start + i, d),
                                 &outputs->hash);
                else if (buffer == data->lse.buffer)
                    outputs->lse[row] = take(&data->lse, bytes,
                                             view_index(&data->lse, 0, 0, 0, row), &outputs->hash);
                else
                    for (int64_t j = 0; j < in->seqlen_kv; ++j)
                        outputs->scores[row * in->seqlen_kv + j] =
                            take(&data->scores, bytes, view_index(&data->scores, 0, 0, row, j),
                                 &outputs->hash);
            }
    }
}

static const char *tensor_name(const struct case_data *data, const struct test_buffer *buffer) {
    const struct {
        const struct test_view *view;
        const char *name;
    } names[] = {
        {&data->q, "q"},
        {&data->k, "k"},
        {&data->v, "v"},
        {&data->o, "o"},
        {&data->bias, "bias"},
        {&data->mask, "mask"},
        {&data->alibi_slopes, "alibi_slopes"},
        {&data->sinks, "sinks"},
        {&data->kv_lengths, "kv_lengths"},
        {&data->cu_seqlens_q, "cu_seqlens_q"},
        {&data->cu_seqlens_kv, "cu_seqlens_kv"},
        {&data->position_offsets, "position_offsets"},
        {&data->lse, "lse"},
        {&data->scores, "scores"},
        {&data->workspace, "workspace"},
    };
    for (size_t n = 0; n < sizeof(names) / sizeof(*names); ++n)
        if (names[n].view->buffer == buffer)
            return names[n].name;
    return "?";
}

/* Every byte of every buffer must be as before but for the outputs and the inside of the
 * workspace. */
static bool check_bytes(const struct case_data *data, const struct test_buffer *buffer,
                        const unsigned char *bytes, char failure[FAILURE_BYTES]) {
    const size_t size = number_bytes(buffer->type);
    for (size_t n = 0; n < buffer->bytes; ++n) {
        if (buffer == data->workspace.buffer && n == (size_t)data->workspace.offset)
            n += (size_t)data->workspace.extent[3];
        if (n < buffer->bytes && bytes[n] != buffer->image[n]) {
            const char *name = tensor_name(data, buffer);
            snprintf(failure, FAILURE_BYTES,
                     "element %zu of %zu of the buffer of %s was changed from %g to %g", n / size,
                     buffer->bytes / size, name,
                     number_get(buffer->type, buffer->image, (int64_t)(n / size)),
                     number_get(buffer->type, bytes, (int64_t)(n / size)));
            return false;
        }
    }
    return true;
}

/* On an out-of-order queue q arrives only by a write that the call must wait for. */
static void delay_q(const struct case_data *data, cl_command_queue queue, cl_event *event) {
    struct test_buffer *buffer = data->q.buffer;
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

static bool enqueue(const struct test_device *device, mha_plan *plan, const struct case_data *data,
                    const mha_attention_args *args, char failure[FAILURE_BYTES]) {
    const bool is_out_of_order = data->test.is_out_of_order && device->out_of_order;
    const cl_command_queue queue = is_out_of_order ? device->out_of_order : device->queue;
    cl_event written = NULL, done = NULL;
    mha_error error;
    if (is_out_of_order)
        delay_q(data, queue, &written);
    const mha_status status = mha_enqueue_attention(plan, queue, args, written ? 1 : 0,
                                                    written ? &written : NULL, &done, &error);
    cl_int code = CL_SUCCESS;
    if (status)
        snprintf(failure, FAILURE_BYTES, "mha_enqueue_attention: %s: %.300s",
                 mha_status_name(status), error.message);
    else if (!done || (code = clWaitForEvents(1, &done)))
        snprintf(failure, FAILURE_BYTES, "event %p, clWaitForEvents: %d", (void *)done, (int)code);
    if (written)
        clReleaseEvent(written);
    if (done)
        clReleaseEvent(done);
    clFinish(queue);
    return !status && !code;
}

bool harness_execute(const struct test_device *device, mha_plan *plan, struct case_data *data,
                     struct outputs *outputs, char failure[FAILURE_BYTES]) {
    const int64_t rows = reference_rows(&data->in);
    mha_plan_info info = {.struct_size = sizeof(info)};
    mha_plan_get_info(plan, &info, NULL);
    mha_attention_args args;
    case_upload(data, device, info.workspace_bytes, &args);
    *outputs = (struct outputs){
        .o = make_values(rows * data->in.head_dim_v),
        .lse = make_values(rows),
        .scores = make_values(data->scores.buffer ? rows * data->in.seqlen_kv : 0),
        .hash = HASH_BASIS,
    };
    bool is_ok = enqueue(device, plan, data, &args, failure);
    for (int n = 0; n < data->buffer_count && is_ok; ++n) {
        const struct test_buffer *buffer = &data->buffers[n];
        unsigned char *bytes = malloc(buffer->bytes);
        cr_assert_not_null(bytes);
        device_check(clEnqueueReadBuffer(device->queue, buffer->mem, CL_TRUE, 0, buffer->bytes,
                                         bytes, 0, NULL, NULL),
                     "clEnqueueReadBuffer");
        if (buffer == data->o.buffer || buffer == data->lse.buffer || buffer == data->scores.buffer)
            take_outputs(data, buffer, bytes, outputs);
        is_ok = check_bytes(data, buffer, bytes, failure);
        free(bytes);
    }
    case_release_buffers(data);
    return is_ok;
}

/* ---- Comparison ---------------------------------------------------------------------------- */

static bool is_same_class(double a, double b) {
    if (isfinite(a) && isfinite(b))
        return true;
    return isnan(a) ? isnan(b) : a == b;
}

bool comparison_holds(const struct comparison *c, char failure[FAILURE_BYTES]) {
    double plain_error = 0, worst = -1;
    int64_t worst_at = 0;
    for (int64_t n = 0; n < c->count; ++n) {
        for (int direction = 0; direction < 2; ++direction) {
            const double error = fabs(c->plain[direction][n] - c->exact[n]);
            if (isfinite(error) && error > plain_error)
                plain_error = error;
        }
        const bool is_exact = c->is_empty && c->is_empty[n / c->width];
        if (!is_same_class(c->exact[n], c->got[n]) || (is_exact && c->got[n] != c->exact[n])) {
            snprintf(failure, FAILURE_BYTES, "%s[%lld][%lld] is %.9g, not %.9g", c->name,
                     (long long)(n / c->width), (long long)(n % c->width), c->got[n], c->exact[n]);
            return false;
        }
        const double error = isfinite(c->exact[n]) ? fabs(c->got[n] - c->exact[n]) : 0;
        if (error > worst) {
            worst = error;
            worst_at = n;
        }
    }
    const double bound = 2 * plain_error + 8 * c->epsilon * c->magnitude;
    if (worst <= bound)
        return true;
    snprintf(failure, FAILURE_BYTES,
             "%s[%lld][%lld] is %.9g, not %.9g: error %.3g, bound %.3g (plain error %.3g)", c->name,
             (long long)(worst_at / c->width), (long long)(worst_at % c->width), c->got[worst_at],
             c->exact[worst_at], worst, bound, plain_error);
    return false;
}

double largest_finite(const double *values, int64_t count, double least) {
    for (int64_t n = 0; n < count; ++n)
        if (isfinite(values[n]) && fabs(values[n]) > least)
            least = fabs(values[n]);
    return least;
}

static double max_value(const struct test_view *v) {
    double largest = 0;
    for (int64_t b = 0; b < v->extent[0]; ++b)
        for (int64_t h = 0; h < v->extent[1]; ++h)
            for (int64_t t = 0; t < v->extent[2]; ++t)
                largest = largest_finite(v->tensor.data + reference_element(&v->tensor, b, h, t),
                                         v->extent[3], largest);
    return largest;
}

bool harness_compare(const struct case_data *data, const struct outputs *outputs,
                     char failure[FAILURE_BYTES]) {
    const struct reference_input *in = &data->in;
    const int64_t rows = reference_rows(in);
    const int64_t o_count = rows * in->head_dim_v;
    const int64_t scores_count = in->flags & MHA_SCORES ? rows * in->seqlen_kv : 0;
    /* Accumulation is fp32 also where storage is fp16 or bf16, and the plain computation is
     * rounded to the storage type: no further allowance for that type is due. */
    const double epsilon = number_epsilon(in->dtype == MHA_F64 ? NUMBER_F64 : NUMBER_F32);
    bool *is_empty = calloc((size_t)rows + 1, 1);
    cr_assert_not_null(is_empty);
    struct reference_output results[3];
    for (int n = 0; n < 3; ++n) {
        results[n] = (struct reference_output){
            .o = make_values(o_count),
            .lse = make_values(rows),
            .scores = scores_count ? make_values(scores_count) : NULL,
            .is_empty = n == 0 ? is_empty : NULL,
        };
        cr_assert(
            reference_attention(in, n ? REFERENCE_PLAIN : REFERENCE_EXACT, n == 2, &results[n]));
    }
    const bool has_weights = in->scores_stage == MHA_STAGE_WEIGHTS;
    const struct comparison comparisons[] = {
        {"o",
         outputs->o,
         results[0].o,
         {results[1].o, results[2].o},
         o_count,
         in->head_dim_v,
         max_value(&data->v),
         epsilon,
         is_empty},
        {"lse",
         outputs->lse,
         results[0].lse,
         {results[1].lse, results[2].lse},
         in->flags & MHA_LSE ? rows : 0,
         1,
         largest_finite(results[0].lse, rows, 1),
         number_epsilon(NUMBER_F32),
         NULL},
        {"scores",
         outputs->scores,
         results[0].scores,
         {results[1].scores, results[2].scores},
         scores_count,
         in->seqlen_kv,
         largest_finite(results[0].scores, scores_count, 1),
         epsilon,
         has_weights ? is_empty : NULL},
    };
    bool is_ok = true;
    for (int n = 0; n < 3 && is_ok; ++n)
        is_ok = comparison_holds(&comparisons[n], failure);
    for (int64_t n = 0; n < scores_count && has_weights && is_ok; ++n)
        if (results[0].scores[n] == 0 && outputs->scores[n] != 0) {
            snprintf(failure, FAILURE_BYTES, "weight [%lld][%lld] of a masked key is %g",
                     (long long)(n / in->seqlen_kv), (long long)(n % in->seqlen_kv),
                     outputs->scores[n]);
            is_ok = false;
        }
    for (int n = 0; n < 3; ++n) {
        free(results[n].o);
        free(results[n].lse);
        free(results[n].scores);
    }
    free(is_empty);
    return is_ok;
}
