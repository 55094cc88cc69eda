/* Picks an OpenCL device and opens a context and a profiling queue on it. */
#ifndef EXAMPLES_DEVICE_H
#define EXAMPLES_DEVICE_H

#include "failure.h"
#include "mha_cl.h"

typedef struct device {
    cl_device_id id;
    cl_context context;
    cl_command_queue queue; /* in order, with profiling */
    char name[128];
    char platform[128];
} device;

/* `match` is a part of a platform's or a device's name, in any case; NULL accepts all. The best
 * that opens is taken: GPU before accelerator before CPU, then by compute units. Platforms and
 * devices that fail are passed over. */
bool device_open(const char *match, device *d, failure *f);

/* Safe on a device that never opened, provided that it was zeroed. */
void device_close(device *d);

#endif
