/* What needs no device: validation, selection, dispatch sizes, tile sizes, program texts, the
 * cache. */
#include "cache.h"
#include "launch.h"
#include "select.h"
#include "source.h"
#include "tiles.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static mha_attention_desc vit(void) {
    mha_attention_desc desc = MHA_ATTENTION_DESC_INIT;
    desc.q_heads = desc.kv_heads = 12;
    desc.head_dim_qk = desc.head_dim_v = 64;
    desc.max_batch = 4;
    desc.max_seqlen_q = desc.max_seqlen_kv = 197;
    return desc;
}

static struct problem problem_of(const mha_attention_desc *desc) {
    struct problem problem;
    mha_error error;
    cr_assert_eq(mha_attention_problem_init(&problem, desc, &error), MHA_SUCCESS, "%s",
                 error.message);
    return problem;
}

/* Devices that the table of `devices` makes up: nobody here has them. */
static const struct {
    const char *name;
    bool is_cpu;
    cl_uint units, vector;
    size_t work_group;
    cl_ulong local_bytes;
} devices[] = {
    {"server CPU", true, 64, 16, 8192, 256 << 10}, {"phone CPU", true, 8, 4, 1024, 32 << 10},
    {"llvmpipe", true, 8, 1, 1024, 64 << 10},      {"Apple CPU", true, 8, 4, 1, 32 << 10},
    {"desktop GPU", false, 80, 1, 1024, 48 << 10}, {"Mali", false, 12, 4, 256, 32 << 10},
    {"Adreno", false, 6, 1, 128, 16 << 10},        {"tiny GPU", false, 1, 1, 64, 16 << 10},
    {"AVX2 CPU", true, 8, 8, 4096, 32 << 10},
};
#define DEVICE_COUNT (sizeof(devices) / sizeof(*devices))

static struct device_caps caps_of(size_t i) {
    struct device_caps caps = {
        .is_cpu = devices[i].is_cpu,
        .has_fp64 = true,
        .compute_units = devices[i].units,
        .clock_mhz = 1000,
        .float_vector = devices[i].vector,
        .max_work_group = devices[i].work_group,
        .max_work_item = devices[i].work_group,
        .local_bytes = devices[i].local_bytes,
        .max_alloc_bytes = (cl_ulong)1 << 30,
        .address_bits = 64,
        .max_loops = INFINITY,
    };
    snprintf(caps.name, sizeof(caps.name), "%s", devices[i].name);
    return caps;
}

Test(unit, every_device_gets_a_legal_fused_variant) {
    static const int head_dims[] = {1, 16, 21, 32, 64, 72, 80, 96, 128, 192, 203, 256};
    static const int lengths[] = {1, 3, 63, 64, 65, 197, 1023, 4096};
    int count = 0;
    for (size_t d = 0; d < DEVICE_COUNT; ++d)
        for (size_t h = 0; h < sizeof(head_dims) / sizeof(*head_dims); ++h)
            for (size_t n = 0; n < sizeof(lengths) / sizeof(*lengths); ++n)
                for (int dtype = MHA_F32; dtype <= MHA_F64; ++dtype) {
                    ++count;
                    const struct device_caps caps = caps_of(d);
                    mha_attention_desc desc = vit();
                    struct selection selection;
                    mha_error error;
                    char why[200] = "";
                    desc.dtype = (mha_dtype)dtype;
                    desc.head_dim_qk = desc.head_dim_v = head_dims[h];
                    desc.max_seqlen_q = desc.max_seqlen_kv = lengths[n];
                    const struct problem problem = problem_of(&desc);
                    cr_assert_eq(mha_select(&problem, &caps, NULL, 0, &selection, &error),
                                 MHA_SUCCESS, "%s", error.message);
                    cr_assert(selection.variant->legal(&problem, &caps, &selection.tuning, why,
                                                       sizeof(why)),
                              "%s", why);
                    /* A tile of any use does not fit less local memory than this. */
                    if (devices[d].local_bytes < 32 << 10 ||
                        head_dims[h] > (dtype == MHA_F64 ? 64 : 192))
                        continue;
                    cr_expect(strcmp(selection.variant->name, "reference") &&
                                  strcmp(selection.variant->name, "staged"),
                              "%s, dtype %d, head_dim %d: %s (%s)", devices[d].name, dtype,
                              head_dims[h], selection.variant->name, selection.reason);
                }
    printf("%d selections on %zu devices\n", count, DEVICE_COUNT);
}

/* Only what must be copied is cut to what local memory holds. */
Test(unit, rows_read_where_they_lie_are_not_cut_smaller) {
    const struct variant *variant = mha_variant_find(OPERATION_LINEAR, "gemm_panel");
    const struct device_caps caps = caps_of(DEVICE_COUNT - 1);
    for (int dtype = MHA_F32; dtype <= MHA_F16; ++dtype) {
        mha_linear_desc desc = MHA_LINEAR_DESC_INIT;
        struct problem problem;
        struct tuning tuning;
        mha_error error;
        desc.dtype = desc.weight_dtype = (mha_dtype)dtype;
        desc.in_features = 1024, desc.out_features = 3072, desc.max_rows = 512;
        cr_assert_eq(mha_linear_problem_init(&problem, &desc, &error), MHA_SUCCESS, "%s",
                     error.message);
        variant->heuristic(&problem, &caps, &tuning);
        cr_expect_eq(tuning.value[BLOCK_K] < 768, dtype == MHA_F16, "dtype %d: BLOCK_K %d", dtype,
                     tuning.value[BLOCK_K]);
    }
}

/* Of a layer's projection to q, k and v a panel is whole heads, also where a result of the tuner,
 * which knows no heads, has others. */
Test(unit, panels_of_a_layer_are_whole_heads) {
    const struct variant *variant = mha_variant_find(OPERATION_LINEAR, "gemm_panel");
    const struct device_caps caps = caps_of(0);
    struct problem problem = {
        .operation = OPERATION_LINEAR,
        .flags = MHA_LINEAR_PACKED,
        .rows = 197,
        .in_features = 768,
        .out_features = 2304,
        .segments = {{12, 64}, {12, 64}, {12, 64}},
    };
    struct tuning tuning, tuned = {{0}};
    variant->heuristic(&problem, &caps, &tuning);
    cr_expect_eq(tuning.value[VEC] * tuning.value[PANEL_VECTORS], 64);
    tuned.value[VEC] = 16, tuned.value[PANEL_VECTORS] = 2, tuned.value[MICRO_M] = 12;
    tuned.value[BLOCK_M] = 48, tuned.value[BLOCK_N] = 192, tuned.value[BLOCK_K] = 768;
    mha_tuning_fit(variant, &problem, &tuned);
    char why[200] = "";
    cr_expect_eq(tuned.value[PANEL_VECTORS], 4);
    cr_expect_eq(tuned.value[MICRO_M], 6);
    cr_expect(variant->legal(&problem, &caps, &tuned, why, sizeof(why)), "%s", why);
    problem.flags = 0; /* packed by each call */
    variant->heuristic(&problem, &caps, &tuning);
    cr_expect_eq(tuning.value[PANEL_VECTORS], 3);
}

Test(unit, every_device_gets_a_legal_projection) {
    static const int sizes[] = {1, 7, 64, 197, 768, 3072};
    enum { SIZES = sizeof(sizes) / sizeof(*sizes) };
    for (size_t d = 0; d < DEVICE_COUNT; ++d)
        for (int n = 0; n < SIZES * SIZES * SIZES; ++n)
            for (int dtype = MHA_F32; dtype <= MHA_F64; ++dtype) {
                const struct device_caps caps = caps_of(d);
                mha_linear_desc desc = MHA_LINEAR_DESC_INIT;
                struct problem problem;
                struct selection selection;
                mha_error error;
                char why[200] = "";
                desc.dtype = desc.weight_dtype = (mha_dtype)dtype;
                desc.max_rows = sizes[n % SIZES];
                desc.in_features = sizes[n / SIZES % SIZES];
                desc.out_features = sizes[n / SIZES / SIZES];
                cr_assert_eq(mha_linear_problem_init(&problem, &desc, &error), MHA_SUCCESS, "%s",
                             error.message);
                cr_assert_eq(mha_select(&problem, &caps, NULL, 0, &selection, &error), MHA_SUCCESS,
                             "%s", error.message);
                const struct variant *variant = selection.variant;
                cr_assert(variant->legal(&problem, &caps, &selection.tuning, why, sizeof(why)),
                          "%s", why);
                cr_expect_str_neq(variant->name, "gemm_reference", "%s: %s", devices[d].name,
                                  selection.reason);
            }
}

/* The variant chosen for weights or scores of so many keys. */
static const char *variant_of_scores(const struct device_caps *caps, mha_scores_stage stage,
                                     int32_t seqlen_kv) {
    mha_attention_desc desc = vit();
    desc.flags = MHA_SCORES;
    desc.scores_stage = stage;
    desc.max_seqlen_kv = seqlen_kv;
    const struct problem problem = problem_of(&desc);
    struct selection selection;
    cr_assert_eq(mha_select(&problem, caps, NULL, 0, &selection, NULL), MHA_SUCCESS);
    return selection.variant->name;
}

/* Weights of one tile are a by-product of panel; whatever else is staged's. */
Test(unit, scores_go_to_staged) {
    for (size_t d = 0; d < DEVICE_COUNT; ++d) {
        const struct device_caps caps = caps_of(d);
        const bool is_panel = caps.is_cpu && caps.float_vector > 1;
        cr_expect_str_eq(variant_of_scores(&caps, MHA_STAGE_WEIGHTS, 50),
                         is_panel ? "panel" : "staged", "%s", devices[d].name);
        cr_expect_str_eq(variant_of_scores(&caps, MHA_STAGE_WEIGHTS, 1 << 20), "staged");
        cr_expect_str_eq(variant_of_scores(&caps, MHA_STAGE_SCALED, 50), "staged");
        cr_expect_str_eq(variant_of_scores(&caps, MHA_STAGE_WEIGHTS, 0),
                         is_panel ? "panel" : "staged");
    }
}

Test(unit, few_queries_share_out_the_keys) {
    mha_attention_desc desc = vit();
    desc.max_batch = 1;
    desc.max_seqlen_q = 1;
    desc.max_seqlen_kv = 4096;
    for (size_t d = 0; d < DEVICE_COUNT; ++d) {
        const struct problem problem = problem_of(&desc);
        const struct device_caps caps = caps_of(d);
        struct selection selection;
        cr_assert_eq(mha_select(&problem, &caps, NULL, 0, &selection, NULL), MHA_SUCCESS);
        if (12 < 8 * (int)devices[d].units)
            cr_expect(strstr(selection.variant->name, "_split"), "%s: %s", devices[d].name,
                      selection.variant->name);
    }
}

Test(unit, workspace_limit_chunks_the_heads) {
    mha_attention_desc desc = vit();
    desc.variant = "staged";
    desc.workspace_limit_bytes = 197 * 197 * 4 * 5;
    const struct problem problem = problem_of(&desc);
    const struct device_caps caps = caps_of(0);
    struct selection selection;
    cr_assert_eq(mha_select(&problem, &caps, NULL, 0, &selection, NULL), MHA_SUCCESS);
    cr_expect_eq(selection.variant->workspace_bytes(&problem, &caps, &selection.tuning),
                 desc.workspace_limit_bytes);
    /* 48 heads, 5 at a time: 10 chunks of 3 kernels, each pair once. */
    struct launch launch;
    union kernel_args args;
    mha_kernel_args_init(&problem, &args);
    int64_t launches = 0, pairs = 0;
    while (selection.variant->launch(&problem, &problem, &caps, &selection.tuning, launches,
                                     &launch, &args)) {
        pairs += launch.kernel == 0 ? args.attention.chunk_pairs : 0;
        ++launches;
    }
    cr_expect_eq(launches, 30);
    cr_expect_eq(pairs, 48);

    desc.workspace_limit_bytes = 197 * 197 * 4 - 1;
    const struct problem too_small = problem_of(&desc);
    mha_error error;
    cr_expect_eq(mha_select(&too_small, &caps, NULL, 0, &selection, &error), MHA_ERR_VARIANT);
    cr_expect(strstr(error.message, "155235"), "%s", error.message);
}

Test(unit, long_dispatches_are_cut) {
    const struct device_caps gpu = caps_of(4);
    const struct variant *variant = mha_variant_find(OPERATION_ATTENTION, "flash");
    struct launch launch = {.blocks = 1000000, .local_size = 256, .flops = 1e9};
    cr_expect_eq(mha_blocks_per_dispatch(&gpu, variant, &launch), 1000000);
    launch.flops = 1e14; /* about a hundred seconds at the rate that is assumed */
    const int64_t blocks = mha_blocks_per_dispatch(&gpu, variant, &launch);
    cr_expect(blocks >= 1 && blocks < 10000, "%lld", (long long)blocks);
    launch.blocks = 1;
    cr_expect_eq(mha_blocks_per_dispatch(&gpu, variant, &launch), 1);
    /* A CPU has no watchdog. */
    const struct device_caps cpu = caps_of(0);
    cr_assert(cpu.is_cpu);
    launch = (struct launch){.blocks = 60000, .local_size = 1, .flops = 1e14};
    cr_expect_eq(mha_blocks_per_dispatch(&cpu, variant, &launch), 60000);
    launch.blocks = 70000; /* but PoCL would compile anew */
    cr_expect_eq(mha_blocks_per_dispatch(&cpu, variant, &launch), 65534);
}

__extension__ typedef __int128 wide_int;

/* 128-bit arithmetic decides what fits. */
Test(unit, products_match_wide_arithmetic) {
    uint64_t state = 88172645463325252u;
    for (int i = 0; i < 10000000; ++i) {
        int64_t value[3], result = -1;
        for (int j = 0; j < 3; ++j) {
            state ^= state << 13, state ^= state >> 7, state ^= state << 17;
            value[j] = (int64_t)(state >> 1 >> (state % 63));
        }
        const wide_int wide = (wide_int)value[1] * value[2] + value[0];
        const bool fits = wide <= INT64_MAX;
        cr_assert_eq(mha_add_product(&result, value[0], value[1], value[2]), fits);
        cr_assert(!fits || result == (int64_t)wide);
    }
}

Test(unit, sizes_are_refused_or_right) {
    uint64_t state = 42;
    for (int i = 0; i < 200000; ++i) {
        int64_t value[7];
        for (int j = 0; j < 7; ++j) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            value[j] = (int64_t)state >> (state >> 58);
        }
        mha_attention_desc desc = MHA_ATTENTION_DESC_INIT;
        desc.q_heads = value[0], desc.kv_heads = value[1];
        desc.head_dim_qk = value[2], desc.head_dim_v = value[3];
        desc.max_batch = value[4], desc.max_seqlen_q = value[5], desc.max_seqlen_kv = value[6];
        struct problem problem;
        mha_error error;
        const mha_status status = mha_attention_problem_init(&problem, &desc, &error);
        if (status) {
            cr_assert(status == MHA_ERR_SHAPE || status == MHA_ERR_OVERFLOW);
            cr_assert(error.message[0]);
            continue;
        }
        for (size_t v = 0; v < mha_variant_count; ++v) {
            const struct device_caps caps = caps_of(0);
            struct tuning tuning;
            char why[200];
            mha_variants[v]->heuristic(&problem, &caps, &tuning);
            if (mha_variants[v]->legal(&problem, &caps, &tuning, why, sizeof(why)))
                mha_variants[v]->workspace_bytes(&problem, &caps, &tuning);
        }
    }
}

Test(unit, program_text_holds_values_and_files) {
    const struct allocator allocator = {NULL, NULL, NULL};
    const struct device_caps caps = caps_of(0);
    mha_attention_desc desc = vit();
    desc.dtype = MHA_BF16;
    const struct problem problem = problem_of(&desc);
    for (size_t v = 0; v < mha_variant_count; ++v) {
        struct tuning tuning;
        mha_variants[v]->heuristic(&problem, &caps, &tuning);
        char *text;
        cr_assert_eq(
            mha_source_make(&allocator, &problem, mha_variants[v], &tuning, NULL, &text, NULL),
            MHA_SUCCESS);
        cr_expect(strstr(text, "#define DTYPE 2\n"));
        for (size_t i = 0; mha_variants[v]->files[i]; ++i) {
            char line[128];
            snprintf(line, sizeof(line), "#line 1 \"%s\"\n", mha_variants[v]->files[i]);
            cr_expect(strstr(text, line), "%s lacks %s", mha_variants[v]->name, line);
        }
        free(text);
    }
    mha_error error;
    char *text;
    cr_expect_eq(mha_source_make(&allocator, &problem, mha_variants[0], &(struct tuning){{0}},
                                 "/nowhere", &text, &error),
                 MHA_ERR_BUILD);
    cr_expect_null(text);
    cr_expect(strstr(error.message, "/nowhere"), "%s", error.message);
}

Test(unit, blocks_are_even) {
    static const struct {
        int length, most, step, block;
    } cases[] = {
        {1152, 288, 32, 288}, /* as they are */
        {1152, 256, 32, 192}, /* six, not four of 256 and a half one */
        {1100, 288, 32, 288}, /* 1152 are near enough */
        {257, 48, 12, 24},    /* eleven whole ones, not six of 48 with a third of one */
        {257, 208, 12, 132},  /* two of 132, not one of 208 and a quarter one */
        {224, 128, 32, 128},  /* nothing is near enough: the fewest */
        {5, 64, 8, 8},        {0, 64, 8, 8}, {100, 0, 8, 8},
    };
    for (size_t n = 0; n < sizeof(cases) / sizeof(*cases); ++n)
        cr_expect_eq(mha_even_block(cases[n].length, cases[n].most, cases[n].step), cases[n].block,
                     "%d in blocks of at most %d: %d, not %d", cases[n].length, cases[n].most,
                     mha_even_block(cases[n].length, cases[n].most, cases[n].step), cases[n].block);
    for (int length = 1; length < 1200; ++length)
        for (int step = 1; step <= 48; step += 1 + step / 2)
            for (int most = step; most <= 512; most += 7) {
                const int block = mha_even_block(length, most, step);
                cr_assert(block % step == 0 && block > 0 && block <= mha_round_up(most, step),
                          "%d of %d for %d: %d", step, most, length, block);
                cr_assert_eq(mha_even_block(length, block, step), block);
                const int blocks = (length + block - 1) / block, steps = (length + step - 1) / step;
                const int largest = most / step * step, fewest = (length + largest - 1) / largest;
                cr_assert(16 * (blocks * block / step - steps) <= steps || blocks <= fewest,
                          "%d of %d for %d: %d", step, most, length, block);
            }
}

/* ---- Cache --------------------------------------------------------------------------------- */

static const struct allocator plain_allocator = {NULL, NULL, NULL};
static const struct log_target no_log = {NULL, NULL};

static struct cache cache_in(const char *dir) {
    mha_engine_desc desc = MHA_ENGINE_DESC_INIT;
    struct cache cache;
    desc.cache_dir = dir;
    cr_assert_eq(mha_cache_init(&cache, &desc, &plain_allocator, &no_log, NULL), MHA_SUCCESS);
    return cache;
}

static void make_dir(char path[64]) {
    strcpy(path, "/tmp/mha-cl-test-XXXXXX");
    cr_assert(mkdtemp(path));
}

static void find_entry(const char *dir, char path[512]) {
    char command[256];
    snprintf(command, sizeof(command), "ls %s/*.bin", dir);
    FILE *list = popen(command, "r");
    cr_assert(list && fgets(path, 512, list));
    path[strcspn(path, "\n")] = 0;
    pclose(list);
}

Test(unit, cache_survives_every_truncation_and_bit) {
    char dir[64], path[512];
    unsigned char binary[100], entry[1000];
    size_t bytes = 0;
    make_dir(dir);
    struct cache cache = cache_in(dir);
    for (size_t i = 0; i < sizeof(binary); ++i)
        binary[i] = (unsigned char)(i * 37);
    cr_assert_null(mha_cache_load(&cache, &plain_allocator, "device A", &bytes));
    mha_cache_store(&cache, &plain_allocator, "device A", binary, sizeof(binary));
    unsigned char *loaded = mha_cache_load(&cache, &plain_allocator, "device A", &bytes);
    cr_assert(loaded && bytes == sizeof(binary) && !memcmp(loaded, binary, bytes));
    free(loaded);
    cr_assert_null(mha_cache_load(&cache, &plain_allocator, "device B", &bytes));

    find_entry(dir, path);
    FILE *file = fopen(path, "rb");
    const size_t entry_bytes = fread(entry, 1, sizeof(entry), file);
    fclose(file);
    for (size_t cut = 0; cut < entry_bytes; ++cut) {
        file = fopen(path, "wb");
        fwrite(entry, 1, cut, file);
        fclose(file);
        cr_assert_null(mha_cache_load(&cache, &plain_allocator, "device A", &bytes),
                       "cut to %zu bytes", cut);
    }
    for (size_t bit = 0; bit < 8 * entry_bytes; ++bit) {
        entry[bit / 8] ^= (unsigned char)(1 << bit % 8);
        file = fopen(path, "wb");
        fwrite(entry, 1, entry_bytes, file);
        fclose(file);
        entry[bit / 8] ^= (unsigned char)(1 << bit % 8);
        cr_assert_null(mha_cache_load(&cache, &plain_allocator, "device A", &bytes), "bit %zu",
                       bit);
    }
    /* A FIFO or a link in the entry's place is neither waited for nor followed. */
    unlink(path);
    cr_assert_eq(mkfifo(path, 0600), 0);
    cr_assert_null(mha_cache_load(&cache, &plain_allocator, "device A", &bytes));
    unlink(path);
    cr_assert_eq(symlink("/dev/zero", path), 0);
    cr_assert_null(mha_cache_load(&cache, &plain_allocator, "device A", &bytes));
    mha_cache_store(&cache, &plain_allocator, "device A", binary, sizeof(binary));
    loaded = mha_cache_load(&cache, &plain_allocator, "device A", &bytes);
    cr_expect(loaded);
    free(loaded);
    unlink(path);
    rmdir(dir);
    mha_cache_release(&cache, &plain_allocator);
}

Test(unit, cache_refuses_folders_of_others) {
    char dir[64];
    make_dir(dir);
    chmod(dir, 0777);
    struct cache open_to_all = cache_in(dir);
    cr_expect_not(mha_cache_is_on(&open_to_all));
    struct cache nowhere = cache_in("/proc/no/such/folder");
    cr_expect_not(mha_cache_is_on(&nowhere));
    chmod(dir, 0700);
    struct cache own = cache_in(dir);
    cr_expect(mha_cache_is_on(&own));
    mha_cache_release(&own, &plain_allocator);
    rmdir(dir);
}
