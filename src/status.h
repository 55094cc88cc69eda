/* Failures as a status and a message, and messages to the application's log callback. */
#ifndef MHA_STATUS_H
#define MHA_STATUS_H

#include "mha_cl.h"

#if defined(__GNUC__)
#define MHA_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define MHA_PRINTF(text, first)
#endif

/* Fills *error where error is not NULL and returns status. */
mha_status mha_fail(mha_error *error, mha_status status, const char *format, ...) MHA_PRINTF(3, 4);

/* The same where an OpenCL call gave `code`, CL_SUCCESS for none. */
mha_status mha_fail_code(mha_error *error, mha_status status, cl_int code, const char *format, ...)
    MHA_PRINTF(4, 5);

/* The same with the call's name for a message: memory codes give MHA_ERR_DEVICE_MEMORY, others
 * MHA_ERR_OPENCL. */
mha_status mha_fail_cl(mha_error *error, cl_int code, const char *call);

/* Marks *error as success and returns MHA_SUCCESS. */
mha_status mha_succeed(mha_error *error);

struct log_target {
    mha_log_fn function;
    void *user;
};

void mha_log(const struct log_target *log, mha_log_level level, const char *format, ...)
    MHA_PRINTF(3, 4);

#endif
