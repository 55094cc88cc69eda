/* The variants that variants.c puts into its table. */
#ifndef MHA_VARIANT_LIST_H
#define MHA_VARIANT_LIST_H

#include "variants.h"

extern const struct variant mha_variant_reference;
extern const struct variant mha_variant_staged;
extern const struct variant mha_variant_panel;
extern const struct variant mha_variant_panel_split;
extern const struct variant mha_variant_decode;
extern const struct variant mha_variant_decode_split;
extern const struct variant mha_variant_flash;
extern const struct variant mha_variant_flash_split;
extern const struct variant mha_variant_gemm_reference;
extern const struct variant mha_variant_gemm_panel;
extern const struct variant mha_variant_gemm_tile;
extern const struct variant mha_variant_clblast;

/* Not in the table: a layer chooses it, see layer_merge.c. */
extern const struct variant mha_variant_panel_qkv;

/* Heads of k and v of a work-group of panel_qkv: the fewest whose columns are whole panels; 0 where
 * none are. */
int mha_panel_qkv_heads(const struct problem *problem, const struct tuning *tuning);

#endif
