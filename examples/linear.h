/* A linear projection by libmha-cl whose weights are packed once: one plan for all layers of a
 * model that share its sizes. */
#ifndef EXAMPLES_LINEAR_H
#define EXAMPLES_LINEAR_H

#include "model_ops.h"
#include "weights.h"

typedef struct linear {
    mha_engine *engine; /* borrowed */
    mha_plan *plan;
    mha_plan_info info;
    int64_t in_features, out_features;
    mha_dtype dtype;
} linear;

bool linear_open(mha_engine *engine, mha_dtype dtype, int64_t in_features, int64_t out_features,
                 int64_t max_rows, linear *l, failure *f);

/* Safe on a zeroed projection. */
void linear_close(linear *l);

/* NAME.weight and NAME.bias of the file, packed for the plan. */
bool linear_read(const linear *l, const model_ops *ops, const st_file *file, const char *name,
                 cl_mem *packed, failure *f);

/* rows of x -> rows of y from element y_at on; `workspace` holds at least
 * info.workspace_bytes. */
typedef struct linear_call {
    cl_mem packed, workspace, x, y;
    size_t y_at;
    size_t rows;
} linear_call;
bool linear_run(const linear *l, const model_ops *ops, const linear_call *call, work kind,
                failure *f);

#endif
