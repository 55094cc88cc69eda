/* One (context, device): its facts, its tuning results, its compiled programs, its cache. */
#ifndef MHA_ENGINE_H
#define MHA_ENGINE_H

#include "allocator.h"
#include "cache.h"
#include "config.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

struct program; /* program.c */

struct mha_engine {
    atomic_int references;
    pid_t pid; /* of the process that made it: OpenCL does not survive a fork */
    struct allocator allocator;
    struct log_target log;
    struct cache cache;
    char *kernel_dir; /* NULL: embedded texts */
    cl_context context;
    cl_device_id device;
    struct device_caps caps;
    char *device_identity; /* device, driver and platform, in full */
    struct config config;  /* tuning results; immutable */

    pthread_mutex_t lock; /* guards what follows */
    struct program *programs;
    char *build_log;
    uint64_t programs_compiled, programs_loaded;
};

void mha_engine_retain(mha_engine *engine);
void mha_engine_release(mha_engine *engine);

/* MHA_ERR_FORKED in a child of the process that made the engine. */
mha_status mha_engine_check(const mha_engine *engine, mha_error *error);

#endif
