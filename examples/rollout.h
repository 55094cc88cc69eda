/* Attention rollout: how much of each token of the input has reached the first token, through all
 * layers up to one (Abnar and Zuidema 2020, arXiv:2005.00928). */
#ifndef EXAMPLES_ROLLOUT_H
#define EXAMPLES_ROLLOUT_H

#include "failure.h"

/* weights [layers][heads][tokens][tokens] -> rollout [tokens], which adds up to 1. */
bool rollout_first_token(const float *weights, int layers, int heads, int tokens, float *rollout,
                         failure *f);

#endif
