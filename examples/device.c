/* In: a part of a name. Out: the best device that has it, with context and queue. */
#include "device.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PLATFORMS 32
#define MAX_DEVICES 32 /* of one platform */
#define MAX_CANDIDATES 128

typedef struct candidate {
    device d;
    cl_platform_id platform;
    int rank; /* the lower the better */
    cl_uint compute_units;
    int order; /* as the system lists them; makes the sort stable */
} candidate;

/* Some drivers pad names with blanks or put newlines in them. */
static void tidy(char *text) {
    size_t begin = strspn(text, " \t\r\n"), end = strlen(text);
    while (end > begin && isspace((unsigned char)text[end - 1]))
        --end;
    memmove(text, text + begin, end - begin);
    text[end - begin] = '\0';
    text_clean(text);
}

static bool contains(const char *text, const char *part) {
    size_t n = strlen(part);
    for (; *text; ++text) {
        size_t i = 0;
        while (i < n && tolower((unsigned char)text[i]) == tolower((unsigned char)part[i]))
            ++i;
        if (i == n)
            return true;
    }
    return n == 0;
}

static int rank_of(cl_device_type type) {
    if (type & CL_DEVICE_TYPE_GPU)
        return 0;
    if (type & CL_DEVICE_TYPE_ACCELERATOR)
        return 1;
    return type & CL_DEVICE_TYPE_CPU ? 2 : 3;
}

static bool describe(candidate *c) {
    cl_bool available = CL_FALSE, compiler = CL_FALSE;
    cl_device_type type = 0;
    /* One byte less than the array, which is zeroed: a driver that forgets the NUL does no harm. */
    if (clGetPlatformInfo(c->platform, CL_PLATFORM_NAME, sizeof(c->d.platform) - 1, c->d.platform,
                          NULL) != CL_SUCCESS)
        snprintf(c->d.platform, sizeof(c->d.platform), "unnamed platform");
    if (clGetDeviceInfo(c->d.id, CL_DEVICE_NAME, sizeof(c->d.name) - 1, c->d.name, NULL) !=
        CL_SUCCESS)
        snprintf(c->d.name, sizeof(c->d.name), "unnamed device");
    tidy(c->d.platform);
    tidy(c->d.name);
    if (clGetDeviceInfo(c->d.id, CL_DEVICE_TYPE, sizeof(type), &type, NULL) != CL_SUCCESS ||
        clGetDeviceInfo(c->d.id, CL_DEVICE_MAX_COMPUTE_UNITS, sizeof(c->compute_units),
                        &c->compute_units, NULL) != CL_SUCCESS ||
        clGetDeviceInfo(c->d.id, CL_DEVICE_AVAILABLE, sizeof(available), &available, NULL) !=
            CL_SUCCESS ||
        clGetDeviceInfo(c->d.id, CL_DEVICE_COMPILER_AVAILABLE, sizeof(compiler), &compiler, NULL) !=
            CL_SUCCESS)
        return false;
    c->rank = rank_of(type);
    return available && compiler;
}

static int by_merit(const void *a, const void *b) {
    const candidate *x = a, *y = b;
    if (x->rank != y->rank)
        return x->rank - y->rank;
    if (x->compute_units != y->compute_units)
        return x->compute_units > y->compute_units ? -1 : 1;
    return x->order - y->order;
}

static int list(candidate *candidates) {
    cl_platform_id platforms[MAX_PLATFORMS];
    cl_device_id ids[MAX_DEVICES];
    cl_uint n_platforms = 0, n_ids;
    int n = 0;
    if (clGetPlatformIDs(MAX_PLATFORMS, platforms, &n_platforms) != CL_SUCCESS)
        return 0;
    for (cl_uint p = 0; p < n_platforms && p < MAX_PLATFORMS; ++p) {
        n_ids = 0;
        if (clGetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, MAX_DEVICES, ids, &n_ids) !=
            CL_SUCCESS)
            continue;
        for (cl_uint i = 0; i < n_ids && i < MAX_DEVICES && n < MAX_CANDIDATES; ++i) {
            candidates[n] = (candidate){.d.id = ids[i], .platform = platforms[p], .order = n};
            if (describe(&candidates[n]))
                ++n;
        }
    }
    qsort(candidates, (size_t)n, sizeof(*candidates), by_merit);
    return n;
}

static cl_int open_candidate(candidate *c) {
    const cl_context_properties properties[] = {CL_CONTEXT_PLATFORM,
                                                (cl_context_properties)c->platform, 0};
    cl_int status;
    c->d.context = clCreateContext(properties, 1, &c->d.id, NULL, NULL, &status);
    if (status != CL_SUCCESS)
        return status;
    c->d.queue = clCreateCommandQueue(c->d.context, c->d.id, CL_QUEUE_PROFILING_ENABLE, &status);
    if (status != CL_SUCCESS) {
        clReleaseContext(c->d.context);
        c->d.context = NULL;
    }
    return status;
}

bool device_open(const char *match, device *d, failure *f) {
    candidate *candidates = calloc(MAX_CANDIDATES, sizeof(*candidates));
    char names[400] = "";
    size_t used = 0;
    bool tried = false, ok = false;
    if (!candidates)
        return fail(f, EXIT_OPENCL, "out of memory");
    int n = list(candidates);
    for (int i = 0; i < n; ++i) {
        candidate *c = &candidates[i];
        int wrote = snprintf(names + used, sizeof(names) - used, "%s%s / %s", used ? "; " : "",
                             c->d.platform, c->d.name);
        used += wrote > 0 && (size_t)wrote < sizeof(names) - used ? (size_t)wrote : 0;
        if (match && !contains(c->d.platform, match) && !contains(c->d.name, match))
            continue;
        tried = true;
        cl_int status = open_candidate(c);
        if (status == CL_SUCCESS) {
            *d = c->d;
            ok = true;
            goto done;
        }
        fail(f, EXIT_OPENCL, "%s / %s can't be opened: OpenCL error %d", c->d.platform, c->d.name,
             status);
    }
    if (n == 0)
        fail(f, EXIT_OPENCL, "no usable OpenCL device on this system");
    else if (!tried)
        fail(f, EXIT_OPENCL, "no device matches '%.60s'; there are: %s", match, names);
done:
    free(candidates);
    return ok;
}

void device_close(device *d) {
    if (d->queue)
        clReleaseCommandQueue(d->queue);
    if (d->context)
        clReleaseContext(d->context);
    *d = (device){0};
}
