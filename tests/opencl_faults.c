/* In: OpenCL calls. Out: the runtime's answers, or failures by plan; counts of calls and objects.
 *
 * The executable exports these definitions, so that the dynamic linker prefers them to those of the
 * OpenCL loader also for the shared libmha-cl. The loader's are found as the next of that name. */
#include "opencl_faults.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local struct {
    bool is_armed, is_forever;
    int fail_at;
    cl_int code;
    struct fault_report report;
} plan;
static _Thread_local int objects[OBJECT_KINDS];
static _Thread_local struct {
    cl_device_info what;
    const void *value;
    size_t bytes;
} fake;
/* A runtime may call OpenCL itself: those calls are not the library's. */
static _Thread_local bool is_inside;

void faults_arm(int fail_at, bool is_forever, cl_int code) {
    plan.is_forever = is_forever;
    plan.fail_at = fail_at;
    plan.code = code;
    plan.report = (struct fault_report){.least_group = SIZE_MAX};
    plan.is_armed = true;
}

struct fault_report faults_disarm(void) {
    plan.is_armed = false;
    return plan.report;
}

void faults_count_objects(int counts[OBJECT_KINDS]) {
    memcpy(counts, objects, sizeof(objects));
}

void faults_fake_device(cl_device_info what, const void *value, size_t bytes) {
    fake.what = what;
    fake.value = value;
    fake.bytes = bytes;
}

/* The code that this call is to fail with, CL_SUCCESS if it goes to the runtime. */
static cl_int begin(const char *name, cl_uint what) {
    if (!plan.is_armed || is_inside)
        return CL_SUCCESS;
    const int call = ++plan.report.calls;
    if (!plan.fail_at)
        return CL_SUCCESS;
    if (call == plan.fail_at) {
        plan.report.name = name;
        plan.report.what = what;
    }
    return call == plan.fail_at || (plan.is_forever && call > plan.fail_at) ? plan.code
                                                                            : CL_SUCCESS;
}

static void find(const char *name, void *function) {
    void *symbol = dlsym(RTLD_NEXT, name);
    if (!symbol) {
        fprintf(stderr, "the OpenCL loader has no %s\n", name);
        abort();
    }
    memcpy(function, &symbol, sizeof(symbol));
}

static void count(enum object kind, int step) {
    if (!is_inside)
        objects[kind] += step;
}

#define FORWARD(result, name, arguments)                                                           \
    do {                                                                                           \
        const bool was_inside = is_inside;                                                         \
        __typeof__(name) *real;                                                                    \
        find(#name, &real);                                                                        \
        is_inside = true;                                                                          \
        result = real arguments;                                                                   \
        is_inside = was_inside;                                                                    \
    } while (0)

/* A function that returns a code, and maybe a new event. */
#define CODE(name, what, made, parameters, arguments)                                              \
    cl_int name parameters {                                                                       \
        cl_int code = begin(#name, what);                                                          \
        if (code)                                                                                  \
            return code;                                                                           \
        FORWARD(code, name, arguments);                                                            \
        if (!code && (made))                                                                       \
            count(EVENT, 1);                                                                       \
        return code;                                                                               \
    }

/* A function that returns an object, and a code through its last parameter, `error`. */
#define CREATE(kind, type, name, parameters, arguments)                                            \
    type name parameters {                                                                         \
        type object = NULL;                                                                        \
        const cl_int code = begin(#name, 0);                                                       \
        if (code) {                                                                                \
            if (error)                                                                             \
                *error = code;                                                                     \
            return NULL;                                                                           \
        }                                                                                          \
        FORWARD(object, name, arguments);                                                          \
        if (object)                                                                                \
            count(kind, 1);                                                                        \
        return object;                                                                             \
    }

/* Counted. A release never fails: nobody could undo it. */
#define REFERENCE(kind, type, name, step)                                                          \
    cl_int name(type object) {                                                                     \
        cl_int code = step > 0 ? begin(#name, 0) : CL_SUCCESS;                                     \
        if (code)                                                                                  \
            return code;                                                                           \
        FORWARD(code, name, (object));                                                             \
        if (!code)                                                                                 \
            count(kind, step);                                                                     \
        return code;                                                                               \
    }

#define INFO(name, object)                                                                         \
    CODE(name, what, false,                                                                        \
         (object handle, cl_uint what, size_t bytes, void *value, size_t *full),                   \
         (handle, what, bytes, value, full))

#define INFO_ON_DEVICE(name, object)                                                               \
    CODE(name, what, false,                                                                        \
         (object handle, cl_device_id device, cl_uint what, size_t bytes, void *value,             \
          size_t *full),                                                                           \
         (handle, device, what, bytes, value, full))

INFO(clGetPlatformInfo, cl_platform_id)
INFO(clGetContextInfo, cl_context)
INFO(clGetCommandQueueInfo, cl_command_queue)
INFO(clGetMemObjectInfo, cl_mem)
INFO(clGetEventInfo, cl_event)
INFO(clGetEventProfilingInfo, cl_event)
INFO(clGetProgramInfo, cl_program)
INFO_ON_DEVICE(clGetProgramBuildInfo, cl_program)

cl_int clGetDeviceInfo(cl_device_id device, cl_device_info what, size_t bytes, void *value,
                       size_t *full) {
    cl_int code = begin("clGetDeviceInfo", what);
    if (code)
        return code;
    if (is_inside || !fake.bytes || fake.what != what) {
        FORWARD(code, clGetDeviceInfo, (device, what, bytes, value, full));
        return code;
    }
    if (value && bytes < fake.bytes)
        return CL_INVALID_VALUE;
    if (value)
        memcpy(value, fake.value, fake.bytes);
    if (full)
        *full = fake.bytes;
    return CL_SUCCESS;
}

cl_int clGetKernelWorkGroupInfo(cl_kernel kernel, cl_device_id device,
                                cl_kernel_work_group_info what, size_t bytes, void *value,
                                size_t *full) {
    cl_int code = begin("clGetKernelWorkGroupInfo", what);
    if (code)
        return code;
    FORWARD(code, clGetKernelWorkGroupInfo, (kernel, device, what, bytes, value, full));
    size_t group;
    if (!code && !is_inside && what == CL_KERNEL_WORK_GROUP_SIZE && value) {
        memcpy(&group, value, sizeof(group));
        if (group < plan.report.least_group)
            plan.report.least_group = group;
    }
    return code;
}

REFERENCE(CONTEXT, cl_context, clRetainContext, 1)
REFERENCE(CONTEXT, cl_context, clReleaseContext, -1)
REFERENCE(DEVICE, cl_device_id, clRetainDevice, 1)
REFERENCE(DEVICE, cl_device_id, clReleaseDevice, -1)
REFERENCE(QUEUE, cl_command_queue, clRetainCommandQueue, 1)
REFERENCE(QUEUE, cl_command_queue, clReleaseCommandQueue, -1)
REFERENCE(MEMORY, cl_mem, clRetainMemObject, 1)
REFERENCE(MEMORY, cl_mem, clReleaseMemObject, -1)
REFERENCE(PROGRAM, cl_program, clRetainProgram, 1)
REFERENCE(PROGRAM, cl_program, clReleaseProgram, -1)
REFERENCE(KERNEL, cl_kernel, clRetainKernel, 1)
REFERENCE(KERNEL, cl_kernel, clReleaseKernel, -1)
REFERENCE(EVENT, cl_event, clRetainEvent, 1)
REFERENCE(EVENT, cl_event, clReleaseEvent, -1)

CREATE(QUEUE, cl_command_queue, clCreateCommandQueue,
       (cl_context context, cl_device_id device, cl_command_queue_properties properties,
        cl_int *error),
       (context, device, properties, error))
CREATE(MEMORY, cl_mem, clCreateBuffer,
       (cl_context context, cl_mem_flags flags, size_t bytes, void *host, cl_int *error),
       (context, flags, bytes, host, error))
CREATE(MEMORY, cl_mem, clCreateSubBuffer,
       (cl_mem buffer, cl_mem_flags flags, cl_buffer_create_type type, const void *region,
        cl_int *error),
       (buffer, flags, type, region, error))
CREATE(PROGRAM, cl_program, clCreateProgramWithSource,
       (cl_context context, cl_uint parts, const char **texts, const size_t *lengths,
        cl_int *error),
       (context, parts, texts, lengths, error))
CREATE(PROGRAM, cl_program, clCreateProgramWithBinary,
       (cl_context context, cl_uint devices, const cl_device_id *list, const size_t *lengths,
        const unsigned char **binaries, cl_int *status, cl_int *error),
       (context, devices, list, lengths, binaries, status, error))
CREATE(KERNEL, cl_kernel, clCreateKernel, (cl_program program, const char *name, cl_int *error),
       (program, name, error))
CREATE(EVENT, cl_event, clCreateUserEvent, (cl_context context, cl_int *error), (context, error))

CODE(clBuildProgram, 0, false,
     (cl_program program, cl_uint devices, const cl_device_id *list, const char *options,
      void(CL_CALLBACK *notify)(cl_program, void *), void *user),
     (program, devices, list, options, notify, user))
CODE(clSetKernelArg, 0, false, (cl_kernel kernel, cl_uint index, size_t bytes, const void *value),
     (kernel, index, bytes, value))
CODE(clSetUserEventStatus, 0, false, (cl_event event, cl_int status), (event, status))
CODE(clFinish, 0, false, (cl_command_queue queue), (queue))
CODE(clEnqueueNDRangeKernel, 0, event,
     (cl_command_queue queue, cl_kernel kernel, cl_uint dims, const size_t *offset,
      const size_t *global, const size_t *local, cl_uint n_wait, const cl_event *wait,
      cl_event *event),
     (queue, kernel, dims, offset, global, local, n_wait, wait, event))
CODE(clEnqueueMarkerWithWaitList, 0, event,
     (cl_command_queue queue, cl_uint n_wait, const cl_event *wait, cl_event *event),
     (queue, n_wait, wait, event))
CODE(clEnqueueBarrierWithWaitList, 0, event,
     (cl_command_queue queue, cl_uint n_wait, const cl_event *wait, cl_event *event),
     (queue, n_wait, wait, event))
