/* Every measurement of a run, written before and after it is made: JSON lines that only grow.
 *
 * A line is lost only if it was never fully written; a torn last line is ignored and overwritten.
 */
#ifndef TUNE_JOURNAL_H
#define TUNE_JOURNAL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct journal;

/* Opens or makes the file, with the lock that keeps a second run off it. NULL with a reason: held
 * by another, or not writable. */
struct journal *journal_open(const char *path, char *why, size_t why_bytes);
void journal_close(struct journal *journal);

/* The lines that were there, as an array of objects, without those that are no JSON. Borrowed. */
const json_t *journal_lines(const struct journal *journal);

/* Appends an object as one line and waits until it is on the disk. The object stays the caller's.
 */
bool journal_write(struct journal *journal, const json_t *line, char *why, size_t why_bytes);

/* $XDG_STATE_HOME/mha-cl/NAME.jsonl, or $HOME/.local/state/mha-cl/...; makes the folder. */
bool journal_path(const char *name, char *path, size_t bytes, char *why, size_t why_bytes);

#endif
