/* In: a device's name. Out: a context, a queue and an engine on it. */
#include "target.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAX_PLATFORMS 32
#define MAX_DEVICES 64

static bool has_part(const char *text, const char *part) {
    const size_t length = strlen(part);
    for (; strlen(text) >= length; ++text) {
        size_t i = 0;
        while (i < length && tolower((unsigned char)text[i]) == tolower((unsigned char)part[i]))
            ++i;
        if (i == length)
            return true;
    }
    return false;
}

/* Calls `visit` for each device until it returns true. */
static bool visit_devices(bool (*visit)(void *context, cl_platform_id, cl_device_id),
                          void *context) {
    cl_platform_id platforms[MAX_PLATFORMS];
    cl_uint platform_count = 0;
    if (clGetPlatformIDs(MAX_PLATFORMS, platforms, &platform_count))
        return false;
    for (cl_uint p = 0; p < platform_count && p < MAX_PLATFORMS; ++p) {
        cl_device_id devices[MAX_DEVICES];
        cl_uint count = 0;
        if (clGetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, MAX_DEVICES, devices, &count))
            continue;
        for (cl_uint d = 0; d < count && d < MAX_DEVICES; ++d)
            if (visit(context, platforms[p], devices[d]))
                return true;
    }
    return false;
}

static bool query(cl_device_id device, struct device_caps *caps, char *why, size_t why_bytes) {
    const struct allocator allocator = {.allocate = NULL};
    char *identity;
    mha_error error;
    if (mha_device_query(device, &allocator, caps, &identity, &error)) {
        snprintf(why, why_bytes, "%s", error.message);
        return false;
    }
    mha_release(&allocator, identity);
    return true;
}

/* 0 where the driver does not say. */
static double get_bytes(cl_device_id device, cl_device_info what) {
    cl_ulong bytes = 0;
    return clGetDeviceInfo(device, what, sizeof(bytes), &bytes, NULL) ? 0 : (double)bytes;
}

/* The largest last levels that GPUs have beside their own memory, and beside the host's. */
#define DISCRETE_CACHE_BYTES (128 << 20)
#define INTEGRATED_CACHE_BYTES (32 << 20)

/* Of the last level, rather too large than too small. Drivers tell that of another one: of GPUs
 * mostly the first, which is why that is taken for what it may be. */
static double get_cache_bytes(cl_device_id device, const struct device_caps *caps) {
    double bytes = get_bytes(device, CL_DEVICE_GLOBAL_MEM_CACHE_SIZE);
    cl_bool is_integrated = CL_FALSE;
    clGetDeviceInfo(device, CL_DEVICE_HOST_UNIFIED_MEMORY, sizeof(is_integrated), &is_integrated,
                    NULL);
    const double least = is_integrated ? INTEGRATED_CACHE_BYTES : DISCRETE_CACHE_BYTES;
    if (!caps->is_cpu && bytes < least)
        bytes = least;
#ifdef _SC_LEVEL3_CACHE_SIZE
    const double host_bytes = (double)sysconf(_SC_LEVEL3_CACHE_SIZE);
    if (caps->is_cpu && host_bytes > bytes)
        bytes = host_bytes;
#else
    (void)caps;
#endif
    return bytes;
}

/* ---- Listing --------------------------------------------------------------------------------- */

struct listing {
    void (*found)(void *user, const struct device_caps *caps, double cache_bytes);
    void *user;
};

static bool list_device(void *context, cl_platform_id platform, cl_device_id device) {
    const struct listing *listing = context;
    struct device_caps caps;
    char why[512];
    (void)platform;
    if (query(device, &caps, why, sizeof(why)))
        listing->found(listing->user, &caps, get_cache_bytes(device, &caps));
    else
        fprintf(stderr, "%s\n", why);
    return false;
}

void target_list(void (*found)(void *user, const struct device_caps *caps, double cache_bytes),
                 void *user) {
    struct listing listing = {found, user};
    visit_devices(list_device, &listing);
}

/* ---- Opening --------------------------------------------------------------------------------- */

/* Of those whose name fits, the `number`-th, from 1; without a number the first. Without a name the
 * first GPU, else the first of all. */
struct choice {
    char name[256]; /* empty: none */
    long number;
    cl_device_id device, first;
    char why[512]; /* one was passed over */
};

/* "radeon", "radeon#2". */
static void read_name(const char *name, struct choice *choice) {
    const char *number = strrchr(name, '#');
    char *end = NULL;
    choice->number = number ? strtol(number + 1, &end, 10) : 1;
    const bool is_number = end && end != number + 1 && !*end && choice->number > 0;
    if (!is_number)
        choice->number = 1;
    snprintf(choice->name, sizeof(choice->name), "%.*s",
             (int)(is_number ? (size_t)(number - name) : strlen(name)), name);
}

static bool choose_device(void *context, cl_platform_id platform, cl_device_id device) {
    struct choice *choice = context;
    char platform_name[256] = "", version[256] = "", name[256] = "";
    struct device_caps caps;
    cl_device_type type = 0;
    clGetPlatformInfo(platform, CL_PLATFORM_NAME, sizeof(platform_name), platform_name, NULL);
    /* Some name themselves there only: "OpenCL 3.0 PoCL 3.1". */
    clGetPlatformInfo(platform, CL_PLATFORM_VERSION, sizeof(version), version, NULL);
    clGetDeviceInfo(device, CL_DEVICE_NAME, sizeof(name), name, NULL);
    clGetDeviceInfo(device, CL_DEVICE_TYPE, sizeof(type), &type, NULL);
    if (!has_part(platform_name, choice->name) && !has_part(version, choice->name) &&
        !has_part(name, choice->name))
        return false;
    if (!query(device, &caps, choice->why, sizeof(choice->why)))
        return false;
    if (!choice->first)
        choice->first = device;
    if (choice->name[0] ? --choice->number > 0 : !(type & CL_DEVICE_TYPE_GPU))
        return false;
    choice->device = device;
    return true;
}

/* Compilers' messages, for the line that the parent keeps. */
static void log_message(void *user, mha_log_level level, const char *message) {
    (void)user;
    if (level != MHA_LOG_INFO)
        fprintf(stderr, "%s\n", message);
}

bool target_open(struct target *t, const char *name, char *why, size_t why_bytes) {
    struct choice choice = {.number = 1};
    mha_engine_desc desc = MHA_ENGINE_DESC_INIT;
    mha_error error;
    cl_int code;
    *t = (struct target){.device = NULL};
    if (name)
        read_name(name, &choice);
    if (!visit_devices(choose_device, &choice) && !choice.name[0])
        choice.device = choice.first;
    if (!choice.device) {
        snprintf(why, why_bytes, "no OpenCL device%s%s%s%s", name ? " is called " : "",
                 name ? name : "", choice.why[0] ? " and can be used: " : "", choice.why);
        return false;
    }
    t->device = choice.device;
    if (!query(t->device, &t->caps, why, why_bytes))
        goto fail;
    t->cache_bytes = get_cache_bytes(t->device, &t->caps);
    t->global_bytes = get_bytes(t->device, CL_DEVICE_GLOBAL_MEM_SIZE);
    t->context = clCreateContext(NULL, 1, &t->device, NULL, NULL, &code);
    if (!code)
        t->queue = clCreateCommandQueue(t->context, t->device, 0, &code);
    if (code) {
        snprintf(why, why_bytes, "no context or queue on %s: OpenCL error %d", t->caps.name,
                 (int)code);
        goto fail;
    }
    desc.flags = MHA_ENGINE_UNTUNED | MHA_ENGINE_NO_DISK_CACHE;
    desc.context = t->context;
    desc.device = t->device;
    desc.log = log_message;
    if (!mha_engine_create(&desc, &t->engine, &error))
        return true;
    snprintf(why, why_bytes, "%s", error.message);
fail:
    target_close(t);
    return false;
}

void target_close(struct target *t) {
    mha_engine_destroy(&t->engine);
    if (t->queue)
        clReleaseCommandQueue(t->queue);
    if (t->context)
        clReleaseContext(t->context);
    *t = (struct target){.device = NULL};
}

cl_mem target_buffer(const struct target *t, size_t bytes, char *why, size_t why_bytes) {
    cl_int code;
    cl_mem buffer = clCreateBuffer(t->context, CL_MEM_READ_WRITE, bytes ? bytes : 1, NULL, &code);
    if (!code)
        return buffer;
    snprintf(why, why_bytes, "no buffer of %zu bytes: OpenCL error %d", bytes, (int)code);
    return NULL;
}

double target_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return 1e9 * (double)now.tv_sec + (double)now.tv_nsec;
}
