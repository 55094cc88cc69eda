/* In: a file with q, k and v of a trained model on real input. Out: its attention as computed by
 * libmha-cl: a picture, a few lines of findings and a verdict against the file's own results. */
#include "attend.h"
#include "attention_input.h"
#include "calls.h"
#include "device.h"
#include "findings.h"
#include "options.h"
#include "picture_photo.h"
#include "picture_words.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SENTENCE_LIMIT 2e-6
#define PHOTO_LIMIT 1e-5
#define TOP 4 /* words or patches listed per head */

/* Two runs: the output as a program would compute it, and once more with the weights, which the
 * fast variants never hold in memory as a whole. */
typedef struct computed {
    attention_result output, weights;
} computed;

static bool compute(const options *o, const attention_input *in, const device *d, computed *c,
                    failure *f) {
    const attention_inputs tensors = {.q = in->q, .k = in->k, .v = in->v};
    mha_engine *engine = NULL;
    if (!open_engine(d, &engine, f))
        return false;
    bool ok = attend(engine, d, &in->shape, &tensors, o->variant, false, &c->output, f) &&
              attend(engine, d, &in->shape, &tensors, NULL, true, &c->weights, f);
    mha_engine_destroy(&engine);
    return ok;
}

static void print_plan(const char *what, const attention_result *r) {
    printf("%s: variant %s", what, r->plan.variant);
    if (r->plan.parameters[0])
        printf(" (%s)", r->plan.parameters);
    printf(", from %s", r->plan.source);
    if (r->plan.reason[0])
        printf(": %s", r->plan.reason);
    if (r->milliseconds > 0)
        printf("; %.3f ms", r->milliseconds);
    printf("\n");
}

static void print_setup(const attention_input *in, const device *d, const computed *c) {
    const attention_shape *s = &in->shape;
    printf("model: %s\n", in->model);
    printf("attention: batch %lld, %lld heads, %lld tokens, head_dim %lld, scale %s\n",
           (long long)s->batch, (long long)s->q_heads, (long long)s->seqlen_q,
           (long long)s->head_dim_qk, in->scale);
    printf("device: %s / %s\n", d->platform, d->name);
    print_plan("output", &c->output);
    print_plan("weights", &c->weights);
}

static void print_words(const attention_input *in, const float *weights, int head, int word) {
    const float *row = weights_row(&in->shape, weights, head, word);
    int order[MAX_WORDS], n = largest(row, in->n_words, order, in->n_words), listed = 0;
    printf("head %d:", head);
    for (int i = 0; i < n && listed < TOP; ++i) {
        if (order[i] == word || is_special(in->words[order[i]]))
            continue;
        printf("%s %s -> %s %.3f", listed ? "," : "", in->words[word], in->words[order[i]],
               (double)row[order[i]]);
        ++listed;
    }
    printf("\n");
}

static void print_patches(const attention_input *in, const char *who, const float *patches) {
    int order[TOP], n = largest(patches, in->grid * in->grid, order, TOP);
    printf("%s: CLS ->", who);
    for (int i = 0; i < n; ++i)
        printf("%s row %d column %d %.4f", i ? "," : "", order[i] / in->grid, order[i] % in->grid,
               (double)patches[order[i]]);
    printf("\n");
}

static bool verdict(const char *what, double difference, double limit) {
    bool ok = difference <= limit;
    printf("%s: largest difference %.3g, limit %.3g: %s\n", what, difference, limit,
           ok ? "ok" : "TOO LARGE");
    return ok;
}

/* Compares everything the file knows; what it does not know can't be wrong. */
static bool compare(const attention_input *in, const computed *c) {
    const attention_shape *s = &in->shape;
    const double limit = in->kind == KIND_SENTENCE ? SENTENCE_LIMIT : PHOTO_LIMIT;
    bool ok = true;
    if (in->expected_output) {
        ok &= verdict("output against the file",
                      largest_difference(c->output.o, in->expected_output, shape_o(s)), limit);
        ok &= verdict("output of the run with weights against the file",
                      largest_difference(c->weights.o, in->expected_output, shape_o(s)), limit);
    }
    if (in->expected_weights)
        ok &= verdict(
            "weights against the file",
            largest_difference(c->weights.weights, in->expected_weights, shape_weights(s)), limit);
    if (in->expected_weights_cls) {
        double worst = 0;
        for (int64_t i = 0; i < s->batch * s->q_heads; ++i) {
            double difference = largest_difference(
                c->weights.weights + i * s->seqlen_q * s->seqlen_kv,
                in->expected_weights_cls + i * s->seqlen_kv, (size_t)s->seqlen_kv);
            worst = difference > worst ? difference : worst;
        }
        ok &= verdict("CLS weights against the file", worst, limit);
    }
    if (in->expected_output || in->expected_weights || in->expected_weights_cls)
        ok &= verdict("weights rebuilt from the output run's LSE",
                      lse_difference(in, c->weights.weights, c->output.lse), limit);
    else
        printf("the file holds no results to compare with\n");
    return ok;
}

static bool find_word(const attention_input *in, const char *wanted, int *word, failure *f) {
    int first = 0;
    for (int i = in->n_words - 1; i >= 0; --i) {
        if (strcmp(in->words[i], wanted ? wanted : "it") == 0) {
            *word = i;
            return true;
        }
        first = is_special(in->words[i]) ? first : i;
    }
    *word = first;
    return !wanted || fail(f, EXIT_INPUT, "the sentence has no word '%.60s'", wanted);
}

/* What the pictures say about their making. */
static void describe(const attention_input *in, const device *d, const computed *c, char *text,
                     size_t bytes) {
    static const char root[] = "1/sqrt(";
    const char *digits = in->scale + sizeof(root) - 1;
    char factor[64];
    if (strncmp(in->scale, root, sizeof(root) - 1) == 0)
        snprintf(factor, sizeof(factor), "/ √%.*s", (int)strcspn(digits, ")"), digits);
    else
        snprintf(factor, sizeof(factor), "· %s", in->scale);
    bool same = strcmp(c->output.plan.variant, c->weights.plan.variant) == 0;
    snprintf(text, bytes, "softmax(q kᵀ %s) by libmha-cl, variant %s%s%s%s, on %s / %s", factor,
             c->output.plan.variant, same ? "" : " (weights: ", same ? "" : c->weights.plan.variant,
             same ? "" : ")", d->platform, d->name);
}

static bool show_words(const options *o, const attention_input *in, const computed *c,
                       const char *how, failure *f) {
    int word;
    if (!find_word(in, o->word, &word, f))
        return false;
    int head = most_decided_head(in, c->weights.weights, word);
    print_words(in, c->weights.weights, head, word);
    for (int h = 0; h < (int)in->shape.q_heads; ++h)
        if (h != head)
            print_words(in, c->weights.weights, h, word);
    return words_picture_draw(&(words_picture){.input = in,
                                               .weights = c->weights.weights,
                                               .head = head,
                                               .word = word,
                                               .computed = how},
                              o->out, f);
}

/* The photo's path, for free(): the option's, or the file's own name for it beside the file. */
static char *photo_path(const options *o, const attention_input *in, failure *f) {
    const char *slash = strrchr(o->file, '/');
    size_t folder = slash ? (size_t)(slash - o->file) + 1 : 0;
    const char *name = o->photo ? o->photo : in->image;
    if (!name) {
        fail(f, EXIT_INPUT, "the file names no image; give --photo PHOTO.png");
        return NULL;
    }
    folder = o->photo ? 0 : folder;
    char *path = malloc(folder + strlen(name) + 1);
    if (!path) {
        fail(f, EXIT_OPENCL, "out of memory");
        return NULL;
    }
    memcpy(path, o->file, folder);
    strcpy(path + folder, name);
    return path;
}

static bool show_photo(const options *o, const attention_input *in, const computed *c,
                       const char *how, failure *f) {
    char who[24];
    char *photo = photo_path(o, in, f);
    if (!photo)
        return false;
    for (int h = 0; h < (int)in->shape.q_heads; ++h) {
        snprintf(who, sizeof(who), "head %d", h);
        print_patches(in, who, weights_row(&in->shape, c->weights.weights, h, 0) + 1);
    }
    bool ok = photo_picture_draw(
        &(photo_picture){
            .input = in, .weights = c->weights.weights, .photo = photo, .computed = how},
        o->out, f);
    free(photo);
    return ok;
}

/* An option that the file has no use for is a mistake worth telling before the work starts. */
static bool check_options(const options *o, const attention_input *in, failure *f) {
    int word;
    char *photo;
    if (in->kind == KIND_SENTENCE)
        return o->photo ? fail(f, EXIT_INPUT, "--photo: %s is a sentence", o->file)
                        : find_word(in, o->word, &word, f);
    if (o->word)
        return fail(f, EXIT_INPUT, "--word: %s is not a sentence", o->file);
    photo = photo_path(o, in, f);
    free(photo);
    return photo != NULL;
}

int main(int argc, char **argv) {
    attention_input in = {0};
    computed c = {0};
    device d = {0};
    failure f = {.exit_code = EXIT_OK};
    options o;
    char how[500];
    if (!options_parse(argc, argv, &o, &f) || o.help)
        goto done;
    if (!attention_input_open(o.file, &in, &f) || !check_options(&o, &in, &f) ||
        !device_open(o.device, &d, &f) || !compute(&o, &in, &d, &c, &f))
        goto done;
    print_setup(&in, &d, &c);
    describe(&in, &d, &c, how, sizeof(how));
    if (!(in.kind == KIND_SENTENCE ? show_words(&o, &in, &c, how, &f)
                                   : show_photo(&o, &in, &c, how, &f)))
        goto done;
    printf("picture: %s\n", o.out);
    if (!compare(&in, &c))
        fail(&f, EXIT_MISMATCH, "the results differ from the file's");
done:
    if (f.exit_code != EXIT_OK)
        fprintf(stderr, "attention-map: %s\n", f.text);
    attention_result_free(&c.output);
    attention_result_free(&c.weights);
    device_close(&d);
    attention_input_close(&in);
    return f.exit_code;
}
