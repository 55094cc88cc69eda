/* Tuning files when processes compete, are killed, or can't write: nothing that was there is lost.
 */
#include "store.h"
#include "tuning_files.h"

#include <criterion/criterion.h>
#include <errno.h>
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

#define PROCESSES 16
#define EACH 20

/* In a child: no test framework there. */
static void merge_or_exit(const char *folder, const struct config_entry *entry) {
    char why[300];
    if (!store_merge(folder, &entry->device, entry, 1, NULL, 0, why, sizeof(why))) {
        fprintf(stderr, "%s\n", why);
        _exit(1);
    }
}

static void merge_all(const char *folder, int process) {
    for (int i = 0; i < EACH; ++i) {
        const struct config_entry entry = tuning_entry(process * EACH + i);
        merge_or_exit(folder, &entry);
    }
    _exit(0);
}

Test(store_faults, sixteen_processes_lose_no_entry) {
    char folder[PATH_BYTES];
    struct tuning_log log;
    pid_t children[PROCESSES];
    tuning_make_folder(folder);
    for (int p = 0; p < PROCESSES; ++p)
        if (!(children[p] = fork()))
            merge_all(folder, p);
    for (int p = 0; p < PROCESSES; ++p) {
        int status;
        cr_assert_eq(waitpid(children[p], &status, 0), children[p]);
        cr_expect(WIFEXITED(status) && !WEXITSTATUS(status), "process %d", p);
    }
    struct config config = tuning_load(folder, &log);
    cr_expect_eq(log.count, 0, "%s", log.last);
    int found = 0;
    for (int i = 0; i < PROCESSES * EACH; ++i) {
        const struct config_entry entry = tuning_entry(i);
        const struct config_entry *there = tuning_find(&config, &entry.shape);
        cr_expect(there && there->ns == entry.ns, "entry %d", i);
        found += there != NULL;
    }
    printf("%d of %d entries of %d processes, in %d files\n", found, PROCESSES * EACH, PROCESSES,
           tuning_count_files(folder, ".json"));
    mha_config_release(&config, &tuning_allocator);
    tuning_remove_folder(folder);
}

/* ---- Killed --------------------------------------------------------------------------------- */

#define KILLS 200
#define NUMBERS 5

/* How many merges came back, shared with the children. Merge n is of entry n % NUMBERS. */
struct progress {
    _Atomic int merges;
};

static void merge_until_killed(const char *folder, struct progress *progress) {
    for (;;) {
        const int n = progress->merges + 1;
        struct config_entry entry = tuning_entry(n % NUMBERS);
        entry.ns = 1e6 + n;
        merge_or_exit(folder, &entry);
        progress->merges = n;
    }
}

/* Every merge that came back is there, and perhaps the one that was under way. */
static void check_progress(const char *folder, const struct progress *progress) {
    struct tuning_log log;
    struct config config = tuning_load(folder, &log);
    cr_expect_eq(log.count, 0, "%s", log.last);
    for (int n = progress->merges; n > 0 && n > progress->merges - NUMBERS; --n) {
        const struct config_entry entry = tuning_entry(n % NUMBERS);
        const struct config_entry *found = tuning_find(&config, &entry.shape);
        cr_assert(found, "merge %d is lost", n);
        cr_expect(found->ns == 1e6 + n || found->ns == 1e6 + progress->merges + 1,
                  "after merge %d entry %d has %.0f", progress->merges, n % NUMBERS, found->ns);
    }
    mha_config_release(&config, &tuning_allocator);
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

Test(store_faults, a_process_killed_at_any_instant_loses_nothing) {
    char folder[PATH_BYTES], path[PATH_BYTES], written[PATH_BYTES], why[300];
    struct config_entry entry = tuning_entry(NUMBERS);
    uint64_t state = 7;
    struct progress *progress =
        mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(progress, MAP_FAILED);
    tuning_make_folder(folder);
    store_path(folder, &entry.device, path, sizeof(path));
    for (int kill_number = 0; kill_number < KILLS; ++kill_number) {
        int status;
        const pid_t child = fork();
        if (!child)
            merge_until_killed(folder, progress);
        const long ns = (long)(tuning_random(&state) % 40000000);
        nanosleep(&(struct timespec){.tv_nsec = ns}, NULL);
        kill(child, SIGKILL);
        cr_assert_eq(waitpid(child, &status, 0), child);
        cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        check_progress(folder, progress);
    }
    /* The lock went with the process that had it. */
    const double start = seconds();
    cr_expect(
        store_merge(folder, &entry.device, &entry, 1, written, sizeof(written), why, sizeof(why)),
        "%s", why);
    cr_expect_lt(seconds() - start, 5);
    cr_expect_str_eq(written, path);
    cr_expect_str_eq(why, "");
    cr_expect_eq(tuning_count_files(folder, ".json"), 1);
    cr_expect_eq(tuning_count_files(folder, ".new"), 0);
    printf("killed %d times, %d merges came back\n", KILLS, progress->merges);
    munmap(progress, sizeof(*progress));
    tuning_remove_folder(folder);
}

/* ---- Nowhere to write ----------------------------------------------------------------------- */

Test(store_faults, a_full_disk_leaves_the_old_file) {
    char folder[PATH_BYTES], path[PATH_BYTES], why[300];
    struct config_entry entry = tuning_entry(0);
    struct rlimit old;
    struct stat st;
    tuning_make_folder(folder);
    store_path(folder, &entry.device, path, sizeof(path));
    cr_assert(store_merge(folder, &entry.device, &entry, 1, NULL, 0, why, sizeof(why)), "%s", why);
    char *before = tuning_read(path);
    cr_assert_eq(stat(path, &st), 0);
    /* Every file ends where a byte more than the old one's would. */
    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    const struct rlimit limit = {(rlim_t)st.st_size + 1, old.rlim_max};
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    bool has_failed = true;
    for (int i = 1; i < 5; ++i) {
        entry = tuning_entry(i);
        has_failed = has_failed &&
                     !store_merge(folder, &entry.device, &entry, 1, NULL, 0, why, sizeof(why)) &&
                     why[0];
    }
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
    cr_expect(has_failed);
    cr_expect(strstr(why, strerror(EFBIG)), "%s", why);
    char *after = tuning_read(path);
    cr_expect_str_eq(before, after);
    cr_expect_eq(tuning_count_files(folder, ".new"), 0);
    cr_expect_eq(tuning_count_files(folder, ".json"), 1);
    cr_expect(store_merge(folder, &entry.device, &entry, 1, NULL, 0, why, sizeof(why)), "%s", why);
    free(before);
    free(after);
    tuning_remove_folder(folder);
}

Test(store_faults, a_folder_that_can_not_be_written_is_told) {
    char folder[PATH_BYTES], path[PATH_BYTES], why[300];
    const struct config_entry entry = tuning_entry(0);
    size_t count;
    tuning_make_folder(folder);
    tuning_path(path, folder, "file");
    tuning_write(path, "", 0);
    tuning_path(path, folder, "file/mha-cl/tune");
    const char *const folders[] = {path, "/proc/mha-cl/tune", "/proc/self/fdinfo", "/dev/null", ""};
    char *text = tuning_text(1);
    for (size_t i = 0; i < sizeof(folders) / sizeof(*folders); ++i) {
        why[0] = 0;
        cr_expect(!store_merge(folders[i], &entry.device, &entry, 1, NULL, 0, why, sizeof(why)),
                  "%s", folders[i]);
        cr_expect(why[0], "%s", folders[i]);
        why[0] = 0;
        cr_expect(!store_import(folders[i], text, strlen(text), &count, why, sizeof(why)) && why[0],
                  "%s", folders[i]);
    }
    free(text);
    tuning_remove_folder(folder);
}
