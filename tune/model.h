/* Guesses the times of points that were not measured from those that were.
 *
 * A Gaussian process over the logarithm of the time (Rasmussen and Williams, Gaussian Processes for
 * Machine Learning, 2006, chapters 2 and 5). Two points are alike where few parameters differ, and
 * those by few steps; how much a step of each parameter matters is learnt. */
#ifndef TUNE_MODEL_H
#define TUNE_MODEL_H

#include "space.h"

#define MODEL_MAX_POINTS 128

struct model;

/* NULL when memory runs out. The space must outlive the model. */
struct model *model_create(const struct space *space);
void model_destroy(struct model *model);

struct model_sample {
    const struct point *point;
    double ns; /* INFINITY for one that failed; one at least must not have */
};

/* Takes the place of what it was fitted to before; at most MODEL_MAX_POINTS. */
void model_fit(struct model *model, const struct model_sample *samples, int count);

/* By how much the point may be expected to be below the fastest sample, in no particular unit:
 * expected improvement (Jones, Schonlau and Welch, Journal of Global Optimization 13, 1998). */
double model_gain(const struct model *model, const struct point *point);

#endif
