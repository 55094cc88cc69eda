/* OpenCL calls that fail on purpose. The program that links this defines the OpenCL functions which
 * the library calls, and so stands between the library and the runtime: calls are counted, objects
 * are counted, and the k-th call can fail. All of it is of the calling thread only. */
#ifndef TESTS_OPENCL_FAULTS_H
#define TESTS_OPENCL_FAULTS_H

#include "mha_cl.h"

#include <stdbool.h>

/* Objects whose references are counted. */
enum object { CONTEXT, DEVICE, QUEUE, MEMORY, PROGRAM, KERNEL, EVENT, OBJECT_KINDS };

/* What an armed stretch of calls came to. */
struct fault_report {
    int calls;
    const char *name;   /* of the first call that failed; NULL: none was reached */
    cl_uint what;       /* the fact it asked for, if it is a clGet...Info */
    size_t least_group; /* the smallest answer for CL_KERNEL_WORK_GROUP_SIZE */
};

/* From here on call number `fail_at`, counted from 1, returns `code`, and all after it if
 * is_forever. 0: none fails. */
void faults_arm(int fail_at, bool is_forever, cl_int code);
struct fault_report faults_disarm(void);

/* References made less references released, by the calls of this thread so far. */
void faults_count_objects(int counts[OBJECT_KINDS]);

/* clGetDeviceInfo(what) answers *value; bytes 0: the truth again. */
void faults_fake_device(cl_device_info what, const void *value, size_t bytes);

#endif
