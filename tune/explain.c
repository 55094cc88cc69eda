/* In: tuning results, a device. Out: for each shape, what the library uses and why. */
#include "explanation.h"
#include "remote.h"
#include "results.h"

static bool explain(const struct shape *shape, const struct config *config,
                    const struct device_caps *caps, json_t *list, bool *can_run) {
    struct explanation explanation;
    bool is_done = explanation_make(&explanation, shape, config, caps);
    if (is_done && list)
        is_done = !json_array_append_new(list, explanation_write(&explanation));
    else if (is_done)
        is_done = explanation_print(&explanation, stdout);
    *can_run = *can_run && explanation.choice.selection.variant;
    explanation_release(&explanation);
    return is_done;
}

int command_explain(const struct options *options) {
    struct shape shapes[MAX_SHAPES];
    struct config config;
    char why[400];
    bool is_done = true, can_run = true;
    const int count = results_shapes(options, shapes);
    struct remote *remote = remote_open(options->worker, options->device, why, sizeof(why));
    if (!remote) {
        results_complain(why);
        return EXIT_DEVICE;
    }
    const struct remote_device *device = remote_device(remote);
    if (!results_load(&config, options->config)) {
        remote_close(remote);
        return EXIT_USAGE;
    }
    json_t *list = options->is_json ? json_array() : NULL;
    if (!list)
        printf("%s / %s, driver %s\n", device->identity.platform, device->identity.name,
               device->identity.driver);
    for (int i = 0; is_done && i < count; ++i)
        is_done = explain(&shapes[i], &config, &device->caps, list, &can_run);
    int code = can_run ? EXIT_TUNED : EXIT_PARTIAL;
    if (!is_done)
        code = results_complain("no memory for an explanation");
    else if (list && results_dump(json_incref(list)))
        code = EXIT_USAGE;
    json_decref(list);
    results_release(&config);
    remote_close(remote);
    return code;
}
