/* In: command lines. Out: what mha-tune printed, and its exit code. */
#include "tuner_process.h"

#include "config_files.h"
#include "store.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST_ARGUMENTS 16

void tuner_begin(struct tuner *tuner) {
    tuning_make_folder(tuner->home);
    tuning_path(tuner->tuning, tuner->home, CONFIG_FOLDER);
    setenv("XDG_CONFIG_HOME", tuner->home, 1);
    setenv("XDG_STATE_HOME", tuner->home, 1);
}

void tuner_end(struct tuner *tuner) {
    tuning_remove_folder(tuner->home);
}

void tuner_fake(struct tuner *tuner, const char *faults) {
    char text[2 * PATH_BYTES + 200];
    snprintf(text, sizeof(text), "#!/bin/sh\nexec '%s' %s\n", FAKE_WORKER, faults);
    tuning_path(tuner->worker, tuner->home, "worker.sh");
    tuning_write(tuner->worker, text, strlen(text));
    cr_assert_eq(chmod(tuner->worker, 0755), 0);
}

static void become(const char *const *arguments, const char *out, const char *errors) {
    const char *argv[MOST_ARGUMENTS + 2] = {TUNE_PROGRAM};
    for (int i = 0; i < MOST_ARGUMENTS && arguments[i]; ++i)
        argv[i + 1] = arguments[i];
    if (freopen(out, "w", stdout) && freopen(errors, "w", stderr))
        execv(TUNE_PROGRAM, (char *const *)argv);
    _exit(127);
}

struct tuner_outcome tuner_run(const struct tuner *tuner, const char *const *arguments) {
    struct tuner_outcome outcome = {.code = -1};
    char out[PATH_BYTES], errors[PATH_BYTES];
    int status = 0;
    tuning_path(out, tuner->home, "out");
    tuning_path(errors, tuner->home, "errors");
    const pid_t child = fork();
    cr_assert_geq(child, 0);
    if (!child)
        become(arguments, out, errors);
    cr_assert_eq(waitpid(child, &status, 0), child);
    if (WIFEXITED(status))
        outcome.code = WEXITSTATUS(status);
    outcome.out = tuning_read(out);
    outcome.errors = tuning_read(errors);
    cr_assert(outcome.out && outcome.errors);
    return outcome;
}

void tuner_release(struct tuner_outcome *outcome) {
    free(outcome->out);
    free(outcome->errors);
}

json_t *tuner_json(const struct tuner *tuner, int code, const char *const *arguments) {
    struct tuner_outcome outcome = tuner_run(tuner, arguments);
    json_error_t error;
    cr_assert_eq(outcome.code, code, "exit code %d: %s", outcome.code, outcome.errors);
    json_t *json = json_loads(outcome.out, 0, &error);
    cr_assert(json, "no JSON (%s): %s", error.text, outcome.out);
    tuner_release(&outcome);
    return json;
}

void tuner_expect(struct tuner_outcome outcome, int code, const char *out, const char *errors) {
    cr_expect_eq(outcome.code, code, "exit code %d: %s%s", outcome.code, outcome.out,
                 outcome.errors);
    cr_expect(strstr(outcome.out, out), "no \"%s\" in: %s", out, outcome.out);
    cr_expect(strstr(outcome.errors, errors), "no \"%s\" in: %s", errors, outcome.errors);
    tuner_release(&outcome);
}

void tuner_store(const struct tuner *tuner, const struct config_entry *entry) {
    char why[400];
    cr_assert(store_merge(tuner->tuning, &entry->device, entry, 1, NULL, 0, why, sizeof(why)), "%s",
              why);
}
