/* Tables of measurements: what is read, and what is refused. */
#include "table.h"
#include "tuning_files.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

static char folder[PATH_BYTES], path[PATH_BYTES];

static void begin(void) {
    tuning_make_folder(folder);
    tuning_path(path, folder, "table.csv");
}

static void end(void) {
    tuning_remove_folder(folder);
}

TestSuite(table, .init = begin, .fini = end);

static const char whole[] = "# title: a table\n"
                            "# device: none\n"
                            "VEC,BLOCK_Q,ns\n"
                            "16,32,1500\n"
                            "4,32,2.5e3\n"
                            "4,8,inf\n";

static void check_whole(void) {
    struct table table;
    char why[200] = "";
    cr_assert(table_read(&table, path, why, sizeof(why)), "%s", why);
    cr_expect_str_eq(table.title, "a table");
    cr_expect_eq(table.records.count, 3);
    cr_expect_eq(table.best_ns, 1500);
    cr_assert_eq(table.space.count, 2);
    cr_expect_str_eq(table.space.parameters[1].name, "BLOCK_Q");
    cr_expect_eq(table.space.parameters[0].count, 2);
    cr_expect_eq(table.space.parameters[0].values[0], 4, "values are not ascending");
    const struct point failed = {{4, 8}}, slow = {{4, 32}}, missing = {{16, 8}};
    cr_expect(space_is_legal(&table.space, &failed));
    cr_expect_not(space_is_legal(&table.space, &missing));
    cr_expect_eq(table_ns(&table, &slow), 2500);
    cr_expect(isinf(table_ns(&table, &failed)));
    cr_expect(isinf(table_ns(&table, &missing)));
    table_release(&table);
}

static void write_compressed(const char *text) {
    gzFile file = gzopen(path, "wb9");
    cr_assert(file);
    cr_assert_eq(gzputs(file, text), (int)strlen(text));
    cr_assert_eq(gzclose(file), Z_OK);
}

Test(table, is_read_plain_or_compressed) {
    tuning_write(path, whole, strlen(whole));
    check_whole();
    write_compressed(whole);
    check_whole();
}

Test(table, lines_may_end_as_elsewhere) {
    char text[2 * sizeof(whole)], *out = text;
    for (const char *in = whole; *in; *out++ = *in++)
        if (*in == '\n')
            *out++ = '\r';
    tuning_write(path, text, (size_t)(out - text));
    check_whole();
}

static void expect_refused(const char *text, const char *reason) {
    struct table table;
    char why[200] = "";
    tuning_write(path, text, strlen(text));
    cr_expect_not(table_read(&table, path, why, sizeof(why)), "%s", text);
    cr_expect(strstr(why, reason), "\"%s\" does not say \"%s\"", why, reason);
}

Test(table, what_is_wrong_is_told) {
    static const struct {
        const char *text, *reason;
    } faults[] = {
        {"", "no configuration"},
        {"\n", "ns"},
        {"# only: this\n", "no configuration"},
        {"VEC,ns\n", "no configuration"},
        {"VEC,ns\n4,inf\n", "no configuration"},
        {"ns\n5\n", "no parameters"},
        {"VEC,time\n4,5\n", "\"time\", not ns"},
        {"VEC,VEC,ns\n", "VEC comes twice"},
        {"V C,ns\n", "no name"},
        {",ns\n", "no name"},
        {"A234567890123456789012345678901234567890,ns\n", "no name"},
        {"A,B,C,D,E,F,G,H,I,J,K,L,M,N,O,P,Q,R,S,T,U,V,W,X,Y,ns\n", "more than 24"},
        {"VEC,ns\n4,5\n4,6\n", "line 3: this configuration"},
        {"VEC,ns\n4\n", "ns"},
        {"VEC,ns\n4,5,6\n", "more values"},
        {"VEC,ns\n-4,5\n", "whole number"},
        {"VEC,ns\n4.5,5\n", "whole number"},
        {"VEC,ns\n12345678901234567890,5\n", "whole number"},
        {"VEC,ns\n,5\n", "whole number"},
        {"VEC,ns\n\n", "whole number"},
        {"VEC,ns\n4,0\n", "above zero"},
        {"VEC,ns\n4,-1\n", "above zero"},
        {"VEC,ns\n4,nan\n", "above zero"},
        {"VEC,ns\n4,1e999\n", "above zero"},
        {"VEC,ns\n4,five\n", "above zero"},
        {"VEC,ns\n4,5 \n", "above zero"},
        {"VEC,ns\n4,\n", "above zero"},
        {"VEC,ns\n4,5", "cut off"},
    };
    for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); ++i)
        expect_refused(faults[i].text, faults[i].reason);
}

Test(table, lengths_are_limited) {
    static char line[4096], values[64 + 40 * 16] = "VEC,ns\n";
    memset(line, '1', sizeof(line) - 2);
    line[sizeof(line) - 2] = '\n';
    expect_refused(line, "too long");
    for (int i = 1; i <= SPACE_MAX_VALUES + 1; ++i)
        snprintf(values + strlen(values), 16, "%d,7\n", i);
    expect_refused(values, "VEC has more than 32 values");
}

Test(table, a_file_that_is_none_is_told) {
    struct table table;
    char why[200] = "";
    cr_expect_not(table_read(&table, "/nowhere/at/all", why, sizeof(why)));
    cr_expect(strlen(why) > 0);
    cr_expect_not(table_read(&table, folder, why, sizeof(why)));
}

/* Cut off at any byte: refused, never read in part. */
Test(table, a_compressed_file_cut_off_is_refused) {
    write_compressed(whole);
    FILE *file = fopen(path, "rb");
    char bytes[512];
    const size_t count = fread(bytes, 1, sizeof(bytes), file);
    fclose(file);
    cr_assert(count > 20 && count < sizeof(bytes));
    for (size_t kept = 0; kept < count; ++kept) {
        struct table table;
        char why[200];
        tuning_write(path, bytes, kept);
        cr_expect_not(table_read(&table, path, why, sizeof(why)), "%zu bytes of %zu", kept, count);
    }
}
