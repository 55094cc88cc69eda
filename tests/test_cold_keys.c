/* Decoding with more keys and values than caches hold: halves are asked for ahead then. */
#include "harness.h"

#include <criterion/criterion.h>
#include <stdio.h>

/* More than 32 MiB, where that begins; no multiple of a tile of keys, of which the last has nothing
 * ahead. */
static const struct test_case cold = {
    .dtype = MHA_F16,
    .flags = MHA_LSE,
    .batch = 1,
    .q_heads = 8,
    .kv_heads = 8,
    .seqlen_q = 1,
    .seqlen_kv = 8257,
    .head_dim_qk = 128,
    .head_dim_v = 128,
    .seed = 32,
};

/* A suite that the sanitizers run too. */
Test(single, cold_keys, .timeout = 600) {
    static const char *const variants[] = {"decode", "decode_split"};
    struct test_device device;
    struct tally tally = {.suite = "single", .title = "cold_keys"};
    if (device_is_slow())
        cr_skip_test("a simulator takes minutes");
    device_open(&device);
    for (size_t n = 0; n < sizeof(variants) / sizeof(*variants); ++n) {
        struct test_case test = cold;
        test.variant = variants[n];
        snprintf(test.name, sizeof(test.name), "cold_keys/%s", variants[n]);
        harness_run(&device, &test, &tally);
    }
    harness_release_plans();
    device_close(&device);
    tally_finish(&tally);
}
