/* In: events. Out: milliseconds on the device, added up by kind of work. */
#include "profile.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const names[N_WORKS] = {
    [WORK_INPUT] = "embedding of the input",
    [WORK_ATTENTION] = "attention layers (libmha-cl)",
    [WORK_MLP] = "MLP projections (libmha-cl)",
    [WORK_ROWS] = "norms, GELU, sums",
};

static void release_span(const work_span *s) {
    if (s->first)
        clReleaseEvent(s->first);
    if (s->last)
        clReleaseEvent(s->last);
}

bool profile_add(profile *p, work kind, cl_event first, cl_event last, failure *f) {
    const work_span span = {.kind = kind, .first = first, .last = last};
    if (p->n == p->capacity) {
        size_t wanted = p->capacity ? 2 * p->capacity : 64;
        work_span *grown = realloc(p->spans, wanted * sizeof(*grown));
        if (!grown) {
            release_span(&span);
            return fail(f, EXIT_OPENCL, "out of memory");
        }
        p->spans = grown;
        p->capacity = wanted;
    }
    p->spans[p->n++] = span;
    return true;
}

void profile_print(const profile *p) {
    double ms[N_WORKS] = {0}, total = 0;
    int calls[N_WORKS] = {0};
    for (size_t i = 0; i < p->n; ++i) {
        const work_span *s = &p->spans[i];
        ms[s->kind] += (double)mha_profile_span(s->first, s->last) * 1e-6;
        ++calls[s->kind];
    }
    for (int i = 0; i < N_WORKS; ++i)
        total += ms[i];
    if (!(total > 0)) {
        printf("  the device gives no times\n");
        return;
    }
    printf("  on the device %51.2f ms\n", total);
    for (int i = 0; i < N_WORKS; ++i)
        printf("    %-30s %4d calls %22.2f ms %4.0f %%\n", names[i], calls[i], ms[i],
               100 * ms[i] / total);
}

void profile_free(profile *p) {
    for (size_t i = 0; i < p->n; ++i)
        release_span(&p->spans[i]);
    free(p->spans);
    *p = (profile){0};
}
