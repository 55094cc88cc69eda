/* In: a safetensors file with q, k, v [batch][head][token][head_dim]. Out: an attention_input whose
 * shapes fit together and are small enough to compute and draw. */
#include "attention_input.h"

#include "safetensors.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_WEIGHTS ((int64_t)1 << 28) /* elements: 1 GiB */

static char *clean_copy(const char *text, failure *f) {
    char *copy = strdup(text);
    if (copy)
        text_clean(copy);
    else
        fail(f, EXIT_OPENCL, "out of memory");
    return copy;
}

static bool fits(const st_tensor *t, const int64_t *shape, int rank) {
    return t->rank == rank && memcmp(t->shape, shape, (size_t)rank * sizeof(*shape)) == 0;
}

static const st_tensor *find_4d(const st_file *file, const char *name, failure *f) {
    const st_tensor *t = st_find(file, name);
    if (!t || t->rank != 4 || t->elements == 0) {
        fail(f, EXIT_INPUT, "the file has no tensor '%s' of shape [batch][head][token][head_dim]",
             name);
        return NULL;
    }
    return t;
}

static bool read_tensors(const st_file *file, attention_input *in, failure *f) {
    const st_tensor *q = find_4d(file, "q", f), *k = q ? find_4d(file, "k", f) : NULL,
                    *v = k ? find_4d(file, "v", f) : NULL;
    attention_shape *s = &in->shape;
    if (!v)
        return false;
    s->batch = q->shape[0];
    s->q_heads = q->shape[1];
    s->seqlen_q = q->shape[2];
    s->head_dim_qk = q->shape[3];
    s->kv_heads = k->shape[1];
    s->seqlen_kv = k->shape[2];
    s->head_dim_v = v->shape[3];
    if (!fits(k, (int64_t[]){s->batch, s->kv_heads, s->seqlen_kv, s->head_dim_qk}, 4) ||
        !fits(v, (int64_t[]){s->batch, s->kv_heads, s->seqlen_kv, s->head_dim_v}, 4) ||
        s->q_heads % s->kv_heads != 0)
        return fail(f, EXIT_INPUT, "the shapes of q, k and v do not fit together");
    if (s->seqlen_q != s->seqlen_kv)
        return fail(f, EXIT_INPUT, "q has %lld tokens, k and v have %lld: not self-attention",
                    (long long)s->seqlen_q, (long long)s->seqlen_kv);
    if (s->q_heads > MAX_HEADS)
        return fail(f, EXIT_INPUT, "%lld heads are more than the %d that fit a picture",
                    (long long)s->q_heads, MAX_HEADS);
    /* No product overflows: each tensor's own size is below 2^63 and lies in memory. */
    if (s->seqlen_kv > MAX_WEIGHTS / (s->batch * s->q_heads * s->seqlen_q))
        return fail(f, EXIT_INPUT, "%lld tokens give more attention weights than fit in 1 GiB",
                    (long long)s->seqlen_kv);
    return (in->q = st_read_f32(q, f)) && (in->k = st_read_f32(k, f)) &&
           (in->v = st_read_f32(v, f));
}

/* An expected tensor may be absent, but not of another shape. */
static bool read_expected(const st_file *file, const char *name, const int64_t *shape, int rank,
                          float **values, failure *f) {
    const st_tensor *t = st_find(file, name);
    if (!t)
        return true;
    if (!fits(t, shape, rank))
        return fail(f, EXIT_INPUT, "the shape of '%s' does not fit that of q, k and v", name);
    *values = st_read_f32(t, f);
    return *values != NULL;
}

static bool read_all_expected(const st_file *file, attention_input *in, failure *f) {
    const attention_shape *s = &in->shape;
    const int64_t output[] = {s->batch, s->q_heads, s->seqlen_q, s->head_dim_v};
    const int64_t weights[] = {s->batch, s->q_heads, s->seqlen_q, s->seqlen_kv};
    const int64_t cls[] = {s->batch, s->q_heads, s->seqlen_kv};
    return read_expected(file, "output", output, 4, &in->expected_output, f) &&
           read_expected(file, "weights", weights, 4, &in->expected_weights, f) &&
           read_expected(file, "weights_cls", cls, 3, &in->expected_weights_cls, f);
}

/* "1/sqrt(N)" or a plain number; absent: the usual 1/sqrt(head_dim_qk). */
static bool read_scale(const st_file *file, attention_input *in, failure *f) {
    static const char prefix[] = "1/sqrt(";
    const char *text = st_metadata(file, "scale");
    char *end;
    if (!text) {
        in->shape.scale = 1 / sqrt((double)in->shape.head_dim_qk);
        snprintf(in->scale, sizeof(in->scale), "1/sqrt(%lld)", (long long)in->shape.head_dim_qk);
        return true;
    }
    snprintf(in->scale, sizeof(in->scale), "%s", text);
    text_clean(in->scale);
    bool root = strncmp(text, prefix, sizeof(prefix) - 1) == 0;
    const char *digits = root ? text + sizeof(prefix) - 1 : text;
    double value = strtod(digits, &end);
    in->shape.scale = root ? 1 / sqrt(value) : value;
    if (end == digits || strcmp(end, root ? ")" : "") != 0 || !isfinite(in->shape.scale))
        return fail(f, EXIT_INPUT, "the metadata's scale '%s' is neither a number nor 1/sqrt(N)",
                    in->scale);
    return true;
}

static bool read_words(const char *text, attention_input *in, failure *f) {
    json_error_t where;
    json_t *list = json_loads(text, 0, &where);
    bool ok = false;
    if (!json_is_array(list)) {
        fail(f, EXIT_INPUT, "the metadata's tokens are not a JSON list: %s",
             list ? "it is another value" : where.text);
        goto done;
    }
    if (json_array_size(list) > MAX_WORDS) {
        fail(f, EXIT_INPUT, "%zu words are more than the %d that fit a picture",
             json_array_size(list), MAX_WORDS);
        goto done;
    }
    if ((int64_t)json_array_size(list) != in->shape.seqlen_q) {
        fail(f, EXIT_INPUT, "the metadata names %zu tokens, q has %lld", json_array_size(list),
             (long long)in->shape.seqlen_q);
        goto done;
    }
    for (size_t i = 0; i < json_array_size(list); ++i) {
        const char *word = json_string_value(json_array_get(list, i));
        if (!word) {
            fail(f, EXIT_INPUT, "token %zu of the metadata is not a string", i);
            goto done;
        }
        in->words[i] = clean_copy(word, f);
        if (!in->words[i])
            goto done;
        ++in->n_words;
    }
    ok = true;
done:
    json_decref(list);
    return ok;
}

/* The name must stay beside the file: a downloaded file has no business naming other places. */
static bool read_image(const char *text, attention_input *in, failure *f) {
    if (!*text || strpbrk(text, "/\\:") || strcmp(text, "..") == 0)
        return fail(f, EXIT_INPUT, "the metadata's image '%.80s' is not a plain file name", text);
    in->image = clean_copy(text, f);
    return in->image != NULL;
}

static bool read_kind(const st_file *file, attention_input *in, failure *f) {
    const char *tokens = st_metadata(file, "tokens"), *image = st_metadata(file, "image");
    const char *model = st_metadata(file, "model");
    in->model = clean_copy(model && *model ? model : "unnamed model", f);
    if (!in->model)
        return false;
    if (tokens) {
        in->kind = KIND_SENTENCE;
        return read_words(tokens, in, f);
    }
    in->kind = KIND_PHOTO;
    while (in->grid < MAX_GRID && 1 + (int64_t)in->grid * in->grid < in->shape.seqlen_q)
        ++in->grid;
    if (in->grid < 2 || 1 + (int64_t)in->grid * in->grid != in->shape.seqlen_q)
        return fail(f, EXIT_INPUT,
                    "the file names no tokens, and its %lld are not CLS and a square of patches "
                    "(2 x 2 to %d x %d)",
                    (long long)in->shape.seqlen_q, MAX_GRID, MAX_GRID);
    return !image || read_image(image, in, f);
}

bool attention_input_open(const char *path, attention_input *input, failure *f) {
    *input = (attention_input){0};
    st_file *file = st_open(path, f);
    if (!file)
        return false;
    bool ok = read_tensors(file, input, f) && read_all_expected(file, input, f) &&
              read_scale(file, input, f) && read_kind(file, input, f);
    st_close(file);
    if (!ok)
        attention_input_close(input);
    return ok;
}

void attention_input_close(attention_input *input) {
    free(input->q);
    free(input->k);
    free(input->v);
    free(input->expected_output);
    free(input->expected_weights);
    free(input->expected_weights_cls);
    for (int i = 0; i < input->n_words; ++i)
        free(input->words[i]);
    free(input->model);
    free(input->image);
    *input = (attention_input){0};
}
