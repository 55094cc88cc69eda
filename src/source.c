/* In: problem, variant, tuning. Out: OpenCL C text. #line directives name the .cl files, so that
 * a compiler's message points at them. */
#include "source.h"

#include <stdio.h>
#include <string.h>

/* Two passes over the same appends: the first, with text NULL, only counts. */
struct text_buffer {
    char *text;
    size_t used;
};

static void append(struct text_buffer *buffer, const char *text) {
    const size_t bytes = strlen(text);
    if (buffer->text)
        memcpy(buffer->text + buffer->used, text, bytes + 1);
    buffer->used += bytes;
}

static void append_define(struct text_buffer *buffer, const char *name, int value) {
    char line[96];
    snprintf(line, sizeof(line), "#define %s %d\n", name, value);
    append(buffer, line);
}

static const char *find_text(const char *name) {
    for (const struct kernel_text *t = mha_kernel_texts; t->name; ++t)
        if (!strcmp(t->name, name))
            return t->text;
    return NULL;
}

static mha_status read_file(const struct allocator *allocator, const char *dir, const char *name,
                            char **text, mha_error *error) {
    char path[1024];
    FILE *file = NULL;
    long bytes;
    mha_status status = MHA_SUCCESS;
    if ((size_t)snprintf(path, sizeof(path), "%s/%s", dir, name) >= sizeof(path) ||
        !(file = fopen(path, "rb")) || fseek(file, 0, SEEK_END) || (bytes = ftell(file)) < 0 ||
        fseek(file, 0, SEEK_SET))
        status = mha_fail(error, MHA_ERR_BUILD, "can't read %s in kernel_dir %s", name, dir);
    else if (!(*text = mha_allocate(allocator, (size_t)bytes + 1)))
        status = mha_fail(error, MHA_ERR_HOST_MEMORY, "no memory for %ld bytes of %s", bytes, name);
    else
        (*text)[fread(*text, 1, (size_t)bytes, file)] = 0;
    if (file)
        fclose(file);
    return status;
}

static void write_program(struct text_buffer *buffer, const struct problem *problem,
                          const struct variant *variant, const struct tuning *tuning,
                          const char *const *texts) {
    char line[160];
    append_define(buffer, "DTYPE", (int)problem->dtype);
    for (size_t i = 0; i < TUNABLE_COUNT && variant->tunables[i].values[0]; ++i)
        if (variant->tunables[i].is_define) {
            const enum tunable t = variant->tunables[i].tunable;
            append_define(buffer, mha_tunable_names[t], tuning->value[t]);
        }
    if (variant->defines)
        append(buffer, variant->defines(problem, line, sizeof(line)));
    for (size_t i = 0; variant->files[i]; ++i) {
        snprintf(line, sizeof(line), "#line 1 \"%s\"\n", variant->files[i]);
        append(buffer, line);
        append(buffer, texts[i]);
    }
}

mha_status mha_source_make(const struct allocator *allocator, const struct problem *problem,
                           const struct variant *variant, const struct tuning *tuning,
                           const char *kernel_dir, char **text, mha_error *error) {
    char *files[MHA_MAX_FILES] = {NULL};
    const char *texts[MHA_MAX_FILES] = {NULL};
    struct text_buffer buffer = {NULL, 0};
    mha_status status = MHA_SUCCESS;
    *text = NULL;
    for (size_t i = 0; variant->files[i]; ++i) {
        if (kernel_dir)
            status = read_file(allocator, kernel_dir, variant->files[i], &files[i], error);
        texts[i] = kernel_dir ? files[i] : find_text(variant->files[i]);
        if (!texts[i])
            goto done;
    }
    write_program(&buffer, problem, variant, tuning, texts);
    buffer = (struct text_buffer){.text = mha_allocate(allocator, buffer.used + 1)};
    if (buffer.text)
        write_program(&buffer, problem, variant, tuning, texts);
    else
        status = mha_fail(error, MHA_ERR_HOST_MEMORY, "no memory for a kernel's source text");
    *text = buffer.text;
done:
    for (size_t i = 0; i < MHA_MAX_FILES; ++i)
        mha_release(allocator, files[i]);
    return status;
}
