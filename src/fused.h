/* What the fused variants share: their grid; and where SPLIT_KEYS is not 0, the parts of the KV
 * sequence, their partial results in workspace, and the combine kernel that merges them. */
#ifndef MHA_FUSED_H
#define MHA_FUSED_H

#include "variants.h"

/* Work-groups of an undivided KV sequence. */
int64_t mha_fused_groups(const struct problem *problem, const struct tuning *tuning);

/* A choice of SPLIT_KEYS: enough parts to keep the device busy where there are `groups` work-groups
 * without; with batch invariance a fixed number of keys whatever else there is to do. */
int mha_split_keys(const struct problem *problem, const struct device_caps *caps,
                   const struct tuning *tuning, int64_t groups);

/* Whether SPLIT_KEYS, if any, is a multiple of BLOCK_KV. */
bool mha_split_legal(const struct tuning *tuning, char *why, size_t why_bytes);

/* Work-items of a work-group: THREADS_Q x THREADS_KV, or one where the variant has no threads. */
size_t mha_fused_group(const struct tuning *tuning);

/* variant.workspace_bytes */
size_t mha_fused_workspace(const struct problem *problem, const struct device_caps *caps,
                           const struct tuning *tuning);

/* variant.launch: kernel 0 on splits * batch * q_heads * blocks of BLOCK_Q queries, then, if split,
 * kernel 1, combine. */
bool mha_fused_launch(const struct problem *plan, const struct problem *call,
                      const struct device_caps *caps, const struct tuning *tuning, int64_t index,
                      struct launch *launch, union kernel_args *args);

#endif
