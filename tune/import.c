/* In: a tuning file. Out: its entries, merged into the files of their devices. */
#include "caps_json.h"
#include "config_files.h"
#include "results.h"
#include "store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* All of a file, "-" for standard input, to be released with free(). Unlike files that the library
 * reads by itself, it is named by the user: whoever may write it. NULL with a reason. */
static char *read_file(const char *path, size_t *bytes, char *why, size_t why_bytes) {
    const size_t most = CONFIG_MAX_BYTES + 1;
    const bool is_input = !strcmp(path, "-");
    FILE *file = is_input ? stdin : fopen(path, "re");
    char *text = file ? malloc(most) : NULL;
    *bytes = text ? fread(text, 1, most, file) : 0;
    const char *reason = NULL;
    if (!text || ferror(file))
        reason = strerror(errno);
    else if (*bytes == most)
        reason = "larger than a tuning file may be";
    if (file && !is_input)
        fclose(file);
    if (!reason)
        return text;
    snprintf(why, why_bytes, "%.200s: %s", path, reason);
    free(text);
    return NULL;
}

int command_import(const struct options *options) {
    char folder[4096], why[400];
    size_t bytes, count = 0;
    if (!options->argument_count)
        return results_complain("import of which file?");
    const char *path = options->arguments[0];
    if (!options_folder(options, folder, sizeof(folder), why, sizeof(why)))
        return results_complain(why);
    char *text = read_file(path, &bytes, why, sizeof(why));
    if (!text)
        return results_complain(why);
    const bool is_imported = store_import(folder, text, bytes, &count, why, sizeof(why));
    if (is_imported)
        results_check(text, bytes, path);
    free(text);
    if (!is_imported || why[0])
        results_complain(why);
    if (!is_imported)
        return EXIT_USAGE;
    if (options->is_json)
        return results_dump(
            json_pack("{s:I, s:o}", "imported", (json_int_t)count, "folder", text_write(folder)));
    printf("%zu %s imported into %s\n", count, count == 1 ? "result" : "results", folder);
    return EXIT_TUNED;
}
