/* One OpenCL device of the benchmark: does what bench.py asks, a JSON object a line, and answers
 * so.
 *
 * mha-bench-opencl [DEVICE]
 *
 * {"do": "open", "case": {...}}                     what can compute the case, and why others can't
 * {"do": "run", "name": NAME, "seconds": S}         nanoseconds of each call, for at least S
 * {"do": "write", "name": NAME, "file": F}          computes once, and writes the output
 * {"do": "close"}                                   releases the case */
#include "contender.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CALLS 1000

static const struct contender *const contenders[] = {
    &contender_mha,
#ifdef BENCH_CLBLAST
    &contender_clblast,
#endif
    &contender_read,
    &contender_peak,
};
enum { CONTENDERS = sizeof(contenders) / sizeof(*contenders) };

struct worker {
    struct bench device;
    struct bench_case open;
    void *states[CONTENDERS];
};

static json_t *fail(const char *why) {
    return json_pack("{s:s}", "error", why);
}

static void close_case(struct worker *w) {
    for (int i = 0; i < CONTENDERS; ++i) {
        if (w->states[i])
            contenders[i]->close(w->states[i]);
        w->states[i] = NULL;
    }
    case_close(&w->open);
}

static json_t *open_case(struct worker *w, const json_t *request) {
    close_case(w);
    if (!case_open(&w->open, &w->device, json_object_get(request, "case")))
        return fail("the case can't be read");
    json_t *list = json_array();
    for (int i = 0; i < CONTENDERS; ++i) {
        char why[400] = "";
        w->states[i] = contenders[i]->open(&w->device, &w->open, why, sizeof(why));
        json_t *json = json_pack("{s:s}", "name", contenders[i]->name);
        if (!w->states[i])
            json_object_set_new(json, "why", json_string(why));
        else if (contenders[i]->describe)
            contenders[i]->describe(w->states[i], json);
        json_array_append_new(list, json);
    }
    return json_pack("{s:o}", "contenders", list);
}

static int find(const struct worker *w, const json_t *request) {
    const char *name = json_string_value(json_object_get(request, "name"));
    for (int i = 0; name && i < CONTENDERS; ++i)
        if (!strcmp(contenders[i]->name, name) && w->states[i])
            return i;
    return -1;
}

static json_t *run(struct worker *w, const json_t *request) {
    const double seconds = json_number_value(json_object_get(request, "seconds"));
    const int i = find(w, request);
    json_t *times = json_array();
    double spent = 0;
    if (i < 0)
        return json_decref(times), fail("nothing open has this name");
    for (int n = 0; n < MAX_CALLS && (!n || spent < seconds); ++n) {
        const double begun = bench_seconds(&w->device);
        contenders[i]->call(w->states[i], &w->device, &w->open);
        const double taken = bench_seconds(&w->device) - begun;
        json_array_append_new(times, json_real(1e9 * taken));
        spent += taken;
    }
    return json_pack("{s:o}", "ns", times);
}

static json_t *write_output(struct worker *w, const json_t *request) {
    const char *path = json_string_value(json_object_get(request, "file"));
    const int i = find(w, request);
    void *data = malloc(w->open.o_bytes + 1);
    FILE *file = path ? fopen(path, "wb") : NULL;
    json_t *answer = NULL;
    if (i < 0 || !data || !file) {
        answer = fail("the output can't be written");
    } else {
        contenders[i]->call(w->states[i], &w->device, &w->open);
        bench_check_cl(clEnqueueReadBuffer(w->device.queue, w->open.o, CL_TRUE, 0, w->open.o_bytes,
                                           data, 0, NULL, NULL),
                       "clEnqueueReadBuffer");
        answer = fwrite(data, 1, w->open.o_bytes, file) == w->open.o_bytes
                     ? json_object()
                     : fail("the output can't be written");
    }
    free(data);
    if (file)
        fclose(file);
    return answer;
}

static json_t *answer(struct worker *w, const json_t *request) {
    const char *what = json_string_value(json_object_get(request, "do"));
    if (what && !strcmp(what, "open"))
        return open_case(w, request);
    if (what && !strcmp(what, "run"))
        return run(w, request);
    if (what && !strcmp(what, "write"))
        return write_output(w, request);
    if (what && !strcmp(what, "close"))
        return close_case(w), json_object();
    return fail("open, run, write or close");
}

static void print(json_t *json) {
    json_dumpf(json, stdout, JSON_COMPACT);
    putchar('\n');
    fflush(stdout);
    json_decref(json);
}

int main(int argc, char **argv) {
    struct worker w = {.states = {NULL}};
    char *line = NULL;
    size_t capacity = 0;
    bench_open(&w.device, argc > 1 ? argv[1] : NULL);
    print(json_pack("{s:s}", "name", w.device.name));
    while (getline(&line, &capacity, stdin) > 0) {
        json_t *request = json_loads(line, 0, NULL);
        print(answer(&w, request));
        json_decref(request);
    }
    free(line);
    close_case(&w);
    bench_close(&w.device);
    return 0;
}
