/* In: nothing. Out: shapes of ViT-B and ViT-S, BERT, long text, decoding. */
#include "benchmark.h"

#include <stddef.h>

const struct benchmark_shape benchmark_shapes[] = {
    {"B4 H12 N197 D64 f32", 2},  {"M788 K768 N2304 f32", 2},        {"M788 K768 N768 f32", 1},
    {"B1 H12 N197 D64 f32", 1},  {"M197 K768 N2304 f32", 1},        {"B8 H12 N128 D64 f32", 1},
    {"B1 H6 N257 D64 f32", 1},   {"M257 K384 N1152 f32", 1},        {"B1 H12 N2048 D64 f32", 1},
    {"B1 H8 N4096 D128 f32", 1}, {"B1 H32 N1 Nkv4096 D128 f32", 1}, {NULL, 0},
};
