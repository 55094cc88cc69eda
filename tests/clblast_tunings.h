/* Tunings of CLBlast's kernels, one of each kind, and a problem for them. */
#ifndef TESTS_CLBLAST_TUNINGS_H
#define TESTS_CLBLAST_TUNINGS_H

#include "clblast_values.h"
#include "provider.h"
#include "variant_list.h"

/* What is not named has its domain's first value. */
#define TUNING(...) clblast_tuning((const int[][2]){__VA_ARGS__, {TUNABLE_COUNT, 0}})

struct tuning clblast_tuning(const int (*values)[2]);

struct tuning own(void);
struct tuning direct(void);
struct tuning indirect(void);
struct tuning staged(void);
struct tuning second_form(void);
struct tuning smallest(enum clblast_kernel kernel);

/* With a bias, asking for CLBlast. */
struct problem problem_of(mha_dtype dtype, int rows, int in, int out);

/* Multiples of no tile, and just enough for an indirect kernel. */
enum { ROWS = 161, IN = 75, OUT = 190 };

#endif
