/* In: a shape and candidates. Out: plans, and calls with data that is not in the caches. */
#include "workload.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* All sets together, in caches: what is read anew was then surely thrown out. */
#define CACHES 1.5
/* Of a driver that does not say how large they are. */
#define DEFAULT_CACHE_BYTES (32 << 20)

/* Of the device's memory, for all sets. */
#define MEMORY_SHARE 0.25

/* ---- Opening --------------------------------------------------------------------------------- */

bool workload_open(struct workload *w, struct target *target, const struct shape *shape, char *why,
                   size_t why_bytes) {
    mha_error error;
    workload_close(w);
    *w = (struct workload){.target = target, .shape = *shape};
    if (mha_shape_problem(shape, &w->problem, &error)) {
        snprintf(why, why_bytes, "%s", error.message);
    } else if (!values_init(&w->values, &w->problem, 1)) {
        snprintf(why, why_bytes, "no memory for a shape's values");
    } else {
        return true;
    }
    workload_close(w);
    return false;
}

static void release_packed(struct packed_weights *packed) {
    for (int i = 0; i < packed->count; ++i)
        tensor_release(&packed->copies[i]);
    *packed = (struct packed_weights){.count = 0};
}

void workload_close(struct workload *w) {
    for (int i = 0; i < CHECK_SHORT_CASES; ++i)
        check_destroy(w->checks[i]);
    values_release(&w->values);
    for (int i = 0; i < w->set_count; ++i)
        operands_release(&w->sets[i]);
    for (int i = 0; i < MAX_LAYOUTS; ++i)
        release_packed(&w->packed[i]);
    tensor_release(&w->workspace);
    for (int i = 0; i < MAX_TRIALS; ++i)
        mha_plan_destroy(&w->trials[i].plan);
    *w = (struct workload){.target = NULL};
}

/* ---- Plans ----------------------------------------------------------------------------------- */

/* Domain values must be fitted to the problem's lengths first. */
static bool is_legal(const struct workload *w, const struct selection *selection, char *why,
                     size_t why_bytes) {
    const struct variant *variant = selection->variant;
    const struct tuning *tuning = &selection->tuning;
    const struct problem *p = &w->problem;
    const struct device_caps *caps = &w->target->caps;
    const size_t bytes[] = {variant->workspace_bytes(p, caps, tuning),
                            mha_packed_bytes(p, variant, tuning)};
    if (!variant->legal(p, caps, tuning, why, why_bytes))
        return false;
    if (variant->loops(p, tuning) > caps->max_loops) {
        snprintf(why, why_bytes, "loops more often than the driver allows");
        return false;
    }
    for (int i = 0; i < 2; ++i)
        if (bytes[i] > caps->max_alloc_bytes) {
            snprintf(why, why_bytes, "needs %zu bytes of %s, more than the largest allocation",
                     bytes[i], i ? "packed weights" : "workspace");
            return false;
        }
    return true;
}

static enum remote_result result_of(mha_status status) {
    switch (status) {
    case MHA_SUCCESS:
        return REMOTE_OK;
    case MHA_ERR_UNSUPPORTED:
    case MHA_ERR_VARIANT:
        return REMOTE_ILLEGAL;
    case MHA_ERR_BUILD:
        return REMOTE_BUILD;
    default:
        return REMOTE_OPENCL;
    }
}

static enum remote_result make_plan(const struct workload *w, const struct candidate *candidate,
                                    mha_plan **plan, char *why, size_t why_bytes) {
    mha_engine *engine = w->target->engine;
    mha_error error;
    mha_status status;
    if (!candidate->variant) {
        status = mha_plan_make(engine, &w->problem, plan, &error);
    } else {
        struct selection selection = {
            .variant = candidate->variant, .tuning = candidate->tuning, .source = "candidate"};
        mha_tuning_fit(selection.variant, &w->problem, &selection.tuning);
        if (!is_legal(w, &selection, why, why_bytes))
            return REMOTE_ILLEGAL;
        status = mha_plan_make_selected(engine, &w->problem, &selection, plan, &error);
    }
    if (status)
        snprintf(why, why_bytes, "%s: %s", mha_status_name(status), error.message);
    return result_of(status);
}

static bool is_same(const struct candidate *a, const struct candidate *b) {
    return a->variant == b->variant &&
           (!a->variant || !memcmp(&a->tuning, &b->tuning, sizeof(a->tuning)));
}

struct trial *workload_build(struct workload *w, const struct candidate *candidate,
                             enum remote_result *result, char *why, size_t why_bytes) {
    struct trial *oldest = &w->trials[0];
    *result = REMOTE_OK;
    for (int i = 0; i < MAX_TRIALS; ++i) {
        struct trial *trial = &w->trials[i];
        if (trial->plan && is_same(&trial->candidate, candidate)) {
            trial->last_use = ++w->uses;
            return trial;
        }
        if (trial->last_use < oldest->last_use)
            oldest = trial;
    }
    mha_plan_destroy(&oldest->plan);
    *oldest = (struct trial){.candidate = *candidate, .last_use = ++w->uses};
    const double begun = target_clock();
    *result = make_plan(w, candidate, &oldest->plan, why, why_bytes);
    oldest->build_ns = target_clock() - begun;
    if (!*result)
        return oldest;
    *oldest = (struct trial){.plan = NULL};
    return NULL;
}

enum remote_result workload_check(struct workload *w, struct trial *trial, char *why,
                                  size_t why_bytes) {
    enum remote_result result = REMOTE_OK;
    for (int i = 0; i < CHECK_SHORT_CASES && !trial->is_checked && !result; ++i) {
        const struct check_options options = check_short_case(&w->problem, i);
        if (!w->checks[i])
            w->checks[i] = check_create(w->target, &w->problem, &options, why, why_bytes);
        result = w->checks[i]
                     ? check_plan(w->checks[i], trial->plan, &trial->max_error, why, why_bytes)
                     : REMOTE_OPENCL;
    }
    trial->is_checked = !result;
    return result;
}

/* ---- Data ------------------------------------------------------------------------------------ */

/* As many as do not fit the caches together, within reason. */
static int wanted_sets(const struct workload *w, const struct operands *set) {
    const struct target *t = w->target;
    const double bytes = operands_bytes(set);
    const double cache = t->cache_bytes > 0 ? t->cache_bytes : DEFAULT_CACHE_BYTES;
    double sets = ceil(CACHES * cache / bytes) + 1;
    if (t->global_bytes > 0)
        sets = fmin(sets, floor(MEMORY_SHARE * t->global_bytes / bytes));
    return (int)fmax(1, fmin(sets, MAX_SETS));
}

static bool is_packed(const struct workload *w) {
    return w->problem.operation == OPERATION_LINEAR && w->problem.flags & MHA_LINEAR_PACKED;
}

static bool make_sets(struct workload *w, bool is_warm, char *why, size_t why_bytes) {
    const struct sizes sizes = sizes_of(&w->problem);
    const struct operands layout = operands_layout(&w->problem, &sizes, 0);
    const int wanted = is_warm ? 1 : wanted_sets(w, &layout);
    while (w->set_count < wanted) {
        struct operands *set = &w->sets[w->set_count++];
        *set = layout;
        /* Weights are packed from the first set. */
        if (w->set_count == 1
                ? !operands_upload(set, w->target, &w->values, why, why_bytes)
                : !operands_copy(set, w->target, &w->sets[0], !is_packed(w), why, why_bytes)) {
            operands_release(&w->sets[--w->set_count]);
            /* Another program may have the memory: fewer sets measure less well, none not at all.
             */
            return w->set_count > 0;
        }
    }
    return true;
}

static struct packed_weights *find_packed(struct workload *w, uint64_t layout) {
    for (int i = 0; i < MAX_LAYOUTS; ++i)
        if (w->packed[i].layout == layout)
            return &w->packed[i];
    return NULL;
}

/* An unused entry, with memory left for `bytes`: the oldest go until there is. */
static struct packed_weights *free_packed(struct workload *w, double bytes) {
    const double memory = w->target->global_bytes;
    for (;;) {
        struct packed_weights *unused = NULL, *oldest = NULL;
        double used = bytes;
        for (int i = 0; i < MAX_LAYOUTS; ++i) {
            struct packed_weights *packed = &w->packed[i];
            if (!packed->layout)
                unused = packed;
            else if (!oldest || packed->last_use < oldest->last_use)
                oldest = packed;
            used += packed->bytes;
        }
        if (unused && (!oldest || memory == 0 || used <= MEMORY_SHARE * memory))
            return unused;
        release_packed(oldest);
    }
}

/* The first copy is packed, the others are copied from it. */
static bool add_copy(struct workload *w, mha_plan *plan, struct packed_weights *packed, char *why,
                     size_t why_bytes) {
    struct tensor *copy = &packed->copies[packed->count++];
    mha_error error;
    *copy = memory_layout(plan->packed_bytes);
    if (packed->count > 1)
        return tensor_copy(copy, w->target, &packed->copies[0], why, why_bytes);
    if (!tensor_upload(copy, w->target, NULL, why, why_bytes))
        return false;
    if (!operands_pack(&w->sets[0], plan, w->target->queue, copy, &error))
        return true;
    snprintf(why, why_bytes, "%s: %s", mha_status_name(error.status), error.message);
    return false;
}

static bool make_packed(struct workload *w, mha_plan *plan, char *why, size_t why_bytes) {
    const double bytes = (double)plan->packed_bytes * w->set_count;
    struct packed_weights *packed = find_packed(w, plan->packed_layout);
    if (!packed)
        packed = free_packed(w, bytes);
    packed->layout = plan->packed_layout;
    packed->bytes = bytes;
    packed->last_use = ++w->uses;
    while (packed->count < w->set_count)
        if (!add_copy(w, plan, packed, why, why_bytes)) {
            release_packed(packed);
            return false;
        }
    return true;
}

bool workload_prepare(struct workload *w, const struct trial *trial, bool is_warm, char *why,
                      size_t why_bytes) {
    const struct tensor wanted = memory_layout(trial->plan->workspace_bytes);
    if (!make_sets(w, is_warm, why, why_bytes))
        return false;
    if (is_packed(w) && !make_packed(w, trial->plan, why, why_bytes))
        return false;
    if (trial->plan->workspace_bytes == 0 ||
        (w->workspace.buffer && w->workspace.elements >= wanted.elements))
        return true;
    tensor_release(&w->workspace);
    w->workspace = wanted;
    return tensor_upload(&w->workspace, w->target, NULL, why, why_bytes);
}

mha_status workload_call(struct workload *w, const struct trial *trial, bool is_warm,
                         mha_error *error) {
    const int set = is_warm ? 0 : w->next_set;
    const struct tensor *packed = NULL;
    w->next_set = (set + 1) % w->set_count;
    if (is_packed(w))
        packed = &find_packed(w, trial->plan->packed_layout)->copies[set];
    return operands_call(&w->sets[set], trial->plan, w->target->queue, packed, &w->workspace,
                         error);
}
