/* The device that a worker measures. */
#ifndef TUNE_TARGET_H
#define TUNE_TARGET_H

#include "remote.h"

struct target {
    cl_device_id device;
    cl_context context;
    cl_command_queue queue; /* in order */
    mha_engine *engine;     /* without tuning results and without a cache on disk */
    struct device_caps caps;
    double cache_bytes, global_bytes; /* 0 where the driver does not say */
    struct device_rates rates;        /* 0 where they are not measured yet */
};

/* Calls `found` for each device that the library can run on. */
void target_list(void (*found)(void *user, const struct device_caps *caps, double cache_bytes),
                 void *user);

/* As remote_open() chooses. False with a reason. */
bool target_open(struct target *target, const char *name, char *why, size_t why_bytes);
void target_close(struct target *target); /* an all-zero one is ignored */

/* NULL with a reason; at least one byte, uninitialised. */
cl_mem target_buffer(const struct target *target, size_t bytes, char *why, size_t why_bytes);

/* Nanoseconds; any origin. */
double target_clock(void);

#endif
