/* In: shapes. Out: buffers with canaries around every tensor; and whether a call kept to its own.
 */
#include "guarded.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct test_view guarded_add(struct guarded *guarded, const char *name, enum number type,
                             const int64_t extent[4], const int64_t stride[4], int64_t shift) {
    struct test_view view = {.offset = CANARY_ELEMENTS + shift};
    int64_t last = 0, next = 1;
    cr_assert_lt(guarded->count, MAX_GUARDED);
    for (int axis = 3; axis >= 0; --axis) {
        view.extent[axis] = extent[axis];
        view.tensor.stride[axis] = stride ? stride[axis] : next;
        next *= extent[axis];
        last += extent[axis] > 0 ? (extent[axis] - 1) * view.tensor.stride[axis] : 0;
    }
    view.buffer = &guarded->buffers[guarded->count];
    guarded->names[guarded->count++] = name;
    buffer_init(view.buffer, type, view.offset + last + 1 + CANARY_ELEMENTS);
    view.tensor.data = view.buffer->values + view.offset;
    return view;
}

struct test_view guarded_add_vector(struct guarded *guarded, const char *name, enum number type,
                                    int64_t count, int64_t shift) {
    return guarded_add(guarded, name, type, (int64_t[]){1, 1, 1, count}, NULL, shift);
}

int64_t view_count(const struct test_view *view) {
    const int64_t *x = view->extent;
    return view->buffer ? x[0] * x[1] * x[2] * x[3] : 0;
}

/* Element `n` in the order of view_copy(). */
static int64_t view_nth(const struct test_view *view, int64_t n) {
    const int64_t *x = view->extent;
    return view_index(view, n / (x[1] * x[2] * x[3]), n / (x[2] * x[3]) % x[1], n / x[3] % x[2],
                      n % x[3]);
}

void view_fill(const struct test_view *view, double range, struct random *random) {
    struct test_buffer *buffer = view->buffer;
    const int64_t count = view_count(view);
    for (int64_t n = 0; n < count; ++n) {
        const int64_t at = view_nth(view, n);
        buffer->values[at] =
            number_put(buffer->type, buffer->image, at, random_uniform(random, -range, range));
    }
}

double *view_copy(const struct test_view *view) {
    const int64_t count = view_count(view);
    double *values = malloc((size_t)(count + 1) * sizeof(*values));
    cr_assert_not_null(values);
    for (int64_t n = 0; n < count; ++n)
        values[n] = view->buffer->values[view_nth(view, n)];
    return values;
}

void guarded_upload(struct guarded *guarded, const struct test_device *device) {
    for (int n = 0; n < guarded->count; ++n)
        buffer_upload(&guarded->buffers[n], device);
}

void guarded_release_device(struct guarded *guarded) {
    for (int n = 0; n < guarded->count; ++n)
        buffer_release_device(&guarded->buffers[n]);
}

void guarded_release(struct guarded *guarded) {
    guarded_release_device(guarded);
    for (int n = 0; n < guarded->count; ++n) {
        free(guarded->buffers[n].image);
        free(guarded->buffers[n].values);
    }
    guarded->count = 0;
}

/* Moves a view's elements out of `bytes`, a copy of the device's buffer. */
static void take(const struct taken *taken, unsigned char *bytes) {
    const struct test_view *view = taken->view;
    const struct test_buffer *buffer = view->buffer;
    const size_t size = number_bytes(buffer->type);
    const int64_t count = view_count(view);
    for (int64_t n = 0; n < count; ++n) {
        const int64_t at = view_nth(view, n);
        if (taken->values)
            taken->values[n] = number_get(buffer->type, bytes, at);
        memcpy(bytes + (size_t)at * size, buffer->image + (size_t)at * size, size);
    }
}

static bool check(const struct test_buffer *buffer, const char *name, const unsigned char *bytes,
                  char failure[FAILURE_BYTES]) {
    const size_t size = number_bytes(buffer->type);
    size_t n = 0;
    while (n < buffer->bytes && bytes[n] == buffer->image[n])
        ++n;
    if (n == buffer->bytes)
        return true;
    snprintf(failure, FAILURE_BYTES,
             "element %zu of %zu of the buffer of %s was changed from %g to %g", n / size,
             buffer->bytes / size, name,
             number_get(buffer->type, buffer->image, (int64_t)(n / size)),
             number_get(buffer->type, bytes, (int64_t)(n / size)));
    return false;
}

bool buffers_take(const struct test_device *device, struct test_buffer *buffers, int count,
                  const char *const *names, const struct taken *taken, int taken_count,
                  char failure[FAILURE_BYTES]) {
    bool is_ok = true;
    for (int n = 0; n < count && is_ok; ++n) {
        struct test_buffer *buffer = &buffers[n];
        unsigned char *bytes = malloc(buffer->bytes);
        char number[32];
        cr_assert_not_null(bytes);
        device_check(clEnqueueReadBuffer(device->queue, buffer->mem, CL_TRUE, 0, buffer->bytes,
                                         bytes, 0, NULL, NULL),
                     "clEnqueueReadBuffer");
        for (int i = 0; i < taken_count; ++i)
            if (taken[i].view->buffer == buffer)
                take(&taken[i], bytes);
        snprintf(number, sizeof(number), "attention, number %d", n);
        is_ok = check(buffer, names ? names[n] : number, bytes, failure);
        free(bytes);
    }
    return is_ok;
}
