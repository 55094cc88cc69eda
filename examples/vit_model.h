/* DINOv2 ViT-S/14: pixels in, what each layer made of them out. */
#ifndef EXAMPLES_VIT_MODEL_H
#define EXAMPLES_VIT_MODEL_H

#include "runtime.h"

enum {
    VIT_SIZE = 224, /* pixels across and down */
    VIT_SIDE = 14,  /* of a patch */
    VIT_GRID = VIT_SIZE / VIT_SIDE,
    VIT_PATCHES = VIT_GRID * VIT_GRID,
    VIT_TOKENS = 1 + VIT_PATCHES, /* CLS first */
    VIT_LAYERS = 12,
    VIT_HEADS = 6,
    VIT_WIDTH = 384
};

typedef struct vit_model {
    encoder e;
    linear patch;
    cl_mem patch_weights, patch_workspace;
    cl_mem cls, positions;   /* [VIT_WIDTH]; [VIT_TOKENS][VIT_WIDTH] */
    layer_norm_weights norm; /* after the last layer */
} vit_model;

/* Makes plans: compiles. The attention weights of all layers are kept, the states where wanted. */
bool vit_open(const runtime *r, bool keep_states, vit_model *m, failure *f);
bool vit_read(vit_model *m, const st_file *file, failure *f);

/* Safe on a zeroed model. */
void vit_close(vit_model *m);

/* rgb [VIT_SIZE][VIT_SIZE][3], 0 to 1 -> pixels [3][VIT_SIZE][VIT_SIZE] as in training. */
void vit_pixels(const float *rgb, float *pixels);

/* One run of the model: its buffers. */
typedef struct vit_run {
    cl_mem pixels, patches;
    encoder_trace trace;
} vit_run;

/* Makes the buffers and enqueues everything. */
bool vit_run_start(const vit_model *m, const float *pixels, vit_run *run, failure *f);

/* Safe on a zeroed run. */
void vit_run_close(vit_run *run);

typedef struct vit_output {
    encoder_result layers; /* one batch of VIT_TOKENS rows */
    float *embedding;      /* [VIT_WIDTH]: CLS after the last norm */
} vit_output;

/* Blocks until all is there. */
bool vit_run_read(const vit_model *m, const vit_run *run, vit_output *output, failure *f);

/* Safe on a zeroed output. */
void vit_output_free(vit_output *output);

#endif
