/* In: plans. Out: whether their results are the reference's. */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>

/* Of samples: a few milliseconds' worth, and a tenth of a second's. */
#define SHORT_TERMS 4e6
#define THOROUGH_TERMS 2e7

struct check {
    const struct target *target;
    struct problem problem;
    struct values values;
    struct operands operands;
    struct expected expected[OUTPUT_COUNT];
};

static const char *output_name(const struct problem *p, int output) {
    static const char *const names[] = {"o", "lse", "scores"};
    return p->operation == OPERATION_LINEAR ? "y" : names[output];
}

struct check *check_create(const struct target *target, const struct problem *problem,
                           const struct check_options *options, char *why, size_t why_bytes) {
    struct check *c = calloc(1, sizeof(*c));
    snprintf(why, why_bytes, "no memory for a check");
    if (!c)
        return NULL;
    c->target = target;
    c->problem = *problem;
    c->operands = operands_layout(problem, &options->sizes, options->padding);
    if (values_init(&c->values, problem, options->logits) &&
        expect(problem, &c->operands, &c->values, options->terms, c->expected) &&
        operands_upload(&c->operands, target, &c->values, why, why_bytes))
        return c;
    check_destroy(c);
    return NULL;
}

void check_destroy(struct check *c) {
    if (!c)
        return;
    operands_release(&c->operands);
    expected_release(c->expected);
    values_release(&c->values);
    free(c);
}

/* ---- One call -------------------------------------------------------------------------------- */

static enum remote_result fail_call(const mha_error *error, char *why, size_t why_bytes) {
    snprintf(why, why_bytes, "%s: %s", mha_status_name(error->status), error->message);
    return REMOTE_OPENCL;
}

static enum remote_result call(struct check *c, mha_plan *plan, const struct tensor *packed,
                               const struct tensor *workspace, char *why, size_t why_bytes) {
    const cl_command_queue queue = c->target->queue;
    mha_error error;
    cl_int code;
    if (packed->buffer) {
        if (operands_pack(&c->operands, plan, queue, packed, &error))
            return fail_call(&error, why, why_bytes);
        if (!tensor_has_margins(packed, c->target, "packed weights", why, why_bytes))
            return REMOTE_WRONG;
    }
    if (operands_call(&c->operands, plan, queue, packed, workspace, &error))
        return fail_call(&error, why, why_bytes);
    if ((code = clFinish(queue))) {
        snprintf(why, why_bytes, "clFinish: OpenCL error %d", (int)code);
        return REMOTE_OPENCL;
    }
    if (workspace->buffer && !tensor_has_margins(workspace, c->target, "workspace", why, why_bytes))
        return REMOTE_WRONG;
    return REMOTE_OK;
}

static enum remote_result judge(const struct check *c, double *max_error, char *why,
                                size_t why_bytes) {
    for (int i = 0; i < OUTPUT_COUNT; ++i) {
        const struct tensor *output = &c->operands.outputs[i];
        const char *name = output_name(&c->problem, i);
        unsigned char *bytes;
        if (!output->buffer)
            continue;
        if (!tensor_download(output, c->target, &bytes, why, why_bytes))
            return REMOTE_OPENCL;
        const bool is_right =
            tensor_is_intact(output, bytes, c->values.limits[i], name, why, why_bytes) &&
            expected_holds(&c->expected[i], output->type, bytes, name, max_error, why, why_bytes);
        free(bytes);
        if (!is_right)
            return REMOTE_WRONG;
    }
    return REMOTE_OK;
}

enum remote_result check_plan(struct check *c, mha_plan *plan, double *max_error, char *why,
                              size_t why_bytes) {
    const bool is_packed = plan->problem.flags & MHA_LINEAR_PACKED;
    struct tensor packed = memory_layout(is_packed ? plan->packed_bytes : 0);
    struct tensor workspace = memory_layout(plan->workspace_bytes);
    enum remote_result result = REMOTE_OPENCL;
    bool is_ready = true;
    for (int i = 0; i < OUTPUT_COUNT && is_ready; ++i)
        if (c->operands.outputs[i].buffer)
            is_ready = tensor_clear(&c->operands.outputs[i], c->target, why, why_bytes);
    if (is_ready && is_packed)
        is_ready = tensor_upload(&packed, c->target, NULL, why, why_bytes);
    if (is_ready && plan->workspace_bytes)
        is_ready = tensor_upload(&workspace, c->target, NULL, why, why_bytes);
    if (is_ready)
        result = call(c, plan, &packed, &workspace, why, why_bytes);
    if (!result)
        result = judge(c, max_error, why, why_bytes);
    tensor_release(&packed);
    tensor_release(&workspace);
    return result;
}

/* ---- Cases ----------------------------------------------------------------------------------- */

static int64_t at_most(int64_t wanted, int64_t maximum) {
    return wanted < maximum ? wanted : maximum;
}

/* Sizes that are multiples of nothing, as far as the problem's maxima allow. */
static struct sizes small_sizes(const struct problem *p, int64_t batch, int64_t queries,
                                int64_t keys) {
    return (struct sizes){
        .batch = at_most(batch, p->batch),
        .seqlen_q = at_most(queries, p->seqlen_q),
        .seqlen_kv = at_most(keys, p->seqlen_kv),
        .rows = at_most(queries, p->rows),
    };
}

struct check_options check_short_case(const struct problem *p, int number) {
    if (number == 0)
        return (struct check_options){.sizes = sizes_of(p), .logits = 1, .terms = SHORT_TERMS};
    return (struct check_options){
        .sizes = small_sizes(p, 2, 29, 53), .padding = 5, .logits = 30, .terms = SHORT_TERMS};
}

/* One case with one plan. */
static enum remote_result run_case(const struct target *target, mha_plan *plan,
                                   const struct check_options *options, double *max_error,
                                   char *why, size_t why_bytes) {
    struct check *check = check_create(target, &plan->problem, options, why, why_bytes);
    const enum remote_result result =
        check ? check_plan(check, plan, max_error, why, why_bytes) : REMOTE_OPENCL;
    check_destroy(check);
    return result;
}

static int64_t one_less(int64_t size) {
    return size > 1 ? size - 1 : size;
}

enum { ALL_CASES = CHECK_SHORT_CASES + 3 };

/* The first `count` of all cases. */
static enum remote_result run_cases(const struct target *target, mha_plan *plan, int count,
                                    double *max_error, char *why, size_t why_bytes) {
    const struct problem *p = &plan->problem;
    const struct check_options cases[ALL_CASES] = {
        check_short_case(p, 0),
        check_short_case(p, 1),
        {.sizes = small_sizes(p, 1, 1, 1), .logits = 1},
        {.sizes = small_sizes(p, 3, 37, 61), .padding = 3, .logits = 1},
        {.sizes = {p->batch, one_less(p->seqlen_q), one_less(p->seqlen_kv), one_less(p->rows)},
         .logits = 30},
    };
    enum remote_result result = REMOTE_OK;
    for (int i = 0; i < count && !result; ++i) {
        struct check_options options = cases[i];
        options.terms = THOROUGH_TERMS;
        result = run_case(target, plan, &options, max_error, why, why_bytes);
    }
    return result;
}

/* The same choice with other features; nothing is wrong with one that is not legal there. */
static enum remote_result run_features(const struct target *target, const mha_plan *plan,
                                       uint64_t flags, double *max_error, char *why,
                                       size_t why_bytes) {
    const struct selection *selection = &plan->selection;
    struct problem problem = plan->problem;
    mha_plan *other = NULL;
    mha_error error;
    problem.flags = flags;
    if (!(flags & MHA_CAUSAL))
        problem.alignment = MHA_TOP_LEFT;
    else if (!(plan->problem.flags & MHA_CAUSAL))
        problem.alignment = MHA_BOTTOM_RIGHT;
    if (flags == plan->problem.flags ||
        !selection->variant->legal(&problem, &target->caps, &selection->tuning, why, why_bytes))
        return REMOTE_OK;
    if (mha_plan_make_selected(target->engine, &problem, selection, &other, &error)) {
        snprintf(why, why_bytes, "with other features: %s", error.message);
        return REMOTE_BUILD;
    }
    const enum remote_result result =
        run_cases(target, other, CHECK_SHORT_CASES, max_error, why, why_bytes);
    mha_plan_destroy(&other);
    return result;
}

enum remote_result check_thoroughly(const struct target *target, mha_plan *plan, double *max_error,
                                    char *why, size_t why_bytes) {
    const uint64_t own = plan->problem.flags;
    const uint64_t attention[] = {own | MHA_CAUSAL, own | MHA_KV_LENGTHS, own | MHA_LSE,
                                  own | MHA_CAUSAL | MHA_KV_LENGTHS | MHA_LSE};
    const uint64_t linear[] = {own & ~MHA_LINEAR_BIAS, own & ~MHA_LINEAR_PACKED};
    const bool is_linear = plan->problem.operation == OPERATION_LINEAR;
    const size_t count =
        is_linear ? sizeof(linear) / sizeof(*linear) : sizeof(attention) / sizeof(*attention);
    enum remote_result result = run_cases(target, plan, ALL_CASES, max_error, why, why_bytes);
    for (size_t i = 0; i < count && !result; ++i) {
        const uint64_t flags = is_linear ? linear[i] : attention[i];
        /* Scores end where each batch entry's keys end, which expect() does not know. */
        if (is_linear || !(flags & MHA_SCORES) || !(flags & MHA_KV_LENGTHS))
            result = run_features(target, plan, flags, max_error, why, why_bytes);
    }
    return result;
}
