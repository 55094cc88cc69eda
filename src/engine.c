/* In: mha_engine_desc. Out: an engine, reference-counted; plans hold references too. */
#include "engine.h"

#include "desc.h"
#include "program.h"

#include <string.h>
#include <unistd.h>

/* Of version 0.1: what every caller has. Never to change. */
#define FIRST_DESC_BYTES (offsetof(mha_engine_desc, kernel_dir) + sizeof(char *))
#define FIRST_INFO_BYTES (offsetof(mha_engine_info, programs_loaded) + sizeof(uint64_t))

#define ALL_ENGINE_FLAGS (MHA_ENGINE_HERMETIC | MHA_ENGINE_NO_DISK_CACHE | MHA_ENGINE_UNTUNED)

static mha_status check_desc(const mha_engine_desc *d, mha_error *error) {
    if (d->flags & ~ALL_ENGINE_FLAGS)
        return mha_fail(error, MHA_ERR_FLAGS,
                        "engine flags 0x%llx has bits that this version lacks",
                        (unsigned long long)d->flags);
    if (!d->context || !d->device)
        return mha_fail(error, MHA_ERR_NULL, "mha_engine_desc.%s is NULL",
                        d->context ? "device" : "context");
    if (!d->allocate != !d->release)
        return mha_fail(error, MHA_ERR_NULL, "mha_engine_desc.%s is NULL but %s is not",
                        d->allocate ? "release" : "allocate", d->allocate ? "allocate" : "release");
    if (!d->cache_load != !d->cache_store)
        return mha_fail(error, MHA_ERR_NULL, "mha_engine_desc.%s is NULL but %s is not",
                        d->cache_load ? "cache_store" : "cache_load",
                        d->cache_load ? "cache_load" : "cache_store");
    if (d->kernel_dir && (d->flags & MHA_ENGINE_HERMETIC))
        return mha_fail(error, MHA_ERR_FLAGS,
                        "kernel_dir is set but flags 0x%llx forbid reading files",
                        (unsigned long long)d->flags);
    if (d->cache_dir && (d->flags & (MHA_ENGINE_HERMETIC | MHA_ENGINE_NO_DISK_CACHE)))
        return mha_fail(error, MHA_ERR_FLAGS,
                        "cache_dir is set but flags 0x%llx forbid a cache on disk",
                        (unsigned long long)d->flags);
    if (d->tuning_path && (d->flags & MHA_ENGINE_HERMETIC))
        return mha_fail(error, MHA_ERR_FLAGS,
                        "tuning_path is set but flags 0x%llx forbid reading files",
                        (unsigned long long)d->flags);
    if ((d->tuning_path || d->tuning_text) && (d->flags & MHA_ENGINE_UNTUNED))
        return mha_fail(error, MHA_ERR_FLAGS, "%s is set but flags 0x%llx forbid tuning results",
                        d->tuning_path ? "tuning_path" : "tuning_text",
                        (unsigned long long)d->flags);
    return MHA_SUCCESS;
}

static mha_status check_context(const mha_engine_desc *d, const struct allocator *allocator,
                                mha_error *error) {
    size_t bytes = 0;
    cl_int code = clGetContextInfo(d->context, CL_CONTEXT_DEVICES, 0, NULL, &bytes);
    if (code)
        return mha_fail_code(error, MHA_ERR_CONTEXT, code,
                             "mha_engine_desc.context is no OpenCL context");
    cl_device_id *devices = mha_allocate_zeroed(allocator, bytes);
    if (!devices)
        return mha_fail(error, MHA_ERR_HOST_MEMORY, "no memory for a list of devices");
    code = clGetContextInfo(d->context, CL_CONTEXT_DEVICES, bytes, devices, NULL);
    bool is_found = false;
    for (size_t i = 0; i < bytes / sizeof(*devices); ++i)
        is_found |= devices[i] == d->device;
    mha_release(allocator, devices);
    if (code)
        return mha_fail_cl(error, code, "clGetContextInfo");
    if (!is_found)
        return mha_fail(error, MHA_ERR_CONTEXT,
                        "mha_engine_desc.device is not one of the context's %zu devices",
                        bytes / sizeof(*devices));
    return MHA_SUCCESS;
}

mha_status mha_engine_create(const mha_engine_desc *desc, mha_engine **engine, mha_error *error) {
    mha_engine_desc d;
    mha_status status;
    if (!engine)
        return mha_fail(error, MHA_ERR_NULL, "engine is NULL");
    *engine = NULL;
    if (!desc)
        return mha_fail(error, MHA_ERR_NULL, "desc is NULL");
    if ((status =
             mha_read_struct(&d, sizeof(d), FIRST_DESC_BYTES, desc, "mha_engine_desc", error)) ||
        (status = check_desc(&d, error)))
        return status;
    const struct allocator allocator = {d.allocate, d.release, d.allocator_user};
    if ((status = check_context(&d, &allocator, error)))
        return status;
    mha_engine *e = mha_allocate_zeroed(&allocator, sizeof(*e));
    if (!e)
        return mha_fail(error, MHA_ERR_HOST_MEMORY, "no memory for an engine (%zu bytes)",
                        sizeof(*e));
    atomic_init(&e->references, 1);
    e->pid = getpid();
    e->allocator = allocator;
    e->log = (struct log_target){d.log, d.log_user};
    pthread_mutex_init(&e->lock, NULL);
    if ((status = mha_device_query(d.device, &allocator, &e->caps, &e->device_identity, error)))
        goto fail;
    if (d.kernel_dir && !(e->kernel_dir = mha_copy_text(&allocator, d.kernel_dir))) {
        status = mha_fail(error, MHA_ERR_HOST_MEMORY, "no memory for kernel_dir");
        goto fail;
    }
    if ((status = mha_cache_init(&e->cache, &d, &e->allocator, &e->log, error)))
        goto fail;
    if (!(d.flags & MHA_ENGINE_UNTUNED) &&
        !mha_config_load(&e->config, &e->allocator, d.flags & MHA_ENGINE_HERMETIC, d.tuning_path,
                         d.tuning_text, &e->log)) {
        status = mha_fail(error, MHA_ERR_HOST_MEMORY, "no memory for tuning results");
        goto fail;
    }
    cl_int code = clRetainContext(d.context);
    if (code) {
        status = mha_fail_cl(error, code, "clRetainContext");
        goto fail;
    }
    e->context = d.context;
    if ((code = clRetainDevice(d.device))) {
        status = mha_fail_cl(error, code, "clRetainDevice");
        goto fail;
    }
    e->device = d.device;
    *engine = e;
    return mha_succeed(error);
fail:
    mha_engine_release(e);
    return status;
}

void mha_engine_retain(mha_engine *engine) {
    atomic_fetch_add(&engine->references, 1);
}

void mha_engine_release(mha_engine *engine) {
    if (atomic_fetch_sub(&engine->references, 1) != 1)
        return;
    mha_programs_release(engine);
    if (engine->context)
        clReleaseContext(engine->context);
    if (engine->device)
        clReleaseDevice(engine->device);
    mha_config_release(&engine->config, &engine->allocator);
    mha_cache_release(&engine->cache, &engine->allocator);
    mha_release(&engine->allocator, engine->device_identity);
    mha_release(&engine->allocator, engine->kernel_dir);
    mha_release(&engine->allocator, engine->build_log);
    pthread_mutex_destroy(&engine->lock);
    const struct allocator allocator = engine->allocator;
    mha_release(&allocator, engine);
}

void mha_engine_destroy(mha_engine **engine) {
    if (!engine || !*engine)
        return;
    mha_engine_release(*engine);
    *engine = NULL;
}

mha_status mha_engine_check(const mha_engine *engine, mha_error *error) {
    const pid_t pid = getpid();
    if (pid != engine->pid)
        return mha_fail(error, MHA_ERR_FORKED,
                        "the engine was made in process %ld; process %ld needs one of its own",
                        (long)engine->pid, (long)pid);
    return MHA_SUCCESS;
}

mha_status mha_engine_get_info(const mha_engine *engine, mha_engine_info *info, mha_error *error) {
    if (!engine || !info)
        return mha_fail(error, MHA_ERR_NULL, "%s is NULL", engine ? "info" : "engine");
    mha_engine_info full = {.struct_size = sizeof(full)};
    memcpy(full.device_name, engine->caps.name, sizeof(full.device_name));
    memcpy(full.platform_name, engine->caps.platform, sizeof(full.platform_name));
    memcpy(full.driver_version, engine->caps.driver, sizeof(full.driver_version));
    pthread_mutex_t *lock = (pthread_mutex_t *)&engine->lock;
    pthread_mutex_lock(lock);
    full.programs_compiled = engine->programs_compiled;
    full.programs_loaded = engine->programs_loaded;
    pthread_mutex_unlock(lock);
    return mha_write_struct(info, &full, sizeof(full), FIRST_INFO_BYTES, "mha_engine_info", error);
}

size_t mha_engine_build_log(const mha_engine *engine, char *text, size_t bytes) {
    if (!engine)
        return 0;
    pthread_mutex_t *lock = (pthread_mutex_t *)&engine->lock;
    pthread_mutex_lock(lock);
    const char *log = engine->build_log ? engine->build_log : "";
    const size_t full = strlen(log) + 1;
    if (text && bytes) {
        const size_t copied = full < bytes ? full : bytes;
        memcpy(text, log, copied);
        text[copied - 1] = 0;
    }
    pthread_mutex_unlock(lock);
    return full;
}
