/* In: the states and attention weights of all layers. Out: named tensors. */
#include "dump.h"

#include <stdio.h>

bool dump_f32(st_list *list, const char *name, int64_t a, int64_t b, int64_t c, const float *data,
              failure *f) {
    st_output t = {.kind = ST_F32, .rank = c ? 3 : b ? 2 : 1, .shape = {a, b, c}, .data = data};
    snprintf(t.name, sizeof(t.name), "%s", name);
    return st_list_add(list, &t, f);
}

bool dump_layers(st_list *list, const char *prefix, const encoder_shape *shape, int64_t tokens,
                 const encoder_result *result, failure *f) {
    const int64_t state = tokens * shape->width, weights = shape->heads * tokens * tokens;
    char name[48];
    snprintf(name, sizeof(name), "%sembeddings", prefix);
    bool ok = dump_f32(list, name, tokens, shape->width, 0, result->states, f);
    for (int i = 0; ok && i < shape->layers; ++i) {
        snprintf(name, sizeof(name), "%slayer.%d.output", prefix, i);
        ok = dump_f32(list, name, tokens, shape->width, 0, result->states + (i + 1) * state, f);
        snprintf(name, sizeof(name), "%slayer.%d.attention", prefix, i);
        ok = ok &&
             dump_f32(list, name, shape->heads, tokens, tokens, result->weights + i * weights, f);
    }
    return ok;
}
