/* In: a plan with data. Out: nanoseconds per call. */
#include "measure.h"

#include "rates.h"
#include "statistics.h"

#include <math.h>
#include <stdio.h>

#define BATCHES 3
#define BATCH_NS 10e6
#define ROUND_NS 5e6
#define MAX_CALLS (1 << 14) /* that wait on the queue at a time */

/* Clocks rise only under load; those of a GPU fall while the host compiles. */
#define CPU_WARM_UP_NS 20e6
#define GPU_WARM_UP_NS 60e6
#define MOST_WARM_UP_NS 500e6
#define STEADY 0.02

/* Slower than this against the limit: not worth further batches. A first call, alone, may be slow
 * for other reasons; not this slow, and longer than the whole warm-up. */
#define HOPELESS 1.5
#define FIRST_CALL_HOPELESS 4

/* A device is never this much faster than multiply-adds were measured to be. */
#define PEAK_ALLOWANCE 4

static enum remote_result run(struct workload *w, struct trial *trial, bool is_warm, int calls,
                              char *why, size_t why_bytes) {
    mha_error error;
    const double begun = target_clock();
    for (int n = 0; n < calls; ++n)
        if (workload_call(w, trial, is_warm, &error)) {
            snprintf(why, why_bytes, "%s: %s", mha_status_name(error.status), error.message);
            return REMOTE_OPENCL;
        }
    const cl_int code = clFinish(w->target->queue);
    if (code) {
        snprintf(why, why_bytes, "clFinish: OpenCL error %d", (int)code);
        return REMOTE_OPENCL;
    }
    trial->call_ns = (target_clock() - begun) / calls;
    return REMOTE_OK;
}

static int calls_for(const struct trial *trial, double ns) {
    const double calls = trial->call_ns > 0 ? ceil(ns / trial->call_ns) : 1;
    return calls < MAX_CALLS ? (int)calls : MAX_CALLS;
}

/* Longer and longer, for `ns` in all and until it gets no faster; not beyond a call that takes
 * longer than `hopeless_ns`. */
static enum remote_result warm_up(struct workload *w, struct trial *trial, bool is_warm, double ns,
                                  double hopeless_ns, char *why, size_t why_bytes) {
    double done = 0, before = INFINITY;
    bool is_steady = false;
    trial->call_ns = 0;
    for (int calls = 1; calls < MAX_CALLS && trial->call_ns <= hopeless_ns &&
                        (done < ns || (!is_steady && done < MOST_WARM_UP_NS));
         calls *= 2) {
        const enum remote_result result = run(w, trial, is_warm, calls, why, why_bytes);
        if (result)
            return result;
        done += calls * trial->call_ns;
        is_steady = w->target->caps.is_cpu || trial->call_ns > (1 - STEADY) * before;
        before = trial->call_ns;
    }
    return REMOTE_OK;
}

/* Of at least `least` nanoseconds; the time per call so far says how many calls that are. */
static enum remote_result batch(struct workload *w, struct trial *trial, bool is_warm, double least,
                                double *ns, char *why, size_t why_bytes) {
    for (;;) {
        const int calls = calls_for(trial, 1.05 * least);
        const enum remote_result result = run(w, trial, is_warm, calls, why, why_bytes);
        *ns = trial->call_ns;
        if (result || calls * trial->call_ns >= least || calls == MAX_CALLS)
            return result;
    }
}

/* Of the scores of an attention, those that its causal mask leaves. */
static double kept_share(const struct problem *p) {
    const int offset = p->alignment == MHA_BOTTOM_RIGHT ? p->seqlen_kv - p->seqlen_q : 0;
    double kept = 0;
    if (!(p->flags & MHA_CAUSAL) || p->operation == OPERATION_LINEAR)
        return 1;
    for (int i = 0; i < p->seqlen_q; ++i)
        kept += fmax(0, fmin((double)i + offset + 1, p->seqlen_kv));
    return kept / p->seqlen_q / p->seqlen_kv;
}

static enum remote_result judge(struct workload *w, const struct trial *trial, double ns, char *why,
                                size_t why_bytes) {
    mha_plan_info info = MHA_PLAN_INFO_INIT;
    mha_plan_get_info(trial->plan, &info, NULL);
    if (!rates_measure_flops(w->target, why, why_bytes))
        return REMOTE_OPENCL;
    const double least =
        1e9 * info.flops * kept_share(&w->problem) / (PEAK_ALLOWANCE * w->target->rates.flops);
    if (ns > 0 && ns >= least)
        return REMOTE_OK;
    snprintf(why, why_bytes, "%.0f ns; the device's %.3g FLOP/s need %.0f even four times as fast",
             ns, w->target->rates.flops, least);
    return REMOTE_IMPLAUSIBLE;
}

enum remote_result measure_trial(struct workload *w, struct trial *trial,
                                 const struct measure_options *options, double *ns, double *mad_ns,
                                 char *why, size_t why_bytes) {
    const bool is_warm = options->is_warm;
    double times[BATCHES];
    enum remote_result result;
    *ns = *mad_ns = 0;
    if (!workload_prepare(w, trial, is_warm, why, why_bytes))
        return REMOTE_OPENCL;
    const double warm_up_ns = w->target->caps.is_cpu ? CPU_WARM_UP_NS : GPU_WARM_UP_NS;
    const double hopeless_ns = fmax(FIRST_CALL_HOPELESS * options->limit_ns, warm_up_ns);
    result = warm_up(w, trial, is_warm, warm_up_ns, hopeless_ns, why, why_bytes);
    times[0] = trial->call_ns;
    bool is_hopeless = times[0] > hopeless_ns;
    for (int n = 0; n < BATCHES && !result && !is_hopeless; ++n) {
        result = batch(w, trial, is_warm, BATCH_NS, &times[n], why, why_bytes);
        is_hopeless = n == 0 && times[0] > HOPELESS * options->limit_ns;
    }
    if (result)
        return result;
    *ns = is_hopeless ? times[0] : statistics_fast(times, BATCHES);
    *mad_ns = is_hopeless ? 0 : statistics_deviation(times, BATCHES, *ns);
    trial->call_ns = *ns;
    return judge(w, trial, *ns, why, why_bytes);
}

enum remote_result measure_round(struct workload *w, struct trial *trial, bool is_warm, double *ns,
                                 char *why, size_t why_bytes) {
    if (!workload_prepare(w, trial, is_warm, why, why_bytes))
        return REMOTE_OPENCL;
    /* One that was never measured finds out how long a call takes; the others only get their code
     * and data structures back into the caches. */
    const double known_ns = trial->call_ns;
    enum remote_result result =
        known_ns > 0 ? run(w, trial, is_warm, 1, why, why_bytes)
                     : warm_up(w, trial, is_warm, ROUND_NS, INFINITY, why, why_bytes);
    if (known_ns > 0)
        trial->call_ns = known_ns;
    return result ? result : batch(w, trial, is_warm, ROUND_NS, ns, why, why_bytes);
}
