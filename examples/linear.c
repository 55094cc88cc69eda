/* In: rows. Out: rows times a packed weight plus its bias. */
#include "linear.h"

#include "calls.h"

#include <stdio.h>

bool linear_open(mha_engine *engine, mha_dtype dtype, int64_t in_features, int64_t out_features,
                 int64_t max_rows, linear *l, failure *f) {
    mha_linear_desc desc = MHA_LINEAR_DESC_INIT;
    mha_error error;
    *l = (linear){.engine = engine,
                  .info.struct_size = sizeof(l->info),
                  .in_features = in_features,
                  .out_features = out_features,
                  .dtype = dtype};
    desc.flags = MHA_LINEAR_BIAS | MHA_LINEAR_PACKED;
    desc.dtype = desc.weight_dtype = dtype;
    desc.in_features = in_features;
    desc.out_features = out_features;
    desc.max_rows = max_rows;
    if (mha_linear_plan_create(engine, &desc, &l->plan, &error) == MHA_SUCCESS &&
        mha_plan_get_info(l->plan, &l->info, &error) == MHA_SUCCESS)
        return true;
    return fail_mha(f, engine, &error);
}

void linear_close(linear *l) {
    mha_plan_destroy(&l->plan);
    *l = (linear){0};
}

bool linear_read(const linear *l, const model_ops *ops, const st_file *file, const char *name,
                 cl_mem *packed, failure *f) {
    char weight_name[96], bias_name[96];
    mha_memory weight = {0}, bias = {0}, to = {0};
    mha_error error;
    bool ok = false;
    snprintf(weight_name, sizeof(weight_name), "%s.weight", name);
    snprintf(bias_name, sizeof(bias_name), "%s.bias", name);
    if (!weights_read(ops, file, weight_name, l->out_features, l->in_features, &weight.buffer, f) ||
        !weights_read(ops, file, bias_name, l->out_features, 0, &bias.buffer, f) ||
        !make_buffer(ops->d->context, l->info.packed_bytes, NULL, packed, f))
        goto done;
    to.buffer = *packed;
    ok = mha_enqueue_linear_pack(l->plan, ops->d->queue, &weight, &bias, &to, 0, NULL, NULL,
                                 &error) == MHA_SUCCESS ||
         fail_mha(f, l->engine, &error);
done:
    release_buffer(&weight.buffer);
    release_buffer(&bias.buffer);
    return ok;
}

bool linear_run(const linear *l, const model_ops *ops, const linear_call *call, work kind,
                failure *f) {
    mha_linear_args args = MHA_LINEAR_ARGS_INIT;
    cl_event first = NULL, last = NULL;
    mha_error error;
    args.rows = (int64_t)call->rows;
    args.x.memory.buffer = call->x;
    args.x.stride_row = l->in_features;
    args.y.memory.buffer = call->y;
    args.y.memory.offset_bytes = call->y_at * ops->element;
    args.y.stride_row = l->out_features;
    args.weight.buffer = call->packed;
    args.workspace.buffer = l->info.workspace_bytes ? call->workspace : NULL;
    args.first_event = ops->profile ? &first : NULL;
    if (mha_enqueue_linear(l->plan, ops->d->queue, &args, 0, NULL, ops->profile ? &last : NULL,
                           &error) != MHA_SUCCESS)
        return fail_mha(f, l->engine, &error);
    return !ops->profile || profile_add(ops->profile, kind, first, last, f);
}
