/* In: MHA_TEST_DEVICE. Out: a device, a context, queues and an engine. */
#include "device.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PLATFORMS 16
#define MAX_DEVICES 16

void device_check(cl_int code, const char *call) {
    cr_assert_eq(code, CL_SUCCESS, "%s: OpenCL error %d", call, (int)code);
}

bool device_is_slow(void) {
    const char *value = getenv("MHA_TEST_REDUCED");
    return value && *value && strcmp(value, "0");
}

static bool find_device(struct test_device *device, const char *wanted) {
    cl_platform_id platforms[MAX_PLATFORMS];
    cl_device_id devices[MAX_DEVICES];
    cl_uint platform_count = 0;
    if (clGetPlatformIDs(MAX_PLATFORMS, platforms, &platform_count) != CL_SUCCESS)
        return false;
    for (cl_uint p = 0; p < platform_count && p < MAX_PLATFORMS; ++p) {
        cl_uint count = 0;
        if (clGetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, MAX_DEVICES, devices, &count) !=
            CL_SUCCESS)
            continue;
        for (cl_uint d = 0; d < count && d < MAX_DEVICES; ++d) {
            char name[128] = "", platform[128] = "";
            clGetDeviceInfo(devices[d], CL_DEVICE_NAME, sizeof(name), name, NULL);
            clGetPlatformInfo(platforms[p], CL_PLATFORM_NAME, sizeof(platform), platform, NULL);
            if (wanted && !strstr(name, wanted) && !strstr(platform, wanted))
                continue;
            device->platform = platforms[p];
            device->id = devices[d];
            snprintf(device->name, sizeof(device->name), "%s on %s", name, platform);
            return true;
        }
    }
    return false;
}

static void log_to_stderr(void *user, mha_log_level level, const char *message) {
    (void)user;
    if (level != MHA_LOG_INFO)
        fprintf(stderr, "mha: %s\n", message);
}

mha_engine *device_make_engine(const struct test_device *device) {
    return device_make_tuned_engine(device, NULL);
}

mha_engine *device_make_tuned_engine(const struct test_device *device, const char *text) {
    mha_engine_desc desc = MHA_ENGINE_DESC_INIT;
    desc.flags = MHA_ENGINE_HERMETIC;
    desc.context = device->context;
    desc.device = device->id;
    desc.log = log_to_stderr;
    desc.tuning_text = text;
    mha_engine *engine = NULL;
    mha_error error;
    const mha_status status = mha_engine_create(&desc, &engine, &error);
    cr_assert_eq(status, MHA_SUCCESS, "mha_engine_create on %s: %s", device->name, error.message);
    return engine;
}

void device_open(struct test_device *device) {
    const char *wanted = getenv("MHA_TEST_DEVICE");
    *device = (struct test_device){0};
    if (!find_device(device, wanted)) {
        cr_assert_null(wanted, "no OpenCL device is called \"%s\"", wanted);
        cr_skip_test("no OpenCL device");
    }
    cl_int code;
    const cl_context_properties properties[] = {CL_CONTEXT_PLATFORM,
                                                (cl_context_properties)device->platform, 0};
    device->context = clCreateContext(properties, 1, &device->id, NULL, NULL, &code);
    device_check(code, "clCreateContext");
    device->queue =
        clCreateCommandQueue(device->context, device->id, CL_QUEUE_PROFILING_ENABLE, &code);
    device_check(code, "clCreateCommandQueue");
    device->out_of_order = clCreateCommandQueue(device->context, device->id,
                                                CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE, &code);
    if (code != CL_SUCCESS)
        device->out_of_order = NULL;
    cl_device_fp_config fp64 = 0;
    clGetDeviceInfo(device->id, CL_DEVICE_DOUBLE_FP_CONFIG, sizeof(fp64), &fp64, NULL);
    device->has_fp64 = fp64 != 0;
    device->engine = device_make_engine(device);
}

void device_close(struct test_device *device) {
    mha_engine_destroy(&device->engine);
    if (device->out_of_order)
        clReleaseCommandQueue(device->out_of_order);
    clReleaseCommandQueue(device->queue);
    clReleaseContext(device->context);
}
