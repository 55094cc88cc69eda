/* Prints the kernel programs that src/source.c makes, for compilers that run without a device.
 *
 * mha-programs            the names of all programs, one a line: variant-dtype-device
 * mha-programs NAME       the text of one, at the tunables its variant's heuristic gives */
#include "../src/source.h"
#include "../src/variant_list.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    mha_dtype dtype;
} dtypes[] = {{"f32", MHA_F32}, {"f16", MHA_F16}, {"bf16", MHA_BF16}, {"f64", MHA_F64}};

/* Kinds of device that selection tells apart. */
static const struct {
    const char *name;
    struct device_caps caps;
} devices[] = {
    {"cpu",
     {.name = "a CPU",
      .is_cpu = true,
      .has_fp64 = true,
      .compute_units = 8,
      .clock_mhz = 3000,
      .address_bits = 64,
      .float_vector = 8,
      .max_work_group = 4096,
      .max_work_item = 4096,
      .max_parameter_bytes = 1024,
      .local_bytes = 32768,
      .max_alloc_bytes = 1ull << 30,
      .is_local_dedicated = true,
      .max_loops = INFINITY}},
    {"gpu",
     {.name = "a GPU",
      .has_fp64 = true,
      .compute_units = 32,
      .clock_mhz = 1500,
      .address_bits = 64,
      .float_vector = 1,
      .max_work_group = 1024,
      .max_work_item = 1024,
      .max_parameter_bytes = 1024,
      .local_bytes = 49152,
      .max_alloc_bytes = 1ull << 30,
      .is_local_dedicated = true,
      .max_loops = INFINITY}},
};

static const struct variant *find_variant(size_t index) {
    return index < mha_variant_count    ? mha_variants[index]
           : index == mha_variant_count ? &mha_variant_panel_qkv
                                        : NULL;
}

/* A layer chooses panel_qkv, for CPUs and what is stored as it is computed in. */
static bool has_program(const struct variant *variant, mha_dtype dtype,
                        const struct device_caps *caps) {
    return variant != &mha_variant_panel_qkv || (caps->is_cpu && mha_is_real(dtype));
}

/* A middling problem of the operation. */
static mha_status init_problem(enum operation operation, mha_dtype dtype, struct problem *problem,
                               mha_error *error) {
    if (operation == OPERATION_LINEAR) {
        mha_linear_desc desc = MHA_LINEAR_DESC_INIT;
        desc.dtype = desc.weight_dtype = dtype;
        desc.in_features = desc.out_features = desc.max_rows = 512;
        return mha_linear_problem_init(problem, &desc, error);
    }
    mha_attention_desc desc = MHA_ATTENTION_DESC_INIT;
    desc.dtype = dtype;
    desc.q_heads = desc.kv_heads = 8;
    desc.head_dim_qk = desc.head_dim_v = 64;
    desc.max_batch = 1;
    desc.max_seqlen_q = desc.max_seqlen_kv = 512;
    const mha_status status = mha_attention_problem_init(problem, &desc, error);
    problem->weight_dtype = dtype; /* of what a layer makes of it */
    return status;
}

/* Of panel_qkv, those of the two that it is made of. */
static mha_status choose_values(const struct variant *variant, const struct device_caps *caps,
                                const struct problem *problem, struct tuning *tuning,
                                mha_error *error) {
    struct problem linear;
    struct tuning of_linear;
    if (variant->heuristic) {
        variant->heuristic(problem, caps, tuning);
        return MHA_SUCCESS;
    }
    const mha_status status = init_problem(OPERATION_LINEAR, problem->dtype, &linear, error);
    if (status)
        return status;
    mha_variant_panel.heuristic(problem, caps, tuning);
    mha_variant_gemm_panel.heuristic(&linear, caps, &of_linear);
    mha_panel_qkv_take(&of_linear, tuning);
    return MHA_SUCCESS;
}

static int print_program(const struct variant *variant, mha_dtype dtype,
                         const struct device_caps *caps) {
    const struct allocator allocator = {0};
    struct tuning tuning;
    struct problem problem;
    mha_error error;
    if (init_problem(variant->operation, dtype, &problem, &error) ||
        choose_values(variant, caps, &problem, &tuning, &error)) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    char *text;
    if (mha_source_make(&allocator, &problem, variant, &tuning, NULL, &text, &error)) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    fputs(text, stdout);
    mha_release(&allocator, text);
    return 0;
}

int main(int argc, char **argv) {
    const struct variant *variant;
    for (size_t v = 0; (variant = find_variant(v)) != NULL; ++v)
        for (size_t t = 0; t < sizeof(dtypes) / sizeof(*dtypes); ++t)
            for (size_t d = 0; d < sizeof(devices) / sizeof(*devices); ++d) {
                char name[64];
                if (!has_program(variant, dtypes[t].dtype, &devices[d].caps))
                    continue;
                snprintf(name, sizeof(name), "%s-%s-%s", variant->name, dtypes[t].name,
                         devices[d].name);
                if (argc < 2)
                    puts(name);
                else if (!strcmp(name, argv[1]))
                    return print_program(variant, dtypes[t].dtype, &devices[d].caps);
            }
    if (argc < 2)
        return 0;
    fprintf(stderr, "there is no program %s\n", argv[1]);
    return 1;
}
