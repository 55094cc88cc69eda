/* In: options. Out: an open device, its engine and kernels. */
#include "runtime.h"

#include "steps.h"

#include <stdio.h>

static const char *dtype_name(mha_dtype dtype) {
    return dtype == MHA_F16 ? "fp16" : "fp32";
}

bool runtime_open(const model_options *o, runtime *r, failure *f) {
    *r = (runtime){0};
    step_begin("opening the device");
    if (!device_open(o->device, &r->d, f) || !open_engine(&r->d, &r->engine, f))
        goto failed;
    step_end();
    printf("  %s / %s\n", r->d.platform, r->d.name);
    step_begin("compiling the model's small kernels, %s", dtype_name(o->dtype));
    if (!model_ops_open(&r->d, o->dtype, &r->ops, f))
        goto failed;
    step_end();
    return true;
failed:
    runtime_close(r);
    return false;
}

void runtime_close(runtime *r) {
    profile_free(&r->profile);
    model_ops_close(&r->ops);
    mha_engine_destroy(&r->engine);
    device_close(&r->d);
}

void runtime_record(runtime *r) {
    r->ops.profile = &r->profile;
}

bool runtime_finish(const runtime *r, failure *f) {
    cl_int status = clFinish(r->d.queue);
    return status == CL_SUCCESS || fail_cl(f, "clFinish", status);
}

void runtime_describe(const runtime *r, const encoder *e, char *text, size_t bytes) {
    snprintf(text, bytes, "computed in %s by libmha-cl, attention variant %s, on %s / %s",
             dtype_name(r->ops.dtype), e->infos[PLAN_WEIGHTS].variant, r->d.platform, r->d.name);
}

void runtime_print_plans(const encoder *e) {
    static const char *const uses[N_LAYER_PLANS] = {
        [PLAN_FAST] = "attention", [PLAN_WEIGHTS] = "attention with weights"};
    for (int i = 0; i < N_LAYER_PLANS; ++i)
        if (e->plans[i])
            printf("  %s: variant %s: %s\n", uses[i], e->infos[i].variant, e->infos[i].reason);
    printf("  MLP: variants %s, %s\n", e->fc1.info.variant, e->fc2.info.variant);
}
