/* What the fused variants share: their grid; parts of the KV sequence, their partial results, and
 * the combine kernel that merges them. */
#ifndef MHA_FUSED_H
#define MHA_FUSED_H

#include "variants.h"

/* Keys of a part, a multiple of BLOCK_KV: enough parts to keep the device busy; with batch
 * invariance a fixed number of keys whatever else there is to do. */
int mha_split_keys(const struct problem *problem, const struct device_caps *caps,
                   const struct tuning *tuning);

bool mha_split_legal(const struct tuning *tuning, char *why, size_t why_bytes);

size_t mha_split_workspace(const struct problem *problem, const struct device_caps *caps,
                           const struct tuning *tuning);

/* Work-items of a work-group: THREADS_Q x THREADS_KV, or one where the variant has no threads. */
size_t mha_fused_group(const struct tuning *tuning);

/* variant.workspace_bytes of variants that keep nothing in workspace. */
size_t mha_no_workspace(const struct problem *problem, const struct device_caps *caps,
                        const struct tuning *tuning);

/* variant.launch: one kernel, its grid batch * q_heads * blocks of BLOCK_Q queries. */
bool mha_fused_launch(const struct problem *plan, const struct problem *call,
                      const struct device_caps *caps, const struct tuning *tuning, int64_t index,
                      struct launch *launch, struct mha_kernel_args *args);

/* variant.launch: the same grid once for each part of the keys, then combine, kernel 1. */
bool mha_fused_launch_split(const struct problem *plan, const struct problem *call,
                            const struct device_caps *caps, const struct tuning *tuning,
                            int64_t index, struct launch *launch, struct mha_kernel_args *args);

#endif
