/* In: the begin and end of steps, one at a time. Out: a line for each, with its time on the clock.
 * The only state that the examples keep for a whole program: there is one terminal. */
#include "steps.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#define NAME_WIDTH 56

static struct timespec begun;
static bool open_step;

void step_begin(const char *format, ...) {
    char name[200];
    va_list values;
    va_start(values, format);
    if (vsnprintf(name, sizeof(name), format, values) < 0)
        name[0] = '\0';
    va_end(values);
    text_clean(name);
    printf("%-*s", NAME_WIDTH, name);
    fflush(stdout); /* a step may take seconds */
    open_step = true;
    clock_gettime(CLOCK_MONOTONIC, &begun);
}

void step_end(void) {
    struct timespec now;
    if (!open_step)
        return;
    clock_gettime(CLOCK_MONOTONIC, &now);
    double ms =
        (double)(now.tv_sec - begun.tv_sec) * 1e3 + (double)(now.tv_nsec - begun.tv_nsec) * 1e-6;
    printf(" %9.2f ms\n", ms);
    open_step = false;
}

void step_abandon(void) {
    if (open_step)
        printf("\n");
    fflush(stdout);
    open_step = false;
}
