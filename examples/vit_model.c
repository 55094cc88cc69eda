/* In: pixels and the trained weights. Out: attention weights, states and the embedding. */
#include "vit_model.h"

#include <stdlib.h>

enum { PATCH_VALUES = 3 * VIT_SIDE * VIT_SIDE };

static const encoder_input batch = {.batch = 1, .tokens = VIT_TOKENS, .rows = VIT_TOKENS};

bool vit_open(const runtime *r, bool keep_states, vit_model *m, failure *f) {
    encoder_shape shape = {.prefix = "blocks.",
                           .layers = VIT_LAYERS,
                           .heads = VIT_HEADS,
                           .width = VIT_WIDTH,
                           .inner = 4 * VIT_WIDTH,
                           .pre_norm = true,
                           .layer_scale = true,
                           .epsilon = 1e-6f,
                           .max_batch = 1,
                           .max_tokens = VIT_TOKENS,
                           .keep_states = keep_states};
    *m = (vit_model){0};
    for (int i = 0; i < VIT_LAYERS; ++i)
        shape.keep_weights[i] = true; /* the rollout goes through all */
    if (encoder_open(r->engine, &r->ops, &shape, &m->e, f) &&
        linear_open(r->engine, r->ops.dtype, PATCH_VALUES, VIT_WIDTH, VIT_PATCHES, &m->patch, f) &&
        (!m->patch.info.workspace_bytes ||
         make_buffer(r->d.context, m->patch.info.workspace_bytes, NULL, &m->patch_workspace, f)))
        return true;
    vit_close(m);
    return false;
}

bool vit_read(vit_model *m, const st_file *file, failure *f) {
    const weight_slot slots[] = {
        {.name = "cls_token", .rows = VIT_WIDTH, .buffer = &m->cls},
        {.name = "pos_embed", .rows = VIT_TOKENS, .columns = VIT_WIDTH, .buffer = &m->positions},
        {.name = "norm.weight", .rows = VIT_WIDTH, .buffer = &m->norm.weight},
        {.name = "norm.bias", .rows = VIT_WIDTH, .buffer = &m->norm.bias},
    };
    return weights_read_all(m->e.ops, file, slots, sizeof(slots) / sizeof(slots[0]), f) &&
           linear_read(&m->patch, m->e.ops, file, "patch_embed", &m->patch_weights, f) &&
           encoder_read(&m->e, file, f);
}

void vit_close(vit_model *m) {
    release_buffer(&m->patch_weights);
    release_buffer(&m->patch_workspace);
    release_buffer(&m->cls);
    release_buffer(&m->positions);
    release_buffer(&m->norm.weight);
    release_buffer(&m->norm.bias);
    linear_close(&m->patch);
    encoder_close(&m->e);
}

void vit_pixels(const float *rgb, float *pixels) {
    static const float mean[3] = {0.485f, 0.456f, 0.406f}; /* of ImageNet's photos */
    static const float deviation[3] = {0.229f, 0.224f, 0.225f};
    const int n = VIT_SIZE * VIT_SIZE;
    for (int i = 0; i < n; ++i)
        for (int c = 0; c < 3; ++c)
            pixels[c * n + i] = (rgb[3 * i + c] - mean[c]) / deviation[c];
}

/* PLACE_X = CLS, then the projected patches, plus the positions' embeddings. */
static bool embed(const vit_model *m, const vit_run *run, failure *f) {
    const model_ops *ops = m->e.ops;
    const cl_mem x = m->e.places[PLACE_X];
    const linear_call call = {.packed = m->patch_weights,
                              .workspace = m->patch_workspace,
                              .x = run->patches,
                              .y = x,
                              .y_at = VIT_WIDTH,
                              .rows = VIT_PATCHES};
    return op_patches(ops, run->pixels, run->patches, VIT_SIZE, VIT_SIDE, f) &&
           op_copy(ops, m->cls, 0, x, 0, VIT_WIDTH, f) &&
           linear_run(&m->patch, ops, &call, WORK_INPUT, f) &&
           op_add(ops, x, m->positions, NULL, VIT_TOKENS, VIT_WIDTH, f);
}

bool vit_run_start(const vit_model *m, const float *pixels, vit_run *run, failure *f) {
    const model_ops *ops = m->e.ops;
    const cl_context context = ops->d->context;
    *run = (vit_run){0};
    return make_buffer(context, 3 * VIT_SIZE * VIT_SIZE * sizeof(float), pixels, &run->pixels, f) &&
           make_buffer(context, VIT_PATCHES * PATCH_VALUES * ops->element, NULL, &run->patches,
                       f) &&
           encoder_trace_open(&m->e, &batch, &run->trace, f) && embed(m, run, f) &&
           encoder_run(&m->e, &batch, &run->trace, f) &&
           op_layer_norm(ops, m->e.places[PLACE_X], m->e.places[PLACE_H], &m->norm, VIT_TOKENS,
                         VIT_WIDTH, m->e.shape.epsilon, f);
}

void vit_run_close(vit_run *run) {
    release_buffer(&run->pixels);
    release_buffer(&run->patches);
    encoder_trace_close(&run->trace);
}

bool vit_run_read(const vit_model *m, const vit_run *run, vit_output *output, failure *f) {
    *output = (vit_output){0};
    output->embedding = op_read(m->e.ops, m->e.places[PLACE_H], VIT_WIDTH, f);
    return output->embedding && encoder_result_read(&m->e, &batch, &run->trace, &output->layers, f);
}

void vit_output_free(vit_output *output) {
    encoder_result_free(&output->layers);
    free(output->embedding);
    *output = (vit_output){0};
}
