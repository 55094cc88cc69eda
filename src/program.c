/* In: a selection. Out: a built cl_program, from memory, from the cache or from the compiler. */
#include "program.h"

#include "source.h"

#include <stdio.h>
#include <string.h>

/* Never -cl-fast-relaxed-math: it implies finite-only arithmetic, and masks are -inf. */
static const char build_options[] = "-cl-std=CL1.2";

static char *make_identity(const mha_engine *engine, const char *source) {
    static const char format[] = "mha-cl 1\n%s\n%s\n%s";
    const int bytes = snprintf(NULL, 0, format, engine->device_identity, build_options, source);
    char *identity = mha_allocate(&engine->allocator, (size_t)bytes + 1);
    if (identity)
        snprintf(identity, (size_t)bytes + 1, format, engine->device_identity, build_options,
                 source);
    return identity;
}

static cl_program load_program(mha_engine *engine, const char *identity) {
    size_t bytes = 0;
    unsigned char *binary = mha_cache_load(&engine->cache, &engine->allocator, identity, &bytes);
    if (!binary)
        return NULL;
    const unsigned char *binaries[] = {binary};
    cl_int code, binary_status;
    cl_program program = clCreateProgramWithBinary(engine->context, 1, &engine->device, &bytes,
                                                   binaries, &binary_status, &code);
    mha_release(&engine->allocator, binary);
    if (code || !program)
        return NULL;
    if (binary_status || clBuildProgram(program, 1, &engine->device, build_options, NULL, NULL)) {
        mha_log(&engine->log, MHA_LOG_WARNING, "a cached program was refused by %s; rebuilding it",
                engine->caps.name);
        clReleaseProgram(program);
        return NULL;
    }
    return program;
}

static void keep_build_log(mha_engine *engine, cl_program program) {
    size_t bytes = 0;
    clGetProgramBuildInfo(program, engine->device, CL_PROGRAM_BUILD_LOG, 0, NULL, &bytes);
    char *log = mha_allocate_zeroed(&engine->allocator, bytes + 1);
    if (!log)
        return;
    clGetProgramBuildInfo(program, engine->device, CL_PROGRAM_BUILD_LOG, bytes, log, NULL);
    mha_release(&engine->allocator, engine->build_log);
    engine->build_log = log;
    if (engine->log.function)
        engine->log.function(engine->log.user, MHA_LOG_ERROR, log);
}

static mha_status compile_program(mha_engine *engine, const char *variant, const char *source,
                                  cl_program *program, mha_error *error) {
    cl_int code;
    *program = clCreateProgramWithSource(engine->context, 1, &source, NULL, &code);
    if (code)
        return mha_fail_cl(error, code, "clCreateProgramWithSource");
    code = clBuildProgram(*program, 1, &engine->device, build_options, NULL, NULL);
    if (!code)
        return MHA_SUCCESS;
    keep_build_log(engine, *program);
    clReleaseProgram(*program);
    *program = NULL;
    if (code == CL_OUT_OF_HOST_MEMORY)
        return mha_fail_cl(error, code, "clBuildProgram");
    return mha_fail_code(error, MHA_ERR_BUILD, code,
                         "the compiler of %s failed on variant %s with OpenCL error %d: %.300s",
                         engine->caps.name, variant, (int)code,
                         engine->build_log ? engine->build_log : "");
}

static struct program *find_program(const mha_engine *engine, const char *identity) {
    for (struct program *p = engine->programs; p; p = p->next)
        if (p->identity && !strcmp(p->identity, identity))
            return p;
    return NULL;
}

mha_status mha_program_get(mha_engine *engine, const struct problem *problem,
                           const struct selection *selection, bool use_cache,
                           struct program **program, mha_error *error) {
    mha_status status = MHA_SUCCESS;
    char *identity = NULL;
    struct program *p = NULL;
    char *source;
    if ((status = mha_source_make(&engine->allocator, problem, selection->variant,
                                  &selection->tuning, engine->kernel_dir, &source, error)))
        return status;
    identity = make_identity(engine, source);
    p = mha_allocate_zeroed(&engine->allocator, sizeof(*p));
    /* Held while compiling: a second thread that wants the same program waits for it. */
    pthread_mutex_lock(&engine->lock);
    if (!identity || !p) {
        status = mha_fail(error, MHA_ERR_HOST_MEMORY, "no memory for a program");
        goto done;
    }
    if ((*program = find_program(engine, identity)))
        goto done;
    if (use_cache && (p->program = load_program(engine, identity))) {
        p->is_from_cache = p->is_stored = true;
        ++engine->programs_loaded;
    } else if ((status = compile_program(engine, selection->variant->name, source, &p->program,
                                         error))) {
        goto done;
    } else {
        ++engine->programs_compiled;
    }
    p->identity = identity;
    p->next = engine->programs;
    engine->programs = *program = p;
    identity = NULL;
    p = NULL;
done:
    pthread_mutex_unlock(&engine->lock);
    mha_release(&engine->allocator, p);
    mha_release(&engine->allocator, identity);
    mha_release(&engine->allocator, source);
    return status;
}

/* The binary for the engine's device; the program may be of a context with several. */
static unsigned char *get_binary(mha_engine *engine, cl_program program, size_t *bytes) {
    enum { MAX_DEVICES = 64 };
    cl_device_id devices[MAX_DEVICES];
    size_t sizes[MAX_DEVICES];
    unsigned char *binaries[MAX_DEVICES] = {NULL};
    cl_uint count = 0;
    if (clGetProgramInfo(program, CL_PROGRAM_NUM_DEVICES, sizeof(count), &count, NULL) ||
        count > MAX_DEVICES ||
        clGetProgramInfo(program, CL_PROGRAM_DEVICES, sizeof(devices), devices, NULL) ||
        clGetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof(sizes), sizes, NULL))
        return NULL;
    cl_uint own = 0;
    while (own < count && devices[own] != engine->device)
        ++own;
    if (own == count || !sizes[own])
        return NULL;
    /* NULL entries are skipped by the runtime: only this device's binary is copied. */
    *bytes = sizes[own];
    unsigned char *binary = binaries[own] = mha_allocate(&engine->allocator, *bytes);
    if (binary &&
        clGetProgramInfo(program, CL_PROGRAM_BINARIES, count * sizeof(*binaries), binaries, NULL)) {
        mha_release(&engine->allocator, binary);
        return NULL;
    }
    return binary;
}

void mha_program_store(mha_engine *engine, struct program *program) {
    pthread_mutex_lock(&engine->lock);
    /* Asking for a binary can make the runtime compile again: not without a use for it. */
    if (!program->is_stored && mha_cache_is_on(&engine->cache)) {
        size_t bytes;
        unsigned char *binary = get_binary(engine, program->program, &bytes);
        if (binary)
            mha_cache_store(&engine->cache, &engine->allocator, program->identity, binary, bytes);
        mha_release(&engine->allocator, binary);
        program->is_stored = true;
    }
    pthread_mutex_unlock(&engine->lock);
}

void mha_program_discard(mha_engine *engine, struct program *program) {
    pthread_mutex_lock(&engine->lock);
    /* It stays in the list: other plans may be about to use it. Only its name goes. */
    mha_release(&engine->allocator, program->identity);
    program->identity = NULL;
    program->is_stored = true;
    pthread_mutex_unlock(&engine->lock);
}

void mha_programs_release(mha_engine *engine) {
    while (engine->programs) {
        struct program *p = engine->programs;
        engine->programs = p->next;
        clReleaseProgram(p->program);
        mha_release(&engine->allocator, p->identity);
        mha_release(&engine->allocator, p);
    }
}
