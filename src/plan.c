/* In: an engine and a descriptor. Out: a plan, or why there can be none. */
#include "plan.h"

#include "launch.h"
#include "layer.h"

#include <stdio.h>
#include <string.h>

/* Of version 0.1: what every caller has. Never to change. */
#define FIRST_INFO_BYTES (offsetof(mha_plan_info, bytes) + sizeof(double))

static void release_kernels(struct mha_plan *plan) {
    for (int i = 0; i < MHA_MAX_KERNELS; ++i)
        if (plan->kernels[i]) {
            clReleaseKernel(plan->kernels[i]);
            plan->kernels[i] = NULL;
        }
}

static mha_status create_kernels(struct mha_plan *plan, const struct program *program,
                                 size_t *group_limit, mha_error *error) {
    const struct variant *variant = plan->selection.variant;
    for (int i = 0; i < MHA_MAX_KERNELS && variant->kernels[i].name; ++i) {
        cl_int code;
        plan->kernels[i] = clCreateKernel(program->program, variant->kernels[i].name, &code);
        if (code)
            return mha_fail_cl(error, code, "clCreateKernel");
    }
    return mha_plan_warm_up(plan, group_limit, error);
}

/* From the program to kernels that have run. A cached binary that does not work is compiled anew
 * and replaced. *group_limit: the largest work-group that every kernel takes. */
static mha_status make_kernels(struct mha_plan *plan, size_t *group_limit, mha_error *error) {
    mha_engine *engine = plan->engine;
    struct program *program;
    mha_status status =
        mha_program_get(engine, &plan->problem, &plan->selection, true, &program, error);
    if (status)
        return status;
    status = create_kernels(plan, program, group_limit, error);
    if (status && program->is_from_cache) {
        mha_log(&engine->log, MHA_LOG_WARNING,
                "a cached program does not work on %s; rebuilding it", engine->caps.name);
        release_kernels(plan);
        mha_program_discard(engine, program);
        if ((status =
                 mha_program_get(engine, &plan->problem, &plan->selection, false, &program, error)))
            return status;
        status = create_kernels(plan, program, group_limit, error);
    }
    if (!status)
        mha_program_store(engine, program);
    return status;
}

/* Whether another variant may do better: not where memory ran out, or the device is gone. */
static bool is_variants_fault(mha_status status) {
    return status == MHA_ERR_BUILD || status == MHA_ERR_OPENCL;
}

/* The plan says what was tried before. */
static void append_reason(struct selection *selection, const mha_error *failure) {
    const size_t used = strlen(selection->reason);
    snprintf(selection->reason + used, sizeof(selection->reason) - used,
             "; a better one failed: %s", failure->message);
}

mha_status mha_plan_check(const struct mha_plan *plan, enum operation operation, mha_error *error) {
    static const char *const names[] = {
        [OPERATION_ATTENTION] = "an attention",
        [OPERATION_LINEAR] = "a linear projection",
        [OPERATION_LAYER] = "a layer",
    };
    if (!plan)
        return mha_fail(error, MHA_ERR_NULL, "plan is NULL");
    if (plan->problem.operation != operation)
        return mha_fail(error, MHA_ERR_PLAN, "the plan is of %s, not of %s",
                        names[plan->problem.operation], names[operation]);
    return MHA_SUCCESS;
}

mha_status mha_plan_supported(const mha_engine *engine, const struct problem *problem,
                              mha_error *error) {
    struct selection selection;
    const mha_status status =
        mha_select(problem, &engine->caps, &engine->config, 0, &selection, error);
    return status ? status : mha_succeed(error);
}

mha_status mha_plan_check_engine(const mha_engine *engine, mha_error *error) {
    if (!engine)
        return mha_fail(error, MHA_ERR_NULL, "engine is NULL");
    return mha_engine_check(engine, error);
}

mha_plan *mha_plan_allocate(mha_engine *engine, const struct problem *problem, mha_error *error) {
    mha_plan *p = mha_allocate_zeroed(&engine->allocator, sizeof(*p));
    if (!p) {
        mha_fail(error, MHA_ERR_HOST_MEMORY, "no memory for a plan (%zu bytes)", sizeof(*p));
        return NULL;
    }
    mha_engine_retain(engine);
    p->engine = engine;
    p->problem = *problem;
    pthread_mutex_init(&p->lock, NULL);
    return p;
}

/* Sizes that follow from the selection. */
static void set_sizes(struct mha_plan *plan) {
    const struct variant *variant = plan->selection.variant;
    const struct tuning *tuning = &plan->selection.tuning;
    plan->workspace_bytes = variant->workspace_bytes(&plan->problem, &plan->engine->caps, tuning);
    plan->packed_elements = mha_packed_elements(&plan->problem, variant, tuning);
    plan->packed_bytes = mha_packed_bytes(&plan->problem, variant, tuning);
    plan->packed_layout = mha_packed_layout(&plan->problem, variant, tuning);
}

mha_status mha_plan_make(mha_engine *engine, const struct problem *problem, mha_plan **plan,
                         mha_error *error) {
    mha_status status;
    mha_plan *p = mha_plan_allocate(engine, problem, error);
    if (!p)
        return MHA_ERR_HOST_MEMORY;
    /* A variant that the device's compiler can't take is no reason to fail: the next one may do,
     * down to the reference. One asked for by name is not replaced, but its values may be. */
    mha_error reason = {.status = MHA_SUCCESS};
    struct device_caps caps = engine->caps;
    for (int skip = 0;;) {
        mha_error select_error;
        size_t group_limit = SIZE_MAX;
        status = mha_select(problem, &caps, &engine->config, skip, &p->selection, &select_error);
        if (status) {
            reason = reason.status ? reason : select_error;
            break;
        }
        set_sizes(p);
        if (reason.status)
            append_reason(&p->selection, &reason);
        status = make_kernels(p, &group_limit, &reason);
        if (!status)
            break;
        release_kernels(p);
        /* Registers or local memory bound the work-group: first a smaller tile of the same. */
        if (group_limit < caps.max_work_group) {
            caps.max_work_group = group_limit;
            continue;
        }
        if (!is_variants_fault(status))
            break;
        mha_log(&engine->log, MHA_LOG_WARNING, "variant %s is not usable on %s: %s",
                p->selection.variant->name, engine->caps.name, reason.message);
        caps.max_work_group = engine->caps.max_work_group;
        ++skip;
    }
    if (status) {
        mha_plan_destroy(&p);
        if (error)
            *error = reason;
        return reason.status;
    }
    *plan = p;
    return mha_succeed(error);
}

mha_status mha_plan_make_selected(mha_engine *engine, const struct problem *problem,
                                  const struct selection *selection, mha_plan **plan,
                                  mha_error *error) {
    size_t group_limit = SIZE_MAX;
    mha_plan *p = mha_plan_allocate(engine, problem, error);
    if (!p)
        return MHA_ERR_HOST_MEMORY;
    p->selection = *selection;
    set_sizes(p);
    const mha_status status = make_kernels(p, &group_limit, error);
    if (status) {
        mha_plan_destroy(&p);
        return status;
    }
    *plan = p;
    return mha_succeed(error);
}

/* `found` is what the descriptor's check came to; without an engine that does not matter. */
static mha_status find_support(const mha_engine *engine, const struct problem *problem,
                               mha_status found, mha_error *error) {
    const mha_status status = mha_plan_check_engine(engine, error);
    if (status || found)
        return status ? status : found;
    return mha_plan_supported(engine, problem, error);
}

static mha_status create(mha_engine *engine, const struct problem *problem, mha_status found,
                         mha_plan **plan, mha_error *error) {
    if (!plan)
        return mha_fail(error, MHA_ERR_NULL, "plan is NULL");
    *plan = NULL;
    const mha_status status = mha_plan_check_engine(engine, error);
    if (status || found)
        return status ? status : found;
    return mha_plan_make(engine, problem, plan, error);
}

mha_status mha_attention_supported(const mha_engine *engine, const mha_attention_desc *desc,
                                   mha_error *error) {
    struct problem problem;
    const mha_status found = mha_attention_problem_init(&problem, desc, error);
    return find_support(engine, &problem, found, error);
}

mha_status mha_plan_create(mha_engine *engine, const mha_attention_desc *desc, mha_plan **plan,
                           mha_error *error) {
    struct problem problem;
    const mha_status found = mha_attention_problem_init(&problem, desc, error);
    return create(engine, &problem, found, plan, error);
}

mha_status mha_linear_supported(const mha_engine *engine, const mha_linear_desc *desc,
                                mha_error *error) {
    struct problem problem;
    const mha_status found = mha_linear_problem_init(&problem, desc, error);
    return find_support(engine, &problem, found, error);
}

mha_status mha_linear_plan_create(mha_engine *engine, const mha_linear_desc *desc, mha_plan **plan,
                                  mha_error *error) {
    struct problem problem;
    const mha_status found = mha_linear_problem_init(&problem, desc, error);
    return create(engine, &problem, found, plan, error);
}

void mha_plan_destroy(mha_plan **plan) {
    if (!plan || !*plan)
        return;
    mha_plan *p = *plan;
    *plan = NULL;
    mha_engine *engine = p->engine;
    mha_layer_release(p);
    release_kernels(p);
    pthread_mutex_destroy(&p->lock);
    mha_release(&engine->allocator, p);
    mha_engine_release(engine);
}

/* Adds to info->flops and info->bytes. */
static void count_work(const struct mha_plan *plan, mha_plan_info *info) {
    const struct problem *p = &plan->problem;
    if (plan->layer) {
        for (int s = 0; s < LAYER_STAGES; ++s)
            if (plan->layer->stages[s])
                count_work(plan->layer->stages[s], info);
        return;
    }
    const struct shape shape = mha_shape_of(p);
    const struct shape_work work = mha_shape_work(&shape, p->flags & MHA_LINEAR_BIAS);
    info->flops += work.flops;
    info->bytes += work.bytes;
}

mha_status mha_plan_get_info(const mha_plan *plan, mha_plan_info *info, mha_error *error) {
    if (!plan || !info)
        return mha_fail(error, MHA_ERR_NULL, "%s is NULL", plan ? "info" : "plan");
    const size_t struct_size = info->struct_size;
    if (struct_size < sizeof(size_t))
        return mha_fail(error, MHA_ERR_STRUCT_SIZE, "mha_plan_info.struct_size is %zu",
                        struct_size);
    mha_plan_info full = {
        .struct_size = sizeof(full),
        .workspace_bytes = plan->workspace_bytes,
        .packed_bytes = plan->packed_bytes,
        .packed_layout = plan->packed_layout,
    };
    count_work(plan, &full);
    /* Of a layer, the attention is what a user asks about first. */
    if (plan->layer)
        plan = plan->layer->stages[LAYER_ATTENTION];
    strcpy(full.variant, plan->selection.variant->name);
    mha_tuning_print(plan->selection.variant, &plan->selection.tuning, full.parameters,
                     sizeof(full.parameters));
    strcpy(full.source, plan->selection.source);
    strcpy(full.reason, plan->selection.reason);
    return mha_write_struct(info, &full, sizeof(full), FIRST_INFO_BYTES, "mha_plan_info", error);
}
