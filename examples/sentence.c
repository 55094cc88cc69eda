/* In: one or two sentences. Out: a picture of what attends to what in the first, and how alike the
 * two are, by all-MiniLM-L6-v2 computed on OpenCL alone. */
#include "dump.h"
#include "findings.h"
#include "picture_words.h"
#include "sentence_model.h"
#include "steps.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAIRS 8 /* printed */

static const char usage[] =
    "usage: sentence \"TEXT\" [\"TEXT2\"] --out PICTURE.png [options]\n"
    "\n"
    "Runs the sentence encoder all-MiniLM-L6-v2 on TEXT, prints its strongest pairs of words and\n"
    "draws the attention of a layer; with TEXT2, also says how alike the two are.\n"
    "\n"
    "  -o, --out PICTURE.png  where the picture goes\n"
    "  -l, --layer L          layer to draw, 0 to 5; default: 5\n"
    "  -e, --head H           head to draw, 0 to 11; default: the one where the word decides most\n"
    "  -w, --word WORD        word to call out; default: it, or the first\n"
    "  -t, --dtype TYPE       f32 or f16, for weights and activations; default: f32\n"
    "  -d, --device NAME      part of a platform's or device's name; default: the best device\n"
    "  -m, --models DIR       where sentence.safetensors and vocab.txt are; default:\n"
    "                         $XDG_CACHE_HOME/mha-cl/models or ~/.cache/mha-cl/models.\n"
    "                         tools/get-models.sh puts them there\n"
    "  -u, --dump FILE        writes token ids, every layer's output and attention, and the\n"
    "                         embedding as safetensors; TEXT2's tensors begin with text2.\n"
    "  -h, --help             this text\n"
    "\n"
    "Exit status: 0 done; 2 usage, bad input or output file; 3 OpenCL.\n";

static const model_program program = {.name = "sentence",
                                      .usage = usage,
                                      .letters = "olewtdmuh",
                                      .max_inputs = MAX_TEXTS,
                                      .layers = SENTENCE_LAYERS,
                                      .heads = SENTENCE_HEADS};

/* Everything that main() must release. */
typedef struct session {
    model_options o;
    int layer;
    wordpiece *words;
    pieces texts[MAX_TEXTS];
    int n_texts, word; /* the piece of the first text to call out */
    st_file *file;
    runtime r;
    sentence_model model;
    sentence_run run;
    sentence_output outputs[MAX_TEXTS];
    double similarity;
} session;

/* ---- Words ------------------------------------------------------------------------------------
 */

static void print_pieces(const session *s, const pieces *p) {
    printf("  %d tokens:", p->n);
    for (int i = 0; i < p->n && i < MAX_WORDS; ++i)
        printf(" %s", wordpiece_text(s->words, p->ids[i]));
    printf("%s\n", p->n > MAX_WORDS ? " ..." : "");
    if (p->cut)
        printf("  the text is longer than %d tokens; the rest is left out\n", MAX_PIECES);
}

/* The first piece of the word asked for; without one, of "it" or of the text. A word of several
 * pieces must stand in the text with all of them. */
static bool find_word(session *s, failure *f) {
    const pieces *text = &s->texts[0];
    pieces word;
    wordpiece_split(s->words, s->o.word ? s->o.word : "it", &word);
    const int n = word.n - 2; /* without [CLS] and [SEP] */
    for (int i = 1; n > 0 && i + n < text->n; ++i) {
        if (memcmp(text->ids + i, word.ids + 1, (size_t)n * sizeof(*word.ids)) == 0) {
            s->word = i;
            break;
        }
    }
    if (!s->word && s->o.word)
        return fail(f, EXIT_INPUT, "the text has no word '%.60s'", s->o.word);
    if (!s->word && text->n > 2)
        s->word = 1;
    return s->word < MAX_WORDS ||
           fail(f, EXIT_INPUT, "'%.60s' is token %d, beyond the %d that fit a picture",
                s->o.word ? s->o.word : "it", s->word, MAX_WORDS);
}

static bool read_texts(session *s, failure *f) {
    char path[1024];
    step_begin("reading the vocabulary and splitting the text");
    if (!weights_path(s->o.models, "vocab.txt", path, sizeof(path), f))
        return false;
    s->words = wordpiece_open(path, f);
    if (!s->words)
        return false;
    for (; s->n_texts < MAX_TEXTS && s->o.inputs[s->n_texts]; ++s->n_texts)
        wordpiece_split(s->words, s->o.inputs[s->n_texts], &s->texts[s->n_texts]);
    if (!find_word(s, f))
        return false;
    step_end();
    for (int i = 0; i < s->n_texts; ++i)
        print_pieces(s, &s->texts[i]);
    return true;
}

/* ---- The model --------------------------------------------------------------------------------
 */

static bool load(session *s, failure *f) {
    step_begin("reading the model");
    s->file = weights_open(s->o.models, "sentence.safetensors", f);
    if (!s->file)
        return false;
    step_end();
    if (!runtime_open(&s->o, &s->r, f))
        return false;
    step_begin("making plans");
    if (!sentence_open(&s->r, s->layer, s->o.dump != NULL, &s->model, f))
        return false;
    step_end();
    runtime_print_plans(&s->model.e);
    step_begin("converting and packing %d layers", SENTENCE_LAYERS);
    if (!sentence_read(&s->model, s->file, wordpiece_size(s->words), f) ||
        !runtime_finish(&s->r, f))
        return false;
    step_end();
    return true;
}

static bool run(session *s, failure *f) {
    runtime_record(&s->r);
    step_begin("running the model");
    if (!sentence_run_start(&s->model, s->texts, s->n_texts, &s->run, f) ||
        !runtime_finish(&s->r, f))
        return false;
    step_end();
    profile_print(&s->r.profile);
    step_begin("reading back");
    if (!sentence_run_read(&s->model, &s->run, s->outputs, f))
        return false;
    step_end();
    for (int c = 0; c < SENTENCE_WIDTH; ++c)
        s->similarity += (double)s->outputs[0].embedding[c] * (double)s->outputs[1].embedding[c];
    return true;
}

/* ---- What it says -----------------------------------------------------------------------------
 */

/* The first text as the pictures want it, as much of it as fits one: attention_input_close() frees
 * it. `weights` [heads][n_words][n_words] are for free(). */
static bool make_input(const session *s, attention_input *in, float **weights, failure *f) {
    const pieces *text = &s->texts[0];
    const size_t all = (size_t)text->n, n = all < MAX_WORDS ? all : MAX_WORDS;
    const float *layer =
        s->outputs[0].layers.weights + (size_t)s->layer * SENTENCE_HEADS * all * all;
    const char *model = st_metadata(s->file, "model");
    char shown[300], part[60] = "";
    *in = (attention_input){.kind = KIND_SENTENCE};
    in->shape.batch = 1;
    in->shape.q_heads = in->shape.kv_heads = SENTENCE_HEADS;
    in->shape.seqlen_q = in->shape.seqlen_kv = (int64_t)n;
    if (n < all)
        snprintf(part, sizeof(part), " · the first %zu of %zu tokens", n, all);
    snprintf(shown, sizeof(shown), "%.200s%s · layer %d (of 0 to %d)",
             model ? model : "all-MiniLM-L6-v2", part, s->layer, SENTENCE_LAYERS - 1);
    in->model = strdup(shown);
    *weights = malloc(SENTENCE_HEADS * n * n * sizeof(float));
    if (!in->model || !*weights)
        return fail(f, EXIT_OPENCL, "out of memory");
    for (; in->n_words < (int)n; ++in->n_words) {
        in->words[in->n_words] = strdup(wordpiece_text(s->words, text->ids[in->n_words]));
        if (!in->words[in->n_words])
            return fail(f, EXIT_OPENCL, "out of memory");
    }
    for (size_t i = 0; i < SENTENCE_HEADS * n; ++i) /* rows of all heads */
        memcpy(*weights + i * n, layer + (i / n * all + i % n) * all, n * sizeof(float));
    return true;
}

/* Words that look most at another word; special tokens and punctuation are no words. */
static void print_pairs(const session *s, const attention_input *in, const float *weights,
                        int head) {
    float pairs[MAX_WORDS * MAX_WORDS]; /* by query, then key */
    int order[PAIRS];
    for (int i = 0; i < MAX_WORDS * MAX_WORDS; ++i) {
        const int q = i / MAX_WORDS, k = i % MAX_WORDS;
        const bool both = q != k && q < in->n_words && k < in->n_words && is_word(in->words[q]) &&
                          is_word(in->words[k]);
        pairs[i] = both ? weights_row(&in->shape, weights, head, q)[k] : -1;
    }
    const int found = largest(pairs, MAX_WORDS * MAX_WORDS, order, PAIRS);
    printf("strongest pairs in layer %d head %d:%s\n", s->layer, head,
           found && pairs[order[0]] >= 0 ? "" : " none, there are no two words");
    for (int i = 0; i < found && pairs[order[i]] >= 0; ++i)
        printf("  %s -> %s %.3f\n", in->words[order[i] / MAX_WORDS],
               in->words[order[i] % MAX_WORDS], (double)pairs[order[i]]);
}

static bool draw(session *s, failure *f) {
    attention_input in = {0};
    float *weights = NULL;
    char computed[400];
    bool ok = make_input(s, &in, &weights, f);
    if (!ok)
        goto done;
    const int head = s->o.head < 0 ? most_decided_head(&in, weights, s->word) : s->o.head;
    const float *row = weights_row(&in.shape, weights, head, s->word);
    const int target = strongest_word(&in, row, s->word);
    if (in.n_words < s->texts[0].n)
        printf("  the first %d of %d tokens are shown\n", in.n_words, s->texts[0].n);
    print_pairs(s, &in, weights, head);
    if (target >= 0)
        printf("layer %d head %d: %s -> %s %.3f\n", s->layer, head, in.words[s->word],
               in.words[target], (double)row[target]);
    if (s->n_texts == 2)
        printf("cosine similarity of the two texts: %.4f\n", s->similarity);
    runtime_describe(&s->r, &s->model.e, computed, sizeof(computed));
    step_begin("drawing");
    ok = words_picture_draw(&(words_picture){.input = &in,
                                             .weights = weights,
                                             .head = head,
                                             .word = s->word,
                                             .computed = computed,
                                             .texts = {s->o.inputs[0], s->o.inputs[1]},
                                             .similarity = s->similarity},
                            s->o.out, f);
    if (!ok)
        goto done;
    step_end();
    printf("picture: %s\n", s->o.out);
done:
    attention_input_close(&in);
    free(weights);
    return ok;
}

static bool dump_text(const session *s, int i, st_list *list, failure *f) {
    const pieces *p = &s->texts[i];
    const sentence_output *o = &s->outputs[i];
    const char *prefix = i ? "text2." : "";
    st_output ids = {.kind = ST_I32, .rank = 1, .shape = {p->n}, .data = p->ids};
    char name[48];
    snprintf(ids.name, sizeof(ids.name), "%stoken_ids", prefix);
    snprintf(name, sizeof(name), "%sembedding", prefix);
    return st_list_add(list, &ids, f) &&
           dump_layers(list, prefix, &s->model.e.shape, p->n, &o->layers, f) &&
           dump_f32(list, name, SENTENCE_WIDTH, 0, 0, o->embedding, f);
}

static bool dump(const session *s, failure *f) {
    st_list list = {0};
    bool ok = true;
    if (!s->o.dump)
        return true;
    step_begin("writing the dump");
    for (int i = 0; ok && i < s->n_texts; ++i)
        ok = dump_text(s, i, &list, f);
    ok = ok && st_write(s->o.dump, &list, "all-MiniLM-L6-v2", f);
    st_list_free(&list);
    if (!ok)
        return false;
    step_end();
    printf("dump: %s\n", s->o.dump);
    return true;
}

static void close_session(session *s) {
    for (int i = 0; i < MAX_TEXTS; ++i)
        sentence_output_free(&s->outputs[i]);
    sentence_run_close(&s->run);
    sentence_close(&s->model);
    runtime_close(&s->r);
    st_close(s->file);
    wordpiece_close(s->words);
}

int main(int argc, char **argv) {
    static session s;
    failure f = {.exit_code = EXIT_OK};
    bool ok = model_options_parse(argc, argv, &program, &s.o, &f);
    s.layer = s.o.layer < 0 ? SENTENCE_LAYERS - 1 : s.o.layer;
    if (ok && !s.o.help)
        ok = read_texts(&s, &f) && load(&s, &f) && run(&s, &f) && draw(&s, &f) && dump(&s, &f);
    if (!ok) {
        step_abandon();
        fprintf(stderr, "sentence: %s\n", f.text);
    }
    close_session(&s);
    return f.exit_code;
}
