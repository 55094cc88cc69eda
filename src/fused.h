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

int mha_split_count(const struct problem *problem, const struct tuning *tuning);

size_t mha_split_workspace(const struct problem *problem, const struct device_caps *caps,
                           const struct tuning *tuning);

/* Adds the split to the arguments of both kernels. */
void mha_split_args(const struct problem *call, const struct tuning *tuning,
                    struct mha_kernel_args *args);

/* The launch of combine, kernel 1 of the variant. */
void mha_split_combine(const struct problem *call, const struct tuning *tuning, size_t local_size,
                       struct launch *launch);

/* For variants that keep nothing in workspace. */
size_t mha_no_workspace(const struct problem *problem, const struct device_caps *caps,
                        const struct tuning *tuning);

/* The fused kernels' grid: splits * batch * q_heads * blocks of BLOCK_Q queries. */
void mha_fused_launch(const struct problem *call, const struct tuning *tuning, int splits,
                      size_t local_size, struct launch *launch, struct mha_kernel_args *args);

#endif
