/* In: a status and the values at fault. Out: mha_error, log messages, names of codes. */
#include "status.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

#define CASE_NAME(code)                                                                            \
    case code:                                                                                     \
        return #code

const char *mha_status_name(mha_status status) {
    switch (status) {
        CASE_NAME(MHA_SUCCESS);
        CASE_NAME(MHA_ERR_NULL);
        CASE_NAME(MHA_ERR_STRUCT_SIZE);
        CASE_NAME(MHA_ERR_FLAGS);
        CASE_NAME(MHA_ERR_DTYPE);
        CASE_NAME(MHA_ERR_SHAPE);
        CASE_NAME(MHA_ERR_OVERFLOW);
        CASE_NAME(MHA_ERR_VALUE);
        CASE_NAME(MHA_ERR_STRIDE);
        CASE_NAME(MHA_ERR_LIMIT);
        CASE_NAME(MHA_ERR_MISALIGNED);
        CASE_NAME(MHA_ERR_BUFFER_SIZE);
        CASE_NAME(MHA_ERR_WORKSPACE);
        CASE_NAME(MHA_ERR_ALIAS);
        CASE_NAME(MHA_ERR_CONTEXT);
        CASE_NAME(MHA_ERR_QUEUE);
        CASE_NAME(MHA_ERR_WAIT_LIST);
        CASE_NAME(MHA_ERR_DEVICE);
        CASE_NAME(MHA_ERR_UNSUPPORTED);
        CASE_NAME(MHA_ERR_VARIANT);
        CASE_NAME(MHA_ERR_HOST_MEMORY);
        CASE_NAME(MHA_ERR_DEVICE_MEMORY);
        CASE_NAME(MHA_ERR_BUILD);
        CASE_NAME(MHA_ERR_OPENCL);
        CASE_NAME(MHA_ERR_FORKED);
        CASE_NAME(MHA_ERR_PLAN);
    }
    return "unknown mha_status";
}

uint32_t mha_version(void) {
    return MHA_VERSION;
}

static mha_status fail(mha_error *error, mha_status status, cl_int code, const char *format,
                       va_list values) {
    if (error) {
        error->status = status;
        error->cl_error = code;
        vsnprintf(error->message, sizeof(error->message), format, values);
    }
    return status;
}

mha_status mha_fail(mha_error *error, mha_status status, const char *format, ...) {
    va_list values;
    va_start(values, format);
    fail(error, status, CL_SUCCESS, format, values);
    va_end(values);
    return status;
}

mha_status mha_fail_code(mha_error *error, mha_status status, cl_int code, const char *format,
                         ...) {
    va_list values;
    va_start(values, format);
    fail(error, status, code, format, values);
    va_end(values);
    return status;
}

mha_status mha_fail_cl(mha_error *error, cl_int code, const char *call) {
    const bool is_memory = code == CL_OUT_OF_RESOURCES || code == CL_OUT_OF_HOST_MEMORY ||
                           code == CL_MEM_OBJECT_ALLOCATION_FAILURE;
    return mha_fail_code(error, is_memory ? MHA_ERR_DEVICE_MEMORY : MHA_ERR_OPENCL, code,
                         "%s failed with OpenCL error %d", call, (int)code);
}

mha_status mha_succeed(mha_error *error) {
    if (error)
        *error = (mha_error){.status = MHA_SUCCESS};
    return MHA_SUCCESS;
}

void mha_log(const struct log_target *log, mha_log_level level, const char *format, ...) {
    if (!log->function)
        return;
    char message[1024];
    va_list values;
    va_start(values, format);
    vsnprintf(message, sizeof(message), format, values);
    va_end(values);
    log->function(log->user, level, message);
}
