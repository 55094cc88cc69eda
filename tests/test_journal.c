/* The journal of a run: what was written stays, whatever happens to the process or the disk. */
#include "journal.h"
#include "tuning_files.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct journal *open_or_fail(const char *path) {
    char why[300] = "";
    struct journal *journal = journal_open(path, why, sizeof(why));
    cr_assert(journal, "%s", why);
    return journal;
}

static void check_refused(const char *path, const char *reason) {
    char why[300] = "";
    struct journal *journal = journal_open(path, why, sizeof(why));
    cr_expect_null(journal, "%s", path);
    cr_expect(strstr(why, reason), "%s", why);
    journal_close(journal);
}

/* {"n": n, "text": ...}, of a length that differs. */
static bool write_line(struct journal *journal, int n) {
    char why[300], text[64] = "";
    memset(text, 'x', (size_t)(n % 60));
    json_t *line = json_pack("{s:i, s:s}", "n", n, "text", text);
    const bool is_written = journal_write(journal, line, why, sizeof(why));
    json_decref(line);
    return is_written;
}

static int line_number(const struct journal *journal, size_t i) {
    return (int)json_integer_value(json_object_get(json_array_get(journal_lines(journal), i), "n"));
}

static size_t count_lines(const struct journal *journal) {
    return json_array_size(journal_lines(journal));
}

Test(journal, lines_are_there_again) {
    char folder[PATH_BYTES], path[PATH_BYTES];
    tuning_make_folder(folder);
    tuning_path(path, folder, "run.jsonl");
    for (int n = 0; n < 50; ++n) {
        struct journal *journal = open_or_fail(path);
        cr_assert_eq(count_lines(journal), 2 * (size_t)n);
        for (int i = 0; i < 2 * n; ++i)
            cr_assert_eq(line_number(journal, (size_t)i), i);
        cr_assert(write_line(journal, 2 * n) && write_line(journal, 2 * n + 1));
        /* Those that were there before. */
        cr_assert_eq(count_lines(journal), 2 * (size_t)n);
        journal_close(journal);
    }
    struct stat st;
    cr_assert_eq(stat(path, &st), 0);
    cr_expect_eq(st.st_mode & 077, 0);
    tuning_remove_folder(folder);
}

Test(journal, a_second_run_is_kept_off) {
    char folder[PATH_BYTES], path[PATH_BYTES];
    tuning_make_folder(folder);
    tuning_path(path, folder, "run.jsonl");
    struct journal *journal = open_or_fail(path);
    check_refused(path, "another run has it");
    const pid_t child = fork();
    if (!child) {
        char why[300];
        _exit(journal_open(path, why, sizeof(why)) ? 1 : 0);
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_expect(WIFEXITED(status) && !WEXITSTATUS(status));
    journal_close(journal);
    journal_close(open_or_fail(path));
    tuning_remove_folder(folder);
}

Test(journal, a_torn_last_line_is_cut_off) {
    char folder[PATH_BYTES], path[PATH_BYTES];
    static const char text[] = "{\"n\":0,\"text\":\"\"}\n{\"n\":1,\"text\":\"a\\nb\"}\n{\"n\":2}\n";
    tuning_make_folder(folder);
    tuning_path(path, folder, "run.jsonl");
    for (size_t bytes = 0; bytes < sizeof(text); ++bytes) {
        size_t expected = 0;
        for (size_t i = 0; i < bytes; ++i)
            expected += text[i] == '\n';
        /* A line that lacks nothing but its end has all it said. */
        expected += bytes < sizeof(text) - 1 && text[bytes] == '\n';
        tuning_write(path, text, bytes);
        struct journal *journal = open_or_fail(path);
        cr_expect_eq(count_lines(journal), expected, "%zu bytes", bytes);
        cr_assert(write_line(journal, 77));
        journal_close(journal);
        journal = open_or_fail(path);
        cr_expect_eq(count_lines(journal), expected + 1, "%zu bytes", bytes);
        cr_expect_eq(line_number(journal, expected), 77);
        for (size_t i = 0; i < expected; ++i)
            cr_expect_eq(line_number(journal, i), (int)i);
        journal_close(journal);
    }
    printf("cut at each of %zu bytes\n", sizeof(text) - 1);
    tuning_remove_folder(folder);
}

Test(journal, what_is_no_journal_is_not_touched) {
    static const char *const texts[] = {"no journal", "\n", "[1]\n{",
                                        "{\n \"format\": \"mha-cl-tune\"\n}\n",
                                        "#include <stdio.h>\nint main(void) {\n"};
    char folder[PATH_BYTES], path[PATH_BYTES];
    tuning_make_folder(folder);
    tuning_path(path, folder, "file");
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); ++i) {
        tuning_write(path, texts[i], strlen(texts[i]));
        check_refused(path, "no journal");
        char *now = tuning_read(path);
        cr_expect_str_eq(now, texts[i]);
        free(now);
    }
    check_refused(folder, strerror(EISDIR));
    tuning_path(path, folder, "file/journal");
    check_refused(path, strerror(ENOTDIR));
    tuning_path(path, folder, "none/journal");
    check_refused(path, strerror(ENOENT));
    tuning_path(path, folder, "fifo");
    cr_assert_eq(mkfifo(path, 0600), 0);
    check_refused(path, "not a regular file");
    tuning_path(path, folder, "huge");
    tuning_write(path, "", 0);
    cr_assert_eq(truncate(path, (off_t)1 << 40), 0);
    check_refused(path, "too large");
    tuning_remove_folder(folder);
}

Test(journal, damaged_lines_are_left_out) {
    char folder[PATH_BYTES], path[PATH_BYTES], why[300];
    uint64_t state = 99;
    int opened = 0;
    tuning_make_folder(folder);
    tuning_path(path, folder, "run.jsonl");
    struct journal *journal = open_or_fail(path);
    for (int n = 0; n < 20; ++n)
        cr_assert(write_line(journal, n));
    journal_close(journal);
    char *good = tuning_read(path);
    const size_t bytes = strlen(good);
    for (int i = 0; i < 1000; ++i) {
        char *bad = malloc(bytes);
        memcpy(bad, good, bytes);
        for (int flips = 0; flips < 3; ++flips)
            bad[tuning_random(&state) % bytes] ^= (char)(1 << tuning_random(&state) % 8);
        tuning_write(path, bad, bytes);
        free(bad);
        journal = journal_open(path, why, sizeof(why));
        cr_assert(journal, "%s", why);
        /* A flip can end a line, join two or split one. */
        cr_expect_geq(count_lines(journal), 20 - 6);
        journal_close(journal);
        ++opened;
    }
    printf("%d damaged journals opened\n", opened);
    free(good);
    tuning_remove_folder(folder);
}

Test(journal, a_process_killed_at_any_instant_loses_no_line) {
    enum { KILLS = 100 };
    char folder[PATH_BYTES], path[PATH_BYTES];
    uint64_t state = 11;
    _Atomic int *written =
        mmap(NULL, sizeof(*written), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(written, MAP_FAILED);
    tuning_make_folder(folder);
    tuning_path(path, folder, "run.jsonl");
    for (int i = 0; i < KILLS; ++i) {
        int status;
        const pid_t child = fork();
        if (!child) {
            char why[300];
            struct journal *journal = journal_open(path, why, sizeof(why));
            for (int n = journal ? (int)count_lines(journal) : 0; journal; *written = ++n)
                if (!write_line(journal, n))
                    break;
            _exit(1);
        }
        const long ns = (long)(tuning_random(&state) % 20000000);
        nanosleep(&(struct timespec){.tv_nsec = ns}, NULL);
        kill(child, SIGKILL);
        cr_assert_eq(waitpid(child, &status, 0), child);
        cr_assert(WIFSIGNALED(status), "the child gave up");
        struct journal *journal = open_or_fail(path);
        const size_t count = count_lines(journal);
        cr_assert_geq(count, (size_t)*written);
        for (size_t n = 0; n < count; ++n)
            cr_assert_eq(line_number(journal, n), (int)n);
        journal_close(journal);
    }
    printf("killed %d times, %d lines written\n", KILLS, *written);
    munmap(written, sizeof(*written));
    tuning_remove_folder(folder);
}

Test(journal, a_full_disk_is_told_and_tears_no_line) {
    char folder[PATH_BYTES], path[PATH_BYTES], why[300];
    struct rlimit old;
    struct journal *journal = open_or_fail("/dev/full");
    json_t *line = json_pack("{s:i}", "n", 1);
    cr_expect(!journal_write(journal, line, why, sizeof(why)));
    cr_expect(strstr(why, strerror(ENOSPC)), "%s", why);
    journal_close(journal);
    journal = open_or_fail("/dev/null");
    cr_expect(journal_write(journal, line, why, sizeof(why)), "%s", why);
    journal_close(journal);
    json_decref(line);

    tuning_make_folder(folder);
    tuning_path(path, folder, "run.jsonl");
    journal = open_or_fail(path);
    for (int n = 0; n < 10; ++n)
        cr_assert(write_line(journal, n));
    struct stat st;
    cr_assert_eq(stat(path, &st), 0);
    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    const struct rlimit limit = {(rlim_t)st.st_size + 5, old.rlim_max};
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    const bool is_written = write_line(journal, 10);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
    cr_expect(!is_written);
    cr_expect(write_line(journal, 10));
    journal_close(journal);
    char *text = tuning_read(path);
    cr_expect_eq(text[st.st_size], '{');
    free(text);
    journal = open_or_fail(path);
    cr_expect_eq(count_lines(journal), 11);
    cr_expect_eq(line_number(journal, 10), 10);
    json_t *array = json_array();
    cr_expect(!journal_write(journal, array, why, sizeof(why)));
    json_decref(array);
    journal_close(journal);
    tuning_remove_folder(folder);
}

Test(journal, its_folder_is_made) {
    char folder[PATH_BYTES], path[PATH_BYTES], expected[PATH_BYTES + 64], why[300];
    tuning_make_folder(folder);
    setenv("XDG_STATE_HOME", folder, 1);
    cr_assert(journal_path("device", path, sizeof(path), why, sizeof(why)), "%s", why);
    snprintf(expected, sizeof(expected), "%s/mha-cl/device.jsonl", folder);
    cr_expect_str_eq(path, expected);
    journal_close(open_or_fail(path));
    unsetenv("XDG_STATE_HOME");
    setenv("HOME", folder, 1);
    cr_assert(journal_path("device", path, sizeof(path), why, sizeof(why)), "%s", why);
    snprintf(expected, sizeof(expected), "%s/.local/state/mha-cl/device.jsonl", folder);
    cr_expect_str_eq(path, expected);
    journal_close(open_or_fail(path));
    cr_expect(!journal_path("device", path, 20, why, sizeof(why)));
    setenv("HOME", "/dev/null", 1);
    why[0] = 0;
    cr_expect(!journal_path("device", path, sizeof(path), why, sizeof(why)) && why[0]);
    unsetenv("HOME");
    why[0] = 0;
    cr_expect(!journal_path("device", path, sizeof(path), why, sizeof(why)) && why[0]);
    tuning_remove_folder(folder);
}
