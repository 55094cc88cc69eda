/* In: "B4 H12 N197 D64 f32 causal" or "M788 K768 N2304 f32". Out: a shape, and back. */
#include "command.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const dtype_names[] = {"f32", "f16", "bf16", "f64"};
enum { DTYPES = sizeof(dtype_names) / sizeof(*dtype_names) };

/* A letter or two before a number, and where it goes; by operation. 0 as default: must be given. */
struct field {
    const char *name;
    size_t offset;
};
static const struct field attention_fields[] = {
    {"B", offsetof(struct shape, batch)},       {"Hkv", offsetof(struct shape, kv_heads)},
    {"H", offsetof(struct shape, q_heads)},     {"Nkv", offsetof(struct shape, seqlen_kv)},
    {"N", offsetof(struct shape, seqlen_q)},    {"Dv", offsetof(struct shape, head_dim_v)},
    {"D", offsetof(struct shape, head_dim_qk)}, {NULL, 0},
};
static const struct field linear_fields[] = {
    {"M", offsetof(struct shape, rows)},
    {"K", offsetof(struct shape, in_features)},
    {"N", offsetof(struct shape, out_features)},
    {NULL, 0},
};

static int32_t *member(struct shape *shape, const struct field *field) {
    return (int32_t *)(void *)((char *)shape + field->offset);
}

static bool read_dtype(const char *word, mha_dtype *dtype) {
    for (int i = 0; i < DTYPES; ++i)
        if (!strcmp(word, dtype_names[i])) {
            *dtype = (mha_dtype)i;
            return true;
        }
    return false;
}

static bool read_number(const char *text, int32_t *number) {
    char *end;
    if (!isdigit((unsigned char)*text))
        return false;
    const long long value = strtoll(text, &end, 10);
    *number = (int32_t)value;
    return !*end && value >= 1 && value <= INT32_MAX;
}

static bool read_field(const char *word, const struct field *fields, struct shape *shape) {
    for (; fields->name; ++fields) {
        const size_t length = strlen(fields->name);
        int32_t *number = member(shape, fields);
        if (!strncmp(word, fields->name, length) && isdigit((unsigned char)word[length]))
            return !*number && read_number(word + length, number);
    }
    return false;
}

static bool read_word(const char *word, struct shape *shape, bool *has_weight_dtype) {
    const bool is_linear = shape->operation == OPERATION_LINEAR;
    if (!is_linear && !strcmp(word, "causal"))
        return shape->is_causal = true;
    if (!is_linear && !strcmp(word, "scores"))
        return shape->gives_scores = true;
    if (is_linear && !strncmp(word, "w:", 2))
        return *has_weight_dtype = read_dtype(word + 2, &shape->weight_dtype);
    return read_dtype(word, &shape->dtype) ||
           read_field(word, is_linear ? linear_fields : attention_fields, shape);
}

static bool complete(struct shape *s, bool has_weight_dtype, char *why, size_t why_bytes) {
    if (s->operation == OPERATION_LINEAR) {
        s->weight_dtype = has_weight_dtype ? s->weight_dtype : s->dtype;
        if (s->rows && s->in_features && s->out_features)
            return true;
        snprintf(why, why_bytes, "a projection needs M, K and N, as in \"M788 K768 N2304 f32\"");
        return false;
    }
    if (!s->q_heads || !s->seqlen_q || !s->head_dim_qk) {
        snprintf(why, why_bytes, "attention needs H, N and D, as in \"B4 H12 N197 D64 f32\"");
        return false;
    }
    s->batch = s->batch ? s->batch : 1;
    s->kv_heads = s->kv_heads ? s->kv_heads : s->q_heads;
    s->seqlen_kv = s->seqlen_kv ? s->seqlen_kv : s->seqlen_q;
    s->head_dim_v = s->head_dim_v ? s->head_dim_v : s->head_dim_qk;
    return true;
}

bool shape_parse(const char *text, struct shape *shape, char *why, size_t why_bytes) {
    char copy[SHAPE_TEXT_BYTES], *rest = NULL;
    bool has_weight_dtype = false;
    *shape = (struct shape){.operation = OPERATION_ATTENTION};
    if ((size_t)snprintf(copy, sizeof(copy), "%s", text) >= sizeof(copy)) {
        snprintf(why, why_bytes, "a shape has at most %zu characters", sizeof(copy) - 1);
        return false;
    }
    /* Only projections have an M. */
    for (const char *p = copy; *p; ++p)
        if (*p == 'M' && (p == copy || p[-1] == ' '))
            shape->operation = OPERATION_LINEAR;
    for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
        if (!read_word(word, shape, &has_weight_dtype)) {
            snprintf(why, why_bytes, "\"%s\" is no part of a shape such as \"%s\"", word,
                     shape->operation == OPERATION_LINEAR ? "M788 K768 N2304 f32"
                                                          : "B4 H12 N197 D64 f32 causal");
            return false;
        }
    if (!complete(shape, has_weight_dtype, why, why_bytes))
        return false;
    struct problem problem;
    mha_error error;
    if (!mha_shape_problem(shape, &problem, &error))
        return true;
    snprintf(why, why_bytes, "%s", error.message);
    return false;
}

void shape_print(const struct shape *s, char text[SHAPE_TEXT_BYTES]) {
    char kv_heads[16] = "", seqlen_kv[16] = "", head_dim_v[16] = "";
    if (s->operation == OPERATION_LINEAR) {
        snprintf(text, SHAPE_TEXT_BYTES, "M%d K%d N%d %s%s%s", (int)s->rows, (int)s->in_features,
                 (int)s->out_features, dtype_names[s->dtype],
                 s->weight_dtype == s->dtype ? "" : " w:",
                 s->weight_dtype == s->dtype ? "" : dtype_names[s->weight_dtype]);
        return;
    }
    if (s->kv_heads != s->q_heads)
        snprintf(kv_heads, sizeof(kv_heads), " Hkv%d", (int)s->kv_heads);
    if (s->seqlen_kv != s->seqlen_q)
        snprintf(seqlen_kv, sizeof(seqlen_kv), " Nkv%d", (int)s->seqlen_kv);
    if (s->head_dim_v != s->head_dim_qk)
        snprintf(head_dim_v, sizeof(head_dim_v), " Dv%d", (int)s->head_dim_v);
    snprintf(text, SHAPE_TEXT_BYTES, "B%d H%d%s N%d%s D%d%s %s%s%s", (int)s->batch, (int)s->q_heads,
             kv_heads, (int)s->seqlen_q, seqlen_kv, (int)s->head_dim_qk, head_dim_v,
             dtype_names[s->dtype], s->is_causal ? " causal" : "",
             s->gives_scores ? " scores" : "");
}
