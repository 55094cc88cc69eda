/* Buffers of a call with canaries around every tensor, and what the call left in them. */
#ifndef TESTS_GUARDED_H
#define TESTS_GUARDED_H

#include "harness.h"

#define MAX_GUARDED 20

struct guarded {
    struct test_buffer buffers[MAX_GUARDED];
    const char *names[MAX_GUARDED];
    int count;
};

/* A view in a new buffer, which begins with the canaries and `shift` elements more. `stride` NULL:
 * contiguous. Views point into the struct: it must not move. */
struct test_view guarded_add(struct guarded *guarded, const char *name, enum number type,
                             const int64_t extent[4], const int64_t stride[4], int64_t shift);

/* A view of one axis. */
struct test_view guarded_add_vector(struct guarded *guarded, const char *name, enum number type,
                                    int64_t count, int64_t shift);

/* Uniform values in +-range, rounded to the view's type. */
void view_fill(const struct test_view *view, double range, struct random *random);

int64_t view_count(const struct test_view *view);

/* The view's elements from the last axis to the first, as an array. */
double *view_copy(const struct test_view *view);

void guarded_upload(struct guarded *guarded, const struct test_device *device);
void guarded_release_device(struct guarded *guarded);
/* Also what is on the device. */
void guarded_release(struct guarded *guarded);

/* What a call may write: receives the elements in the order of view_copy(), or NULL where they do
 * not matter. A view without a buffer has none. */
struct taken {
    const struct test_view *view;
    double *values;
};

/* Reads `count` buffers from the device and takes the views. Every other byte must be as it was:
 * false and a reason in `failure` if not. `names` may be NULL. */
bool buffers_take(const struct test_device *device, struct test_buffer *buffers, int count,
                  const char *const *names, const struct taken *taken, int taken_count,
                  char failure[FAILURE_BYTES]);

#endif
