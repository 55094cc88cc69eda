/* Says what a program is doing while it does it, and how long it took. */
#ifndef EXAMPLES_STEPS_H
#define EXAMPLES_STEPS_H

#include "failure.h"

/* Prints the step's name; the one before must have ended. */
void step_begin(const char *format, ...) PRINTF_LIKE(1, 2);

/* Prints the time since step_begin(); nothing without a step. */
void step_end(void);

/* Ends the line of a step that failed, so that a message starts on its own. */
void step_abandon(void);

#endif
