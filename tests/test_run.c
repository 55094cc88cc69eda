/* Whole runs of mha-tune on a device that is not there: what wins, what is kept, what it costs. */
#include "tuner_process.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define VIT "B4 H12 N197 D64 f32"
#define PROJECTION "M788 K768 N2304 f32"
#define KILLS 200

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void sleep_for(double seconds) {
    const struct timespec t = {(time_t)seconds, (long)(1e9 * (seconds - (double)(time_t)seconds))};
    nanosleep(&t, NULL);
}

static json_t *run_json(struct tuner *tuner, const char *evaluations) {
    return TUNER_JSON(tuner, 0, "run", "--worker", tuner->worker, "--shape", VIT, "--evals",
                      evaluations, "--quiet");
}

/* The journal's only file in the test's folder; empty as long as there is none. */
static json_t *read_journal(const struct tuner *tuner) {
    char path[PATH_BYTES] = "", folder[PATH_BYTES], command[2 * PATH_BYTES];
    json_t *lines = json_array();
    tuning_path(folder, tuner->home, "mha-cl");
    snprintf(command, sizeof(command), "ls %s/*.jsonl 2>/dev/null", folder);
    FILE *list = popen(command, "r");
    cr_assert(list);
    const bool is_there = fgets(path, sizeof(path), list);
    pclose(list);
    if (!is_there)
        return lines;
    path[strcspn(path, "\n")] = 0;
    char *text = tuning_read(path), *rest = NULL;
    cr_assert(text);
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        json_t *json = json_loads(line, 0, NULL);
        if (json)
            json_array_append_new(lines, json);
    }
    free(text);
    return lines;
}

static const char *text_of(const json_t *line, const char *member) {
    const char *text = json_string_value(json_object_get(line, member));
    return text ? text : "";
}

static int count_results(const json_t *lines, const char *result) {
    int count = 0;
    for (size_t i = 0; i < json_array_size(lines); ++i)
        count += !strcmp(text_of(json_array_get(lines, i), "event"), "end") &&
                 !strcmp(text_of(json_array_get(lines, i), "result"), result);
    return count;
}

static size_t count_entries(const struct tuner *tuner) {
    return access(tuner->tuning, F_OK) ? 0 : tuning_count_entries(tuner->tuning);
}

Test(run, finds_what_is_fast_and_keeps_it) {
    struct tuner tuner;
    tuner_begin(&tuner);
    tuner_fake(&tuner, "");
    json_t *first = run_json(&tuner, "80");
    const double ns = json_number_value(json_object_get(first, "ns"));
    cr_expect_str_eq(text_of(first, "result"), "tuned");
    /* The default is the fake's reference. */
    cr_expect_lt(ns, 2e5);
    cr_expect_gt(json_number_value(json_object_get(first, "default_ns")), 5e6);
    cr_expect_eq(count_entries(&tuner), 1);
    /* A second run begins with what the first one left. */
    json_t *second = run_json(&tuner, "12");
    cr_expect_leq(json_number_value(json_object_get(second, "ns")), ns);
    cr_expect_eq(count_entries(&tuner), 1);
    json_decref(first);
    json_decref(second);
    tuner_end(&tuner);
}

/* However little a search may try, it doesn't take the place of what is faster. */
Test(run, an_earlier_result_is_lost_to_a_faster_one_only, .timeout = 60) {
    struct tuner tuner;
    tuner_begin(&tuner);
    tuner_fake(&tuner, "");
    json_t *first = run_json(&tuner, "80");
    static const char *const others[] = {"flash", "staged", "panel"};
    for (size_t i = 0; i < sizeof(others) / sizeof(*others); ++i) {
        json_t *second =
            TUNER_JSON(&tuner, 0, "run", "--worker", tuner.worker, "--shape", VIT, "--evals", "2",
                       "--quiet", "--variant", others[i], "--seed-from", "none");
        const double first_ns = json_number_value(json_object_get(first, "ns"));
        const double second_ns = json_number_value(json_object_get(second, "ns"));
        if (strcmp(text_of(first, "variant"), text_of(second, "variant")) != 0 ||
            !json_equal(json_object_get(first, "params"), json_object_get(second, "params")))
            cr_expect_lt(second_ns, first_ns, "%s", others[i]);
        else
            cr_expect_eq(second_ns, first_ns, "%s", others[i]);
        cr_expect_eq(count_entries(&tuner), 1);
        json_decref(first);
        first = second;
    }
    json_decref(first);
    tuner_end(&tuner);
}

Test(run, nothing_faulty_wins, .timeout = 120) {
    struct tuner tuner;
    tuner_begin(&tuner);
    tuner_fake(&tuner, "crash:8 exit:14 say-wrong:30 zero:36 negative:40 noise:10");
    json_t *result = run_json(&tuner, "120"), *lines = read_journal(&tuner);
    cr_expect_str_eq(text_of(result, "result"), "tuned");
    const char *const kinds[] = {"ok", "crash", "wrong", "implausible"};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); ++i)
        cr_expect_geq(count_results(lines, kinds[i]), 1, "%s", kinds[i]);
    /* The winner ran, and was right, each time. */
    const json_t *values = json_object_get(result, "params");
    int seen = 0;
    for (size_t i = 0; i < json_array_size(lines); ++i) {
        const json_t *line = json_array_get(lines, i);
        if (strcmp(text_of(line, "event"), "end") != 0 ||
            !json_equal(json_object_get(line, "params"), values) ||
            strcmp(text_of(line, "variant"), text_of(result, "variant")) != 0)
            continue;
        ++seen;
        cr_expect_str_eq(text_of(line, "result"), "ok");
    }
    cr_expect_geq(seen, 1);
    json_decref(lines);
    json_decref(result);
    tuner_end(&tuner);
}

Test(run, ends_in_time_whatever_hangs, .timeout = 60) {
    struct tuner tuner;
    tuner_begin(&tuner);
    tuner_fake(&tuner, "hang:60");
    const double begun = now();
    struct tuner_outcome outcome = TUNER_RUN(&tuner, "run", "--worker", tuner.worker, "--shape",
                                             VIT, "--shape", PROJECTION, "--time", "8");
    cr_expect_lt(now() - begun, 9.5, "%.1f s", now() - begun);
    cr_expect(outcome.code == 0 || outcome.code == 2 || outcome.code == 3, "exit code %d: %s",
              outcome.code, outcome.errors);
    tuner_release(&outcome);
    tuner_end(&tuner);
}

Test(run, a_dead_device_is_told) {
    struct tuner tuner;
    tuner_begin(&tuner);
    tuner_fake(&tuner, "die");
    tuner_expect(TUNER_RUN(&tuner, "run", "--worker", tuner.worker, "--shape", VIT), 4, "",
                 "no driver");
    tuner_end(&tuner);
}

Test(run, a_home_that_can_not_be_written_is_told) {
    struct tuner tuner;
    tuner_begin(&tuner);
    tuner_fake(&tuner, "");
    setenv("XDG_STATE_HOME", "/dev/null/nowhere", 1);
    tuner_expect(TUNER_RUN(&tuner, "run", "--worker", tuner.worker, "--shape", VIT), 1, "",
                 "/dev/null/nowhere");
    tuner_end(&tuner);
}

/* Of a later version, for instance: told before anything is measured. */
Test(run, a_file_that_must_not_be_touched_is_told) {
    static const char newer[] = "{\"format\": \"mha-cl-tune\", \"schema\": 99}";
    struct tuner tuner;
    char path[PATH_BYTES];
    tuner_begin(&tuner);
    tuner_fake(&tuner, "");
    json_decref(run_json(&tuner, "20"));
    json_t *list = TUNER_JSON(&tuner, 0, "devices", "--worker", tuner.worker);
    snprintf(path, sizeof(path), "%s", text_of(json_array_get(list, 0), "tuning_file"));
    json_decref(list);
    FILE *file = fopen(path, "w");
    cr_assert(file);
    fputs(newer, file);
    fclose(file);
    json_t *lines = read_journal(&tuner);
    const int before = count_results(lines, "ok");
    json_decref(lines);
    tuner_expect(TUNER_RUN(&tuner, "run", "--worker", tuner.worker, "--shape", VIT), 1, "",
                 "schema 99");
    lines = read_journal(&tuner);
    cr_expect_eq(count_results(lines, "ok"), before);
    json_decref(lines);
    tuner_end(&tuner);
}

/* ---- Ends before its time ---------------------------------------------------------------------*/

/* MORE... follows the options that all runs have. */
#define START(tuner, ...) start(tuner, (const char *const[]){__VA_ARGS__, NULL})
static pid_t start(const struct tuner *tuner, const char *const *more) {
    enum { MOST = 24 };
    const char *arguments[MOST + 1] = {TUNE_PROGRAM, "--worker", tuner->worker, "--quiet"};
    char out[PATH_BYTES];
    for (int i = 4; i < MOST && *more; ++i)
        arguments[i] = *more++;
    tuning_path(out, tuner->home, "out");
    const pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child)
        return child;
    if (freopen(out, "w", stdout) && freopen(out, "w", stderr))
        execv(TUNE_PROGRAM, (char *const *)arguments);
    _exit(127);
}

static pid_t start_run(const struct tuner *tuner) {
    return START(tuner, "run", "--shape", VIT, "--shape", PROJECTION, "--evals", "400", "--time",
                 "60");
}

/* Until so many measurements stand in the journal. */
static void wait_for_results(const struct tuner *tuner, int count) {
    for (int results = 0; results < count; sleep_for(0.01)) {
        json_t *lines = read_journal(tuner);
        results = count_results(lines, "ok");
        json_decref(lines);
    }
}

Test(run, an_interrupt_keeps_the_best, .timeout = 60) {
    struct tuner tuner;
    int status;
    tuner_begin(&tuner);
    tuner_fake(&tuner, "pace:10");
    const pid_t child = start_run(&tuner);
    wait_for_results(&tuner, 30);
    kill(child, SIGINT);
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 3, "status %d", status);
    cr_expect_geq(count_entries(&tuner), 1);
    tuner_end(&tuner);
}

Test(run, an_interrupted_search_goes_on, .timeout = 60) {
    struct tuner tuner;
    int status;
    tuner_begin(&tuner);
    tuner_fake(&tuner, "pace:10");
    pid_t child = START(&tuner, "run", "--shape", VIT, "--evals", "60");
    wait_for_results(&tuner, 20);
    kill(child, SIGINT);
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 3, "status %d", status);
    json_t *lines = read_journal(&tuner);
    const int before = count_results(lines, "ok");
    json_decref(lines);
    cr_expect_lt(before, 60);
    child = START(&tuner, "resume", "--evals", "30");
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %d", status);
    lines = read_journal(&tuner);
    cr_expect_geq(count_results(lines, "ok"), 25);
    cr_expect_gt(count_results(lines, "ok"), before);
    json_decref(lines);
    tuner_expect(TUNER_RUN(&tuner, "resume", "--worker", tuner.worker, "--budget", "quick"), 1, "",
                 "only --time and --evals");
    tuner_end(&tuner);
}

Test(run, a_resumed_run_keeps_its_options, .timeout = 60) {
    struct tuner tuner;
    int status;
    tuner_begin(&tuner);
    tuner_fake(&tuner, "pace:10");
    pid_t child = START(&tuner, "run", "--shape", VIT, "--evals", "60", "--variant", "panel",
                        "--space", "VEC=4,8 LANE_VECTORS=2");
    wait_for_results(&tuner, 20);
    kill(child, SIGKILL);
    cr_assert_eq(waitpid(child, &status, 0), child);
    child = START(&tuner, "resume");
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %d", status);
    json_t *lines = read_journal(&tuner);
    int seen = 0;
    for (size_t i = 0; i < json_array_size(lines); ++i) {
        const json_t *line = json_array_get(lines, i), *params = json_object_get(line, "params");
        if (strcmp(text_of(line, "event"), "begin") != 0 || !json_is_object(params))
            continue;
        ++seen;
        cr_expect_str_eq(text_of(line, "variant"), "panel");
        cr_expect_eq(json_integer_value(json_object_get(params, "LANE_VECTORS")), 2);
    }
    cr_expect(seen >= 40 && seen <= 64, "%d", seen);
    json_decref(lines);
    tuner_end(&tuner);
}

/* Killed again and again at random instants, each time resumed: nothing that was there is missing
 * afterwards, and in the end everything is done. */
Test(run, a_killed_run_is_resumed, .timeout = 300) {
    struct tuner tuner;
    uint64_t random = 7;
    size_t lines_before = 0, entries_before = 0;
    int status = 0, kills = 0;
    tuner_begin(&tuner);
    tuner_fake(&tuner, "pace:5");
    pid_t child = start_run(&tuner);
    wait_for_results(&tuner, 1); /* there is something to resume */
    for (; kills < KILLS; ++kills) {
        sleep_for(0.1 * (double)(tuning_random(&random) % 1000) / 1000);
        kill(child, SIGKILL);
        cr_assert_eq(waitpid(child, &status, 0), child);
        if (WIFEXITED(status))
            break;
        json_t *lines = read_journal(&tuner);
        cr_expect_geq(json_array_size(lines), lines_before);
        lines_before = json_array_size(lines);
        json_decref(lines);
        const size_t entries = count_entries(&tuner);
        cr_expect_geq(entries, entries_before);
        entries_before = entries;
        child = START(&tuner, "resume");
    }
    cr_assert_eq(kills < KILLS ? child : waitpid(child, &status, 0), child);
    char out[PATH_BYTES];
    tuning_path(out, tuner.home, "out");
    char *said = tuning_read(out);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %d: %s", status, said);
    free(said);
    cr_expect_eq(count_entries(&tuner), 2);
    cr_expect_geq(kills, 20);
    printf("killed %d times\n", kills);
    tuner_end(&tuner);
}
