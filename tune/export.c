/* In: `mha-tune export` with its options. Out: a file made of a run's journal. */
#include "export.h"

#include "journal.h"
#include "results.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_PATH_BYTES 1024
#define MAX_WHY_BYTES 2048

struct format {
    const char *name;
    bool (*write)(const struct export_scope *scope, FILE *out, char *why, size_t why_bytes);
    bool is_binary;
};

static const struct format formats[] = {
    {.name = "csv", .write = export_csv},
    {.name = "t4", .write = export_t4},
    {.name = "svg", .write = export_svg},
    {.name = "png", .write = export_png, .is_binary = true},
};

static const struct format *find_format(const char *name) {
    for (size_t i = 0; name && i < sizeof(formats) / sizeof(*formats); ++i)
        if (!strcmp(formats[i].name, name))
            return &formats[i];
    return NULL;
}

bool export_is_in_scope(const struct export_scope *scope, const struct study *study) {
    bool is_asked = !scope->shape_count;
    for (int i = 0; i < scope->shape_count && !is_asked; ++i)
        is_asked = trace_find(scope->trace, &scope->shapes[i]) == study;
    return is_asked && (!scope->variant || study_find_variant(study, scope->variant) >= 0);
}

struct found {
    char path[MAX_PATH_BYTES];
    struct timespec modified;
    bool is_there;
};

/* Takes the file where it is newer and of the device. */
static void consider(struct found *found, const char *path, const char *device) {
    struct stat status;
    struct trace trace;
    char why[MAX_WHY_BYTES];
    if (stat(path, &status) || !S_ISREG(status.st_mode))
        return;
    const struct timespec *a = &status.st_mtim, *b = &found->modified;
    if (found->is_there &&
        (a->tv_sec < b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec <= b->tv_nsec)))
        return;
    if (!trace_read(&trace, path, why, sizeof(why)))
        return;
    if (results_is_called(&trace.device, device)) {
        found->is_there = true;
        found->modified = *a;
        strcpy(found->path, path);
    }
    trace_release(&trace);
}

/* The journal that was written last, of the device if one is named. */
static bool find_journal(const char *device, struct found *found, char *why, size_t why_bytes) {
    char folder[MAX_PATH_BYTES], path[MAX_PATH_BYTES];
    if (!journal_path("any", folder, sizeof(folder), why, why_bytes))
        return false;
    *strrchr(folder, '/') = '\0';
    DIR *entries = opendir(folder);
    if (!entries) {
        snprintf(why, why_bytes, "%s: %s", folder, strerror(errno));
        return false;
    }
    const struct dirent *entry;
    while ((entry = readdir(entries))) {
        const char *end = strrchr(entry->d_name, '.');
        if (!end || strcmp(end, ".jsonl") != 0)
            continue;
        if ((size_t)snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name) < sizeof(path))
            consider(found, path, device);
    }
    closedir(entries);
    if (!found->is_there)
        snprintf(why, why_bytes, "no journal with an evaluation%s%s in %s: run mha-tune run first",
                 device ? " on " : "", device ? device : "", folder);
    return found->is_there;
}

static bool check_scope(const struct export_scope *scope, char *why, size_t why_bytes) {
    char text[SHAPE_TEXT_BYTES];
    bool is_any = false;
    for (int i = 0; i < scope->shape_count; ++i)
        if (!trace_find(scope->trace, &scope->shapes[i])) {
            shape_print(&scope->shapes[i], text);
            snprintf(why, why_bytes, "the run did not evaluate the shape %s", text);
            return false;
        }
    for (size_t i = 0; i < scope->trace->count && !is_any; ++i)
        is_any = export_is_in_scope(scope, &scope->trace->studies[i]);
    if (!is_any)
        snprintf(why, why_bytes, "the run did not evaluate the variant %s", scope->variant);
    return is_any;
}

/* Everything is made before the file is opened: a failure leaves what was there before. */
static bool write_file(const char *path, const char *data, size_t bytes, char *why,
                       size_t why_bytes) {
    FILE *file = path ? fopen(path, "wb") : stdout;
    bool ok = file && fwrite(data, 1, bytes, file) == bytes;
    ok = file && !fflush(file) && ok;
    if (file && path)
        ok = !fclose(file) && ok;
    if (!ok)
        snprintf(why, why_bytes, "%s: %s", path ? path : "standard output", strerror(errno));
    return ok;
}

static bool export_trace(const struct export_scope *scope, const struct format *format,
                         const char *path, char *why, size_t why_bytes) {
    char *data = NULL;
    size_t bytes = 0;
    FILE *memory = open_memstream(&data, &bytes);
    if (!memory) {
        snprintf(why, why_bytes, "out of memory");
        return false;
    }
    bool ok = format->write(scope, memory, why, why_bytes);
    if (ok && ferror(memory)) {
        snprintf(why, why_bytes, "out of memory");
        ok = false;
    }
    if (fclose(memory) && ok) {
        snprintf(why, why_bytes, "out of memory");
        ok = false;
    }
    ok = ok && write_file(path, data, bytes, why, why_bytes);
    free(data);
    return ok;
}

static bool run_export(const struct options *options, const struct format *format, char *why,
                       size_t why_bytes) {
    struct found found = {.is_there = false};
    struct trace trace;
    if (!options->journal && !find_journal(options->device, &found, why, why_bytes))
        return false;
    const char *path = options->journal ? options->journal : found.path;
    if (!trace_read(&trace, path, why, why_bytes))
        return false;
    if (trace.skipped)
        fprintf(stderr, "mha-tune: %s: left out %zu damaged line%s; %s\n", path, trace.skipped,
                trace.skipped == 1 ? "" : "s", trace.first_skipped);
    const struct export_scope scope = {.trace = &trace,
                                       .shapes = options->shapes,
                                       .shape_count = options->shape_count,
                                       .variant = options->variant};
    const bool ok = check_scope(&scope, why, why_bytes) &&
                    export_trace(&scope, format, options->out, why, why_bytes);
    trace_release(&trace);
    return ok;
}

int command_export(const struct options *options) {
    const struct format *format = find_format(options->format);
    char why[MAX_WHY_BYTES] = "";
    if (!format)
        snprintf(why, sizeof(why), "--format is one of csv, t4, svg and png");
    else if (format->is_binary && !options->out)
        snprintf(why, sizeof(why), "--format %s needs --out FILE", format->name);
    else if (run_export(options, format, why, sizeof(why)))
        return EXIT_TUNED;
    fprintf(stderr, "mha-tune: export: %s\n", why);
    return EXIT_USAGE;
}
