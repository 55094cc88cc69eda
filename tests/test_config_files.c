/* Tuning files that are missing, damaged or hostile, and in what order they count. */
#include "tuning_files.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct config parse(const char *text, size_t bytes, struct tuning_log *log) {
    struct config config = {NULL, 0, 0};
    const struct log_target target = tuning_log_target(log);
    *log = (struct tuning_log){.count = 0};
    cr_assert(
        mha_config_parse(&config, &tuning_allocator, text, bytes, "user", 2, "test", &target));
    return config;
}

/* Entries that are what tuning_entry() gives can be told from those that damage made. */
static bool is_plausible(const struct config_entry *entry) {
    char why[200];
    struct config_entry read;
    json_t *json = mha_config_write_entry(entry);
    const bool is_read = json && mha_config_read_entry(json, &read, why, sizeof(why));
    json_decref(json);
    return is_read;
}

Test(config_files, a_file_cut_anywhere_gives_nothing) {
    char *text = tuning_text(2);
    const size_t bytes = strlen(text);
    struct tuning_log log;
    struct config config = parse(text, bytes, &log);
    cr_assert_eq(config.count, 2);
    cr_assert_eq(log.count, 0);
    mha_config_release(&config, &tuning_allocator);
    for (size_t i = 0; i < bytes; ++i) {
        config = parse(text, i, &log);
        cr_assert_eq(config.count, 0, "cut at byte %zu", i);
        cr_assert_eq(log.count, 1, "cut at byte %zu: %d messages", i, log.count);
        mha_config_release(&config, &tuning_allocator);
    }
    printf("cut at each of %zu bytes\n", bytes);
    free(text);
}

Test(config_files, flipped_bits_give_no_bad_entry) {
    char *text = tuning_text(2);
    const size_t bytes = strlen(text);
    uint64_t state = 20240229;
    int counts[3] = {0};
    for (int i = 0; i < 20000; ++i) {
        char *copy = malloc(bytes);
        struct tuning_log log;
        memcpy(copy, text, bytes);
        for (uint64_t flips = 1 + tuning_random(&state) % 3; flips; --flips)
            copy[tuning_random(&state) % bytes] ^= (char)(1 << tuning_random(&state) % 8);
        struct config config = parse(copy, bytes, &log);
        cr_assert_leq(config.count, 2);
        cr_assert(log.count == 0 || log.count == 1);
        cr_assert(log.count || config.count == 2);
        for (size_t e = 0; e < config.count; ++e)
            cr_assert(is_plausible(&config.entries[e]));
        ++counts[config.count];
        mha_config_release(&config, &tuning_allocator);
        free(copy);
    }
    printf("of 20000 damaged files %d gave no entry, %d one, %d both\n", counts[0], counts[1],
           counts[2]);
    free(text);
}

static void check_refused(const char *what, const char *text, size_t bytes) {
    struct tuning_log log;
    struct config config = parse(text, bytes, &log);
    cr_expect_eq(config.count, 0, "%s", what);
    cr_expect_eq(log.count, 1, "%s: %d messages", what, log.count);
    for (const char *c = log.last; *c; ++c)
        cr_expect(*c >= ' ' && *c <= '~', "%s: unprintable message", what);
    mha_config_release(&config, &tuning_allocator);
}

#define DEVICE                                                                                     \
    "{\"name\":\"n\",\"platform\":\"p\",\"driver\":\"d\",\"type\":\"cpu\",\"vendor_id\":1,"        \
    "\"compute_units\":1,\"float_vector\":1}"
#define HEAD "{\"format\":\"mha-cl-tune\",\"schema\":1,\"device\":" DEVICE

Test(config_files, hostile_texts_give_nothing) {
    static const char *const texts[] = {
        "",
        " ",
        "null",
        "[]",
        "{}",
        "\"mha-cl-tune\"",
        "\xef\xbb\xbf{}",
        "\xff\xfe",
        "{\"format\":\"mha-cl-tune\"}",
        "{\"format\":\"other\",\"schema\":1,\"device\":" DEVICE ",\"entries\":[]}",
        "{\"format\":\"mha-cl-tune\",\"schema\":2,\"device\":" DEVICE ",\"entries\":[]}",
        "{\"format\":\"mha-cl-tune\",\"schema\":0,\"device\":" DEVICE ",\"entries\":[]}",
        "{\"format\":\"mha-cl-tune\",\"schema\":1.0,\"device\":" DEVICE ",\"entries\":[]}",
        "{\"format\":\"mha-cl-tune\",\"schema\":1,\"device\":{},\"entries\":[]}",
        "{\"format\":\"mha-cl-tune\",\"schema\":1,\"entries\":[]}",
        HEAD "}",
        HEAD ",\"entries\":{}}",
        HEAD ",\"entries\":[null]}",
        HEAD ",\"entries\":[[[]], 1, {}]}",
        HEAD ",\"entries\":[],\"entries\":[]}",
        HEAD ",\"entries\":[]} trailing",
        HEAD ",\"entries\":[1e999]}",
        HEAD ",\"entries\":[{\"shape\":{\"operation\":\"a\\u0000b\"}}]}",
        HEAD ",\"\x1b[2J\":[]}",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); ++i)
        check_refused(texts[i], texts[i], strlen(texts[i]));
    /* With a NUL inside. */
    check_refused("NUL", "{\"format\"\0:1}", 14);

    const size_t large = CONFIG_MAX_BYTES + 1;
    char *text = malloc(large);
    memset(text, '[', large);
    check_refused("a deep nest", text, 1 << 20);
    check_refused("a deep nest, too large", text, large);
    memset(text, ' ', large);
    check_refused("spaces", text, large - 1);
    const size_t head = strlen(HEAD ",\"entries\":[");
    memcpy(text, HEAD ",\"entries\":[", head);
    for (size_t i = head; i < large - 3; i += 2)
        memcpy(text + i, "0,", 2);
    check_refused("numbers for entries", text, large - 1);
    memset(text + head, '9', large - head);
    check_refused("a number of millions of digits", text, large - 1);
    free(text);
}

static char *text_of_depth(int depth) {
    char *text = tuning_text(1);
    json_t *root = json_loads(text, 0, NULL), *nest = json_string("\"[[[{{{\\");
    for (int i = 1; i < depth; ++i)
        nest = i % 2 ? json_pack("[o]", nest) : json_pack("{s:o}", "a", nest);
    json_object_set_new(root, "nest", nest);
    free(text);
    text = json_dumps(root, 0);
    json_decref(root);
    return text;
}

Test(config_files, there_is_a_limit_to_depth) {
    char *text = text_of_depth(CONFIG_MAX_DEPTH);
    struct tuning_log log;
    struct config config = parse(text, strlen(text), &log);
    cr_expect_eq(config.count, 1);
    cr_expect_eq(log.count, 0, "%s", log.last);
    mha_config_release(&config, &tuning_allocator);
    free(text);
    text = text_of_depth(CONFIG_MAX_DEPTH + 1);
    check_refused("a nest", text, strlen(text));
    free(text);
}

Test(config_files, there_is_a_limit_to_entries) {
    enum { EACH = CONFIG_MAX_ENTRIES, FILES = CONFIG_MAX_ALL / EACH };
    char *text = tuning_text(EACH);
    struct config config = {NULL, 0, 0};
    struct tuning_log log = {.count = 0};
    const struct log_target target = tuning_log_target(&log);
    cr_assert_lt(strlen(text), CONFIG_MAX_BYTES);
    for (int i = 0; i < FILES + 2; ++i)
        cr_assert(mha_config_parse(&config, &tuning_allocator, text, strlen(text), "user", 2,
                                   "test", &target));
    cr_expect_eq(config.count, CONFIG_MAX_ALL);
    cr_expect_eq(log.count, 2);
    mha_config_release(&config, &tuning_allocator);
    free(text);
}

/* ---- Folders -------------------------------------------------------------------------------- */

static void write_in(const char *folder, const char *name, const char *text) {
    char path[PATH_BYTES];
    tuning_path(path, folder, name);
    tuning_write(path, text, strlen(text));
}

static void check_load(const char *path, size_t entries, int messages) {
    struct tuning_log log;
    struct config config = tuning_load(path, &log);
    size_t count = 0;
    for (size_t i = 0; i < config.count; ++i)
        count += !strcmp(config.entries[i].layer, "application");
    cr_expect_eq(count, entries, "%s: %zu entries", path, count);
    cr_expect_eq(log.count, messages, "%s: %d messages: %s", path, log.count, log.last);
    mha_config_release(&config, &tuning_allocator);
}

Test(config_files, what_is_no_plain_file_is_skipped) {
    char folder[PATH_BYTES], path[PATH_BYTES], target[PATH_BYTES];
    char *text = tuning_text(3);
    tuning_make_folder(folder);
    check_load(folder, 0, 0);
    write_in(folder, "good.json", text);
    write_in(folder, "good.json.damaged-1", text);
    write_in(folder, "good.json~", text);
    write_in(folder, ".hidden.json", text);
    write_in(folder, ".json", text);
    check_load(folder, 3, 0);

    tuning_path(path, folder, "fifo.json");
    cr_assert_eq(mkfifo(path, 0600), 0);
    check_load(folder, 3, 1);
    check_load(path, 0, 1);
    tuning_path(path, folder, "folder.json");
    cr_assert_eq(mkdir(path, 0700), 0);
    check_load(folder, 3, 2);
    tuning_path(path, folder, "device.json");
    cr_assert_eq(symlink("/dev/zero", path), 0);
    check_load(folder, 3, 3);
    check_load(path, 0, 1);
    tuning_path(path, folder, "circle.json");
    cr_assert_eq(symlink("circle.json", path), 0);
    check_load(folder, 3, 4);
    tuning_path(path, folder, "socket.json");
    cr_assert_eq(mknod(path, S_IFSOCK | 0600, 0), 0);
    check_load(folder, 3, 5);

    /* A sparse file of a terabyte is not read at all. */
    write_in(folder, "huge.json", text);
    tuning_path(path, folder, "huge.json");
    cr_assert_eq(truncate(path, (off_t)1 << 40), 0);
    check_load(folder, 3, 6);
    check_load(path, 0, 1);

    /* In the user's own folder a link is the user's own, too. */
    tuning_path(target, folder, "good.json");
    tuning_path(path, folder, "link.json");
    cr_assert_eq(symlink(target, path), 0);
    check_load(path, 3, 0);
    tuning_path(path, folder, "missing");
    check_load(path, 0, 1);
    check_load("", 0, 1);
    tuning_remove_folder(folder);
    free(text);
}

Test(config_files, what_others_may_write_is_skipped) {
    char folder[PATH_BYTES], file[PATH_BYTES], link[PATH_BYTES];
    char *text = tuning_text(3);
    tuning_make_folder(folder);
    write_in(folder, "good.json", text);
    tuning_path(file, folder, "good.json");
    tuning_path(link, folder, "link");
    cr_assert_eq(symlink(file, link), 0);
    check_load(file, 3, 0);
    check_load(link, 3, 0);
    chmod(file, 0666);
    check_load(file, 0, 1);
    check_load(folder, 0, 1);
    chmod(file, 0664);
    check_load(file, 0, 1);
    chmod(file, 0644);
    /* Anybody may put a link there, but not one's own file. */
    chmod(folder, 01777);
    check_load(folder, 0, 1);
    check_load(file, 3, 0);
    check_load(link, 0, 1);
    chmod(folder, 0700);
    if (geteuid() == 0) {
        cr_assert_eq(chown(file, 1234, 1234), 0);
        check_load(file, 0, 1);
        cr_assert_eq(chown(file, 0, 0), 0);
        cr_assert_eq(chown(folder, 1234, 1234), 0);
        check_load(folder, 0, 1);
        check_load(link, 0, 1);
        cr_assert_eq(chown(folder, 0, 0), 0);
    }
    check_load(folder, 3, 0);
    tuning_remove_folder(folder);
    free(text);
}

Test(config_files, the_first_files_in_the_order_of_names_count) {
    char folder[PATH_BYTES], name[32];
    struct tuning_log log;
    tuning_make_folder(folder);
    /* File n has n entries; the names' order is not that of making them. */
    for (int i = 0; i < CONFIG_MAX_FILES + 6; ++i) {
        const int number = i * 37 % (CONFIG_MAX_FILES + 6);
        char *text = tuning_text(number);
        snprintf(name, sizeof(name), "%03d.json", number);
        write_in(folder, name, text);
        free(text);
    }
    struct config config = tuning_load(folder, &log);
    cr_expect_eq(log.count, 1);
    size_t expected = 0;
    for (int i = 0; i < CONFIG_MAX_FILES; ++i)
        expected += (size_t)i;
    cr_expect(config.count >= expected);
    /* The last entries are those of the last file that counts, in its order. */
    for (int i = 0; i < CONFIG_MAX_FILES - 1; ++i)
        cr_expect(config.entries[config.count - (CONFIG_MAX_FILES - 1) + (size_t)i].ns == 1e6 + i);
    mha_config_release(&config, &tuning_allocator);
    tuning_remove_folder(folder);
}

/* A file with entry 3, which took `ns`. */
static char *text_of(double ns) {
    char *text = tuning_text(4);
    json_t *root = json_loads(text, 0, NULL), *entries = json_object_get(root, "entries");
    free(text);
    for (int i = 0; i < 3; ++i)
        json_array_remove(entries, 0);
    json_object_set_new(json_array_get(entries, 0), "ns", json_real(ns));
    text = json_dumps(root, 0);
    json_decref(root);
    return text;
}

/* The layer whose entry serves entry 3's shape; NULL for none. */
static const char *layer_for(bool is_hermetic, const char *path, const char *text) {
    const struct config_entry entry = tuning_entry(3);
    const struct problem problem = tuning_problem(&entry.shape);
    const struct device_caps caps = tuning_caps();
    struct config config = {NULL, 0, 0};
    struct tuning_log log = {.count = 0};
    const struct log_target target = tuning_log_target(&log);
    enum config_match match;
    cr_assert(mha_config_load(&config, &tuning_allocator, is_hermetic, path, text, &target));
    const struct config_entry *found = mha_config_find(&config, &problem, &caps, &match);
    const char *layer = found ? found->layer : NULL;
    mha_config_release(&config, &tuning_allocator);
    return layer;
}

Test(config_files, layers_count_in_their_order) {
    char folder[PATH_BYTES], path[PATH_BYTES];
    char *text = text_of(1e6);
    tuning_make_folder(folder);
    setenv("XDG_CONFIG_HOME", folder, 1);
    tuning_path(path, folder, "mha-cl");
    cr_expect_null(layer_for(false, NULL, NULL));
    cr_assert_eq(mkdir(path, 0700), 0);
    tuning_path(path, folder, "mha-cl/tune");
    cr_assert_eq(mkdir(path, 0700), 0);
    cr_expect_null(layer_for(false, NULL, NULL));
    write_in(path, "device.json", text);
    cr_expect_str_eq(layer_for(false, NULL, NULL), "user");
    cr_expect_null(layer_for(true, NULL, NULL));
    cr_expect_str_eq(layer_for(false, NULL, text), "application");
    cr_expect_str_eq(layer_for(true, NULL, text), "application");
    cr_expect_str_eq(layer_for(false, path, NULL), "application");
    cr_expect_str_eq(layer_for(false, path, "{"), "application");

    /* Paths that are not absolute are none. */
    setenv("XDG_CONFIG_HOME", "relative", 1);
    setenv("HOME", "relative", 1);
    cr_expect_null(layer_for(false, NULL, NULL));
    unsetenv("XDG_CONFIG_HOME");
    unsetenv("HOME");
    cr_expect_null(layer_for(false, NULL, NULL));
    setenv("HOME", "/dev/null", 1);
    cr_expect_null(layer_for(false, NULL, NULL));
    setenv("HOME", folder, 1);
    tuning_path(path, folder, ".config");
    cr_assert_eq(mkdir(path, 0700), 0);
    tuning_path(path, folder, ".config/mha-cl");
    cr_assert_eq(mkdir(path, 0700), 0);
    tuning_path(path, folder, ".config/mha-cl/tune");
    cr_assert_eq(mkdir(path, 0700), 0);
    write_in(path, "device.json", text);
    cr_expect_str_eq(layer_for(false, NULL, NULL), "user");
    tuning_remove_folder(folder);
    free(text);
}

/* ---- Memory --------------------------------------------------------------------------------- */

/* Fails from the k-th call on. */
struct meter {
    int calls, limit, live;
};

static void *allocate(void *user, size_t bytes) {
    struct meter *meter = user;
    if (meter->calls++ >= meter->limit)
        return NULL;
    ++meter->live;
    return malloc(bytes);
}

static void release(void *user, void *memory) {
    --((struct meter *)user)->live;
    free(memory);
}

Test(config_files, memory_that_runs_out_is_told) {
    char folder[PATH_BYTES];
    char *text = tuning_text(3);
    struct meter meter = {.limit = 0};
    const struct allocator allocator = {allocate, release, &meter};
    struct tuning_log log = {.count = 0};
    const struct log_target target = tuning_log_target(&log);
    bool is_loaded = false;
    tuning_make_folder(folder);
    write_in(folder, "a.json", text);
    write_in(folder, "b.json", text);
    for (int k = 0; !is_loaded; ++k) {
        struct config config = {NULL, 0, 0};
        cr_assert_lt(k, 100);
        meter = (struct meter){.limit = k};
        is_loaded = mha_config_load(&config, &allocator, true, folder, text, &target);
        mha_config_release(&config, &allocator);
        cr_expect_eq(meter.live, 0, "%d blocks left after call %d failed", meter.live, k);
    }
    cr_expect_geq(meter.limit, 6);
    tuning_remove_folder(folder);
    free(text);
}
