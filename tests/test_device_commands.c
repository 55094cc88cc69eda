/* The commands of mha-tune that need a device, as a user runs them, on a fake one. */
#include "caps_json.h"
#include "command.h"
#include "store.h"
#include "tuner_process.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SHAPE "B4 H12 N197 D64 f32"

static struct tuner tuner;
static struct device_caps caps; /* of the fake device */

static void begin(void) {
    char why[200];
    tuner_begin(&tuner);
    tuner_fake(&tuner, "");
    json_t *devices = TUNER_JSON(&tuner, EXIT_TUNED, "devices", "--worker", tuner.worker);
    cr_assert(caps_read(json_array_get(devices, 0), &caps, why, sizeof(why)), "%s", why);
    json_decref(devices);
}

static void end(void) {
    tuner_end(&tuner);
}

TestSuite(device_commands, .init = begin, .fini = end);

#define RUN(...) TUNER_RUN(&tuner, "--worker", tuner.worker, __VA_ARGS__)
#define JSON(code, ...) TUNER_JSON(&tuner, code, "--worker", tuner.worker, __VA_ARGS__)

/* A result of the fake device, of variant panel. */
static struct config_entry result(const char *shape, const char *date) {
    static const int values[TUNABLE_COUNT] = {[VEC] = 16,    [LANE_VECTORS] = 1, [MICRO_Q] = 12,
                                              [MICRO_D] = 2, [BLOCK_Q] = 96,     [BLOCK_KV] = 208};
    struct config_entry entry = tuning_entry(0);
    char why[200];
    cr_assert(shape_parse(shape, &entry.shape, why, sizeof(why)), "%s", why);
    memcpy(entry.tuning.value, values, sizeof(values));
    entry.device = mha_config_device(&caps);
    strcpy(entry.date, date);
    return entry;
}

static const char *text_of(const json_t *json, const char *name) {
    const char *text = json_string_value(json_object_get(json, name));
    return text ? text : "";
}

/* The user's results as they are now. */
static json_t *show(void) {
    return JSON(EXIT_TUNED, "show", "--config", tuner.tuning);
}

/* ---- devices --------------------------------------------------------------------------------- */

Test(device_commands, devices_tells_the_tuning_file) {
    char path[PATH_BYTES];
    tuner_expect(RUN("devices"), EXIT_TUNED, "Fake platform  Fake device  1.0", "");
    tuner_expect(RUN("devices"), EXIT_TUNED, "none", "");
    struct config_entry entry = result(SHAPE, "2024-01-01");
    tuner_store(&tuner, &entry);
    store_path(tuner.tuning, &entry.device, path, sizeof(path));
    tuner_expect(RUN("devices"), EXIT_TUNED, path, "");
    json_t *list = JSON(EXIT_TUNED, "devices", "--device", "FAKE");
    cr_assert_eq(json_array_size(list), 1);
    cr_expect_str_eq(text_of(json_array_get(list, 0), "tuning_file"), path);
    json_decref(list);
    tuner_expect(RUN("devices", "-d", "other"), EXIT_DEVICE, "", "no such device");
}

/* ---- explain --------------------------------------------------------------------------------- */

static json_t *explain(const char *shape) {
    json_t *list = JSON(EXIT_TUNED, "explain", "--shape", shape);
    cr_assert_eq(json_array_size(list), 1);
    json_t *json = json_incref(json_array_get(list, 0));
    json_decref(list);
    return json;
}

/* Why the user's result of a shape, measured with a driver, was not taken. */
static const char *why_not(const json_t *explanation, const char *shape, const char *driver) {
    size_t i;
    json_t *other;
    json_array_foreach(json_object_get(explanation, "other_results"), i, other) {
        if (!strcmp(text_of(other, "layer"), "user") &&
            !strcmp(text_of(other, "shape_text"), shape) &&
            !strcmp(text_of(other, "driver"), driver))
            return text_of(other, "why");
    }
    return "not listed";
}

static void expect_why(const json_t *explanation, const char *shape, const char *driver,
                       const char *why) {
    const char *given = why_not(explanation, shape, driver);
    cr_expect(strstr(given, why), "%s: %s", shape, given);
}

Test(device_commands, explain_names_the_result_and_why_others_lost) {
    struct config_entry entry = result(SHAPE, "2024-01-01");
    tuner_store(&tuner, &entry);
    entry = result("B4 H12 N160 D64 f32", "2024-01-01");
    tuner_store(&tuner, &entry);
    entry = result("B4 H12 N1024 D64 f32", "2024-01-01");
    tuner_store(&tuner, &entry);
    entry = result("B4 H12 N197 D128 f32", "2024-01-01");
    tuner_store(&tuner, &entry);
    entry = result("B4 H12 N197 D64 f32 causal", "2024-01-01");
    tuner_store(&tuner, &entry);
    entry = result("B4 H12 N197 D64 f16", "2024-01-01");
    tuner_store(&tuner, &entry);
    entry = result("B4 H12 N240 D64 f32", "2024-01-01");
    strcpy(entry.kernel_hash, "0123456789abcdef");
    tuner_store(&tuner, &entry);
    entry = result("B4 H12 N144 D64 f32", "2024-01-01"); /* has no values */
    strcpy(entry.kernel_hash, "0123456789abcdef");
    entry.is_default = true;
    entry.tuning = (struct tuning){{0}};
    tuner_store(&tuner, &entry);
    entry = result(SHAPE, "2025-01-01");
    strcpy(entry.device.driver, "0.9");
    tuner_store(&tuner, &entry);
    entry = result(SHAPE, "2025-01-01");
    strcpy(entry.device.name, "Fake GPU");
    strcpy(entry.device.driver, "of a GPU");
    entry.device.is_cpu = false;
    tuner_store(&tuner, &entry);

    json_t *json = explain(SHAPE);
    const json_t *choice = json_object_get(json, "choice"), *used = json_object_get(json, "result");
    cr_expect_str_eq(text_of(choice, "variant"), "panel");
    cr_expect_str_eq(text_of(choice, "source"), "user table: same device");
    cr_expect(json_is_true(json_object_get(json, "is_used")));
    cr_expect_str_eq(text_of(used, "date"), "2024-01-01");
    cr_expect_str_eq(text_of(used, "layer"), "user");
    cr_expect(strstr(text_of(used, "file"), "fake-platform-fake-device-"));
    expect_why(json, "B4 H12 N160 D64 f32", "1.0", "farther");
    expect_why(json, "B4 H12 N1024 D64 f32", "1.0", "too far: 5.2 times the ");
    expect_why(json, "B4 H12 N197 D128 f32", "1.0", "other head sizes: 128x128, not 64x64");
    expect_why(json, "B4 H12 N197 D64 f32 causal", "1.0", "attention that is causal");
    expect_why(json, "B4 H12 N197 D64 f16", "1.0", "other storage types");
    expect_why(json, "B4 H12 N240 D64 f32", "1.0", "other kernels");
    expect_why(json, "B4 H12 N144 D64 f32", "1.0", "other kernels");
    expect_why(json, SHAPE, "0.9", "another driver");
    expect_why(json, SHAPE, "of a GPU", "measured on a GPU");
    json_decref(json);
    tuner_expect(RUN("explain", "-s", SHAPE), EXIT_TUNED, "user table: same device", "");
    tuner_expect(RUN("explain", "-s", SHAPE), EXIT_TUNED, "its shape is farther", "");
}

Test(device_commands, explain_says_why_values_are_illegal) {
    /* 58 MB of local memory. */
    static const char shape[] = "B1 H1 N4096 D16384 f32";
    struct config_entry entry = result(shape, "2024-01-01");
    entry.tuning.value[BLOCK_Q] = 512;
    entry.tuning.value[BLOCK_KV] = 384;
    tuner_store(&tuner, &entry);
    json_t *json = explain(shape);
    cr_expect(json_is_false(json_object_get(json, "is_used")));
    cr_expect_str_eq(text_of(json_object_get(json, "choice"), "source"), "heuristic");
    expect_why(json, shape, "1.0", "can't run here: needs ");
    json_decref(json);
}

Test(device_commands, explain_says_that_nothing_beat_the_default) {
    struct config_entry entry = result(SHAPE, "2024-01-01");
    entry.is_default = true;
    tuner_store(&tuner, &entry);
    tuner_expect(RUN("explain", "-s", SHAPE), EXIT_TUNED, "nothing was faster than the default",
                 "");
    json_t *json = explain(SHAPE);
    cr_expect(json_is_false(json_object_get(json, "is_used")));
    cr_expect_str_eq(text_of(json_object_get(json, "result"), "status"), "default");
    json_decref(json);
}

Test(device_commands, explain_puts_a_named_folder_first) {
    char folder[PATH_BYTES], why[400];
    struct config_entry entry = result(SHAPE, "2025-01-01");
    tuner_store(&tuner, &entry);
    strcpy(entry.date, "2024-01-01");
    tuning_path(folder, tuner.home, "other");
    cr_assert(store_merge(folder, &entry.device, &entry, 1, NULL, 0, why, sizeof(why)), "%s", why);
    json_t *list = JSON(EXIT_TUNED, "explain", "--shape", SHAPE, "--config", folder);
    const json_t *json = json_array_get(list, 0);
    cr_expect_str_eq(text_of(json_object_get(json, "choice"), "source"),
                     "application table: same device");
    expect_why(json, SHAPE, "1.0", "results of the application go before those of the user");
    json_decref(list);
}

Test(device_commands, explain_covers_the_benchmark_without_shapes) {
    json_t *list = JSON(EXIT_TUNED, "explain");
    cr_expect_gt(json_array_size(list), 5);
    json_decref(list);
}

/* ---- bench ----------------------------------------------------------------------------------- */

Test(device_commands, bench_compares_with_untuned) {
    struct config_entry entry = result(SHAPE, "2024-01-01");
    tuner_store(&tuner, &entry);
    json_t *json = JSON(EXIT_TUNED, "bench", "-s", SHAPE, "-s", "B4 H12 N197 D24 f32");
    const json_t *shapes = json_object_get(json, "shapes");
    const json_t *tuned = json_array_get(shapes, 0), *untuned = json_array_get(shapes, 1);
    const double ratio = json_number_value(json_object_get(tuned, "ratio"));
    cr_assert_eq(json_array_size(shapes), 2);
    cr_expect(json_is_false(json_object_get(tuned, "same")));
    cr_expect_gt(ratio, 2);
    cr_expect_eq(json_integer_value(json_object_get(
                     json_object_get(json_object_get(tuned, "tuned"), "params"), "BLOCK_Q")),
                 72); /* 96 at most, in equal parts of 197 */
    cr_expect(json_is_true(json_object_get(untuned, "same")));
    cr_expect_eq(json_number_value(json_object_get(untuned, "ratio")), 1);
    cr_expect_eq(json_number_value(json_object_get(json, "minimum")), 1);
    const double mean = json_number_value(json_object_get(json, "geometric_mean"));
    cr_expect_float_eq(mean * mean, ratio, 1e-6 * ratio);
    json_decref(json);
    tuner_expect(RUN("bench", "-s", SHAPE, "-r", "3"), EXIT_TUNED, "geometric mean", "");
    tuner_expect(RUN("bench", "-s", "B4 H12 N197 D24 f32"), EXIT_TUNED, "the same choice", "");
}

Test(device_commands, bench_compares_with_another_folder) {
    char folder[PATH_BYTES], why[400];
    struct config_entry entry = result(SHAPE, "2024-01-01");
    tuner_store(&tuner, &entry);
    tuning_path(folder, tuner.home, "other");
    cr_assert(store_merge(folder, &entry.device, &entry, 1, NULL, 0, why, sizeof(why)), "%s", why);
    tuner_expect(RUN("bench", "-s", SHAPE, "--against", folder), EXIT_TUNED, "the same choice", "");
    entry.tuning.value[VEC] = 4;
    cr_assert(store_merge(folder, &entry.device, &entry, 1, NULL, 0, why, sizeof(why)), "%s", why);
    json_t *json = JSON(EXIT_TUNED, "bench", "-s", SHAPE, "--against", folder);
    const json_t *row = json_array_get(json_object_get(json, "shapes"), 0);
    const json_t *params = json_object_get(json_object_get(row, "against"), "params");
    cr_expect_eq(json_integer_value(json_object_get(params, "VEC")), 4);
    json_decref(json);
}

Test(device_commands, bench_tells_failures) {
    struct config_entry entry = result(SHAPE, "2024-01-01");
    tuner_store(&tuner, &entry);
    tuner_fake(&tuner, "say-wrong");
    tuner_expect(RUN("bench", "-s", SHAPE, "-s", "B4 H12 N197 D24 f32"), EXIT_PARTIAL,
                 "failed (wrong)", "");
    tuner_expect(RUN("bench", "-s", SHAPE), EXIT_DEVICE, "failed (wrong)", "");
}

/* ---- verify ---------------------------------------------------------------------------------- */

Test(device_commands, verify_keeps_what_holds) {
    struct config_entry entry = result(SHAPE, "2024-01-01");
    tuner_store(&tuner, &entry);
    /* Of another device: not looked at. */
    struct config_entry other = tuning_entry(0);
    tuner_store(&tuner, &other);
    json_t *before = show();
    tuner_expect(RUN("verify"), EXIT_TUNED, "1 result: holds 1", "");
    json_t *after = show();
    cr_expect(json_equal(before, after));
    json_decref(before);
    json_decref(after);
}

Test(device_commands, verify_drops_what_fails) {
    static const char *const faults[] = {"say-wrong", "crash", "build"};
    for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); ++i) {
        struct config_entry entry = result(SHAPE, "2024-01-01");
        tuner_store(&tuner, &entry);
        tuner_fake(&tuner, faults[i]);
        tuner_expect(RUN("verify"), EXIT_PARTIAL, "dropped", "");
        json_t *list = show();
        cr_expect_eq(json_array_size(list), 0, "%s", faults[i]);
        json_decref(list);
    }
}

/* A device that is lost says nothing about results. */
Test(device_commands, verify_drops_nothing_without_a_device) {
    char faults[PATH_BYTES + 32];
    struct config_entry entry = result(SHAPE, "2024-01-01");
    tuner_store(&tuner, &entry);
    snprintf(faults, sizeof(faults), "crash once:%s/opened", tuner.home);
    tuner_fake(&tuner, faults);
    tuner_expect(RUN("verify"), EXIT_DEVICE, "unknown", "");
    json_t *list = show();
    cr_expect_eq(json_array_size(list), 1);
    json_decref(list);
}

Test(device_commands, verify_renews_what_is_old) {
    struct config_entry entry = result(SHAPE, "2024-01-01");
    strcpy(entry.device.driver, "0.9");
    tuner_store(&tuner, &entry);
    entry = result("B4 H12 N197 D128 f32", "2024-01-01");
    strcpy(entry.kernel_hash, "0123456789abcdef");
    tuner_store(&tuner, &entry);
    json_t *json = JSON(EXIT_TUNED, "verify"), *list = show();
    size_t i;
    json_t *shown;
    json_array_foreach(json_object_get(json, "results"), i, shown)
        cr_expect_str_eq(text_of(shown, "verdict"), "renewed");
    cr_assert_eq(json_array_size(list), 2);
    json_array_foreach(list, i, shown) {
        cr_expect_str_eq(text_of(shown, "driver"), "1.0");
        cr_expect(json_is_true(json_object_get(shown, "current")));
        cr_expect_str_neq(text_of(shown, "date"), "2024-01-01");
        cr_expect_str_eq(text_of(shown, "status"), "tuned");
        cr_expect_float_eq(json_number_value(json_object_get(shown, "default_ns")), 1e7, 1);
    }
    json_decref(list);
    json_decref(json);
    tuner_expect(RUN("verify"), EXIT_TUNED, "2 results: holds 2", "");
}

/* The fake device's default is the reference. */
Test(device_commands, verify_notices_that_the_gain_is_gone) {
    struct config_entry entry = result(SHAPE, "2024-01-01");
    entry.variant = mha_variant_find(OPERATION_ATTENTION, "reference");
    entry.tuning = (struct tuning){{0}};
    strcpy(entry.kernel_hash, "0123456789abcdef");
    tuner_store(&tuner, &entry);
    tuner_expect(RUN("verify"), EXIT_TUNED, "gain nothing now", "");
    json_t *list = show();
    cr_assert_eq(json_array_size(list), 1);
    cr_expect_str_eq(text_of(json_array_get(list, 0), "status"), "default");
    json_decref(list);
}

Test(device_commands, verify_leaves_what_is_superseded) {
    struct config_entry entry = result(SHAPE, "2024-01-01");
    tuner_store(&tuner, &entry);
    strcpy(entry.device.driver, "0.9");
    tuner_store(&tuner, &entry);
    tuner_expect(RUN("verify"), EXIT_TUNED, "2 results: holds 1, superseded 1", "");
}

/* ---- prune ----------------------------------------------------------------------------------- */

Test(device_commands, prune_drops_results_of_older_drivers) {
    struct config_entry entry = result(SHAPE, "2024-01-01");
    tuner_store(&tuner, &entry);
    strcpy(entry.device.driver, "0.9");
    tuner_store(&tuner, &entry);
    /* The only one of its class serves still. */
    entry = result("B4 H12 N197 D128 f32", "2024-01-01");
    strcpy(entry.device.driver, "0.9");
    tuner_store(&tuner, &entry);
    tuner_expect(RUN("prune"), EXIT_TUNED, "1 of 3 results removed", "");
    json_t *list = show();
    cr_assert_eq(json_array_size(list), 2);
    cr_expect_str_eq(text_of(json_array_get(list, 0), "driver"), "1.0");
    cr_expect_str_eq(text_of(json_array_get(list, 1), "shape_text"), "B4 H12 N197 D128 f32");
    json_decref(list);
}
