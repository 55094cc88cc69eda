/* How the examples fail: a message and the exit code of the program, handed up to main(). */
#ifndef EXAMPLES_FAILURE_H
#define EXAMPLES_FAILURE_H

#include <stdbool.h>

enum exit_code {
    EXIT_OK = 0,
    EXIT_MISMATCH = 1, /* results differ from the file's by more than the limit */
    EXIT_INPUT = 2,    /* usage, or a file that can't be read, is not valid or can't be written */
    EXIT_OPENCL = 3    /* no device, or an OpenCL or library call failed, or memory ran out */
};

typedef struct failure {
    int exit_code;
    char text[600];
} failure;

#ifdef __GNUC__
#define PRINTF_LIKE(text, first) __attribute__((format(printf, text, first)))
#else
#define PRINTF_LIKE(text, first)
#endif

/* Fills *f and returns false, so that `return fail(...)` reads well in functions of type bool. */
bool fail(failure *f, int exit_code, const char *format, ...) PRINTF_LIKE(3, 4);

/* Replaces control characters (C0, DEL and C1) and what is not UTF-8 by '?': text out of a file
 * must not be able to drive the terminal it is printed on, and cairo refuses all but UTF-8. */
void text_clean(char *text);

#endif
