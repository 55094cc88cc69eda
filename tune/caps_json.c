/* In: struct device_caps. Out: JSON; and the way back. */
#include "caps_json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { TEXT, FLAG, COUNT, SIZE, LENGTH, NUMBER };

/* Every member of struct device_caps. */
static const struct {
    const char *name;
    enum kind kind;
    size_t offset;
} members[] = {
#define MEMBER(member, kind)                                                                       \
    { #member, kind, offsetof(struct device_caps, member) }
    MEMBER(name, TEXT),
    MEMBER(driver, TEXT),
    MEMBER(platform, TEXT),
    MEMBER(version, TEXT),
    MEMBER(is_cpu, FLAG),
    MEMBER(has_fp64, FLAG),
    MEMBER(compute_units, COUNT),
    MEMBER(clock_mhz, COUNT),
    MEMBER(address_bits, COUNT),
    MEMBER(vendor_id, COUNT),
    MEMBER(base_align_bits, COUNT),
    MEMBER(float_vector, COUNT),
    MEMBER(max_work_group, SIZE),
    MEMBER(max_work_item, SIZE),
    MEMBER(max_parameter_bytes, SIZE),
    MEMBER(local_bytes, LENGTH),
    MEMBER(max_alloc_bytes, LENGTH),
    MEMBER(is_local_dedicated, FLAG),
    MEMBER(max_loops, NUMBER),
#undef MEMBER
};
#define MEMBER_COUNT (sizeof(members) / sizeof(*members))
#define TEXT_BYTES sizeof(((struct device_caps *)0)->name)

/* ---- Texts ----------------------------------------------------------------------------------- */

void text_copy(char *copy, size_t bytes, const char *text) {
    size_t i = 0;
    for (; i + 1 < bytes && text[i]; ++i)
        copy[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
    copy[i] = 0;
}

json_t *text_write(const char *text) {
    json_t *json = json_string(text);
    char *copy = json ? NULL : strdup(text);
    if (!copy)
        return json;
    for (char *c = copy; *c; ++c)
        if ((unsigned char)*c > '~')
            *c = '?';
    json = json_string(copy);
    free(copy);
    return json;
}

/* ---- Members --------------------------------------------------------------------------------- */

/* Unsigned numbers beyond those of JSON's integers become negative ones. */
static json_t *write_member(enum kind kind, const void *at) {
    switch (kind) {
    case TEXT:
        return text_write(at);
    case FLAG:
        return json_boolean(*(const bool *)at);
    case COUNT:
        return json_integer(*(const cl_uint *)at);
    case SIZE:
        return json_integer(*(const size_t *)at);
    case LENGTH:
        return json_integer(*(const cl_ulong *)at);
    case NUMBER:
        return isfinite(*(const double *)at) ? json_real(*(const double *)at) : json_null();
    }
    return NULL;
}

json_t *caps_write(const struct device_caps *caps) {
    json_t *json = json_object();
    for (size_t i = 0; json && i < MEMBER_COUNT; ++i)
        if (json_object_set_new(
                json, members[i].name,
                write_member(members[i].kind, (const char *)caps + members[i].offset))) {
            json_decref(json);
            json = NULL;
        }
    return json;
}

static bool read_member(const json_t *json, enum kind kind, void *at) {
    const json_int_t integer = json_integer_value(json);
    switch (kind) {
    case TEXT:
        if (!json_is_string(json) || json_string_length(json) >= TEXT_BYTES)
            return false;
        strcpy(at, json_string_value(json));
        return true;
    case FLAG:
        *(bool *)at = json_is_true(json);
        return json_is_boolean(json);
    case COUNT:
        *(cl_uint *)at = (cl_uint)integer;
        return json_is_integer(json) && integer >= 0 && integer <= CL_UINT_MAX;
    case SIZE:
        *(size_t *)at = (size_t)integer;
        return json_is_integer(json);
    case LENGTH:
        *(cl_ulong *)at = (cl_ulong)integer;
        return json_is_integer(json);
    case NUMBER:
        *(double *)at = json_is_null(json) ? INFINITY : json_number_value(json);
        return json_is_null(json) || (json_is_number(json) && *(double *)at > 0);
    }
    return false;
}

bool caps_read(const json_t *json, struct device_caps *caps, char *why, size_t why_bytes) {
    *caps = (struct device_caps){.is_cpu = false};
    for (size_t i = 0; i < MEMBER_COUNT; ++i)
        if (!read_member(json_object_get(json, members[i].name), members[i].kind,
                         (char *)caps + members[i].offset)) {
            snprintf(why, why_bytes, "the device's %s is missing or makes no sense",
                     members[i].name);
            return false;
        }
    if (caps->compute_units > 0 && caps->float_vector > 0)
        return true;
    snprintf(why, why_bytes, "the device has no compute units or no vectors");
    return false;
}
