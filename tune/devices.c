/* In: the OpenCL devices, as a worker sees them. Out: a table, or JSON. */
#include "caps_json.h"
#include "columns.h"
#include "remote.h"
#include "results.h"
#include "store.h"

#include <string.h>
#include <unistd.h>

#define MAX_PATH_BYTES 4096

struct list {
    const struct options *options;
    const char *folder; /* empty: none */
    struct columns columns;
    json_t *json;
    int count;
};

static void print_bytes(cl_ulong bytes, char *text, size_t text_bytes) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    int unit = 0;
    for (; value >= 1024 && unit < 4; ++unit)
        value /= 1024;
    snprintf(text, text_bytes, "%.*f %s", value < 10 && unit > 0 ? 1 : 0, value, units[unit]);
}

static void add(void *user, const struct remote_device *device) {
    struct list *list = user;
    const struct device_caps *caps = &device->caps;
    char path[MAX_PATH_BYTES] = "", units[16], lanes[16], local[24], largest[24];
    if (!results_is_called(&device->identity, list->options->device))
        return;
    ++list->count;
    if (list->folder[0])
        store_path(list->folder, &device->identity, path, sizeof(path));
    if (access(path, F_OK))
        path[0] = 0;
    if (list->options->is_json) {
        json_t *json = caps_write(caps);
        json_object_set_new(json, "tuning_file", path[0] ? text_write(path) : json_null());
        json_array_append_new(list->json, json);
        return;
    }
    snprintf(units, sizeof(units), "%u", caps->compute_units);
    snprintf(lanes, sizeof(lanes), "%u", caps->float_vector);
    print_bytes(caps->local_bytes, local, sizeof(local));
    print_bytes(caps->max_alloc_bytes, largest, sizeof(largest));
    columns_add(&list->columns, (const char *const[]){caps->platform, caps->name, caps->driver,
                                                      caps->is_cpu ? "CPU" : "GPU", units, lanes,
                                                      local, largest, path[0] ? path : "none"});
}

int command_devices(const struct options *options) {
    static const char *const titles[] = {"platform", "device",         "driver",
                                         "type",     "units",          "lanes",
                                         "local",    "largest buffer", "tuning file"};
    char folder[MAX_PATH_BYTES], why[400];
    struct list list = {.options = options,
                        .folder = folder,
                        .columns = {.alignment = "llllrrrrl", .titles = titles},
                        .json = json_array()};
    if (!options_folder(options, folder, sizeof(folder), why, sizeof(why)))
        folder[0] = 0;
    const bool is_listed = remote_list(options->worker, add, &list, why, sizeof(why));
    int code = is_listed ? EXIT_TUNED : EXIT_DEVICE;
    if (!is_listed)
        results_complain(why);
    if (!columns_print(&list.columns, "", stdout))
        code = EXIT_USAGE;
    if (is_listed && !list.count) {
        results_complain(options->device ? "no such device" : "there is no OpenCL device");
        code = EXIT_DEVICE;
    }
    if (!options->is_json || !is_listed)
        json_decref(list.json);
    else if (results_dump(list.json))
        code = EXIT_USAGE;
    return code;
}
