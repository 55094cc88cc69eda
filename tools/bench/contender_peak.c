/* Multiply-adds of fp32 and nothing else. */
#include "contender.h"

static void *open_state(const struct bench *device, const struct bench_case *c, char *why,
                        size_t why_bytes) {
    (void)c, (void)why, (void)why_bytes;
    return (void *)device;
}

static void call(void *state, const struct bench *device, const struct bench_case *c) {
    (void)state, (void)c;
    bench_enqueue_peak(device);
}

static void describe(const void *state, json_t *json) {
    const struct bench *device = state;
    json_object_set_new(json, "flops", json_real(device->peak_flops));
}

static void close_state(void *state) {
    (void)state;
}

const struct contender contender_peak = {
    .name = "FMA peak",
    .open = open_state,
    .call = call,
    .describe = describe,
    .close = close_state,
};
