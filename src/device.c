/* In: a cl_device_id. Out: struct device_caps. */
#include "device.h"

#include "../cl/arguments.h"

#include <math.h>
#include <stdio.h>
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
    if (caps->max_parameter_bytes < sizeof(struct mha_attention_kernel_args) + 15 * sizeof(void *))
        return mha_fail(error, MHA_ERR_DEVICE, "%s takes only %zu bytes of kernel arguments",
                        caps->name, caps->max_parameter_bytes);
    return MHA_SUCCESS;
}

/* A text of any length; NULL with *error filled on failure. */
static char *get_text(cl_device_id device, cl_platform_id platform, cl_uint what,
                      const struct allocator *allocator, mha_error *error) {
    size_t bytes = 0;
    cl_int code = platform ? clGetPlatformInfo(platform, what, 0, NULL, &bytes)
                           : clGetDeviceInfo(device, what, 0, NULL, &bytes);
    char *text = code ? NULL : mha_allocate_zeroed(allocator, bytes + 1);
    if (text)
        code = platform ? clGetPlatformInfo(platform, what, bytes, text, NULL)
                        : clGetDeviceInfo(device, what, bytes, text, NULL);
    if (code) {
        mha_fail_cl(error, code, platform ? "clGetPlatformInfo" : "clGetDeviceInfo");
        mha_release(allocator, text);
        return NULL;
    }
    if (!text)
        mha_fail(error, MHA_ERR_HOST_MEMORY, "no memory for a device's description");
    return text;
}

/* In the order of the identity. */
enum text {
    PLATFORM_NAME,
    PLATFORM_VERSION,
    DEVICE_VENDOR,
    DEVICE_NAME,
    DEVICE_VERSION,
    DRIVER_VERSION,
    IDENTITY_TEXTS,
    DEVICE_PROFILE = IDENTITY_TEXTS,
    DEVICE_EXTENSIONS,
    TEXT_COUNT
};

static bool get_texts(cl_device_id device, cl_platform_id platform,
                      const struct allocator *allocator, char *texts[TEXT_COUNT],
                      mha_error *error) {
    static const cl_uint what[TEXT_COUNT] = {
        [PLATFORM_NAME] = CL_PLATFORM_NAME,   [PLATFORM_VERSION] = CL_PLATFORM_VERSION,
        [DEVICE_VENDOR] = CL_DEVICE_VENDOR,   [DEVICE_NAME] = CL_DEVICE_NAME,
        [DEVICE_VERSION] = CL_DEVICE_VERSION, [DRIVER_VERSION] = CL_DRIVER_VERSION,
        [DEVICE_PROFILE] = CL_DEVICE_PROFILE, [DEVICE_EXTENSIONS] = CL_DEVICE_EXTENSIONS,
    };
    for (int i = 0; i < TEXT_COUNT; ++i) {
        texts[i] =
            get_text(device, i <= PLATFORM_VERSION ? platform : NULL, what[i], allocator, error);
        if (!texts[i])
            return false;
    }
    return true;
}

static char *join_identity(const struct allocator *allocator, char *const texts[TEXT_COUNT]) {
    size_t bytes = 1;
    for (int i = 0; i < IDENTITY_TEXTS; ++i)
        bytes += strlen(texts[i]) + 1;
    char *identity = mha_allocate(allocator, bytes);
    if (!identity)
        return NULL;
    *identity = 0;
    for (int i = 0; i < IDENTITY_TEXTS; ++i)
        strcat(strcat(identity, texts[i]), "\n");
    return identity;
}

mha_status mha_device_query(cl_device_id device, const struct allocator *allocator,
                            struct device_caps *caps, char **identity, mha_error *error) {
    cl_device_type type = 0;
    cl_device_local_mem_type local_type = CL_GLOBAL;
    cl_device_fp_config fp = 0, fp64 = 0;
    cl_bool is_available = CL_FALSE, has_compiler = CL_FALSE;
    cl_platform_id platform = NULL;
    size_t work_items[16] = {0};
    char *texts[TEXT_COUNT] = {NULL};
    mha_error found = {.status = MHA_ERR_DEVICE};
    mha_status status;
    *caps = (struct device_caps){0};
    *identity = NULL;
    const struct {
        cl_device_info what;
        const char *name;
        size_t bytes;
        void *value;
    } facts[] = {
#define FACT(what, value) {what, #what, sizeof(value), &(value)}
        FACT(CL_DEVICE_TYPE, type),
        FACT(CL_DEVICE_PLATFORM, platform),
        FACT(CL_DEVICE_AVAILABLE, is_available),
        FACT(CL_DEVICE_COMPILER_AVAILABLE, has_compiler),
        FACT(CL_DEVICE_SINGLE_FP_CONFIG, fp),
        FACT(CL_DEVICE_MAX_COMPUTE_UNITS, caps->compute_units),
        FACT(CL_DEVICE_MAX_CLOCK_FREQUENCY, caps->clock_mhz),
        FACT(CL_DEVICE_ADDRESS_BITS, caps->address_bits),
        FACT(CL_DEVICE_VENDOR_ID, caps->vendor_id),
        FACT(CL_DEVICE_MEM_BASE_ADDR_ALIGN, caps->base_align_bits),
        FACT(CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT, caps->float_vector),
        FACT(CL_DEVICE_MAX_WORK_GROUP_SIZE, caps->max_work_group),
        FACT(CL_DEVICE_MAX_WORK_ITEM_SIZES, work_items),
        FACT(CL_DEVICE_MAX_PARAMETER_SIZE, caps->max_parameter_bytes),
        FACT(CL_DEVICE_LOCAL_MEM_SIZE, caps->local_bytes),
        FACT(CL_DEVICE_LOCAL_MEM_TYPE, local_type),
        FACT(CL_DEVICE_MAX_MEM_ALLOC_SIZE, caps->max_alloc_bytes),
#undef FACT
    };
    for (size_t i = 0; i < sizeof(facts) / sizeof(*facts); ++i) {
        const cl_int code =
            clGetDeviceInfo(device, facts[i].what, facts[i].bytes, facts[i].value, NULL);
        if (code)
            return mha_fail_cl(error, code, facts[i].name);
    }
    if (!get_texts(device, platform, allocator, texts, &found)) {
        status = found.status;
        if (error)
            *error = found;
        goto done;
    }
    snprintf(caps->name, sizeof(caps->name), "%s", texts[DEVICE_NAME]);
    snprintf(caps->driver, sizeof(caps->driver), "%s", texts[DRIVER_VERSION]);
    snprintf(caps->platform, sizeof(caps->platform), "%s", texts[PLATFORM_NAME]);
    snprintf(caps->version, sizeof(caps->version), "%s", texts[PLATFORM_VERSION]);
    /* Absent before OpenCL 1.2 without the extension: then there is no fp64. */
    if (clGetDeviceInfo(device, CL_DEVICE_DOUBLE_FP_CONFIG, sizeof(fp64), &fp64, NULL))
        fp64 = 0;
    caps->is_cpu = type & CL_DEVICE_TYPE_CPU;
    caps->has_fp64 = fp64 && strstr(texts[DEVICE_EXTENSIONS], "cl_khr_fp64");
    caps->max_work_item = work_items[0];
    caps->is_local_dedicated = local_type == CL_LOCAL;
    caps->max_loops = INFINITY;
    if (strstr(texts[DEVICE_NAME], "llvmpipe")) {
        /* It leaves a work-item's loops, whatever they still had to do, after 65,535 iterations in
         * all (LP_MAX_TGSI_LOOP_ITERATIONS), and says nothing; and its kernels take work-groups of
         * 32, not of the 1,024 that the device claims. */
        caps->max_loops = 65535;
        caps->max_work_group = 32;
    }
    if (caps->float_vector == 0)
        caps->float_vector = 1;
    if (caps->compute_units == 0)
        caps->compute_units = 1;
    status = check_device(caps, is_available, has_compiler, fp, texts[DEVICE_EXTENSIONS],
                          texts[DEVICE_PROFILE], error);
    if (!status && !(*identity = join_identity(allocator, texts)))
        status = mha_fail(error, MHA_ERR_HOST_MEMORY, "no memory for a device's identity");
done:
    for (int i = 0; i < TEXT_COUNT; ++i)
        mha_release(allocator, texts[i]);
    return status;
}
