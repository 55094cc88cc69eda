/* In: a call and its arguments. Out: its result, or a failure that names the call and its status.
 */
#include "calls.h"

#include <stdint.h>
#include <stdio.h>

bool fail_cl(failure *f, const char *call, cl_int status) {
    return fail(f, EXIT_OPENCL, "%s failed: OpenCL error %d", call, status);
}

bool fail_mha(failure *f, const mha_engine *engine, const mha_error *error) {
    if (engine && error->status == MHA_ERR_BUILD) {
        static char log[8192];
        mha_engine_build_log(engine, log, sizeof(log));
        fprintf(stderr, "%s\n", log);
    }
    return fail(f, error->status == MHA_ERR_VARIANT ? EXIT_INPUT : EXIT_OPENCL, "%s: %s",
                mha_status_name(error->status), error->message);
}

bool fail_memory(failure *f, size_t bytes) {
    return fail(f, EXIT_OPENCL, "out of memory: %zu bytes", bytes);
}

bool open_engine(const device *d, mha_engine **engine, failure *f) {
    mha_engine_desc desc = MHA_ENGINE_DESC_INIT;
    mha_error error;
    desc.context = d->context;
    desc.device = d->id;
    return mha_engine_create(&desc, engine, &error) == MHA_SUCCESS || fail_mha(f, *engine, &error);
}

bool make_buffer(cl_context context, size_t bytes, const void *host, cl_mem *buffer, failure *f) {
    cl_int status;
    *buffer = clCreateBuffer(context, CL_MEM_READ_WRITE | (host ? CL_MEM_COPY_HOST_PTR : 0), bytes,
                             (void *)(uintptr_t)host, &status);
    return status == CL_SUCCESS ||
           fail(f, EXIT_OPENCL, "clCreateBuffer of %zu bytes failed: OpenCL error %d", bytes,
                status);
}

bool read_buffer(const device *d, cl_mem buffer, size_t offset, size_t bytes, void *host,
                 failure *f) {
    cl_int status =
        clEnqueueReadBuffer(d->queue, buffer, CL_TRUE, offset, bytes, host, 0, NULL, NULL);
    return status == CL_SUCCESS || fail_cl(f, "clEnqueueReadBuffer", status);
}

void release_buffer(cl_mem *buffer) {
    if (*buffer)
        clReleaseMemObject(*buffer);
    *buffer = NULL;
}
