/* BERT's tokeniser, lower case: text -> pieces of a vocabulary. */
#ifndef EXAMPLES_WORDPIECE_H
#define EXAMPLES_WORDPIECE_H

#include "failure.h"

#include <stdint.h>

#define MAX_PIECES 256 /* of a text, [CLS] and [SEP] included: what all-MiniLM-L6-v2 takes */

typedef struct wordpiece wordpiece;

/* A vocabulary has a piece a line; a line's number, from 0, is the piece's id. Pieces that go on a
 * word start with "##". NULL on failure. */
wordpiece *wordpiece_open(const char *path, failure *f);
void wordpiece_close(wordpiece *w);

typedef struct pieces {
    int32_t ids[MAX_PIECES];
    int n;
    bool cut; /* there were more */
} pieces;

/* [CLS], the text's pieces, [SEP]. Bytes that are not UTF-8 count as spaces. Unlike some
 * tokenisers, this one takes "[SEP]" and its like within a text as plain text. */
void wordpiece_split(const wordpiece *w, const char *text, pieces *result);

/* The text of a piece. Lives as long as the vocabulary. */
const char *wordpiece_text(const wordpiece *w, int32_t id);

int32_t wordpiece_size(const wordpiece *w);

#endif
