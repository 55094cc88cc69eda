/* In: a cl_device_id. Out: struct device_caps. */
#include "device.h"

#include "../cl/arguments.h"

#include <string.h>

static mha_status check_device(const struct device_caps *caps, cl_bool is_available,
                               cl_bool has_compiler, cl_device_fp_config fp, const char *extensions,
                               const char *profile, mha_error *error) {
    if (!is_available)
        return mha_fail(error, MHA_ERR_DEVICE, "%s is not available", caps->name);
    if (!has_compiler)
        return mha_fail(error, MHA_ERR_DEVICE, "%s has no compiler", caps->name);
    if ((fp & (CL_FP_INF_NAN | CL_FP_ROUND_TO_NEAREST)) != (CL_FP_INF_NAN | CL_FP_ROUND_TO_NEAREST))
        return mha_fail(error, MHA_ERR_DEVICE,
                        "%s computes without Inf and NaN or without rounding to nearest (fp config "
                        "0x%llx)",
                        caps->name, (unsigned long long)fp);
    if (strstr(profile, "EMBEDDED") && !strstr(extensions, "cles_khr_int64"))
        return mha_fail(error, MHA_ERR_DEVICE, "%s has no 64-bit integers", caps->name);
    if (caps->max_parameter_bytes < sizeof(struct mha_kernel_args) + 15 * sizeof(void *))
        return mha_fail(error, MHA_ERR_DEVICE, "%s takes only %zu bytes of kernel arguments",
                        caps->name, caps->max_parameter_bytes);
    return MHA_SUCCESS;
}

mha_status mha_device_query(cl_device_id device, struct device_caps *caps, mha_error *error) {
    cl_device_type type = 0;
    cl_device_local_mem_type local_type = CL_GLOBAL;
    cl_device_fp_config fp = 0, fp64 = 0;
    cl_bool is_available = CL_FALSE, has_compiler = CL_FALSE;
    cl_platform_id platform = NULL;
    size_t work_items[16] = {0};
    char extensions[8192] = "", profile[64] = "";
    *caps = (struct device_caps){0};
    const struct {
        cl_device_info what;
        const char *name;
        size_t bytes;
        void *value;
        bool may_be_cut; /* a text longer than its room is no failure */
    } facts[] = {
#define FACT(what, value) {what, #what, sizeof(value), &(value), false}
#define TEXT(what, value)                                                                          \
    { what, #what, sizeof(value) - 1, value, true }
        FACT(CL_DEVICE_TYPE, type),
        FACT(CL_DEVICE_PLATFORM, platform),
        FACT(CL_DEVICE_AVAILABLE, is_available),
        FACT(CL_DEVICE_COMPILER_AVAILABLE, has_compiler),
        FACT(CL_DEVICE_SINGLE_FP_CONFIG, fp),
        FACT(CL_DEVICE_MAX_COMPUTE_UNITS, caps->compute_units),
        FACT(CL_DEVICE_MAX_CLOCK_FREQUENCY, caps->clock_mhz),
        FACT(CL_DEVICE_ADDRESS_BITS, caps->address_bits),
        FACT(CL_DEVICE_VENDOR_ID, caps->vendor_id),
        FACT(CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT, caps->float_vector),
        FACT(CL_DEVICE_MAX_WORK_GROUP_SIZE, caps->max_work_group),
        FACT(CL_DEVICE_MAX_WORK_ITEM_SIZES, work_items),
        FACT(CL_DEVICE_MAX_PARAMETER_SIZE, caps->max_parameter_bytes),
        FACT(CL_DEVICE_LOCAL_MEM_SIZE, caps->local_bytes),
        FACT(CL_DEVICE_LOCAL_MEM_TYPE, local_type),
        FACT(CL_DEVICE_MAX_MEM_ALLOC_SIZE, caps->max_alloc_bytes),
        TEXT(CL_DEVICE_NAME, caps->name),
        TEXT(CL_DEVICE_VENDOR, caps->vendor),
        TEXT(CL_DEVICE_VERSION, caps->version),
        TEXT(CL_DRIVER_VERSION, caps->driver),
        TEXT(CL_DEVICE_PROFILE, profile),
        TEXT(CL_DEVICE_EXTENSIONS, extensions),
#undef FACT
#undef TEXT
    };
    for (size_t i = 0; i < sizeof(facts) / sizeof(*facts); ++i) {
        const cl_int code =
            clGetDeviceInfo(device, facts[i].what, facts[i].bytes, facts[i].value, NULL);
        if (code && !(facts[i].may_be_cut && code == CL_INVALID_VALUE))
            return mha_fail_cl(error, code, facts[i].name);
    }
    /* Absent before OpenCL 1.2 without the extension: then there is no fp64. */
    if (clGetDeviceInfo(device, CL_DEVICE_DOUBLE_FP_CONFIG, sizeof(fp64), &fp64, NULL))
        fp64 = 0;
    clGetPlatformInfo(platform, CL_PLATFORM_NAME, sizeof(caps->platform) - 1, caps->platform, NULL);
    clGetPlatformInfo(platform, CL_PLATFORM_VERSION, sizeof(caps->platform_version) - 1,
                      caps->platform_version, NULL);
    caps->is_cpu = type & CL_DEVICE_TYPE_CPU;
    caps->has_fp64 = fp64 && strstr(extensions, "cl_khr_fp64");
    caps->is_local_dedicated = local_type == CL_LOCAL;
    caps->max_work_item = work_items[0];
    if (caps->float_vector == 0)
        caps->float_vector = 1;
    if (caps->compute_units == 0)
        caps->compute_units = 1;
    return check_device(caps, is_available, has_compiler, fp, extensions, profile, error);
}
