/* In: names and shapes. Out: buffers that hold these tensors of a model's file, or what is wrong
 * with the file. */
#include "weights.h"

#include "calls.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static bool has_shape(const st_tensor *t, int64_t rows, int64_t columns) {
    return t->rank == (columns ? 2 : 1) && t->shape[0] == rows &&
           (!columns || t->shape[1] == columns);
}

bool weights_read(const model_ops *ops, const st_file *file, const char *name, int64_t rows,
                  int64_t columns, cl_mem *buffer, failure *f) {
    const st_tensor *t = st_find(file, name);
    const size_t elements = (size_t)(rows * (columns ? columns : 1));
    cl_mem f32 = NULL;
    float *values = NULL;
    bool ok = false;
    if (!t || !has_shape(t, rows, columns))
        return fail(f, EXIT_INPUT, "the model's file has no tensor '%s' of shape [%lld%s%.0lld]",
                    name, (long long)rows, columns ? ", " : "", (long long)columns);
    values = st_read_f32(t, f);
    if (!values || !make_buffer(ops->d->context, elements * sizeof(float), values, &f32, f))
        goto done;
    if (ops->dtype == MHA_F32) {
        *buffer = f32;
        f32 = NULL;
        ok = true;
        goto done;
    }
    ok = make_buffer(ops->d->context, elements * ops->element, NULL, buffer, f) &&
         op_from_f32(ops, f32, *buffer, elements, f);
done:
    release_buffer(&f32); /* the runtime keeps it until it has been converted */
    free(values);
    return ok;
}

bool weights_read_all(const model_ops *ops, const st_file *file, const weight_slot *slots, int n,
                      failure *f) {
    for (int i = 0; i < n; ++i)
        if (!weights_read(ops, file, slots[i].name, slots[i].rows, slots[i].columns,
                          slots[i].buffer, f))
            return false;
    return true;
}

bool weights_path(const char *folder, const char *name, char *path, size_t bytes, failure *f) {
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int length;
    if (folder)
        length = snprintf(path, bytes, "%s/%s", folder, name);
    else if (cache && *cache)
        length = snprintf(path, bytes, "%s/mha-cl/models/%s", cache, name);
    else if (home && *home)
        length = snprintf(path, bytes, "%s/.cache/mha-cl/models/%s", home, name);
    else
        return fail(f, EXIT_INPUT, "neither XDG_CACHE_HOME nor HOME is set; give --models DIR");
    if (length < 0 || (size_t)length >= bytes)
        return fail(f, EXIT_INPUT, "the path of %s is longer than %zu bytes", name, bytes - 1);
    if (access(path, R_OK) != 0)
        return fail(f, EXIT_INPUT,
                    "%s can't be read; tools/get-models.sh gets the models, --models DIR says "
                    "where they are",
                    path);
    return true;
}

st_file *weights_open(const char *folder, const char *name, failure *f) {
    char path[1024];
    return weights_path(folder, name, path, sizeof(path), f) ? st_open(path, f) : NULL;
}
