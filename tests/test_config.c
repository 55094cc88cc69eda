/* Entries of tuning files: what is read, what is refused, and which one serves a problem. */
#include "tuning_files.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct config_entry linear_entry(void) {
    struct config_entry entry = tuning_entry(0);
    entry.shape = (struct shape){.operation = OPERATION_LINEAR,
                                 .dtype = MHA_F16,
                                 .weight_dtype = MHA_BF16,
                                 .rows = 788,
                                 .in_features = 768,
                                 .out_features = 2304};
    entry.variant = mha_variant_find(OPERATION_LINEAR, "gemm_panel");
    entry.tuning = (struct tuning){{0}};
    for (size_t i = 0; i < TUNABLE_COUNT && entry.variant->tunables[i].values[0]; ++i)
        entry.tuning.value[entry.variant->tunables[i].tunable] =
            entry.variant->tunables[i].values[1];
    mha_kernel_hash(entry.variant, entry.kernel_hash);
    return entry;
}

static void check_round_trip(const struct config_entry *entry) {
    struct config_entry copy;
    char why[200] = "";
    json_t *json = mha_config_write_entry(entry);
    cr_assert(json);
    cr_assert(mha_config_read_entry(json, &copy, why, sizeof(why)), "%s", why);
    cr_assert(mha_config_read_driver(json, &copy.device, why, sizeof(why)), "%s", why);
    json_t *again = mha_config_write_entry(&copy);
    cr_assert(json_equal(json, again));
    cr_assert_eq(copy.shape.is_causal, entry->shape.is_causal);
    cr_assert_eq(copy.shape.rows, entry->shape.rows);
    cr_assert_eq(copy.variant, entry->variant);
    cr_assert_eq(copy.is_default, entry->is_default);
    if (!entry->is_default)
        cr_assert(!memcmp(&copy.tuning, &entry->tuning, sizeof(copy.tuning)));
    cr_assert(copy.ns == entry->ns && copy.mad_ns == entry->mad_ns &&
              copy.default_ns == entry->default_ns && copy.max_error == entry->max_error &&
              copy.space_size == entry->space_size && copy.evaluations == entry->evaluations);
    cr_assert_str_eq(copy.rigor, entry->rigor);
    cr_assert_str_eq(copy.kernel_hash, entry->kernel_hash);
    cr_assert_str_eq(copy.date, entry->date);
    cr_assert_str_eq(copy.library, entry->library);
    cr_assert_str_eq(copy.device.driver, entry->device.driver);
    json_decref(json);
    json_decref(again);
}

Test(config, what_is_written_is_read) {
    struct config_entry entry = tuning_entry(4095);
    entry.shape.is_causal = entry.shape.gives_scores = true;
    check_round_trip(&entry);
    entry = linear_entry();
    check_round_trip(&entry);
    entry.is_default = true;
    check_round_trip(&entry);

    const struct config_entry first = tuning_entry(0);
    struct config_device device;
    char why[200] = "";
    json_t *json = mha_config_write_device(&first.device);
    cr_assert(mha_config_read_device(json, &device, why, sizeof(why)), "%s", why);
    json_t *again = mha_config_write_device(&device);
    cr_assert(json_equal(json, again));
    json_decref(json);
    json_decref(again);
}

/* Sets the member that `path` names, such as "shape/batch", to a JSON text; NULL removes it. */
static void change(json_t *object, const char *path, const char *text) {
    const char *slash = strchr(path, '/');
    if (slash) {
        char name[32];
        snprintf(name, sizeof(name), "%.*s", (int)(slash - path), path);
        change(json_object_get(object, name), slash + 1, text);
    } else if (text)
        json_object_set_new(object, path, json_loads(text, JSON_DECODE_ANY, NULL));
    else
        json_object_del(object, path);
}

Test(config, every_damaged_member_is_refused) {
    static const char *const numbers[] = {"shape/batch",      "shape/q_heads",     "shape/kv_heads",
                                          "shape/seqlen_q",   "shape/seqlen_kv",   "params/BLOCK_Q",
                                          "shape/head_dim_v", "shape/head_dim_qk", "ns",
                                          "default_ns",       "params/VEC"};
    static const char *const bad_numbers[] = {NULL,
                                              "0",
                                              "-1",
                                              "null",
                                              "true",
                                              "\"4\"",
                                              "[4]",
                                              "{}",
                                              "9223372036854775807",
                                              "1e9",
                                              "{}",
                                              "[]",
                                              "4611686018427387904"};
    static const struct {
        const char *path, *text;
    } others[] = {
        {"shape", NULL},
        {"shape", "[]"},
        {"shape", "7"},
        {"shape/operation", "\"layer\""},
        {"shape/operation", "1"},
        {"shape/operation", "\"attention and much, much more of it\""},
        {"shape/dtype", "\"f8\""},
        {"shape/dtype", NULL},
        {"shape/causal", "0"},
        {"shape/scores", NULL},
        {"shape/kv_heads", "5"},
        {"shape/batch", "4.0"},
        {"shape/batch", "536870913"},
        {"variant", "\"gemm_panel\""},
        {"variant", "\"\""},
        {"variant", "\"panel\\u001b[2J\""},
        {"variant", NULL},
        {"params", NULL},
        {"params", "[]"},
        {"params/VEC", "3"},
        {"params/VEC", "4.0"},
        {"params/MICRO_Q", NULL},
        {"params/BLOCK_Q", "17"},
        {"status", "\"perhaps\""},
        {"status", NULL},
        {"ns", "\"fast\""},
        {"mad_ns", "-1"},
        {"mad_ns", NULL},
        {"max_error", "-1e-9"},
        {"space", "[]"},
        {"evaluations", "1.5"},
        {"evaluations", "-1"},
        {"evaluations", "2147483648"},
        {"rigor", "\"more than sixteen characters\""},
        {"rigor", "\"\\u00e4\""},
        {"kernel_hash", "\"123\""},
        {"kernel_hash", "\"0123456789ABCDEF\""},
        {"kernel_hash", "\"0123456789abcdefg\""},
        {"date", "\"tomorrow\""},
        {"date", "\"2024-02-2\""},
        {"date", "\"2024-02-291\""},
        {"library", "0.1"},
    };
    const struct config_entry entry = tuning_entry(0);
    json_t *good = mha_config_write_entry(&entry);
    struct config_entry read;
    char why[200];
    int refused = 0;
    cr_assert(mha_config_read_entry(good, &read, why, sizeof(why)), "%s", why);
    for (size_t i = 0; i < sizeof(others) / sizeof(*others); ++i) {
        json_t *bad = json_deep_copy(good);
        change(bad, others[i].path, others[i].text);
        why[0] = 0;
        cr_expect(!mha_config_read_entry(bad, &read, why, sizeof(why)), "%s: %s", others[i].path,
                  others[i].text ? others[i].text : "none");
        cr_expect(why[0] && !strchr(why, 27), "%s: \"%s\"", others[i].path, why);
        ++refused;
        json_decref(bad);
    }
    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); ++i)
        for (size_t j = 0; j < sizeof(bad_numbers) / sizeof(*bad_numbers); ++j) {
            /* Times may be any number above zero. */
            if (strstr(numbers[i], "ns") && bad_numbers[j] && atof(bad_numbers[j]) > 0)
                continue;
            json_t *bad = json_deep_copy(good);
            change(bad, numbers[i], bad_numbers[j]);
            why[0] = 0;
            cr_expect(!mha_config_read_entry(bad, &read, why, sizeof(why)) && why[0], "%s: %s",
                      numbers[i], bad_numbers[j] ? bad_numbers[j] : "none");
            ++refused;
            json_decref(bad);
        }
    printf("%d damaged members refused\n", refused);
    json_decref(good);
}

Test(config, what_a_later_version_adds_is_ignored) {
    const struct config_entry entry = tuning_entry(0);
    json_t *json = mha_config_write_entry(&entry);
    struct config_entry read;
    char why[200];
    change(json, "clock_mhz", "[1, {\"a\": null}]");
    change(json, "shape/rotary", "true");
    change(json, "params/NEW_TUNABLE", "-5");
    cr_assert(mha_config_read_entry(json, &read, why, sizeof(why)), "%s", why);
    json_decref(json);
}

Test(config, kernel_hashes_tell_variants_apart) {
    char hashes[64][17];
    for (size_t i = 0; i < mha_variant_count; ++i) {
        mha_kernel_hash(mha_variants[i], hashes[i]);
        cr_assert_eq(strspn(hashes[i], "0123456789abcdef"), 16);
        for (size_t j = 0; j < i; ++j)
            cr_assert_str_neq(hashes[i], hashes[j]);
    }
    /* One more value is another search. */
    struct variant changed = *mha_variants[2];
    char hash[17];
    mha_kernel_hash(&changed, hash);
    cr_assert_str_eq(hash, hashes[2]);
    changed.tunables[0].values[0] += 1;
    mha_kernel_hash(&changed, hash);
    cr_assert_str_neq(hash, hashes[2]);
}

Test(config, names_of_drivers_are_made_printable) {
    struct device_caps caps = tuning_caps();
    strcpy(caps.name, "Intel\xae\tCPU");
    const struct config_device device = mha_config_device(&caps);
    cr_assert_str_eq(device.name, "Intel??CPU");
    struct config_entry entry = tuning_entry(3);
    const struct problem problem = tuning_problem(&entry.shape);
    double distance;
    entry.device = device;
    cr_assert_eq(mha_config_match(&entry, &problem, &caps, &distance), MATCH_EXACT);
}

/* ---- Matching ------------------------------------------------------------------------------- */

/* On tuning_caps(), for entry 3's shape. */
static enum config_match match(const struct config_entry *entry) {
    const struct config_entry plain = tuning_entry(3);
    const struct problem problem = tuning_problem(&plain.shape);
    const struct device_caps caps = tuning_caps();
    double distance;
    return mha_config_match(entry, &problem, &caps, &distance);
}

/* A GPU's vectors tell nothing: another vendor's values may be far from good. */
Test(config, gpus_take_results_of_their_vendor) {
    const struct config_entry plain = tuning_entry(3);
    struct config_entry entry = plain;
    const struct problem problem = tuning_problem(&plain.shape);
    struct device_caps caps = tuning_caps();
    double distance;
    caps.is_cpu = entry.device.is_cpu = false;
    strcpy(entry.device.name, "Imaginary GPU");
    cr_expect_eq(mha_config_match(&entry, &problem, &caps, &distance), MATCH_FAMILY);
    strcpy(entry.device.platform, "Another Platform");
    cr_expect_eq(mha_config_match(&entry, &problem, &caps, &distance), MATCH_TYPE);
    entry.device.vendor_id += 1;
    cr_expect_eq(mha_config_match(&entry, &problem, &caps, &distance), MATCH_SEED);
}

/* Queries that share keys: what is fast for one group is not for another. */
Test(config, groups_of_heads_are_shapes_of_their_own) {
    struct config_entry entry = tuning_entry(3);
    const struct shape equal = entry.shape;
    char text[SHAPE_CLASS_BYTES], grouped[SHAPE_CLASS_BYTES];
    cr_assert_eq(equal.operation, OPERATION_ATTENTION);
    cr_assert_eq(equal.kv_heads % 4, 0);
    mha_shape_class(&equal, 2, text);
    entry.shape.kv_heads /= 4;
    mha_shape_class(&entry.shape, 2, grouped);
    cr_expect_str_neq(text, grouped);
    cr_expect_eq(match(&entry), MATCH_NONE);
}

Test(config, each_difference_has_its_match) {
    const struct config_entry plain = tuning_entry(3);
    struct config_entry entry = plain;
    cr_expect_eq(match(&entry), MATCH_EXACT);
    strcpy(entry.device.driver, "1.1");
    cr_expect_eq(match(&entry), MATCH_STALE);
    strcpy(entry.device.name, "Imaginary CPU 2");
    cr_expect_eq(match(&entry), MATCH_FAMILY);
    entry.device.vendor_id = 1;
    cr_expect_eq(match(&entry), MATCH_TYPE);
    entry.device.float_vector = 8;
    cr_expect_eq(match(&entry), MATCH_SEED);
    entry = plain;
    strcpy(entry.device.platform, "Another Platform");
    cr_expect_eq(match(&entry), MATCH_TYPE);
    entry.device.is_cpu = false;
    cr_expect_eq(match(&entry), MATCH_SEED);
    entry = plain;
    entry.device.compute_units = 4;
    entry.shape.batch = 2; /* as much for each compute unit */
    cr_expect_eq(match(&entry), MATCH_FAMILY);
    entry = plain;
    entry.kernel_hash[3] ^= 1;
    cr_expect_eq(match(&entry), MATCH_SEED);
    entry.is_default = true;
    cr_expect_eq(match(&entry), MATCH_SEED);
    entry = plain;
    entry.shape.head_dim_qk = 5;
    cr_expect_eq(match(&entry), MATCH_NONE);
    entry = plain;
    entry.shape.is_causal = true;
    cr_expect_eq(match(&entry), MATCH_NONE);
    entry = plain;
    entry.shape.seqlen_q = 1000;
    cr_expect_eq(match(&entry), MATCH_NONE);
    for (enum config_match m = MATCH_EXACT; m <= MATCH_NONE; ++m)
        cr_expect(mha_config_match_name(m)[0]);
}

Test(config, illegal_values_are_only_a_seed) {
    struct config_entry entry = tuning_entry(3);
    const struct problem problem = tuning_problem(&entry.shape);
    struct device_caps caps = tuning_caps();
    struct config config = {&entry, 1, 1};
    enum config_match found;
    double distance;
    caps.local_bytes = 64;
    cr_expect_eq(mha_config_match(&entry, &problem, &caps, &distance), MATCH_SEED);
    cr_expect_null(mha_config_find(&config, &problem, &caps, &found));
    cr_expect_eq(found, MATCH_NONE);
    /* The heuristic's values are made for what there is. */
    entry.is_default = true;
    cr_expect_eq(mha_config_match(&entry, &problem, &caps, &distance), MATCH_EXACT);
}

Test(config, some_problems_take_no_entry) {
    struct config_entry entries[] = {tuning_entry(3), linear_entry()};
    struct problem attention = tuning_problem(&entries[0].shape);
    struct problem linear = tuning_problem(&entries[1].shape);
    const struct device_caps caps = tuning_caps();
    const struct config config = {entries, 2, 2};
    enum config_match found;
    cr_expect_eq(mha_config_find(&config, &attention, &caps, &found), &entries[0]);
    cr_expect_eq(mha_config_find(&config, &linear, &caps, &found), &entries[1]);

    strcpy(attention.variant, "panel");
    cr_expect_eq(mha_config_find(&config, &attention, &caps, &found), &entries[0]);
    strcpy(attention.variant, "flash");
    cr_expect_null(mha_config_find(&config, &attention, &caps, &found));
    strcpy(linear.variant, "gemm_tile");
    cr_expect_null(mha_config_find(&config, &linear, &caps, &found));
    attention.variant[0] = linear.variant[0] = 0;

    attention.flags |= MHA_BATCH_INVARIANT;
    cr_expect_null(mha_config_find(&config, &attention, &caps, &found));
    cr_expect_eq(found, MATCH_NONE);
    linear.is_batch_invariant = true;
    cr_expect_null(mha_config_find(&config, &linear, &caps, &found));

    /* Plans for nothing at all are asked for, too. */
    attention.flags &= ~MHA_BATCH_INVARIANT;
    attention.batch = attention.seqlen_q = attention.seqlen_kv = 0;
    cr_expect_null(mha_config_find(&config, &attention, &caps, &found));
}

Test(config, the_order_is_match_layer_distance_date) {
    const struct config_entry plain = tuning_entry(3);
    const struct problem problem = tuning_problem(&plain.shape);
    const struct device_caps caps = tuning_caps();
    struct config_entry entries[] = {plain, plain, plain, plain, plain};
    const struct config config = {entries, 5, 5};
    enum config_match found;
    /* From the best to the worst, each better than the next for one reason only. */
    strcpy(entries[0].date, "2024-03-01");
    entries[2].shape.seqlen_q = 150;
    entries[3].precedence = -1;
    strcpy(entries[4].device.driver, "1.1");
    entries[4].precedence = 3;
    for (int first = 0; first < 5; ++first) {
        cr_expect_eq(mha_config_find(&config, &problem, &caps, &found), &entries[first], "%d",
                     first);
        cr_expect_eq(found, first == 4 ? MATCH_STALE : MATCH_EXACT);
        entries[first].shape.is_causal = true;
    }
    cr_expect_null(mha_config_find(&config, &problem, &caps, &found));
}
