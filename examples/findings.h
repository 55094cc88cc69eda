/* What a set of attention weights says, in words and numbers. Pure: no device, no drawing. */
#ifndef EXAMPLES_FINDINGS_H
#define EXAMPLES_FINDINGS_H

#include "attention_input.h"

/* "[CLS]", "<s>" and the like: tokens that stand for no word. */
bool is_special(const char *word);

/* No special token, and more than punctuation. */
bool is_word(const char *word);

/* The word after self to which query `self` gives most of its weight, special tokens left out; -1
 * if there is none. `row` holds a weight per word. */
int strongest_word(const attention_input *input, const float *row, int self);

/* Indices of the `n` largest of `count` values, largest first; returns how many there are. */
int largest(const float *values, int count, int *indices, int n);

/* The row of query `query` of head `head` in batch 0 of [batch][head][query][key] weights. */
const float *weights_row(const attention_shape *shape, const float *weights, int head, int query);

/* The head whose query `self` gives most to a single other word. */
int most_decided_head(const attention_input *input, const float *weights, int self);

/* The largest |a - b|; infinity where either is not a number. */
double largest_difference(const float *a, const float *b, size_t n);

/* The largest difference between `weights` and what q, k and lse alone give for them,
 * exp(scale * q k - lse), in double precision on the host. */
double lse_difference(const attention_input *input, const float *weights, const float *lse);

#endif
