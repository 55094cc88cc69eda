/* Journals made into tables, T4 files and pictures; damaged ones give reasons. */
#include "export.h"
#include "table.h"
#include "tuning_files.h"

#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define WHY_BYTES 2048
#define ATTENTION                                                                                  \
    "{\"operation\":\"attention\",\"dtype\":\"f32\",\"batch\":4,\"q_heads\":12,\"kv_heads\":12,"   \
    "\"head_dim_qk\":64,\"head_dim_v\":64,\"seqlen_q\":197,\"seqlen_kv\":197,\"causal\":false,"    \
    "\"scores\":false}"
#define LINEAR                                                                                     \
    "{\"operation\":\"linear\",\"dtype\":\"f32\",\"weight_dtype\":\"f16\",\"rows\":788,"           \
    "\"in_features\":768,\"out_features\":2304}"
#define RUN(device)                                                                                \
    "{\"event\":\"run\",\"version\":1,\"date\":\"2025-07-01T12:00:00Z\",\"library\":\"0.1.0\","    \
    "\"device\":{\"type\":\"gpu\",\"name\":\"" device "\",\"platform\":\"Tests\","                 \
    "\"driver\":\"1.2\",\"vendor_id\":1,\"compute_units\":8,\"float_vector\":1},"                  \
    "\"rates\":{\"flops\":2e12,\"bytes\":1e11},\"budget\":\"quick\",\"seed\":7}\n"

/* A journal under way. */
struct journal_text {
    char folder[PATH_BYTES], path[PATH_BYTES], out[PATH_BYTES];
    char *text;
    size_t bytes;
    FILE *file;
    double seconds;
};

static void begin(struct journal_text *j) {
    *j = (struct journal_text){.seconds = 0};
    tuning_make_folder(j->folder);
    tuning_path(j->path, j->folder, "journal.jsonl");
    tuning_path(j->out, j->folder, "out");
    j->file = open_memstream(&j->text, &j->bytes);
    cr_assert(j->file);
}

static void __attribute__((format(printf, 2, 3)))
add(struct journal_text *j, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(j->file, format, arguments);
    va_end(arguments);
}

/* A result of variant panel, or of the default where params is NULL. */
static void add_end(struct journal_text *j, const char *shape, const char *params,
                    const char *result, double ns) {
    char number[32] = "null";
    if (isfinite(ns))
        snprintf(number, sizeof(number), "%.17g", ns);
    j->seconds += 0.5;
    add(j,
        "{\"event\":\"end\",\"shape\":%s,\"variant\":%s,\"params\":%s,\"result\":\"%s\",\"ns\":%s,"
        "\"mad_ns\":1e3,\"build_ns\":2e8,\"max_error\":1e-6,\"why\":\"\",\"time\":%g,"
        "\"default\":%s}\n",
        shape, params ? "\"panel\"" : "null", params ? params : "null", result, number, j->seconds,
        params ? "false" : "true");
}

static void add_point(struct journal_text *j, int block_q, int vec, const char *result, double ns) {
    char params[80];
    snprintf(params, sizeof(params), "{\"BLOCK_Q\":%d,\"VEC\":%d}", block_q, vec);
    add_end(j, ATTENTION, params, result, ns);
}

static void save(struct journal_text *j) {
    fclose(j->file);
    j->file = NULL;
    tuning_write(j->path, j->text, j->bytes);
}

/* A run of one shape, with all that a table has to tell apart. */
static void add_small_run(struct journal_text *j) {
    add(j, RUN("Test device"));
    add_end(j, ATTENTION, NULL, "ok", 3.3e6);
    add_point(j, 64, 8, "ok", 2.5e6);
    add_point(j, 32, 8, "build", INFINITY);
    add_point(j, 32, 4, "ok", 4.125e6);
    add_point(j, 16, 4, "illegal", INFINITY);
    add_point(j, 64, 8, "ok", 2.25e6);
    add(j, "{\"event\":\"final\",\"shape\":" ATTENTION ",\"variant\":\"panel\",\"params\":"
           "{\"BLOCK_Q\":64,\"VEC\":8},\"status\":\"tuned\",\"ns\":2.2e6,\"default_ns\":3.3e6,"
           "\"gain\":1.5,\"evaluations\":6}\n");
}

static void begin_small_run(struct journal_text *j) {
    begin(j);
    add_small_run(j);
    save(j);
}

static void end(struct journal_text *j) {
    free(j->text);
    tuning_remove_folder(j->folder);
}

static int export_as(const struct journal_text *j, const char *format) {
    const struct options options = {.journal = j->path, .format = format, .out = j->out};
    return command_export(&options);
}

/* In memory, from the journal that was saved; false with a reason. */
static bool export_text(const struct journal_text *j,
                        bool (*write)(const struct export_scope *, FILE *, char *, size_t),
                        const char *variant, char **text, char *why) {
    struct trace trace;
    size_t bytes;
    *text = NULL;
    if (!trace_read(&trace, j->path, why, WHY_BYTES))
        return false;
    const struct export_scope scope = {.trace = &trace, .variant = variant};
    FILE *memory = open_memstream(text, &bytes);
    const bool ok = write(&scope, memory, why, WHY_BYTES);
    fclose(memory);
    trace_release(&trace);
    return ok;
}

/* ---- Tables ---------------------------------------------------------------------------------- */

Test(export, csv_is_a_table_that_replay_reads) {
    struct journal_text j;
    struct table table;
    char why[WHY_BYTES] = "";
    begin_small_run(&j);
    cr_assert_eq(export_as(&j, "csv"), EXIT_TUNED);
    cr_assert(table_read(&table, j.out, why, sizeof(why)), "%s", why);
    cr_assert_eq(table.records.count, 3, "%zu", table.records.count);
    cr_assert_eq(table.space.count, 2);
    cr_assert_str_eq(table.space.parameters[0].name, "BLOCK_Q");
    cr_assert_str_eq(table.space.parameters[1].name, "VEC");
    cr_assert(table_ns(&table, &(struct point){{64, 8}}) == 2.25e6);
    cr_assert(table_ns(&table, &(struct point){{32, 4}}) == 4.125e6);
    cr_assert(isinf(table_ns(&table, &(struct point){{32, 8}})));
    cr_assert(space_is_legal(&table.space, &(struct point){{32, 8}}));
    cr_assert_not(space_is_legal(&table.space, &(struct point){{16, 4}}));
    cr_assert(table.best_ns == 2.25e6);
    cr_assert(strstr(table.title, "panel") && strstr(table.title, "Test device"));
    table_release(&table);
    end(&j);
}

Test(export, csv_asks_which_shape_and_variant) {
    struct journal_text j;
    char why[WHY_BYTES] = "", *text;
    begin(&j);
    add_small_run(&j);
    add_end(&j, LINEAR, "{\"BLOCK_M\":8}", "ok", 1e6);
    save(&j);
    cr_assert_not(export_text(&j, export_csv, NULL, &text, why));
    cr_assert(strstr(why, "--shape") && strstr(why, "M788 K768 N2304 f32 w:f16"), "%s", why);
    free(text);
    end(&j);

    begin(&j);
    add_small_run(&j);
    add(&j, "{\"event\":\"end\",\"shape\":" ATTENTION ",\"variant\":\"flash\",\"params\":"
            "{\"UNROLL\":8},\"result\":\"ok\",\"ns\":9e6}\n");
    save(&j);
    cr_assert_not(export_text(&j, export_csv, NULL, &text, why));
    cr_assert(strstr(why, "--variant") && strstr(why, "panel") && strstr(why, "flash"), "%s", why);
    free(text);
    cr_assert(export_text(&j, export_csv, "flash", &text, why), "%s", why);
    cr_assert(strstr(text, "UNROLL,ns\n8,9000000\n"), "%s", text);
    free(text);
    cr_assert_not(export_text(&j, export_csv, "default", &text, why));
    cr_assert(strstr(why, "known"), "%s", why);
    free(text);
    end(&j);
}

/* ---- T4 -------------------------------------------------------------------------------------- */

static const char *string_of(const json_t *object, const char *name) {
    const char *text = json_string_value(json_object_get(object, name));
    cr_assert(text, "%s is no string", name);
    return text;
}

/* What the schema requires of a result, and what its readers expect. */
static void check_result(const json_t *result) {
    static const char *const invalidities[] = {"timeout",     "compile",     "runtime",
                                               "correctness", "constraints", "correct"};
    static const char *const times[] = {"compilation_time", "compilation",      "benchmark",
                                        "framework",        "search_algorithm", "validation"};
    const char *invalidity = string_of(result, "invalidity");
    const json_t *all = json_object_get(result, "times");
    const json_t *measurements = json_object_get(result, "measurements");
    size_t known = 0;
    while (known < 6 && strcmp(invalidity, invalidities[known]) != 0)
        ++known;
    cr_assert(known < 6, "%s", invalidity);
    cr_assert(json_is_object(json_object_get(result, "configuration")));
    cr_assert(json_is_number(json_object_get(result, "correctness")));
    cr_assert(json_is_string(json_object_get(result, "timestamp")));
    cr_assert(json_is_object(all));
    for (size_t i = 0; i < sizeof(times) / sizeof(*times); ++i)
        cr_assert(json_number_value(json_object_get(all, times[i])) >= 0 &&
                      json_is_number(json_object_get(all, times[i])),
                  "%s", times[i]);
    cr_assert(json_is_array(json_object_get(all, "runtimes")));
    for (size_t i = 0; i < json_array_size(measurements); ++i) {
        const json_t *measurement = json_array_get(measurements, i);
        string_of(measurement, "name");
        string_of(measurement, "unit");
        cr_assert(json_is_number(json_object_get(measurement, "value")));
    }
    const json_t *objective = json_array_get(json_object_get(result, "objectives"), 0);
    cr_assert_str_eq(string_of(json_array_get(measurements, 0), "name"),
                     json_string_value(objective));
}

Test(export, t4_has_the_members_of_its_schema) {
    static const char *const expected[] = {"correct", "correct",     "compile",
                                           "correct", "constraints", "correct"};
    struct journal_text j;
    char why[WHY_BYTES] = "", *text;
    begin_small_run(&j);
    cr_assert(export_text(&j, export_t4, NULL, &text, why), "%s", why);
    json_t *json = json_loads(text, 0, NULL);
    cr_assert(json);
    cr_assert_str_eq(string_of(json, "schema_version"), "1.0.0");
    cr_assert_str_eq(string_of(json_object_get(json, "metadata"), "timeunit"), "milliseconds");
    const json_t *results = json_object_get(json, "results");
    cr_assert_eq(json_array_size(results), 6);
    for (size_t i = 0; i < 6; ++i) {
        const json_t *result = json_array_get(results, i);
        check_result(result);
        cr_assert_str_eq(string_of(result, "invalidity"), expected[i]);
        cr_assert_eq(json_integer_value(json_object_get(result, "correctness")),
                     !strcmp(expected[i], "correct"));
    }
    const json_t *second = json_array_get(results, 1);
    const json_t *configuration = json_object_get(second, "configuration");
    cr_assert_str_eq(string_of(configuration, "shape"), "B4 H12 N197 D64 f32");
    cr_assert_str_eq(string_of(configuration, "variant"), "panel");
    cr_assert_eq(json_integer_value(json_object_get(configuration, "BLOCK_Q")), 64);
    const json_t *times = json_object_get(second, "times");
    cr_assert_float_eq(json_number_value(json_object_get(times, "compilation")), 200, 1e-9);
    cr_assert_float_eq(json_number_value(json_object_get(times, "benchmark")), 300, 1e-9);
    cr_assert_float_eq(json_number_value(json_array_get(json_object_get(times, "runtimes"), 0)),
                       2.5, 1e-9);
    json_decref(json);
    free(text);
    end(&j);
}

/* ---- Journals -------------------------------------------------------------------------------- */

Test(export, damaged_lines_are_left_out_and_counted) {
    static const char *const damaged[] = {
        "no JSON at all\n",
        "[1,2]\n",
        "{}\n",
        "{\"event\":7}\n",
        "{\"event\":\"end\"}\n",
        "{\"event\":\"end\",\"shape\":\"B4\"}\n",
        "{\"event\":\"end\",\"shape\":" ATTENTION "}\n",
        "{\"event\":\"end\",\"shape\":" ATTENTION ",\"result\":\"splendid\"}\n",
        "{\"event\":\"end\",\"shape\":" ATTENTION ",\"result\":\"ok\",\"variant\":[]}\n",
        "{\"event\":\"end\",\"shape\":" ATTENTION ",\"result\":\"ok\",\"variant\":\"a,b\"}\n",
        "{\"event\":\"end\",\"shape\":" ATTENTION ",\"result\":\"ok\",\"variant\":\"panel\"}\n",
        "{\"event\":\"end\",\"shape\":" ATTENTION ",\"result\":\"ok\",\"variant\":\"panel\","
        "\"ns\":-5}\n",
        "{\"event\":\"end\",\"shape\":" ATTENTION ",\"result\":\"ok\",\"variant\":\"panel\","
        "\"ns\":1e300}\n",
        "{\"event\":\"end\",\"shape\":" ATTENTION ",\"result\":\"ok\",\"variant\":\"panel\","
        "\"ns\":5,\"params\":3}\n",
        "{\"event\":\"end\",\"shape\":" ATTENTION ",\"result\":\"ok\",\"variant\":\"panel\","
        "\"ns\":5,\"params\":{\"BLOCK_Q\":\"64\",\"VEC\":8}}\n",
        "{\"event\":\"end\",\"shape\":" ATTENTION ",\"result\":\"ok\",\"variant\":\"panel\","
        "\"ns\":5,\"params\":{\"BLOCK_Q\":99999999999,\"VEC\":8}}\n",
        "{\"event\":\"end\",\"shape\":" ATTENTION ",\"result\":\"ok\",\"variant\":\"panel\","
        "\"ns\":5,\"params\":{\"BLOCK_Q\":64}}\n",
        "{\"event\":\"end\",\"shape\":" ATTENTION ",\"result\":\"ok\",\"variant\":\"panel\","
        "\"ns\":5,\"params\":{\"BLOCK_Q\":64,\"B,Q\":8}}\n",
        "{\"event\":\"final\",\"shape\":" ATTENTION ",\"status\":\"great\"}\n",
    };
    const size_t count = sizeof(damaged) / sizeof(*damaged);
    struct journal_text j;
    struct trace trace;
    char why[WHY_BYTES] = "";
    begin(&j);
    add(&j, "{\"event\":\"end\",\"shape\":" ATTENTION ",\"result\":\"build\"}\n");
    add_small_run(&j);
    for (size_t i = 0; i < count; ++i)
        add(&j, "%s", damaged[i]);
    add_point(&j, 128, 8, "timeout", INFINITY);
    add(&j, "{\"event\":\"end\",\"shape\":" ATTENTION ",\"resu");
    save(&j);
    cr_assert(trace_read(&trace, j.path, why, sizeof(why)), "%s", why);
    cr_assert_eq(trace.skipped, count + 1, "%zu", trace.skipped);
    cr_assert(strstr(trace.first_skipped, "line 1:"), "%s", trace.first_skipped);
    cr_assert_eq(trace.count, 1);
    cr_assert_eq(trace.studies[0].count, 7);
    trace_release(&trace);
    end(&j);
}

Test(export, every_cut_of_a_journal_is_read_or_refused_with_a_reason) {
    struct journal_text j;
    begin_small_run(&j);
    size_t most = 0;
    for (size_t bytes = 0; bytes <= j.bytes; ++bytes) {
        struct trace trace;
        char why[WHY_BYTES] = "";
        tuning_write(j.path, j.text, bytes);
        if (!trace_read(&trace, j.path, why, sizeof(why))) {
            cr_assert(*why);
            cr_assert_eq(most, 0);
            continue;
        }
        cr_assert_eq(trace.skipped, 0);
        cr_assert(trace.studies[0].count >= most);
        most = trace.studies[0].count;
        trace_release(&trace);
    }
    cr_assert_eq(most, 6);
    end(&j);
}

Test(export, the_last_run_with_an_evaluation_counts) {
    struct journal_text j;
    struct trace trace;
    char why[WHY_BYTES] = "";
    begin(&j);
    add(&j, RUN("First device"));
    add_end(&j, ATTENTION, NULL, "ok", 1e6);
    add(&j, RUN("Second device"));
    add_end(&j, LINEAR, NULL, "ok", 2e6);
    add_end(&j, LINEAR, NULL, "stopped", INFINITY);
    add(&j, RUN("Third device"));
    add_end(&j, ATTENTION, NULL, "stopped", INFINITY);
    save(&j);
    cr_assert(trace_read(&trace, j.path, why, sizeof(why)), "%s", why);
    cr_assert_str_eq(trace.device.name, "Second device");
    cr_assert(trace.count == 1 && trace.studies[0].count == 1);
    cr_assert_str_eq(trace.studies[0].text, "M788 K768 N2304 f32 w:f16");
    cr_assert(study_default_ns(&trace.studies[0]) == 2e6);
    trace_release(&trace);
    end(&j);
}

Test(export, a_file_that_is_no_journal_gives_a_reason) {
    struct journal_text j;
    struct trace trace;
    char why[WHY_BYTES] = "";
    begin(&j);
    cr_assert_not(trace_read(&trace, j.path, why, sizeof(why)));
    cr_assert(strstr(why, j.path), "%s", why);
    cr_assert_not(trace_read(&trace, j.folder, why, sizeof(why)));
    cr_assert(strstr(why, "directory"), "%s", why);
    save(&j);
    cr_assert_not(trace_read(&trace, j.path, why, sizeof(why)));
    cr_assert(strstr(why, "no evaluation"), "%s", why);
    end(&j);
}

/* ---- Pictures -------------------------------------------------------------------------------- */

static uint32_t big_endian(const unsigned char *bytes) {
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

/* Draws both; skips the test in a build without cairo. */
static void check_pictures(const struct journal_text *j) {
    unsigned char head[24];
    char why[WHY_BYTES] = "", *text;
    const bool is_drawn = export_text(j, export_svg, NULL, &text, why);
    if (!is_drawn && strstr(why, "without cairo")) {
        free(text);
        cr_skip("%s", why);
    }
    cr_assert(is_drawn, "%s", why);
    cr_assert(!strncmp(text, "<?xml", 5) && strstr(text, "</svg>"));
    free(text);
    cr_assert_eq(export_as(j, "png"), EXIT_TUNED);
    FILE *file = fopen(j->out, "rb");
    cr_assert_eq(fread(head, 1, sizeof(head), file), sizeof(head));
    fclose(file);
    cr_assert(!memcmp(head, "\x89PNG\r\n\x1a\n", 8));
    cr_assert_eq(big_endian(head + 16), 2400);
    cr_assert_eq(big_endian(head + 20), 2020);
}

Test(export, pictures_are_drawn) {
    struct journal_text j;
    begin_small_run(&j);
    check_pictures(&j);
    end(&j);
}

Test(export, pictures_of_extremes_are_drawn) {
    static const double times[] = {1e-21, 1, 5e20};
    struct journal_text j;
    begin(&j);
    add(&j, RUN("Test device"));
    add_end(&j, LINEAR, NULL, "ok", 1e6);
    save(&j);
    check_pictures(&j);
    end(&j);
    /* Failures of every kind. */
    begin(&j);
    add(&j, RUN("Test device"));
    for (int result = REMOTE_OK + 1; result < REMOTE_RESULTS; ++result)
        add_point(&j, result, 4, remote_result_names[result], INFINITY);
    save(&j);
    check_pictures(&j);
    end(&j);
    /* Times of every size, more values than a map has room for, and more than an axis is linear. */
    begin(&j);
    add(&j, RUN("Test device"));
    for (int i = 0; i < 400; ++i)
        add_point(&j, i, i % 40, "ok", i < 3 ? times[i] : 1e3 * i);
    save(&j);
    check_pictures(&j);
    end(&j);
}

/* ---- The command ----------------------------------------------------------------------------- */

Test(export, the_command_says_what_is_wrong) {
    struct journal_text j;
    struct options options = {.format = "bmp"};
    begin_small_run(&j);
    cr_redirect_stderr();
    cr_assert_eq(command_export(&options), EXIT_USAGE);
    options = (struct options){.journal = j.path};
    cr_assert_eq(command_export(&options), EXIT_USAGE);
    options.format = "png";
    cr_assert_eq(command_export(&options), EXIT_USAGE);
    options = (struct options){.journal = j.path, .format = "t4", .out = "/dev/full"};
    cr_assert_eq(command_export(&options), EXIT_USAGE);
    options = (struct options){.journal = j.path, .format = "t4", .out = j.folder};
    cr_assert_eq(command_export(&options), EXIT_USAGE);
    options = (struct options){.journal = j.path, .format = "t4", .out = j.out, .variant = "none"};
    cr_assert_eq(command_export(&options), EXIT_USAGE);
    options = (struct options){.journal = j.path, .format = "t4", .out = j.out, .shape_count = 1};
    options.shapes[0] = (struct shape){.operation = OPERATION_LINEAR, .rows = 1};
    cr_assert_eq(command_export(&options), EXIT_USAGE);
    struct stat status;
    cr_assert(stat(j.out, &status), "a failure left a file");
    end(&j);
}

/* Makes a journal of a device in the user's folder, `age` seconds old. */
static void add_journal(const char *state, const char *name, const char *run, time_t age) {
    struct journal_text j;
    char folder[PATH_BYTES], path[PATH_BYTES];
    begin(&j);
    add(&j, "%s", run);
    add_end(&j, ATTENTION, NULL, "ok", 1e6);
    save(&j);
    tuning_path(folder, state, "mha-cl");
    mkdir(folder, 0700);
    tuning_path(path, folder, name);
    tuning_write(path, j.text, j.bytes);
    const struct timespec times[2] = {{.tv_sec = time(NULL) - age}, {.tv_sec = time(NULL) - age}};
    cr_assert(!utimensat(AT_FDCWD, path, times, 0));
    end(&j);
}

Test(export, without_a_path_the_newest_journal_of_the_device_is_taken) {
    static const char *const cases[][2] = {
        {NULL, "Newest"}, {"oldEST", "Oldest"}, {"tests", "Newest"}};
    char state[PATH_BYTES], out[PATH_BYTES];
    tuning_make_folder(state);
    tuning_path(out, state, "out");
    cr_assert(!setenv("XDG_STATE_HOME", state, 1));
    cr_redirect_stderr();
    struct options options = {.format = "t4", .out = out};
    cr_assert_eq(command_export(&options), EXIT_USAGE);
    add_journal(state, "a.jsonl", RUN("Older"), 200);
    add_journal(state, "b.jsonl", RUN("Newest"), 100);
    add_journal(state, "c.jsonl", RUN("Oldest"), 300);
    add_journal(state, "d.text", RUN("No journal"), 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); ++i) {
        options.device = cases[i][0];
        cr_assert_eq(command_export(&options), EXIT_TUNED);
        char *text = tuning_read(out);
        cr_assert(text && strstr(text, cases[i][1]), "%s", text);
        free(text);
    }
    options.device = "none of these";
    cr_assert_eq(command_export(&options), EXIT_USAGE);
    tuning_remove_folder(state);
}
