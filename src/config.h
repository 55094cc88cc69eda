/* Tuning results: what a tuning file says, and which entry serves a problem.
 *
 * Files come from outside: whatever is damaged, unknown or out of its domain is skipped with a
 * message, and never stops the library. */
#ifndef MHA_CONFIG_H
#define MHA_CONFIG_H

#include "allocator.h"
#include "shape.h"
#include "source.h"

#define CONFIG_FORMAT "mha-cl-tune"
#define CONFIG_SCHEMA 1

/* Beyond these nothing is read. */
#define CONFIG_MAX_BYTES (4u << 20) /* of a file */
#define CONFIG_MAX_ALL 16384        /* of all files together */
#define CONFIG_MAX_FILES 64         /* of a folder */
#define CONFIG_MAX_DEPTH 32         /* of objects and arrays in one another */

/* Nor is a file written with more, so that several have room. */
#define CONFIG_MAX_ENTRIES 4096

/* Of a path that an entry remembers. */
#define CONFIG_ORIGIN_BYTES 160

/* The device that an entry was measured on. */
struct config_device {
    char name[128], platform[128], driver[128];
    char version[128]; /* of the platform: only to find the device by */
    cl_uint vendor_id, compute_units, float_vector;
    bool is_cpu;
};

struct config_entry {
    struct config_device device;
    struct shape shape;
    const struct variant *variant;
    struct tuning tuning; /* of the variant's declared domains */
    bool is_default;      /* nothing beat the heuristic's values */
    double ns, mad_ns, default_ns;
    double max_error; /* largest difference from the reference over its largest value */
    double space_size;
    int evaluations;
    char rigor[16];       /* "quick" .. "exhaustive" */
    char kernel_hash[17]; /* mha_kernel_hash() then */
    char date[11], library[16];
    const char *layer;                /* "shipped", "system", "user" or "application" */
    int precedence;                   /* of the layer; higher wins among equal matches */
    char origin[CONFIG_ORIGIN_BYTES]; /* the file; its end where it is longer */
};

struct config {
    struct config_entry *entries;
    size_t count, capacity;
};

enum config_match {
    MATCH_EXACT,  /* same device, driver and kernels */
    MATCH_STALE,  /* same device and kernels, another driver */
    MATCH_FAMILY, /* same platform, vendor and vector width */
    MATCH_TYPE,   /* same type and vector width */
    MATCH_SEED,   /* other kernels, another type of device, or values that are not legal here: only
                     a start for a search */
    MATCH_NONE
};

/* Results compiled in; ends with a NULL name. */
extern const struct kernel_text mha_shipped_tables[];

/* Sixteen hexadecimal digits of the texts a variant's programs are made of. */
void mha_kernel_hash(const struct variant *variant, char text[17]);

/* Names with every byte that is not printable ASCII as '?': drivers give any, files have none. */
struct config_device mha_config_device(const struct device_caps *caps);

/* Appends the entries of a file's text. What is skipped is logged as a warning that names `origin`
 * (a path, or the layer). False only when host memory runs out. */
bool mha_config_parse(struct config *config, const struct allocator *allocator, const char *text,
                      size_t bytes, const char *layer, int precedence, const char *origin,
                      const struct log_target *log);

/* The table compiled in, /etc/mha-cl/tune, the user's folder, then `path` (a file or a folder) and
 * `text` of the application; NULL for none. Hermetic: only the first and the last. */
bool mha_config_load(struct config *config, const struct allocator *allocator, bool is_hermetic,
                     const char *path, const char *text, const struct log_target *log);

/* A copy of it. False when host memory runs out or there are CONFIG_MAX_ALL. */
bool mha_config_add(struct config *config, const struct allocator *allocator,
                    const struct config_entry *entry);
void mha_config_release(struct config *config, const struct allocator *allocator);

/* How far an entry can be trusted for a problem; *distance from its shape, INFINITY for MATCH_NONE:
 * another shape, another variant than the problem asks for, or a batch-invariant problem, whose
 * kernels may not depend on its batch. */
enum config_match mha_config_match(const struct config_entry *entry, const struct problem *problem,
                                   const struct device_caps *caps, double *distance);

/* The best entry for the problem, MATCH_TYPE at least: match first, then layer, then distance, then
 * date. NULL for none. */
const struct config_entry *mha_config_find(const struct config *config,
                                           const struct problem *problem,
                                           const struct device_caps *caps,
                                           enum config_match *match);

const char *mha_config_match_name(enum config_match match);

#endif
