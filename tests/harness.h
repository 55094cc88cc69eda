/* Runs a test case through the public interface and judges every byte it leaves. */
#ifndef TESTS_HARNESS_H
#define TESTS_HARNESS_H

#include "cases.h"

/* ---- Variants ------------------------------------------------------------------------------ */

/* Index 0 is selection, titled "auto"; then come the variants, NULL beyond the last. */
const char *harness_variant_title(size_t index);
/* The same as mha_attention_desc.variant: NULL for selection. */
const char *harness_variant(size_t index);
size_t harness_variant_count(void);

/* ---- One call ------------------------------------------------------------------------------ */

#define FAILURE_BYTES 400

/* What a call left, as doubles in the order of struct reference_output. */
struct outputs {
    double *o, *lse, *scores;
    uint64_t hash; /* of the bits of all three */
};

/* A plan for the case, from those kept or new: NULL and *error where there is none. The plan
 * remains the harness's. */
mha_plan *harness_get_plan(const struct test_device *device, const mha_attention_desc *desc,
                           mha_error *error);
void harness_release_plans(void);

/* Enqueues the case's call and reads its outputs. False with a reason in `failure` if a call
 * fails or bytes changed that it must not touch. *outputs is to be released in any case. */
bool harness_execute(const struct test_device *device, mha_plan *plan, struct case_data *data,
                     struct outputs *outputs, char failure[FAILURE_BYTES]);
void outputs_release(struct outputs *outputs);

/* Judges *outputs by the reference: the class of every element exactly, finite ones by
 * max|x - exact| <= 2 max|plain - exact| + 8 epsilon magnitude. */
bool harness_compare(const struct case_data *data, const struct outputs *outputs,
                     char failure[FAILURE_BYTES]);

/* What a call gave, `exact` and by the plain computation, forward and in reverse. */
struct comparison {
    const char *name;
    const double *got;
    const double *exact, *plain[2];
    int64_t count, width; /* elements, and those of a row */
    double magnitude, epsilon;
    const bool *is_empty; /* [count / width]: rows that must be exact; NULL: none */
};

/* The class of every element exactly, finite ones by the bound above. */
bool comparison_holds(const struct comparison *c, char failure[FAILURE_BYTES]);

/* The largest magnitude of the finite ones, but not less than `least`. */
double largest_finite(const double *values, int64_t count, double least);

/* ---- Many cases ---------------------------------------------------------------------------- */

/* What was run, by mha_dtype, and the reasons why cases were skipped. */
struct tally {
    const char *suite, *title;
    int passed[4], failed[4], skipped[4];
    struct {
        char text[200];
        int count;
    } reasons[24];
    int reason_count;
};

/* Runs the case, unless MHA_TEST_CASE is set and no part of its name; prints a line for a failure.
 * A forced variant may refuse a case; selection must accept it, but for fp64 where the device has
 * none. */
void harness_run(const struct test_device *device, const struct test_case *test,
                 struct tally *tally);

enum outcome { OUTCOME_PASSED, OUTCOME_FAILED, OUTCOME_SKIPPED };

/* Runs one case; `text` receives why it failed or was skipped. */
typedef enum outcome (*attempt_fn)(const struct test_device *device, const void *test,
                                   char text[FAILURE_BYTES]);

/* The same for a case of another kind. */
void harness_attempt(const struct test_device *device, const char *name, mha_dtype dtype,
                     attempt_fn attempt, const void *test, struct tally *tally);

/* Whether the library may refuse a case for the reason `refusal`, which "supported" gave; `created`
 * is what making the plan gave. Puts into `text` why not, or the reason. */
bool harness_may_refuse(const struct test_device *device, const char *variant, mha_dtype dtype,
                        const mha_error *refusal, mha_status created, char text[FAILURE_BYTES]);

/* Prints the tally and fails the Criterion test if any case failed or none was run. */
void tally_finish(const struct tally *tally);

#endif
