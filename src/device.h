/* Facts about a device; the only code that asks OpenCL for them. */
#ifndef MHA_DEVICE_H
#define MHA_DEVICE_H

#include "allocator.h"
#include "status.h"

#include <stdbool.h>

struct device_caps {
    /* Cut where longer; version is the platform's, which names some that have no other name. */
    char name[128], driver[128], platform[128], version[128];
    bool is_cpu, has_fp64;
    cl_uint compute_units, clock_mhz, address_bits, vendor_id;
    cl_uint base_align_bits;              /* where a sub-buffer may begin */
    cl_uint float_vector;                 /* native width; at least 1 */
    size_t max_work_group, max_work_item; /* of dimension 0 */
    size_t max_parameter_bytes;
    cl_ulong local_bytes, max_alloc_bytes;
    bool is_local_dedicated; /* local memory is not global memory in disguise */
    double max_loops; /* iterations of all loops of a work-item together; INFINITY: any number */
};

/* Refuses, with the reason, a device that the library can't run on. *identity, to be released with
 * mha_release(), is a text of all that a compiled program depends on: names and versions of device,
 * driver and platform, in full. */
mha_status mha_device_query(cl_device_id device, const struct allocator *allocator,
                            struct device_caps *caps, char **identity, mha_error *error);

#endif
