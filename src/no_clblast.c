/* CLBlast in a build that is without it: selection never chooses it. */
#include "provider.h"

const bool mha_clblast_is_built = false;

size_t mha_clblast_workspace(const struct problem *problem, const struct device_caps *caps,
                             const struct tuning *tuning) {
    (void)problem, (void)caps, (void)tuning;
    return 0;
}

cl_int mha_clblast_enqueue(const struct mha_plan *plan, cl_command_queue queue,
                           const struct clblast_product *product, cl_event *event) {
    (void)plan, (void)queue, (void)product, (void)event;
    return CL_INVALID_OPERATION;
}

cl_int mha_clblast_warm_up(const struct mha_plan *plan, cl_command_queue queue) {
    (void)plan, (void)queue;
    return CL_INVALID_OPERATION;
}
