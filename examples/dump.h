/* What a model computed on its way, as tensors for a file. */
#ifndef EXAMPLES_DUMP_H
#define EXAMPLES_DUMP_H

#include "encoder.h"
#include "safetensors_write.h"

/* fp32 [a][b][c], or fewer dimensions where b or c are 0. */
bool dump_f32(st_list *list, const char *name, int64_t a, int64_t b, int64_t c, const float *data,
              failure *f);

/* `prefix` + "embeddings", "layer.N.output" and "layer.N.attention" of one text or photo. */
bool dump_layers(st_list *list, const char *prefix, const encoder_shape *shape, int64_t tokens,
                 const encoder_result *result, failure *f);

#endif
