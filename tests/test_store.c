/* Entries put into tuning files: what they replace, what stays, what is put aside. */
#include "store.h"
#include "tuning_files.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static struct config_device device(void) {
    return tuning_entry(0).device;
}

/* Merges one entry, and gives what there was to say. */
static void merge(const char *folder, const struct config_entry *entry, char *said,
                  size_t said_bytes) {
    char written[PATH_BYTES];
    cr_assert(
        store_merge(folder, &entry->device, entry, 1, written, sizeof(written), said, said_bytes),
        "%s", said);
    cr_assert_eq(access(written, R_OK), 0, "%s", written);
}

static double ns_of(const char *folder, int number) {
    struct tuning_log log;
    struct config config = tuning_load(folder, &log);
    const struct config_entry entry = tuning_entry(number);
    const struct config_entry *found = tuning_find(&config, &entry.shape);
    const double ns = found ? found->ns : 0;
    mha_config_release(&config, &tuning_allocator);
    return ns;
}

Test(store, a_file_has_its_devices_name) {
    struct config_device d = device();
    char path[PATH_BYTES], other[PATH_BYTES], why[200];
    store_path("/folder", &d, path, sizeof(path));
    cr_expect_eq(strncmp(path, "/folder/imaginary-platform-imaginary-cpu-", 41), 0, "%s", path);
    cr_expect_eq(strspn(path + 41, "0123456789abcdef"), 8, "%s", path);
    cr_expect_str_eq(path + 49, ".json");
    strcpy(d.driver, "2.0");
    store_path("/folder", &d, other, sizeof(other));
    cr_expect_str_eq(path, other);
    ++d.compute_units;
    store_path("/folder", &d, other, sizeof(other));
    cr_expect_str_neq(path, other);
    memset(d.name, '/', sizeof(d.name) - 1);
    memset(d.platform, 'A', sizeof(d.platform) - 1);
    store_path("/folder", &d, path, sizeof(path));
    cr_expect_eq(strrchr(path, '/'), path + 7, "%s", path);
    cr_expect_lt(strlen(path), 120);

    setenv("XDG_CONFIG_HOME", "/here", 1);
    cr_assert(store_folder(path, sizeof(path), why, sizeof(why)));
    cr_expect_str_eq(path, "/here/mha-cl/tune");
    unsetenv("XDG_CONFIG_HOME");
    setenv("HOME", "/home/me", 1);
    cr_assert(store_folder(path, sizeof(path), why, sizeof(why)));
    cr_expect_str_eq(path, "/home/me/.config/mha-cl/tune");
    cr_expect(!store_folder(path, 10, why, sizeof(why)) && why[0]);
    unsetenv("HOME");
    cr_expect(!store_folder(path, sizeof(path), why, sizeof(why)) && why[0]);
}

Test(store, an_entry_replaces_that_of_its_class_driver_and_kernels) {
    char folder[PATH_BYTES], deep[PATH_BYTES], why[300];
    struct config_entry entry = tuning_entry(3);
    tuning_make_folder(folder);
    tuning_path(deep, folder, "not/there/yet");
    merge(deep, &entry, why, sizeof(why));
    cr_expect_str_eq(why, "");
    entry.ns = 900000;
    merge(deep, &entry, why, sizeof(why));
    cr_expect_eq(tuning_count_entries(deep), 1);
    cr_expect(ns_of(deep, 3) == 900000);
    /* A length of the same half octave. */
    entry.shape.seqlen_q = 199;
    merge(deep, &entry, why, sizeof(why));
    cr_expect_eq(tuning_count_entries(deep), 1);
    entry.shape.seqlen_q = 300;
    merge(deep, &entry, why, sizeof(why));
    cr_expect_eq(tuning_count_entries(deep), 2);
    /* Another variant wins; both of this version's kernels. */
    entry.variant = mha_variant_find(OPERATION_ATTENTION, "reference");
    entry.tuning = (struct tuning){{0}};
    mha_kernel_hash(entry.variant, entry.kernel_hash);
    merge(deep, &entry, why, sizeof(why));
    cr_expect_eq(tuning_count_entries(deep), 2);
    /* Those of other drivers and of older kernels are seeds. */
    strcpy(entry.device.driver, "2.0");
    merge(deep, &entry, why, sizeof(why));
    cr_expect_eq(tuning_count_entries(deep), 3);
    memset(entry.kernel_hash, '0', 16);
    merge(deep, &entry, why, sizeof(why));
    merge(deep, &entry, why, sizeof(why));
    cr_expect_eq(tuning_count_entries(deep), 4);
    cr_expect_eq(tuning_count_files(deep, ".json"), 1);
    cr_expect_eq(tuning_count_files(deep, ".new"), 0);
    tuning_remove_folder(folder);
}

Test(store, what_is_not_known_stays) {
    char folder[PATH_BYTES], path[PATH_BYTES], why[300];
    const struct config_entry entry = tuning_entry(3);
    const struct config_device d = device();
    tuning_make_folder(folder);
    merge(folder, &entry, why, sizeof(why));
    store_path(folder, &d, path, sizeof(path));
    char *text = tuning_read(path);
    json_t *root = json_loads(text, 0, NULL), *entries = json_object_get(root, "entries");
    json_object_set_new(root, "comment", json_pack("{s:[i,f,n]}", "by hand", 1, 0.1));
    json_object_set_new(json_object_get(root, "device"), "memory_mhz", json_integer(2400));
    json_object_set_new(json_array_get(entries, 0), "note", json_string("kept"));
    json_array_append_new(entries, json_pack("{s:s}", "variant", "of the future"));
    json_array_append_new(entries, json_integer(7));
    json_t *expected = json_deep_copy(root);
    free(text);
    text = json_dumps(root, 0);
    tuning_write(path, text, strlen(text));
    free(text);

    const struct config_entry another = tuning_entry(4);
    merge(folder, &another, why, sizeof(why));
    cr_expect_str_eq(why, "");
    json_array_append_new(json_object_get(expected, "entries"), mha_config_write_entry(&another));
    text = tuning_read(path);
    json_t *found = json_loads(text, 0, NULL);
    cr_expect(json_equal(found, expected), "%s", text);
    json_decref(root);
    json_decref(found);
    json_decref(expected);
    free(text);
    tuning_remove_folder(folder);
}

Test(store, an_entry_that_could_not_be_read_is_not_written) {
    char folder[PATH_BYTES], why[300] = "";
    struct config_entry entries[] = {tuning_entry(3), tuning_entry(4)};
    const struct config_device d = device();
    tuning_make_folder(folder);
    entries[1].ns = 0;
    cr_expect(!store_merge(folder, &d, entries, 2, NULL, 0, why, sizeof(why)));
    cr_expect(strstr(why, "entry 2"), "%s", why);
    entries[1] = tuning_entry(4);
    entries[1].tuning.value[BLOCK_Q] = 17;
    cr_expect(!store_merge(folder, &d, entries, 2, NULL, 0, why, sizeof(why)));
    /* The heuristic's values are of no domain, and are not written. */
    entries[1].is_default = true;
    cr_expect(store_merge(folder, &d, entries, 2, NULL, 0, why, sizeof(why)), "%s", why);
    cr_expect_eq(tuning_count_entries(folder), 2);
    tuning_remove_folder(folder);
}

/* What is where the file should be is kept, and told. */
static void check_aside(const char *folder, const char *path, int number) {
    char why[300], aside[PATH_BYTES];
    struct stat before, after;
    const struct config_entry entry = tuning_entry(3);
    cr_assert_eq(lstat(path, &before), 0);
    merge(folder, &entry, why, sizeof(why));
    snprintf(aside, sizeof(aside), "%.400s.damaged-%d", path, number);
    cr_expect(strstr(why, strrchr(aside, '/') + 1), "%s", why);
    cr_assert_eq(lstat(aside, &after), 0, "%s", aside);
    cr_expect_eq(before.st_ino, after.st_ino);
    cr_expect_eq(tuning_count_entries(folder), 1);
    cr_assert_eq(unlink(path), 0);
}

Test(store, a_damaged_file_is_kept_aside) {
    char folder[PATH_BYTES], path[PATH_BYTES];
    const struct config_device d = device();
    tuning_make_folder(folder);
    store_path(folder, &d, path, sizeof(path));
    tuning_write(path, "{\"format\":", 10);
    check_aside(folder, path, 1);
    tuning_write(path, "", 0);
    check_aside(folder, path, 2);
    cr_assert_eq(mkfifo(path, 0600), 0);
    check_aside(folder, path, 3);
    cr_assert_eq(mkdir(path, 0700), 0);
    check_aside(folder, path, 4);
    cr_assert_eq(symlink("nowhere", path), 0);
    check_aside(folder, path, 5);
    cr_assert_eq(symlink("/dev/zero", path), 0);
    check_aside(folder, path, 6);
    tuning_write(path, "", 0);
    cr_assert_eq(truncate(path, (off_t)1 << 40), 0);
    check_aside(folder, path, 7);
    tuning_remove_folder(folder);
}

static void check_left_alone(const char *folder, const char *path, const char *text) {
    char why[300] = "";
    const struct config_entry entry = tuning_entry(3);
    tuning_write(path, text, strlen(text));
    cr_expect(!store_merge(folder, &entry.device, &entry, 1, NULL, 0, why, sizeof(why)));
    cr_expect(why[0]);
    char *now = tuning_read(path);
    cr_expect_str_eq(now, text);
    free(now);
    cr_expect_eq(tuning_count_files(folder, ".json"), 1);
}

Test(store, a_file_that_may_not_be_replaced_is_left_alone) {
    char folder[PATH_BYTES], path[PATH_BYTES], why[300];
    const struct config_device d = device();
    const struct config_entry entry = tuning_entry(3);
    tuning_make_folder(folder);
    store_path(folder, &d, path, sizeof(path));
    check_left_alone(folder, path, "{\"format\":\"mha-cl-tune\",\"schema\":2}");
    char *text = tuning_text(1), *name = strstr(text, "Imaginary CPU");
    memcpy(name, "Different", 9);
    check_left_alone(folder, path, text);
    free(text);
    text = tuning_text(2);
    check_left_alone(folder, path, "{\"format\":\"mha-cl-tune\",\"schema\":9999}");
    chmod(path, 0666);
    check_left_alone(folder, path, text);
    free(text);
    cr_assert_eq(unlink(path), 0);
    chmod(folder, 0777);
    cr_expect(!store_merge(folder, &d, &entry, 1, NULL, 0, why, sizeof(why)));
    chmod(folder, 0700);
    tuning_remove_folder(folder);
}

Test(store, a_file_does_not_outgrow_its_readers) {
    char folder[PATH_BYTES], why[300];
    static struct config_entry entries[CONFIG_MAX_ENTRIES];
    const struct config_device d = device();
    tuning_make_folder(folder);
    for (int i = 0; i < CONFIG_MAX_ENTRIES; ++i)
        entries[i] = tuning_entry(i);
    cr_expect(store_merge(folder, &d, entries, CONFIG_MAX_ENTRIES, NULL, 0, why, sizeof(why)), "%s",
              why);
    entries[0].shape.is_causal = true;
    cr_expect(!store_merge(folder, &d, entries, 1, NULL, 0, why, sizeof(why)));
    cr_expect(strstr(why, "prune"), "%s", why);
    cr_expect_eq(tuning_count_entries(folder), CONFIG_MAX_ENTRIES);
    tuning_remove_folder(folder);
}

/* ---- Fragments ------------------------------------------------------------------------------ */

Test(store, without_the_lock_a_fragment_is_written_and_later_merged) {
    char folder[PATH_BYTES], path[PATH_BYTES], lock_path[PATH_BYTES], written[PATH_BYTES];
    char why[300];
    const struct config_device d = device();
    struct config_entry entry = tuning_entry(3);
    tuning_make_folder(folder);
    store_path(folder, &d, path, sizeof(path));
    merge(folder, &entry, why, sizeof(why));
    tuning_path(lock_path, folder, ".lock");
    const int lock = open(lock_path, O_RDWR);
    cr_assert(lock >= 0 && !flock(lock, LOCK_EX));
    entry.ns = 500000;
    const struct config_entry entries[] = {entry, tuning_entry(4)};
    cr_assert(store_merge(folder, &d, entries, 2, written, sizeof(written), why, sizeof(why)), "%s",
              why);
    cr_expect_str_neq(written, path);
    cr_expect(strstr(why, "lock"), "%s", why);
    cr_expect_eq(tuning_count_files(folder, ".json"), 2);
    cr_expect_eq(tuning_count_entries(folder), 3);
    close(lock);

    /* One that is damaged is put aside, one of another device is none of this one's. */
    char fragment[PATH_BYTES];
    snprintf(fragment, sizeof(fragment), "%.*s.01234567.json", (int)strlen(path) - 5, path);
    tuning_write(fragment, "{", 1);
    snprintf(fragment, sizeof(fragment), "%.*s.0123456.json", (int)strlen(path) - 5, path);
    char *text = tuning_text(1);
    tuning_write(fragment, text, strlen(text));
    free(text);
    entry = tuning_entry(5);
    merge(folder, &entry, why, sizeof(why));
    cr_expect(strstr(why, "damaged"), "%s", why);
    cr_expect_eq(access(written, F_OK), -1);
    cr_expect_eq(tuning_count_files(folder, ".json"), 2);
    cr_expect_eq(tuning_count_entries(folder), 4);
    cr_expect(ns_of(folder, 3) == 500000);
    cr_expect(ns_of(folder, 4) > 0 && ns_of(folder, 5) > 0);
    tuning_remove_folder(folder);
}

/* ---- Import and prune ----------------------------------------------------------------------- */

Test(store, an_import_goes_to_the_file_of_its_device) {
    char folder[PATH_BYTES], path[PATH_BYTES], why[300];
    struct config_entry entry = tuning_entry(1);
    size_t count;
    tuning_make_folder(folder);
    strcpy(entry.date, "2025-01-01");
    entry.ns = 10;
    merge(folder, &entry, why, sizeof(why));
    char *text = tuning_text(3), *date = strstr(text, "2024-02-29");
    memcpy(date, "2026", 4);
    cr_expect(store_import(folder, text, strlen(text), &count, why, sizeof(why)), "%s", why);
    cr_expect_eq(count, 3);
    cr_expect_eq(tuning_count_entries(folder), 3);
    cr_expect(ns_of(folder, 1) == 10, "an older one took its place");
    cr_expect(ns_of(folder, 0) == 1e6);
    char *name = strstr(text, "Imaginary CPU");
    memcpy(name, "Different", 9);
    cr_expect(store_import(folder, text, strlen(text), &count, why, sizeof(why)), "%s", why);
    cr_expect_eq(tuning_count_files(folder, ".json"), 2);
    cr_expect_eq(tuning_count_entries(folder), 6);
    store_path(folder, &entry.device, path, sizeof(path));
    cr_expect(!store_import(folder, text, strlen(text) - 2, &count, why, sizeof(why)) && why[0]);
    cr_expect(!store_import(folder, "{}", 2, &count, why, sizeof(why)) && why[0]);
    cr_expect(!store_import(folder, text, CONFIG_MAX_BYTES + 1, &count, why, sizeof(why)));
    cr_expect_eq(count, 0);
    cr_expect_eq(tuning_count_entries(folder), 6);
    free(text);
    tuning_remove_folder(folder);
}

static bool is_slow(const void *context, const struct config_entry *entry) {
    return entry->ns >= *(const double *)context && !strcmp(entry->device.name, "Imaginary CPU");
}

Test(store, pruning_removes_what_is_refused_only) {
    char folder[PATH_BYTES], path[PATH_BYTES], fragment[PATH_BYTES], why[300];
    const struct config_device d = device();
    const struct config_entry entry = tuning_entry(9);
    const double limit = 1e6 + 2;
    size_t removed;
    char *text = tuning_text(4);
    tuning_make_folder(folder);
    merge(folder, &entry, why, sizeof(why));
    store_path(folder, &d, path, sizeof(path));
    snprintf(fragment, sizeof(fragment), "%.*s.89abcdef.json", (int)strlen(path) - 5, path);
    tuning_write(fragment, text, strlen(text));
    tuning_path(path, folder, "copied.json");
    tuning_write(path, text, strlen(text));
    tuning_path(path, folder, "damaged.json");
    tuning_write(path, text, strlen(text) / 2);
    cr_assert(store_prune(folder, is_slow, &limit, &removed, why, sizeof(why)), "%s", why);
    cr_expect_eq(removed, 4);
    cr_expect_eq(tuning_count_files(folder, ".json"), 3);
    char *now = tuning_read(path);
    cr_expect_eq(strlen(now), strlen(text) / 2);
    unlink(path);
    cr_expect_eq(tuning_count_entries(folder), 5);
    cr_assert(store_prune(folder, is_slow, &limit, &removed, why, sizeof(why)), "%s", why);
    cr_expect_eq(removed, 0);
    free(text);
    free(now);
    tuning_remove_folder(folder);
}
