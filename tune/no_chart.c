/* In: a picture that was asked for. Out: why there is none, in a build without cairo. */
#include "export.h"

static bool refuse(char *why, size_t why_bytes) {
    snprintf(why, why_bytes,
             "this mha-tune was built without cairo and draws no pictures: csv and "
             "t4 it writes");
    return false;
}

bool export_png(const struct export_scope *scope, FILE *out, char *why, size_t why_bytes) {
    (void)scope;
    (void)out;
    return refuse(why, why_bytes);
}

bool export_svg(const struct export_scope *scope, FILE *out, char *why, size_t why_bytes) {
    (void)scope;
    (void)out;
    return refuse(why, why_bytes);
}
