/* What a call is made with: tensors of a problem at certain sizes, and the call itself. */
#ifndef TUNE_OPERANDS_H
#define TUNE_OPERANDS_H

#include "plan.h"
#include "tensor.h"

enum input {
    INPUT_Q,
    INPUT_K,
    INPUT_V,
    INPUT_LENGTHS,
    INPUT_X = 0,
    INPUT_WEIGHT,
    INPUT_BIAS,
    INPUT_COUNT = INPUT_LENGTHS + 1
};
enum output { OUTPUT_O, OUTPUT_LSE, OUTPUT_SCORES, OUTPUT_Y = 0, OUTPUT_COUNT = OUTPUT_SCORES + 1 };

/* Of one call, each at most the problem's. */
struct sizes {
    int64_t batch, seqlen_q, seqlen_kv; /* attention */
    int64_t rows;                       /* linear projection */
};

/* The largest element of v. */
#define VALUE_RANGE 1.5

/* Values of the inputs; unused ones are all zero. */
struct values {
    struct pattern patterns[INPUT_COUNT];
    double limits[OUTPUT_COUNT]; /* no right result is larger; INFINITY: unknown */
};

struct operands {
    struct sizes sizes;
    struct tensor inputs[INPUT_COUNT], outputs[OUTPUT_COUNT]; /* those that the problem has */
};

struct sizes sizes_of(const struct problem *problem);

/* logits: how much larger the scores of an attention are than usual. False when memory runs out;
 * to be released in any case. */
bool values_init(struct values *values, const struct problem *problem, double logits);
void values_release(struct values *values);

/* Layouts only; padding: elements between rows. */
struct operands operands_layout(const struct problem *problem, const struct sizes *sizes,
                                int64_t padding);
double operands_bytes(const struct operands *operands);

/* Makes the buffers. False with a reason; to be released in any case. */
bool operands_upload(struct operands *operands, const struct target *target,
                     const struct values *values, char *why, size_t why_bytes);
/* Makes the buffers with the contents of others; has_weights: also of a projection's weights, which
 * calls with packed ones do not need. */
bool operands_copy(struct operands *operands, const struct target *target,
                   const struct operands *from, bool has_weights, char *why, size_t why_bytes);
void operands_release(struct operands *operands);

/* Bytes of device memory that are neither input nor output: workspace and packed weights. */
struct tensor memory_layout(size_t bytes);

/* Weights and bias of `operands` to `packed`. */
mha_status operands_pack(const struct operands *operands, mha_plan *plan, cl_command_queue queue,
                         const struct tensor *packed, mha_error *error);

/* packed: of plans that want packed weights. */
mha_status operands_call(const struct operands *operands, mha_plan *plan, cl_command_queue queue,
                         const struct tensor *packed, const struct tensor *workspace,
                         mha_error *error);

#endif
