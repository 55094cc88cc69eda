/* Prints the kernel programs that src/source.c makes, for compilers that run without a device.
 *
 * mha-programs            the names of all programs, one a line: variant-dtype-device
 * mha-programs NAME       the text of one, at the tunables its variant's heuristic gives */
#include "../src/source.h"

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

/* A middling problem of the variant's operation. */
static mha_status init_problem(const struct variant *variant, mha_dtype dtype,
                               struct problem *problem, mha_error *error) {
    if (variant->operation == OPERATION_LINEAR) {
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
    return mha_attention_problem_init(problem, &desc, error);
}

static int print_program(const struct variant *variant, mha_dtype dtype,
                         const struct device_caps *caps) {
    const struct allocator allocator = {0};
    struct tuning tuning;
    struct problem problem;
    mha_error error;
    if (init_problem(variant, dtype, &problem, &error)) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    variant->heuristic(&problem, caps, &tuning);
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
    for (size_t v = 0; v < mha_variant_count; ++v)
        for (size_t t = 0; t < sizeof(dtypes) / sizeof(*dtypes); ++t)
            for (size_t d = 0; d < sizeof(devices) / sizeof(*devices); ++d) {
                char name[64];
                snprintf(name, sizeof(name), "%s-%s-%s", mha_variants[v]->name, dtypes[t].name,
                         devices[d].name);
                if (argc < 2)
                    puts(name);
                else if (!strcmp(name, argv[1]))
                    return print_program(mha_variants[v], dtypes[t].dtype, &devices[d].caps);
            }
    if (argc < 2)
        return 0;
    fprintf(stderr, "there is no program %s\n", argv[1]);
    return 1;
}
