/* Failing memory, a failing compiler, damaged caches: a clean status, nothing leaked, and the next
 * try works. */
#include "harness.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- Host memory that fails ----------------------------------------------------------------- */

struct heap {
    int calls, live;
    int fail_at;     /* the call that fails, counted from 1; 0: none */
    bool is_forever; /* and all after it */
};

static void *heap_allocate(void *user, size_t bytes) {
    struct heap *heap = user;
    ++heap->calls;
    if (heap->fail_at &&
        (heap->calls == heap->fail_at || (heap->is_forever && heap->calls > heap->fail_at)))
        return NULL;
    void *memory = malloc(bytes);
    heap->live += memory != NULL;
    return memory;
}

static void heap_release(void *user, void *memory) {
    struct heap *heap = user;
    heap->live -= memory != NULL;
    free(memory);
}

/* ---- A cache in memory ---------------------------------------------------------------------- */

#define MAX_ENTRIES 16

struct store {
    struct {
        char key[65];
        unsigned char *data;
        size_t bytes;
    } entries[MAX_ENTRIES];
    int count, loads, stores;
};

static size_t store_load(void *user, const char *key, void *data, size_t bytes) {
    struct store *store = user;
    ++store->loads;
    for (int n = 0; n < store->count; ++n)
        if (!strcmp(store->entries[n].key, key)) {
            const size_t full = store->entries[n].bytes;
            if (bytes)
                memcpy(data, store->entries[n].data, full < bytes ? full : bytes);
            return full;
        }
    return 0;
}

static void store_store(void *user, const char *key, const void *data, size_t bytes) {
    struct store *store = user;
    int n = 0;
    ++store->stores;
    cr_expect_eq(strspn(key, "0123456789abcdefABCDEF"), 64, "the key is \"%s\"", key);
    while (n < store->count && strcmp(store->entries[n].key, key))
        ++n;
    if (n == MAX_ENTRIES)
        return;
    free(store->entries[n].data);
    store->entries[n].data = malloc(bytes);
    store->entries[n].bytes = bytes;
    memcpy(store->entries[n].data, data, bytes);
    snprintf(store->entries[n].key, sizeof(store->entries[n].key), "%s", key);
    store->count += n == store->count;
}

static void store_release(struct store *store) {
    for (int n = 0; n < store->count; ++n)
        free(store->entries[n].data);
}

/* ---- Helpers -------------------------------------------------------------------------------- */

static mha_engine_desc make_desc(const struct test_device *device) {
    mha_engine_desc desc = MHA_ENGINE_DESC_INIT;
    desc.flags = MHA_ENGINE_HERMETIC;
    desc.context = device->context;
    desc.device = device->id;
    return desc;
}

static mha_engine *make_engine(const mha_engine_desc *desc) {
    mha_engine *engine = NULL;
    mha_error e;
    cr_assert_eq(mha_engine_create(desc, &engine, &e), MHA_SUCCESS, "%s", e.message);
    return engine;
}

static mha_attention_desc plain_desc(const char *variant) {
    mha_attention_desc desc = MHA_ATTENTION_DESC_INIT;
    desc.q_heads = desc.kv_heads = 2;
    desc.head_dim_qk = desc.head_dim_v = 16;
    desc.max_batch = 2;
    desc.max_seqlen_q = desc.max_seqlen_kv = 8;
    desc.variant = variant;
    return desc;
}

static mha_engine_info get_info(const mha_engine *engine) {
    mha_engine_info info = {.struct_size = sizeof(info)};
    cr_assert_eq(mha_engine_get_info(engine, &info, NULL), MHA_SUCCESS);
    return info;
}

static void make_plan(mha_engine *engine, const char *variant) {
    const mha_attention_desc desc = plain_desc(variant);
    mha_plan *plan = NULL;
    mha_error e;
    cr_assert_eq(mha_plan_create(engine, &desc, &plan, &e), MHA_SUCCESS, "%s", e.message);
    mha_plan_destroy(&plan);
}

static cl_uint context_references(const struct test_device *device) {
    cl_uint count = 0;
    device_check(
        clGetContextInfo(device->context, CL_CONTEXT_REFERENCE_COUNT, sizeof(count), &count, NULL),
        "clGetContextInfo");
    return count;
}

/* Mesa's rusticl lets go of a finished command in a thread of its own, a moment after the queue has
 * finished. */
static void expect_references(const struct test_device *device, cl_uint expected) {
    for (int waits = 0; waits < 2000 && context_references(device) != expected; ++waits)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    cr_expect_eq(context_references(device), expected, "references to the context leak");
}

/* ---- Tests ---------------------------------------------------------------------------------- */

/* Returns whether the failing call was reached. */
static bool fail_engine(const struct test_device *device, int fail_at, bool is_forever) {
    struct heap heap = {.fail_at = fail_at, .is_forever = is_forever};
    mha_engine_desc desc = make_desc(device);
    mha_engine *engine = (mha_engine *)&heap;
    mha_error e;
    desc.allocate = heap_allocate;
    desc.release = heap_release;
    desc.allocator_user = &heap;
    const mha_status status = mha_engine_create(&desc, &engine, &e);
    const bool is_reached = heap.calls >= fail_at;
    cr_expect_eq(status, is_reached ? MHA_ERR_HOST_MEMORY : MHA_SUCCESS, "allocation %d: %s",
                 fail_at, e.message);
    cr_expect_eq(!engine, status != MHA_SUCCESS);
    mha_engine_destroy(&engine);
    cr_expect_eq(heap.live, 0, "allocation %d fails: %d blocks leak", fail_at, heap.live);
    return is_reached;
}

static bool fail_plan(const struct test_device *device, int fail_at, bool is_forever) {
    struct heap heap = {0};
    struct store store = {.count = 0};
    mha_engine_desc desc = make_desc(device);
    desc.allocate = heap_allocate;
    desc.release = heap_release;
    desc.allocator_user = &heap;
    desc.cache_load = store_load;
    desc.cache_store = store_store;
    desc.cache_user = &store;
    mha_engine *engine = make_engine(&desc);
    const mha_attention_desc plan_desc = plain_desc("reference");
    mha_plan *plan = (mha_plan *)&heap;
    mha_error e;
    heap.calls = 0;
    heap.fail_at = fail_at;
    heap.is_forever = is_forever;
    const mha_status status = mha_plan_create(engine, &plan_desc, &plan, &e);
    const bool is_reached = heap.calls >= fail_at;
    /* A failure in the cache only costs a later compilation. */
    cr_expect(status == MHA_SUCCESS || (is_reached && status == MHA_ERR_HOST_MEMORY),
              "allocation %d: %s: %s", fail_at, mha_status_name(status), e.message);
    cr_expect_eq(!plan, status != MHA_SUCCESS);
    heap.fail_at = 0;
    mha_plan_destroy(&plan);
    make_plan(engine, "reference");
    mha_engine_destroy(&engine);
    cr_expect_eq(heap.live, 0, "allocation %d fails: %d blocks leak", fail_at, heap.live);
    store_release(&store);
    return is_reached;
}

Test(misuse, host_memory_fails, .timeout = 600) {
    struct test_device device;
    device_open(&device);
    const cl_uint references = context_references(&device);
    for (int forever = 0; forever < 2; ++forever) {
        int k = 1;
        while (fail_engine(&device, k, forever))
            ++k;
        cr_expect_gt(k, 1, "the engine made no allocation through desc.allocate");
        for (k = 1; fail_plan(&device, k, forever);)
            ++k;
        cr_expect_gt(k, 1, "the plan made no allocation through desc.allocate");
    }
    expect_references(&device, references);
    device_close(&device);
}

Test(misuse, program_cache) {
    struct test_device device;
    struct store store = {.count = 0};
    device_open(&device);
    mha_engine_desc desc = make_desc(&device);
    desc.cache_load = store_load;
    desc.cache_store = store_store;
    desc.cache_user = &store;
    mha_engine *engine = make_engine(&desc);
    make_plan(engine, "reference");
    make_plan(engine, "reference");
    cr_expect_eq(get_info(engine).programs_compiled, 1, "an equal plan compiled again");
    cr_expect_eq(store.count, 1);
    mha_engine_destroy(&engine);

    engine = make_engine(&desc);
    make_plan(engine, "reference");
    cr_expect_eq(get_info(engine).programs_compiled, 0, "compiled in spite of the cache");
    cr_expect_eq(get_info(engine).programs_loaded, 1);
    mha_engine_destroy(&engine);

    /* A bit flipped anywhere, or an end cut off: rebuilt, stored anew. */
    cr_assert_gt(store.count, 0);
    for (size_t n = 0; n < 24; ++n) {
        const size_t bytes = store.entries[0].bytes; /* not the same for every build everywhere */
        const size_t at = n < 20 ? bytes * n / 20 : 0;
        if (n < 20)
            store.entries[0].data[at] ^= 1;
        else
            store.entries[0].bytes = bytes * (n - 20) / 4;
        engine = make_engine(&desc);
        make_plan(engine, "reference");
        cr_expect_eq(get_info(engine).programs_compiled, 1, "damage %zu was not seen", n);
        mha_engine_destroy(&engine);
        engine = make_engine(&desc);
        make_plan(engine, "reference");
        cr_expect_eq(get_info(engine).programs_loaded, 1, "damage %zu was not repaired", n);
        mha_engine_destroy(&engine);
    }
    store_release(&store);
    device_close(&device);
}

static int count_files(const char *folder, bool is_removed) {
    int count = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char path[600];
        if (entry->d_name[0] == '.')
            continue;
        ++count;
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        if (is_removed)
            unlink(path);
    }
    if (dir)
        closedir(dir);
    return count;
}

Test(misuse, disk_cache) {
    struct test_device device;
    struct stat status;
    char root[] = "mha-test-XXXXXX", folder[64];
    device_open(&device);
    cr_assert_not_null(mkdtemp(root));
    snprintf(folder, sizeof(folder), "%s/cache", root);
    mha_engine_desc desc = make_desc(&device);
    desc.flags = 0;
    desc.cache_dir = folder;
    for (int n = 0; n < 2; ++n) {
        mha_engine *engine = make_engine(&desc);
        make_plan(engine, "reference");
        cr_expect_eq(get_info(engine).programs_compiled, n == 0 ? 1 : 0);
        cr_expect_eq(get_info(engine).programs_loaded, n == 0 ? 0 : 1);
        mha_engine_destroy(&engine);
    }
    cr_expect(!stat(folder, &status) && (status.st_mode & 0777) == 0700);
    cr_expect_eq(count_files(folder, true), 1);

    /* A folder that others may write, or that can't be made, is only no cache. */
    chmod(folder, 0777);
    mha_engine *engine = make_engine(&desc);
    make_plan(engine, "reference");
    cr_expect_eq(count_files(folder, true), 0, "wrote to a folder that others can write");
    mha_engine_destroy(&engine);
    desc.cache_dir = "/dev/null/nowhere";
    engine = make_engine(&desc);
    make_plan(engine, "reference");
    mha_engine_destroy(&engine);
    rmdir(folder);
    rmdir(root);
    device_close(&device);
}

struct log {
    int counts[3];
};

static void count_message(void *user, mha_log_level level, const char *message) {
    struct log *log = user;
    cr_expect(message && message[0]);
    ++log->counts[level];
}

/* Kernels that do not compile: every .cl file is one line that is no OpenCL C. */
static void write_bad_kernels(const char *folder) {
    DIR *dir = opendir(TEST_KERNEL_DIR);
    cr_assert_not_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));) {
        char path[600];
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        FILE *file = entry->d_name[0] == '.' ? NULL : fopen(path, "w");
        if (!file)
            continue;
        fputs("this_is_no_kernel;\n", file);
        fclose(file);
    }
    closedir(dir);
}

Test(misuse, kernel_dir) {
    struct test_device device;
    struct log log = {{0}};
    char bad[] = "mha-test-XXXXXX", text[4096] = "", part[8];
    mha_error e;
    device_open(&device);
    cr_assert_not_null(mkdtemp(bad));
    write_bad_kernels(bad);
    mha_engine_desc desc = make_desc(&device);
    desc.flags = MHA_ENGINE_NO_DISK_CACHE;
    desc.log = count_message;
    desc.log_user = &log;
    desc.kernel_dir = TEST_KERNEL_DIR;
    mha_engine *engine = make_engine(&desc);
    make_plan(engine, "reference");
    cr_expect_eq(log.counts[MHA_LOG_ERROR], 0);
    mha_engine_destroy(&engine);

    desc.kernel_dir = bad;
    engine = make_engine(&desc);
    for (int n = 0; n < 2; ++n) { /* by name, and by selection, which tries every variant */
        const mha_attention_desc plan_desc = plain_desc(n ? NULL : "reference");
        mha_plan *plan = (mha_plan *)&e;
        cr_expect_eq(mha_plan_create(engine, &plan_desc, &plan, &e), MHA_ERR_BUILD, "%s",
                     e.message);
        cr_expect_null(plan);
        cr_expect_neq(e.cl_error, CL_SUCCESS);
    }
    cr_expect_gt(log.counts[MHA_LOG_ERROR], 0, "the build log was not logged");
    const size_t bytes = mha_engine_build_log(engine, text, sizeof(text));
    cr_expect_gt(bytes, 1);
    cr_expect_eq(strlen(text) + 1, bytes < sizeof(text) ? bytes : sizeof(text));
    cr_expect_eq(mha_engine_build_log(engine, part, sizeof(part)), bytes);
    cr_expect(!strncmp(part, text, sizeof(part) - 1) && !part[sizeof(part) - 1]);
    mha_engine_destroy(&engine);
    count_files(bad, true);

    engine = make_engine(&desc); /* now an empty folder */
    const mha_attention_desc plan_desc = plain_desc(NULL);
    mha_plan *plan = (mha_plan *)&e;
    cr_expect_neq(mha_plan_create(engine, &plan_desc, &plan, &e), MHA_SUCCESS);
    cr_expect(!plan && e.message[0]);
    mha_engine_destroy(&engine);
    rmdir(bad);
    device_close(&device);
}
