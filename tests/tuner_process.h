/* Runs of the program mha-tune, with folders of their own. */
#ifndef TUNER_PROCESS_H
#define TUNER_PROCESS_H

#include "tuning_files.h"

/* Folders that XDG_CONFIG_HOME and XDG_STATE_HOME name while a test runs. */
struct tuner {
    char home[PATH_BYTES];
    char tuning[PATH_BYTES]; /* where the user's tuning files are */
    char worker[PATH_BYTES]; /* of tuner_fake() */
};

void tuner_begin(struct tuner *tuner);
void tuner_end(struct tuner *tuner);

/* Makes tuner->worker a fake worker with these faults, separated by spaces. */
void tuner_fake(struct tuner *tuner, const char *faults);

struct tuner_outcome {
    int code; /* of exit; -1: ended by a signal */
    char *out, *errors;
};

/* arguments: up to 16, after the program's name; NULL-terminated. */
struct tuner_outcome tuner_run(const struct tuner *tuner, const char *const *arguments);
#define TUNER_RUN(tuner, ...) tuner_run(tuner, (const char *const[]){__VA_ARGS__, NULL})
void tuner_release(struct tuner_outcome *outcome);

/* The same for the most common questions; fails the test where the exit code is another, or where
 * what was printed is not JSON. */
json_t *tuner_json(const struct tuner *tuner, int code, const char *const *arguments);
#define TUNER_JSON(tuner, code, ...)                                                               \
    tuner_json(tuner, code, (const char *const[]){__VA_ARGS__, "--json", NULL})

/* Fails the test where the exit code is another, or a text is not in what was printed. */
void tuner_expect(struct tuner_outcome outcome, int code, const char *out, const char *errors);

/* Puts an entry into the user's file of its device. */
void tuner_store(const struct tuner *tuner, const struct config_entry *entry);

#endif
