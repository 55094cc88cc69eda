/* In: attention weights. Out: the first row of A_last ... A_1 A_0, where A_i is (mean over the
 * heads of layer i + identity) / 2 with rows made to add up to 1. Only that row is wanted, so a row
 * is carried from the last layer to the first: tokens^2 products a layer instead of tokens^3. */
#include "rollout.h"

#include <stdlib.h>
#include <string.h>

/* row [tokens] of double -> row times A of one layer. `mixed` is the room of a row of A. */
static void pass_layer(const float *weights, int heads, int tokens, const double *row, double *next,
                       double *mixed) {
    const size_t n = (size_t)tokens;
    memset(next, 0, n * sizeof(*next));
    for (size_t i = 0; i < n; ++i) {
        double sum = 0;
        for (size_t j = 0; j < n; ++j) {
            double mean = 0;
            for (size_t h = 0; h < (size_t)heads; ++h)
                mean += (double)weights[(h * n + i) * n + j];
            mixed[j] = 0.5 * (mean / heads + (i == j));
            sum += mixed[j];
        }
        for (size_t j = 0; j < n; ++j)
            next[j] += row[i] * mixed[j] / sum;
    }
}

bool rollout_first_token(const float *weights, int layers, int heads, int tokens, float *rollout,
                         failure *f) {
    const size_t n = (size_t)tokens;
    double *room = calloc(3 * n, sizeof(*room)), *row = room, *next = room + n;
    if (!room)
        return fail(f, EXIT_OPENCL, "out of memory");
    row[0] = 1;
    for (int layer = layers - 1; layer >= 0; --layer) {
        double *before = row;
        pass_layer(weights + (size_t)layer * (size_t)heads * n * n, heads, tokens, row, next,
                   room + 2 * n);
        row = next;
        next = before;
    }
    for (size_t i = 0; i < n; ++i)
        rollout[i] = (float)row[i];
    free(room);
    return true;
}
