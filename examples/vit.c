/* In: a photo. Out: a picture of where DINOv2 ViT-S/14 looks in it, computed on OpenCL alone. */
#include "dump.h"
#include "photo.h"
#include "picture_vit.h"
#include "rollout.h"
#include "steps.h"
#include "vit_model.h"

#include <stdio.h>
#include <stdlib.h>

static const char usage[] =
    "usage: vit PHOTO --out PICTURE.png [options]\n"
    "\n"
    "Runs DINOv2 ViT-S/14 on the largest square in the middle of PHOTO, a PNG or JPEG, and draws\n"
    "what its CLS token attends to: each head of a layer, their mean, and attention rollout.\n"
    "\n"
    "  -o, --out PICTURE.png  where the picture goes\n"
    "  -l, --layer L          layer to draw, 0 to 11; default: 11\n"
    "  -t, --dtype TYPE       f32 or f16, for weights and activations; default: f32\n"
    "  -d, --device NAME      part of a platform's or device's name; default: the best device\n"
    "  -m, --models DIR       where vit.safetensors is; default: $XDG_CACHE_HOME/mha-cl/models or\n"
    "                         ~/.cache/mha-cl/models. tools/get-models.sh puts it there\n"
    "  -u, --dump FILE        writes pixels, every layer's output and attention, and the\n"
    "                         embedding as safetensors\n"
    "  -h, --help             this text\n"
    "\n"
    "Exit status: 0 done; 2 usage, bad input or output file; 3 OpenCL.\n";

static const model_program program = {.name = "vit",
                                      .usage = usage,
                                      .letters = "oltdmuh",
                                      .max_inputs = 1,
                                      .layers = VIT_LAYERS,
                                      .heads = VIT_HEADS};

/* Everything that main() must release. */
typedef struct session {
    model_options o;
    float *photo, *pixels; /* as drawn, and as the model wants it */
    st_file *file;
    runtime r;
    vit_model model;
    vit_run run;
    vit_output output;
    float rollout[VIT_TOKENS];
} session;

static bool read_photo(session *s, failure *f) {
    photo p;
    step_begin("reading the photo");
    if (!photo_open(s->o.inputs[0], &p, f))
        return false;
    const int width = p.width, height = p.height;
    float *seen = photo_square(&p, VIT_SIZE, f);
    s->photo = seen ? photo_square(&p, VIT_PICTURE_PHOTO, f) : NULL;
    s->pixels = malloc(3 * VIT_SIZE * VIT_SIZE * sizeof(float));
    photo_close(&p);
    bool ok = s->photo && (s->pixels || fail(f, EXIT_OPENCL, "out of memory"));
    if (ok) {
        vit_pixels(seen, s->pixels);
        step_end();
        printf("  %d x %d, the middle at %d x %d\n", width, height, VIT_SIZE, VIT_SIZE);
    }
    free(seen);
    return ok;
}

static bool load(session *s, failure *f) {
    step_begin("reading the model");
    s->file = weights_open(s->o.models, "vit.safetensors", f);
    if (!s->file)
        return false;
    step_end();
    if (!runtime_open(&s->o, &s->r, f))
        return false;
    step_begin("making plans");
    if (!vit_open(&s->r, s->o.dump != NULL, &s->model, f))
        return false;
    step_end();
    runtime_print_plans(&s->model.e);
    step_begin("converting and packing %d layers", VIT_LAYERS);
    if (!vit_read(&s->model, s->file, f) || !runtime_finish(&s->r, f))
        return false;
    step_end();
    return true;
}

static bool run(session *s, failure *f) {
    runtime_record(&s->r);
    step_begin("running the model");
    if (!vit_run_start(&s->model, s->pixels, &s->run, f) || !runtime_finish(&s->r, f))
        return false;
    step_end();
    profile_print(&s->r.profile);
    step_begin("reading back");
    if (!vit_run_read(&s->model, &s->run, &s->output, f))
        return false;
    step_end();
    return true;
}

static bool draw(session *s, failure *f) {
    const int layer = s->o.layer < 0 ? VIT_LAYERS - 1 : s->o.layer;
    const float *weights = s->output.layers.weights;
    const char *model = st_metadata(s->file, "model");
    char computed[400];
    step_begin("attention rollout through %d layers", layer + 1);
    if (!rollout_first_token(weights, layer + 1, VIT_HEADS, VIT_TOKENS, s->rollout, f))
        return false;
    step_end();
    runtime_describe(&s->r, &s->model.e, computed, sizeof(computed));
    step_begin("drawing");
    if (!vit_picture_draw(
            &(vit_picture){.photo = s->photo,
                           .weights = weights + (size_t)layer * VIT_HEADS * VIT_TOKENS * VIT_TOKENS,
                           .rollout = s->rollout,
                           .heads = VIT_HEADS,
                           .grid = VIT_GRID,
                           .layer = layer,
                           .layers = VIT_LAYERS,
                           .model = model ? model : "DINOv2 ViT-S/14",
                           .computed = computed},
            s->o.out, f))
        return false;
    step_end();
    printf("picture: %s\n", s->o.out);
    return true;
}

static bool dump(const session *s, failure *f) {
    st_list list = {0};
    if (!s->o.dump)
        return true;
    step_begin("writing the dump");
    bool ok = dump_f32(&list, "pixels", 3, VIT_SIZE, VIT_SIZE, s->pixels, f) &&
              dump_layers(&list, "", &s->model.e.shape, VIT_TOKENS, &s->output.layers, f) &&
              dump_f32(&list, "embedding", VIT_WIDTH, 0, 0, s->output.embedding, f) &&
              st_write(s->o.dump, &list, "DINOv2 ViT-S/14", f);
    st_list_free(&list);
    if (!ok)
        return false;
    step_end();
    printf("dump: %s\n", s->o.dump);
    return true;
}

static void close_session(session *s) {
    vit_output_free(&s->output);
    vit_run_close(&s->run);
    vit_close(&s->model);
    runtime_close(&s->r);
    st_close(s->file);
    free(s->photo);
    free(s->pixels);
}

int main(int argc, char **argv) {
    static session s;
    failure f = {.exit_code = EXIT_OK};
    bool ok = model_options_parse(argc, argv, &program, &s.o, &f);
    if (ok && !s.o.help)
        ok = read_photo(&s, &f) && load(&s, &f) && run(&s, &f) && draw(&s, &f) && dump(&s, &f);
    if (!ok) {
        step_abandon();
        fprintf(stderr, "vit: %s\n", f.text);
    }
    close_session(&s);
    return f.exit_code;
}
