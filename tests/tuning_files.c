/* In: numbers. Out: tuning files, and what became of them. */
#include "tuning_files.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct allocator tuning_allocator;

struct device_caps tuning_caps(void) {
    return (struct device_caps){
        .name = "Imaginary CPU",
        .driver = "1.0",
        .platform = "Imaginary Platform",
        .is_cpu = true,
        .has_fp64 = true,
        .compute_units = 8,
        .clock_mhz = 1000,
        .address_bits = 64,
        .vendor_id = 0x8086,
        .float_vector = 16,
        .max_work_group = 4096,
        .max_work_item = 4096,
        .local_bytes = 1 << 20,
        .max_alloc_bytes = (cl_ulong)1 << 30,
        .max_loops = INFINITY,
    };
}

struct config_entry tuning_entry(int number) {
    const struct device_caps caps = tuning_caps();
    struct config_entry entry = {
        .device = mha_config_device(&caps),
        .shape = {.operation = OPERATION_ATTENTION,
                  .dtype = MHA_F32,
                  .batch = 4,
                  .q_heads = 12,
                  .kv_heads = 12,
                  .head_dim_qk = 1 + number % 64,
                  .head_dim_v = 1 + number / 64,
                  .seqlen_q = 197,
                  .seqlen_kv = 197},
        .variant = mha_variant_find(OPERATION_ATTENTION, "panel"),
        .ns = 1e6 + number,
        .mad_ns = 1000,
        .default_ns = 2e6,
        .max_error = 1.25e-7,
        .space_size = 12345,
        .evaluations = 200,
        .rigor = "standard",
        .date = "2024-02-29",
        .library = "0.1.0",
        .layer = "user",
    };
    mha_kernel_hash(entry.variant, entry.kernel_hash);
    for (size_t i = 0; i < TUNABLE_COUNT && entry.variant->tunables[i].values[0]; ++i)
        entry.tuning.value[entry.variant->tunables[i].tunable] =
            entry.variant->tunables[i].values[0];
    return entry;
}

struct problem tuning_problem(const struct shape *shape) {
    struct problem problem;
    mha_error error;
    cr_assert_eq(mha_shape_problem(shape, &problem, &error), MHA_SUCCESS, "%s", error.message);
    return problem;
}

char *tuning_text(int count) {
    const struct config_entry first = tuning_entry(0);
    json_t *entries = json_array();
    for (int i = 0; i < count; ++i) {
        const struct config_entry entry = tuning_entry(i);
        json_array_append_new(entries, mha_config_write_entry(&entry));
    }
    json_t *root =
        json_pack("{s:s, s:i, s:o, s:o}", "format", CONFIG_FORMAT, "schema", CONFIG_SCHEMA,
                  "device", mha_config_write_device(&first.device), "entries", entries);
    char *text = json_dumps(root, JSON_INDENT(1));
    cr_assert(text);
    json_decref(root);
    return text;
}

void tuning_make_folder(char path[PATH_BYTES]) {
    strcpy(path, "/tmp/mha-cl-test-XXXXXX");
    cr_assert(mkdtemp(path), "no folder %s", path);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

void tuning_remove_folder(const char *path) {
    cr_expect(!nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS), "can't remove %s", path);
}

void tuning_path(char path[PATH_BYTES], const char *folder, const char *name) {
    cr_assert_lt(snprintf(path, PATH_BYTES, "%s/%s", folder, name), PATH_BYTES);
}

void tuning_write(const char *path, const char *text, size_t bytes) {
    FILE *file = fopen(path, "wb");
    cr_assert(file, "can't write %s", path);
    cr_assert_eq(fwrite(text, 1, bytes, file), bytes);
    cr_assert_eq(fclose(file), 0);
}

char *tuning_read(const char *path) {
    FILE *file = fopen(path, "rb");
    char *text = NULL;
    size_t capacity = 0;
    if (!file)
        return NULL;
    if (getdelim(&text, &capacity, 0, file) < 0) {
        free(text);
        text = calloc(1, 1);
    }
    fclose(file);
    return text;
}

int tuning_count_files(const char *folder, const char *ending) {
    DIR *listing = opendir(folder);
    int count = 0;
    cr_assert(listing, "no folder %s", folder);
    for (const struct dirent *entry; (entry = readdir(listing));) {
        const char *at = strstr(entry->d_name, ending);
        count += at && !at[strlen(ending)];
    }
    closedir(listing);
    return count;
}

static void keep_message(void *user, mha_log_level level, const char *message) {
    struct tuning_log *log = user;
    (void)level;
    ++log->count;
    snprintf(log->last, sizeof(log->last), "%s", message);
}

struct log_target tuning_log_target(struct tuning_log *log) {
    return (struct log_target){keep_message, log};
}

struct config tuning_load(const char *path, struct tuning_log *log) {
    struct config config = {NULL, 0, 0};
    const struct log_target target = tuning_log_target(log);
    *log = (struct tuning_log){.count = 0};
    cr_assert(mha_config_load(&config, &tuning_allocator, true, path, NULL, &target));
    return config;
}

size_t tuning_count_entries(const char *folder) {
    struct tuning_log log;
    struct config config = tuning_load(folder, &log);
    size_t count = 0;
    for (size_t i = 0; i < config.count; ++i)
        count += !strcmp(config.entries[i].layer, "application");
    mha_config_release(&config, &tuning_allocator);
    cr_expect_eq(log.count, 0, "%s", log.last);
    return count;
}

const struct config_entry *tuning_find(const struct config *config, const struct shape *shape) {
    for (size_t i = 0; i < config->count; ++i) {
        const struct shape *other = &config->entries[i].shape;
        struct shape_position a = mha_shape_position(shape, 1), b = mha_shape_position(other, 1);
        if (!strcmp(config->entries[i].layer, "application") && mha_shape_is_kin(shape, other) &&
            mha_shape_distance(&a, &b) == 0)
            return &config->entries[i];
    }
    return NULL;
}

uint64_t tuning_random(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(0x2545f4914f6cdd1d) >> 16;
}
