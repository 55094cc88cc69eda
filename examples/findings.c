/* In: attention weights. Out: rankings and differences. */
#include "findings.h"

#include <math.h>
#include <string.h>

bool is_special(const char *word) {
    size_t n = strlen(word);
    return n >= 3 &&
           ((word[0] == '[' && word[n - 1] == ']') || (word[0] == '<' && word[n - 1] == '>'));
}

bool is_word(const char *word) {
    return !is_special(word) && word[strspn(word, "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")];
}

int strongest_word(const attention_input *input, const float *row, int self) {
    int best = -1;
    for (int i = 0; i < input->n_words; ++i)
        if (i != self && !is_special(input->words[i]) && (best < 0 || row[i] > row[best]))
            best = i;
    return best;
}

int largest(const float *values, int count, int *indices, int n) {
    int kept = 0;
    for (int i = 0; i < count; ++i) {
        int place = kept < n ? kept++ : n;
        while (place > 0 && values[i] > values[indices[place - 1]]) {
            if (place < n)
                indices[place] = indices[place - 1];
            --place;
        }
        if (place < n)
            indices[place] = i;
    }
    return kept;
}

const float *weights_row(const attention_shape *shape, const float *weights, int head, int query) {
    return weights + ((int64_t)head * shape->seqlen_q + query) * shape->seqlen_kv;
}

int most_decided_head(const attention_input *input, const float *weights, int self) {
    int best = 0;
    float best_weight = -1;
    for (int h = 0; h < (int)input->shape.q_heads; ++h) {
        const float *row = weights_row(&input->shape, weights, h, self);
        int word = strongest_word(input, row, self);
        if (word >= 0 && row[word] > best_weight) {
            best = h;
            best_weight = row[word];
        }
    }
    return best;
}

double largest_difference(const float *a, const float *b, size_t n) {
    double worst = 0;
    for (size_t i = 0; i < n; ++i) {
        double difference = fabs((double)a[i] - (double)b[i]);
        if (isnan(difference))
            return INFINITY;
        worst = difference > worst ? difference : worst;
    }
    return worst;
}

double lse_difference(const attention_input *input, const float *weights, const float *lse) {
    const attention_shape *s = &input->shape;
    int64_t group = s->q_heads / s->kv_heads, rows = s->batch * s->q_heads * s->seqlen_q;
    double worst = 0;
    for (int64_t r = 0; r < rows; ++r) {
        int64_t head = r / s->seqlen_q; /* counts on over the batch, as kv heads do */
        const float *q = input->q + r * s->head_dim_qk;
        const float *k = input->k + head / group * s->seqlen_kv * s->head_dim_qk;
        for (int64_t j = 0; j < s->seqlen_kv; ++j) {
            double score = 0;
            for (int64_t c = 0; c < s->head_dim_qk; ++c)
                score += (double)q[c] * (double)k[j * s->head_dim_qk + c];
            double rebuilt = exp(s->scale * score - (double)lse[r]);
            double difference = fabs(rebuilt - (double)weights[r * s->seqlen_kv + j]);
            if (isnan(difference))
                return INFINITY;
            worst = difference > worst ? difference : worst;
        }
    }
    return worst;
}
