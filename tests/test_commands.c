/* The commands of mha-tune that read and write tuning files, as a user runs them. */
#include "command.h"
#include "store.h"
#include "tuner_process.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct tuner tuner;

static void begin(void) {
    tuner_begin(&tuner);
}

static void end(void) {
    tuner_end(&tuner);
}

TestSuite(commands, .init = begin, .fini = end);

/* A worker that ends at once: there is no device. */
#define NO_WORKER "--worker", "/bin/false"

/* ---- Usage ----------------------------------------------------------------------------------- */

Test(commands, wrong_usage_is_told) {
    tuner_expect(TUNER_RUN(&tuner, NULL), EXIT_USAGE, "", "which command");
    tuner_expect(TUNER_RUN(&tuner, "dance"), EXIT_USAGE, "", "no command is called \"dance\"");
    tuner_expect(TUNER_RUN(&tuner, "show", "me"), EXIT_USAGE, "", "show takes no \"me\"");
    tuner_expect(TUNER_RUN(&tuner, "show", "--shape", "B4"), EXIT_USAGE, "", "needs H, N and D");
    tuner_expect(TUNER_RUN(&tuner, "show", "--shape", "B4 H12 N197 D64 f33"), EXIT_USAGE, "",
                 "f33");
    tuner_expect(TUNER_RUN(&tuner, "bench", "--rounds", "0"), EXIT_USAGE, "",
                 "rounds are 1 to 1000");
    tuner_expect(TUNER_RUN(&tuner, "show", "--nonsense"), EXIT_USAGE, "", "nonsense");
    tuner_expect(TUNER_RUN(&tuner, "show", "--device"), EXIT_USAGE, "", "requires an argument");
    tuner_expect(TUNER_RUN(&tuner, "import"), EXIT_USAGE, "", "which file");
}

Test(commands, help_names_every_command) {
    static const char *const names[] = {"devices", "run",    "resume", "show",
                                        "explain", "verify", "bench",  "export",
                                        "import",  "prune",  "replay", "--json"};
    struct tuner_outcome outcome = TUNER_RUN(&tuner, "--help");
    cr_expect_eq(outcome.code, EXIT_TUNED);
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); ++i)
        cr_expect(strstr(outcome.out, names[i]), "%s", names[i]);
    tuner_release(&outcome);
    tuner_expect(TUNER_RUN(&tuner, "--version"), EXIT_TUNED, "mha-tune ", "");
}

Test(commands, a_missing_device_is_told) {
    tuner_expect(TUNER_RUN(&tuner, NO_WORKER, "devices"), EXIT_DEVICE, "", "mha-tune: ");
    tuner_expect(TUNER_RUN(&tuner, NO_WORKER, "explain"), EXIT_DEVICE, "", "mha-tune: ");
    tuner_expect(TUNER_RUN(&tuner, NO_WORKER, "verify"), EXIT_DEVICE, "", "mha-tune: ");
    tuner_expect(TUNER_RUN(&tuner, NO_WORKER, "bench"), EXIT_DEVICE, "", "mha-tune: ");
    tuner_expect(TUNER_RUN(&tuner, "--worker", "/nowhere/at/all", "devices"), EXIT_DEVICE, "",
                 "mha-tune: ");
}

/* ---- show ------------------------------------------------------------------------------------ */

/* Only the user's: the tables compiled in change. */
static json_t *show_user(void) {
    json_t *all = TUNER_JSON(&tuner, EXIT_TUNED, "show"), *own = json_array(), *entry;
    size_t i;
    json_array_foreach(all, i, entry) {
        if (!strcmp(json_string_value(json_object_get(entry, "layer")), "user"))
            json_array_append(own, entry);
    }
    json_decref(all);
    return own;
}

static size_t count_shown(void) {
    json_t *list = show_user();
    const size_t count = json_array_size(list);
    json_decref(list);
    return count;
}

Test(commands, show_without_results) {
    cr_expect_eq(count_shown(), 0);
    tuner_expect(TUNER_RUN(&tuner, "show", "--device", "no such device"), EXIT_TUNED,
                 "no such results", "");
    tuner_expect(TUNER_RUN(&tuner, "show", "--config", "/nowhere/at/all"), EXIT_TUNED,
                 "no such results", "/nowhere/at/all");
}

Test(commands, show_lists_entries) {
    struct config_entry entry = tuning_entry(4095);
    tuner_store(&tuner, &entry);
    entry = tuning_entry(1);
    entry.is_default = true;
    strcpy(entry.kernel_hash, "0123456789abcdef");
    tuner_store(&tuner, &entry);
    tuner_expect(TUNER_RUN(&tuner, "show"), EXIT_TUNED, "Imaginary Platform / Imaginary CPU", "");
    tuner_expect(TUNER_RUN(&tuner, "show", "-d", "iMaGiNaRy"), EXIT_TUNED, "B4 H12 N197 D64 f32",
                 "");
    tuner_expect(TUNER_RUN(&tuner, "show"), EXIT_TUNED, "the default (panel)", "");
    tuner_expect(TUNER_RUN(&tuner, "show"), EXIT_TUNED, "changed", "");
    tuner_expect(TUNER_RUN(&tuner, "show", "--device", "real"), EXIT_TUNED, "no such results", "");
    json_t *list = TUNER_JSON(&tuner, EXIT_TUNED, "show", "--device", "imaginary", "-s",
                              "B4 H12 N197 D64 f32");
    cr_assert_eq(json_array_size(list), 1);
    const json_t *shown = json_array_get(list, 0);
    char path[PATH_BYTES];
    store_path(tuner.tuning, &entry.device, path, sizeof(path));
    const char *file = json_string_value(json_object_get(shown, "file"));
    cr_expect_str_eq(file, path + (strlen(path) - strlen(file)));
    cr_expect_str_eq(json_string_value(json_object_get(shown, "variant")), "panel");
    cr_expect(json_is_true(json_object_get(shown, "current")));
    cr_expect_float_eq(json_number_value(json_object_get(shown, "gain")), 2e6 / 1004095, 1e-6);
    json_decref(list);
    /* The same files as a folder of one's own. */
    json_t *folder = TUNER_JSON(&tuner, EXIT_TUNED, "show", "--config", tuner.tuning);
    cr_expect_eq(json_array_size(folder), 2);
    json_decref(folder);
}

Test(commands, show_aligns_long_names) {
    struct config_entry entry = tuning_entry(4095);
    memset(entry.device.name, 'n', sizeof(entry.device.name) - 1);
    memset(entry.device.platform, 'p', sizeof(entry.device.platform) - 1);
    memset(entry.device.driver, 'd', sizeof(entry.device.driver) - 1);
    tuner_store(&tuner, &entry);
    entry.shape.batch = entry.shape.seqlen_kv = 1000000;
    entry.ns = 1e15;
    tuner_store(&tuner, &entry);
    struct tuner_outcome outcome = TUNER_RUN(&tuner, "show", "--device", entry.device.name);
    const char *row = strchr(outcome.out, '\n') + 1;
    const long column = strstr(row, "variant and values") - row;
    for (int i = 0; i < 2; ++i) {
        row = strchr(row, '\n') + 1;
        cr_expect_eq(strstr(row, "panel VEC=") - row, column, "%s", outcome.out);
    }
    tuner_release(&outcome);
}

/* ---- import ---------------------------------------------------------------------------------- */

static const char *write_import(const char *text, size_t bytes) {
    static char path[PATH_BYTES];
    tuning_path(path, tuner.home, "import.json");
    tuning_write(path, text, bytes);
    return path;
}

Test(commands, import_takes_a_file) {
    char *text = tuning_text(5);
    const char *path = write_import(text, strlen(text));
    tuner_expect(TUNER_RUN(&tuner, "import", path), EXIT_TUNED, "5 results imported", "");
    cr_expect_eq(count_shown(), 5);
    json_t *json = TUNER_JSON(&tuner, EXIT_TUNED, "import", path);
    cr_expect_eq(json_integer_value(json_object_get(json, "imported")), 5);
    json_decref(json);
    cr_expect_eq(count_shown(), 5);
    /* What is shown is what was in the file. */
    json_t *shown = show_user(), *file = json_loads(text, 0, NULL), *member;
    const char *name;
    for (size_t i = 0; i < 5; ++i) {
        const json_t *entry = json_array_get(shown, i);
        json_object_foreach(json_array_get(json_object_get(file, "entries"), i), name, member) {
            const json_t *other = json_object_get(entry, name);
            if (json_is_number(member))
                cr_expect_float_eq(json_number_value(member), json_number_value(other), 1e-9);
            else
                cr_expect(json_equal(member, other), "%s", name);
        }
    }
    json_decref(shown);
    json_decref(file);
    free(text);
}

Test(commands, import_into_a_folder) {
    char *text = tuning_text(3), folder[PATH_BYTES];
    tuning_path(folder, tuner.home, "other");
    tuner_expect(TUNER_RUN(&tuner, "import", write_import(text, strlen(text)), "-c", folder),
                 EXIT_TUNED, "3 results imported", "");
    cr_expect_eq(count_shown(), 0);
    cr_expect_eq(tuning_count_files(folder, ".json"), 1);
    free(text);
}

Test(commands, import_reads_standard_input) {
    char *text = tuning_text(2), command[3 * PATH_BYTES];
    snprintf(command, sizeof(command), "'%s' import - <'%s' >/dev/null", TUNE_PROGRAM,
             write_import(text, strlen(text)));
    cr_expect_eq(system(command), 0);
    cr_expect_eq(count_shown(), 2);
    free(text);
}

static void refuse(const char *text, size_t bytes) {
    struct tuner_outcome outcome = TUNER_RUN(&tuner, "import", write_import(text, bytes));
    cr_expect_eq(outcome.code, EXIT_USAGE, "%.100s: exit code %d", text, outcome.code);
    cr_expect_neq(outcome.errors[0], 0, "%.100s", text);
    tuner_release(&outcome);
    cr_expect_neq(access(tuner.tuning, F_OK), 0, "%.100s", text);
}

Test(commands, import_refuses_hostile_files) {
    static const char *const texts[] = {
        "",
        "{}",
        "[]",
        "null",
        "{\"format\": \"mha-cl-tune\"}",
        "{\"format\": \"mha-cl-tune\", \"schema\": 99, \"device\": {}, \"entries\": []}",
        "{\"format\": \"other\", \"schema\": 1, \"device\": {}, \"entries\": []}",
        "{\"format\": \"mha-cl-tune\", \"schema\": 1, \"device\": {}, \"entries\": []}",
        "{\"format\": \"mha-cl-tune\", \"schema\": 1, \"schema\": 1}",
        "\033[2J\033]0;owned\a",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); ++i)
        refuse(texts[i], strlen(texts[i]));
    const size_t most = CONFIG_MAX_BYTES + 1;
    char *large = malloc(most);
    memset(large, '[', most);
    refuse(large, most);
    refuse(large, 100000);
    memset(large, 0, most);
    refuse(large, 1000);
    free(large);
    tuner_expect(TUNER_RUN(&tuner, "import", tuner.home), EXIT_USAGE, "", "directory");
    tuner_expect(TUNER_RUN(&tuner, "import", "/nowhere/at/all"), EXIT_USAGE, "", "No such file");
    /* Endless: limits hold before everything is read. */
    tuner_expect(TUNER_RUN(&tuner, "import", "/dev/zero"), EXIT_USAGE, "", "larger than");
}

Test(commands, import_skips_bad_entries) {
    char *text = tuning_text(4);
    json_t *root = json_loads(text, 0, NULL), *entries = json_object_get(root, "entries");
    json_object_set_new(json_object_get(json_array_get(entries, 1), "params"), "VEC",
                        json_integer(7));
    json_object_set_new(json_array_get(entries, 2), "variant", json_string("$(reboot)"));
    char *changed = json_dumps(root, 0);
    tuner_expect(TUNER_RUN(&tuner, "import", write_import(changed, strlen(changed))), EXIT_TUNED,
                 "2 results imported", "2 of 4 entries skipped");
    cr_expect_eq(count_shown(), 2);
    free(changed);
    free(text);
    json_decref(root);
}

/* ---- prune ----------------------------------------------------------------------------------- */

Test(commands, prune_drops_what_serves_no_longer) {
    struct config_entry entry = tuning_entry(1);
    tuner_store(&tuner, &entry);
    entry = tuning_entry(2);
    strcpy(entry.kernel_hash, "0123456789abcdef");
    tuner_store(&tuner, &entry);
    /* Nobody knows which driver this machine has. */
    entry = tuning_entry(1);
    strcpy(entry.device.driver, "0.9");
    tuner_store(&tuner, &entry);
    cr_assert_eq(count_shown(), 3);
    json_t *json = TUNER_JSON(&tuner, EXIT_TUNED, NO_WORKER, "prune");
    const json_t *removed = json_object_get(json, "removed");
    cr_expect_eq(json_integer_value(json_object_get(json, "count")), 1);
    cr_expect_eq(json_array_size(removed), 1);
    const json_t *why = json_object_get(json_array_get(removed, 0), "why");
    cr_expect(strstr(json_string_value(why), "kernels"));
    json_decref(json);
    cr_expect_eq(count_shown(), 2);
    tuner_expect(TUNER_RUN(&tuner, NO_WORKER, "prune"), EXIT_TUNED, "0 of 2 results removed",
                 "older drivers stay");
}

Test(commands, prune_keeps_other_devices_than_asked) {
    struct config_entry entry = tuning_entry(2);
    strcpy(entry.kernel_hash, "0123456789abcdef");
    tuner_store(&tuner, &entry);
    tuner_expect(TUNER_RUN(&tuner, NO_WORKER, "prune", "-d", "another"), EXIT_TUNED, "0 of 1", "");
    tuner_expect(TUNER_RUN(&tuner, NO_WORKER, "prune", "-d", "imaginary"), EXIT_TUNED, "1 of 1",
                 "");
    cr_expect_eq(count_shown(), 0);
}

/* Two entries of one class, as only an editor makes them. */
Test(commands, prune_keeps_the_later_of_two) {
    char *text = tuning_text(1), path[PATH_BYTES];
    json_t *root = json_loads(text, 0, NULL), *entries = json_object_get(root, "entries");
    json_t *later = json_deep_copy(json_array_get(entries, 0));
    json_object_set_new(later, "date", json_string("2025-01-01"));
    json_object_set_new(later, "ns", json_real(1.5e6));
    json_array_append_new(entries, later);
    struct config_entry entry = tuning_entry(9);
    tuner_store(&tuner, &entry);
    store_path(tuner.tuning, &entry.device, path, sizeof(path));
    char *changed = json_dumps(root, 0);
    tuning_write(path, changed, strlen(changed));
    tuner_expect(TUNER_RUN(&tuner, NO_WORKER, "prune"), EXIT_TUNED, "1 of 2", "");
    json_t *list = show_user();
    cr_assert_eq(json_array_size(list), 1);
    cr_expect_str_eq(json_string_value(json_object_get(json_array_get(list, 0), "date")),
                     "2025-01-01");
    json_decref(list);
    json_decref(root);
    free(changed);
    free(text);
}

Test(commands, prune_merges_fragments) {
    struct config_entry entry = tuning_entry(0);
    char path[PATH_BYTES], fragment[PATH_BYTES + 16], *text = tuning_text(3);
    tuner_store(&tuner, &entry);
    store_path(tuner.tuning, &entry.device, path, sizeof(path));
    snprintf(fragment, sizeof(fragment), "%.*s.0000abcd.json", (int)(strlen(path) - 5), path);
    tuning_write(fragment, text, strlen(text));
    tuner_expect(TUNER_RUN(&tuner, NO_WORKER, "prune"), EXIT_TUNED, "results removed", "");
    cr_expect_neq(access(fragment, F_OK), 0);
    cr_expect_eq(count_shown(), 3);
    free(text);
}

/* ---- Files that stand in the way ------------------------------------------------------------- */

Test(commands, damaged_files_are_skipped) {
    struct config_entry entry = tuning_entry(0);
    char path[PATH_BYTES];
    tuner_store(&tuner, &entry);
    tuning_path(path, tuner.tuning, "damaged.json");
    tuning_write(path, "{\"format\": ", 11);
    tuner_expect(TUNER_RUN(&tuner, "show"), EXIT_TUNED, "Imaginary CPU", "damaged.json");
    tuner_expect(TUNER_RUN(&tuner, NO_WORKER, "prune"), EXIT_TUNED, "0 of 1", "damaged.json");
    cr_expect_eq(access(path, F_OK), 0);
    cr_expect_eq(count_shown(), 1);
}

Test(commands, a_full_disk_is_told) {
    struct config_entry entry = tuning_entry(0);
    char command[2 * PATH_BYTES];
    tuner_store(&tuner, &entry);
    snprintf(command, sizeof(command), "'%s' show --json >/dev/full 2>/dev/null", TUNE_PROGRAM);
    cr_expect_neq(system(command), 0);
}
