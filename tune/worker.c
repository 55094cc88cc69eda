/* In: a program that answers requests. Out: its answers, or what became of it. */
#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A longer answer is nonsense. */
#define MAX_LINE_BYTES ((size_t)16 << 20)

/* For a worker that was asked to end. */
#define FAREWELL_SECONDS 2
#define REAP_SECONDS 10

struct worker {
    const char *const *argv;
    atomic_int pid; /* 0: none; also the number of its process group */
    atomic_bool is_killed;
    int channel, errors; /* its standard input and output, and its standard error; -1: none */
    int generation;
    json_int_t last_id;
    char *received; /* of the answer; bytes before `searched` hold no end of line */
    size_t received_bytes, searched, capacity;
    char last_error[160]; /* the last line with anything in it, printable */
    size_t last_error_bytes;
    bool is_error_complete;
};

double worker_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

struct worker *worker_create(const char *const *argv) {
    struct worker *w = calloc(1, sizeof(*w));
    if (!w)
        return NULL;
    w->argv = argv;
    w->channel = w->errors = -1;
    return w;
}

int worker_generation(const struct worker *w) {
    return w->generation;
}

void worker_kill(struct worker *w) {
    const int saved = errno;
    atomic_store(&w->is_killed, true);
    const pid_t pid = atomic_load(&w->pid);
    if (pid)
        kill(-pid, SIGKILL);
    errno = saved;
}

/* ---- Ending a process ------------------------------------------------------------------------ */

static void close_descriptor(int *descriptor) {
    if (*descriptor >= 0)
        close(*descriptor);
    *descriptor = -1;
}

/* Returns the exit status. A process that is ending already keeps its own: what closed our channel
 * is past the point where a signal changes it. */
static int end_process(struct worker *w) {
    int status = 0;
    /* Forgotten before it is reaped, so that worker_kill() can't hit another with its number. */
    const pid_t pid = atomic_exchange(&w->pid, 0);
    if (pid) {
        const double until = worker_clock() + REAP_SECONDS;
        pid_t ended = 0;
        kill(-pid, SIGKILL);
        /* A driver may hold a process in the kernel while its device hangs. */
        while (((ended = waitpid(pid, &status, WNOHANG)) == 0 || (ended < 0 && errno == EINTR)) &&
               worker_clock() < until)
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    close_descriptor(&w->channel);
    close_descriptor(&w->errors);
    w->received_bytes = w->searched = 0;
    return status;
}

/* Milliseconds until then, for poll(). */
static int milliseconds_to(double until) {
    const double left = 1e3 * (until - worker_clock());
    return left <= 0 ? 0 : left > INT_MAX ? INT_MAX : (int)ceil(left);
}

void worker_stop(struct worker *w) {
    const double until = worker_clock() + FAREWELL_SECONDS;
    char text[256];
    ssize_t bytes = 1;
    if (!atomic_load(&w->pid))
        return;
    shutdown(w->channel, SHUT_WR);
    while (bytes > 0 || (bytes < 0 && (errno == EAGAIN || errno == EINTR))) {
        struct pollfd poll_channel = {.fd = w->channel, .events = POLLIN};
        if (poll(&poll_channel, 1, milliseconds_to(until)) == 0 || worker_clock() > until)
            break;
        bytes = recv(w->channel, text, sizeof(text), 0);
    }
    end_process(w);
}

void worker_destroy(struct worker *w) {
    if (!w)
        return;
    worker_stop(w);
    free(w->received);
    free(w);
}

/* ---- Standard error ---------------------------------------------------------------------------
 */

static void keep_error(struct worker *w, char c) {
    if (c == '\n' || c == '\r') {
        w->is_error_complete = w->last_error_bytes > 0;
        return;
    }
    if (w->is_error_complete) {
        w->is_error_complete = false;
        w->last_error_bytes = 0;
    }
    if (w->last_error_bytes + 1 < sizeof(w->last_error)) {
        w->last_error[w->last_error_bytes++] = c >= ' ' && c <= '~' ? c : '?';
        w->last_error[w->last_error_bytes] = 0;
    }
}

static void read_errors(struct worker *w) {
    char text[4096];
    const ssize_t bytes = read(w->errors, text, sizeof(text));
    for (ssize_t i = 0; i < bytes; ++i)
        keep_error(w, text[i]);
    if (bytes == 0)
        close_descriptor(&w->errors);
}

/* What it still says after its death; bounded, for a child of its own may still hold the pipe. */
static void drain_errors(struct worker *w) {
    for (int i = 0; i < 256 && w->errors >= 0; ++i) {
        struct pollfd poll_errors = {.fd = w->errors, .events = POLLIN};
        if (poll(&poll_errors, 1, 0) <= 0)
            return;
        read_errors(w);
    }
}

static void describe(const struct worker *w, const char *what, char *why, size_t why_bytes) {
    snprintf(why, why_bytes, "%s%s%s", what, w->last_error[0] ? ": " : "", w->last_error);
}

/* ---- Starting a process ---------------------------------------------------------------------- */

/* Its own group, so that Ctrl-C at a terminal reaches only the parent; no signal ignored or
 * blocked that the parent ignores or blocks. */
static int spawn(const struct worker *w, int channel, int errors, pid_t *pid) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t all, none;
    int code;
    sigfillset(&all);
    sigemptyset(&none);
    if ((code = posix_spawn_file_actions_init(&actions)))
        return code;
    if ((code = posix_spawnattr_init(&attributes))) {
        posix_spawn_file_actions_destroy(&actions);
        return code;
    }
    if (!(code = posix_spawn_file_actions_adddup2(&actions, channel, STDIN_FILENO)) &&
        !(code = posix_spawn_file_actions_adddup2(&actions, channel, STDOUT_FILENO)) &&
        !(code = posix_spawn_file_actions_adddup2(&actions, errors, STDERR_FILENO)) &&
        !(code =
              posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF |
                                                        POSIX_SPAWN_SETSIGMASK)) &&
        !(code = posix_spawnattr_setpgroup(&attributes, 0)) &&
        !(code = posix_spawnattr_setsigdefault(&attributes, &all)) &&
        !(code = posix_spawnattr_setsigmask(&attributes, &none)))
        /* The signature is older than const. */
        code =
            posix_spawnp(pid, w->argv[0], &actions, &attributes, (char *const *)w->argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return code;
}

static bool is_idle(const struct worker *w) {
    struct pollfd poll_channel = {.fd = w->channel, .events = POLLIN};
    return w->received_bytes == 0 && poll(&poll_channel, 1, 0) == 0;
}

bool worker_start(struct worker *w, char *why, size_t why_bytes) {
    /* A socket, not pipes: writing to a dead worker then raises no SIGPIPE. */
    int channel[2] = {-1, -1}, errors[2] = {-1, -1};
    pid_t pid;
    int code = 0;
    if (atomic_load(&w->pid)) {
        if (is_idle(w))
            return true;
        end_process(w);
    }
    w->last_error[0] = 0;
    w->last_error_bytes = 0;
    w->is_error_complete = false;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel) ||
        pipe2(errors, O_CLOEXEC | O_NONBLOCK) ||
        fcntl(errors[1], F_SETFL, 0) || /* only our end is not to block */
        fcntl(channel[0], F_SETFL, O_NONBLOCK))
        code = errno;
    if (!code && !(code = spawn(w, channel[1], errors[1], &pid))) {
        w->channel = channel[0];
        w->errors = errors[0];
        channel[0] = errors[0] = -1;
        atomic_store(&w->pid, pid);
        ++w->generation;
    }
    for (int i = 0; i < 2; ++i) {
        close_descriptor(&channel[i]);
        close_descriptor(&errors[i]);
    }
    if (code)
        snprintf(why, why_bytes, "can't start %s: %s", w->argv[0], strerror(code));
    return !code;
}

/* ---- Requests -------------------------------------------------------------------------------- */

static bool has_line(struct worker *w, size_t *line_bytes) {
    const char *end = w->received_bytes > w->searched
                          ? memchr(w->received + w->searched, '\n', w->received_bytes - w->searched)
                          : NULL;
    w->searched = w->received_bytes;
    *line_bytes = end ? (size_t)(end - w->received) : 0;
    return end;
}

/* 1: something came; 0: the other end is closed; -1: too much, or no memory for it. */
static int receive(struct worker *w) {
    if (w->received_bytes == w->capacity) {
        const size_t capacity = w->capacity ? 2 * w->capacity : 1 << 16;
        char *received = capacity <= MAX_LINE_BYTES ? realloc(w->received, capacity) : NULL;
        if (!received)
            return -1;
        w->received = received;
        w->capacity = capacity;
    }
    const ssize_t bytes =
        recv(w->channel, w->received + w->received_bytes, w->capacity - w->received_bytes, 0);
    if (bytes < 0)
        return errno == EAGAIN || errno == EINTR;
    w->received_bytes += (size_t)bytes;
    return bytes > 0;
}

static void fail_ended(struct worker *w, char *why, size_t why_bytes) {
    char what[80];
    drain_errors(w);
    const int status = end_process(w);
    if (WIFSIGNALED(status))
        snprintf(what, sizeof(what), "ended by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else
        snprintf(what, sizeof(what), "ended with exit code %d", WEXITSTATUS(status));
    describe(w, what, why, why_bytes);
}

/* Sends `text` and waits for a line, both until then. */
static enum worker_result exchange(struct worker *w, const char *text, size_t bytes, double until,
                                   size_t *line_bytes, char *why, size_t why_bytes) {
    while (!has_line(w, line_bytes)) {
        struct pollfd polls[2] = {
            {.fd = w->channel, .events = (short)(POLLIN | (bytes ? POLLOUT : 0))},
            {.fd = w->errors, .events = POLLIN},
        };
        if (atomic_load(&w->is_killed)) {
            snprintf(why, why_bytes, "stopped");
            return WORKER_CRASH;
        }
        if (worker_clock() >= until) {
            drain_errors(w);
            describe(w, "gave no answer in time", why, why_bytes);
            return WORKER_TIMEOUT;
        }
        if (poll(polls, 2, milliseconds_to(until)) < 0)
            continue;
        if (polls[1].revents)
            read_errors(w);
        if (polls[0].revents & POLLOUT) {
            const ssize_t sent = send(w->channel, text, bytes, MSG_NOSIGNAL);
            /* A failure is one of the other end, which reading finds out too. */
            text += sent > 0 ? sent : 0;
            bytes -= sent > 0 ? (size_t)sent : 0;
            if (sent < 0 && errno != EAGAIN && errno != EINTR)
                bytes = 0;
        }
        if (!(polls[0].revents & (POLLIN | POLLHUP | POLLERR)))
            continue;
        const int received = receive(w);
        if (received < 0) {
            describe(w, "its answer is too long", why, why_bytes);
            return WORKER_NONSENSE;
        }
        if (!received) {
            fail_ended(w, why, why_bytes);
            return WORKER_CRASH;
        }
    }
    return WORKER_OK;
}

static enum worker_result parse(struct worker *w, size_t line_bytes, json_int_t id, json_t **answer,
                                char *why, size_t why_bytes) {
    json_t *json = json_loadb(w->received, line_bytes, JSON_REJECT_DUPLICATES, NULL);
    const json_t *number = json_object_get(json, "id");
    if (json_is_object(json) && json_is_integer(number) && json_integer_value(number) == id) {
        /* A line that follows unasked stays, and makes worker_start() replace the process. */
        w->received_bytes -= line_bytes + 1;
        memmove(w->received, w->received + line_bytes + 1, w->received_bytes);
        w->searched = 0;
        *answer = json;
        return WORKER_OK;
    }
    describe(w, json_is_object(json) ? "answered another request" : "its answer is no JSON object",
             why, why_bytes);
    json_decref(json);
    return WORKER_NONSENSE;
}

enum worker_result worker_ask(struct worker *w, json_t *request, double seconds, json_t **answer,
                              char *why, size_t why_bytes) {
    const double until = worker_clock() + seconds;
    const json_int_t id = ++w->last_id;
    enum worker_result result = WORKER_CRASH;
    size_t line_bytes;
    json_object_set_new(request, "id", json_integer(id));
    char *text = json_dumps(request, JSON_COMPACT);
    json_decref(request);
    *answer = NULL;
    if (!text)
        snprintf(why, why_bytes, "no memory for a request");
    if (text && worker_start(w, why, why_bytes)) {
        const size_t bytes = strlen(text);
        text[bytes] = '\n';
        result = exchange(w, text, bytes + 1, until, &line_bytes, why, why_bytes);
        if (!result)
            result = parse(w, line_bytes, id, answer, why, why_bytes);
        if (result)
            end_process(w);
    }
    free(text);
    return result;
}
