/* The OpenCL device under test, and an engine on it.
 *
 * MHA_TEST_DEVICE: a part of the platform's or the device's name; without it, the first device
 * found. Criterion gives every test a process of its own, so each test opens the device itself. */
#ifndef TESTS_DEVICE_H
#define TESTS_DEVICE_H

#include "mha_cl.h"

#include <stdbool.h>

struct test_device {
    cl_platform_id platform;
    cl_device_id id;
    cl_context context;
    cl_command_queue queue, out_of_order; /* out_of_order: NULL where the device has none */
    bool has_fp64;
    char name[256]; /* of the device and its platform */
    mha_engine *engine;
};

/* Skips the running Criterion test where there is no device, fails it where MHA_TEST_DEVICE names
 * none or OpenCL fails. */
void device_open(struct test_device *device);
void device_close(struct test_device *device);

/* An engine that touches neither files nor environment and logs to stderr. */
mha_engine *device_make_engine(const struct test_device *device);
/* The same with tuning results. */
mha_engine *device_make_tuned_engine(const struct test_device *device, const char *text);

/* MHA_TEST_REDUCED=1: tiny sizes and few combinations, for simulators and slow devices. */
bool device_is_slow(void);

/* Fails the running test with the call's name unless `code` is CL_SUCCESS. */
void device_check(cl_int code, const char *call);

#endif
