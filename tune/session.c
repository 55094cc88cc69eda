/* In: candidates. Out: measurements, each journaled before and after, and progress. */
#include "session.h"

#include "command.h"
#include "config_json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A driver's cache gives back a build sooner than this. */
#define CACHED_BUILD_NS 1e8

volatile sig_atomic_t session_is_interrupted;

double session_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

bool session_may_go_on(const struct session *s, double deadline) {
    return !session_is_interrupted && s->evaluations < s->most_evaluations &&
           session_now() < deadline;
}

/* Who a result is of: the members that the lines of one evaluation share. */
static json_t *make_line(const struct session *s, const char *event, const struct shape *shape,
                         const struct candidate *candidate) {
    char hash[17] = "";
    if (candidate->variant)
        mha_kernel_hash(candidate->variant, hash);
    return json_pack(
        "{s:s, s:o, s:s?, s:o?, s:s, s:s, s:s, s:f}", "event", event, "shape",
        mha_config_write_shape(shape), "variant",
        candidate->variant ? candidate->variant->name : NULL, "params",
        candidate->variant ? mha_config_write_tuning(candidate->variant, &candidate->tuning) : NULL,
        "kernel_hash", hash, "device", s->device->identity.name, "driver",
        s->device->identity.driver, "time", session_now() - s->begun);
}

static void write_line(const struct session *s, json_t *line) {
    char why[200];
    if (line && !journal_write(s->journal, line, why, sizeof(why)))
        fprintf(stderr, "mha-tune: %s\n", why);
    json_decref(line);
}

static json_t *number_or_null(double x) {
    return isfinite(x) ? json_real(x) : json_null();
}

struct measurement session_evaluate(struct session *s, const struct shape *shape,
                                    const struct candidate *candidate, double limit_ns) {
    const struct measure_options options = {.limit_ns = limit_ns, .is_warm = s->is_warm};
    write_line(s, make_line(s, "begin", shape, candidate));
    const struct measurement m = remote_evaluate(s->remote, shape, candidate, &options);
    ++s->failures[m.result];
    s->evaluations += m.result != REMOTE_STOPPED;
    if (m.build_ns > CACHED_BUILD_NS) {
        s->build_seconds += 1e-9 * m.build_ns;
        ++s->builds;
    }
    json_t *line = make_line(s, "end", shape, candidate);
    if (line) {
        json_object_set_new(line, "result", json_string(remote_result_names[m.result]));
        json_object_set_new(line, "ns", number_or_null(m.result ? INFINITY : m.ns));
        json_object_set_new(line, "mad_ns", number_or_null(m.mad_ns));
        json_object_set_new(line, "build_ns", number_or_null(m.build_ns));
        json_object_set_new(line, "max_error", number_or_null(m.max_error));
        json_object_set_new(line, "default", json_boolean(!candidate->variant));
        json_object_set_new(line, "why", json_string(m.result ? m.why : ""));
    }
    write_line(s, line);
    return m;
}

/* ---- What the journal remembers -------------------------------------------------------------- */

static const char *text_of(const json_t *line, const char *member) {
    const char *text = json_string_value(json_object_get(line, member));
    return text ? text : "";
}

static bool is_about(const json_t *line, const struct session *s, const struct shape *shape,
                     const struct path *path, const char *hash, struct point *point) {
    struct shape measured;
    struct tuning tuning;
    char why[160], wanted[SHAPE_TEXT_BYTES], found[SHAPE_TEXT_BYTES];
    if (strcmp(text_of(line, "variant"), path->variant->name) != 0 ||
        strcmp(text_of(line, "device"), s->device->identity.name) != 0 ||
        strcmp(text_of(line, "driver"), s->device->identity.driver) != 0 ||
        strcmp(text_of(line, "kernel_hash"), hash) != 0 ||
        !mha_config_read_shape(json_object_get(line, "shape"), &measured, why, sizeof(why)) ||
        !mha_config_read_tuning(json_object_get(line, "params"), path->variant, &tuning, why,
                                sizeof(why)))
        return false;
    shape_print(&measured, found);
    shape_print(shape, wanted);
    if (strcmp(found, wanted) != 0)
        return false;
    *point = path_point(path, &tuning);
    return true;
}

/* Another process or the whole machine may have died of it: what began and never ended is not tried
 * again. Nor is what made OpenCL fail: that is how a driver tells that it reset the device. */
static bool is_fatal(const char *result) {
    return !strcmp(result, remote_result_names[REMOTE_CRASH]) ||
           !strcmp(result, remote_result_names[REMOTE_OPENCL]) ||
           !strcmp(result, remote_result_names[REMOTE_TIMEOUT]);
}

int session_remember(struct session *s, const struct shape *shape, struct path *path,
                     size_t first) {
    const json_t *lines = journal_lines(s->journal);
    struct point point, begun = {{0}};
    bool has_begun = false;
    int evaluations = 0;
    char hash[17];
    mha_kernel_hash(path->variant, hash);
    for (size_t i = 0; i < json_array_size(lines); ++i) {
        const json_t *line = json_array_get(lines, i);
        const bool is_end = !strcmp(text_of(line, "event"), "end");
        if (!is_end && strcmp(text_of(line, "event"), "begin") != 0)
            continue;
        if (!is_about(line, s, shape, path, hash, &point))
            continue;
        if (!is_end) {
            begun = point;
            has_begun = true;
            continue;
        }
        has_begun = false;
        if (!strcmp(text_of(line, "result"), remote_result_names[REMOTE_STOPPED]))
            continue;
        const json_t *ns = json_object_get(line, "ns");
        const bool is_ok = json_is_number(ns) && json_number_value(ns) > 0;
        evaluations += i >= first;
        if (i >= first || is_fatal(text_of(line, "result"))) {
            search_tell(path->search, &point, is_ok ? json_number_value(ns) : INFINITY);
            ++path->evaluations;
            if (is_ok && json_number_value(ns) < path->best_ns)
                path->best_ns = json_number_value(ns);
        }
    }
    if (has_begun)
        search_tell(path->search, &begun, INFINITY);
    s->evaluations += evaluations;
    return evaluations;
}

/* ---- Progress -------------------------------------------------------------------------------- */

#define BAR_CELLS 24
#define SECONDS_BETWEEN_LINES 10

static void print_failures(const struct session *s) {
    const char *separator = ", failed: ";
    for (int r = REMOTE_OK + 1; r < REMOTE_RESULTS; ++r)
        if (s->failures[r] && r != REMOTE_STOPPED) {
            fprintf(stderr, "%s%d %s", separator, s->failures[r], remote_result_names[r]);
            separator = ", ";
        }
}

void session_show(struct session *s, const struct shape *shape, double best_ns, double default_ns) {
    const double now = session_now(), elapsed = now - s->begun, total = s->deadline - s->begun;
    if (s->is_quiet || now - s->shown < (s->shows_bar ? 0.2 : SECONDS_BETWEEN_LINES))
        return;
    s->shown = now;
    /* Whichever ends the run first. */
    const double by_count = (double)s->evaluations / s->most_evaluations;
    const double by_time = isfinite(total) ? elapsed / total : 0;
    double done = by_count > by_time ? by_count : by_time;
    done = done > 1 ? 1 : done;
    char text[SHAPE_TEXT_BYTES];
    shape_print(shape, text);
    if (s->shows_bar) {
        fprintf(stderr, "\r\033[K[");
        for (int i = 0; i < BAR_CELLS; ++i)
            fputc(i < done * BAR_CELLS ? '#' : '.', stderr);
        fprintf(stderr, "] ");
    }
    fprintf(stderr, "%s: %d evaluations, ", text, s->evaluations);
    if (isfinite(best_ns))
        fprintf(stderr, "best %.3f ms = %.2fx", best_ns * 1e-6, default_ns / best_ns);
    else
        fprintf(stderr, "nothing works yet");
    print_failures(s);
    if (done > 0.02)
        fprintf(stderr, ", %.0f s left", elapsed * (1 - done) / done);
    if (!s->shows_bar)
        fputc('\n', stderr);
    fflush(stderr);
}

void session_end_show(const struct session *s) {
    if (s->shows_bar && !s->is_quiet)
        fprintf(stderr, "\r\033[K");
}
