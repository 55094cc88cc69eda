/* A worker process: the parent's side. Workers load OpenCL drivers; the parent never does.
 *
 * Requests and answers are JSON objects, one a line, over the worker's standard input and output.
 * A worker that dies, hangs or talks nonsense is killed; the next request starts another. */
#ifndef TUNE_WORKER_H
#define TUNE_WORKER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum worker_result {
    WORKER_OK,      /* *answer is an object */
    WORKER_CRASH,   /* it ended, was killed by a signal, or could not be started */
    WORKER_TIMEOUT, /* it gave no answer in time and was killed */
    WORKER_NONSENSE /* its answer was no JSON object, or not to this request */
};

struct worker;

/* argv: the program and its arguments, NULL-terminated, kept by reference. Starts nothing yet. NULL
 * when memory runs out. */
struct worker *worker_create(const char *const *argv);
void worker_destroy(struct worker *worker); /* ends the process; NULL is ignored */

/* Makes sure that a process runs that has nothing left to say: one that died or spoke unasked since
 * the last request is replaced. False with a reason. */
bool worker_start(struct worker *worker, char *why, size_t why_bytes);

/* Sends `request` (stolen) with a number of its own and waits `seconds` for the answer that carries
 * the same; starts a process where none runs. After anything but WORKER_OK the process is gone,
 * *answer is NULL, and `why` says what happened, with the last line that the worker printed to
 * standard error, in ASCII. */
enum worker_result worker_ask(struct worker *worker, json_t *request, double seconds,
                              json_t **answer, char *why, size_t why_bytes);

/* How often a process was started: a caller that sees it change must set up the new one again. */
int worker_generation(const struct worker *worker);

/* Ends the process, which is asked to first; the next request starts another. */
void worker_stop(struct worker *worker);

/* Kills the process at once, for good: no other is started. Safe in a signal handler. */
void worker_kill(struct worker *worker);

/* Seconds of CLOCK_MONOTONIC. */
double worker_clock(void);

#endif
