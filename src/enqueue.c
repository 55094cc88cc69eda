/* In: a plan and an attention's arguments. Out: its kernels on the caller's queue. */
#include "args.h"

#define ASSERT_SAME(flag) _Static_assert(FLAG_##flag == MHA_##flag, #flag)
ASSERT_SAME(SOFTCAP);
ASSERT_SAME(BIAS);
ASSERT_SAME(MASK);
ASSERT_SAME(ALIBI);
ASSERT_SAME(CAUSAL);
ASSERT_SAME(WINDOW);
ASSERT_SAME(SINKS);
ASSERT_SAME(KV_LENGTHS);
ASSERT_SAME(RAGGED_Q);
ASSERT_SAME(RAGGED_KV);
ASSERT_SAME(LSE);
ASSERT_SAME(SCORES);
_Static_assert(FLAG_FETCH > MHA_BATCH_INVARIANT, "a flag of the library's own");
_Static_assert(DTYPE_F16 == (int)MHA_F16 && DTYPE_BF16 == (int)MHA_BF16 &&
                   DTYPE_F64 == (int)MHA_F64,
               "dtype");
_Static_assert(ALIGN_BOTTOM_RIGHT == (int)MHA_BOTTOM_RIGHT && ALIGN_EXPLICIT == (int)MHA_EXPLICIT &&
                   ALIGN_EXPLICIT_PER_BATCH == (int)MHA_EXPLICIT_PER_BATCH,
               "alignment");
_Static_assert(STAGE_SCALED == (int)MHA_STAGE_SCALED && STAGE_SOFTCAP == (int)MHA_STAGE_SOFTCAP &&
                   STAGE_MASKED == (int)MHA_STAGE_MASKED,
               "stage");

mha_status mha_enqueue_attention(mha_plan *plan, cl_command_queue queue,
                                 const mha_attention_args *args, cl_uint n_wait,
                                 const cl_event *wait, cl_event *event, mha_error *error) {
    struct request request = {.queue = queue, .n_wait = n_wait, .wait = wait, .event = event};
    struct step step = {.plan = plan};
    mha_attention_args a;
    mha_status status;
    if (event)
        *event = NULL;
    if (args && args->struct_size >= sizeof(mha_attention_args) && args->first_event) {
        request.first_event = args->first_event;
        *request.first_event = NULL;
    }
    if ((status = mha_plan_check(plan, OPERATION_ATTENTION, error)) ||
        (status = mha_request_check(&request, plan->engine, error)) ||
        (status = mha_attention_read_args(&a, args, error)) ||
        (status = mha_attention_check_args(plan, &a, error)))
        return status;
    struct regions regions = {.engine = plan->engine};
    if ((status = mha_attention_call_init(plan, &a, &regions, &regions, &step.call, error)) ||
        (status = mha_check_aliases(&regions, error)))
        return status;
    return mha_dispatch(plan, &request, &step, mha_attention_has_work(&step.call), error);
}
