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

/* The fewest heads of k and v, a divisor of kv_heads, whose columns of q, k and v are whole panels
 * of `columns`; 0 where no number is. */
int mha_whole_panel_heads(int kv_heads, int head_dim_qk, int head_dim_v, int columns);

/* Makes values of panel those of panel_qkv: adds what gemm_panel shares with it. */
void mha_panel_qkv_take(const struct tuning *of_gemm_panel, struct tuning *tuning);

/* Heads of k and v of a work-group of panel_qkv. */
int mha_panel_qkv_heads(const struct problem *problem, const struct tuning *tuning);

#endif
