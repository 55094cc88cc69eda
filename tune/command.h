/* The commands of mha-tune, and what its command line said. */
#ifndef TUNE_COMMAND_H
#define TUNE_COMMAND_H

#include "config.h"

#include <stdbool.h>
#include <stdio.h>

enum exit_code {
    EXIT_TUNED = 0, /* or done */
    EXIT_USAGE = 1, /* bad arguments, unreadable files */
    EXIT_NO_GAIN = 2,
    EXIT_PARTIAL = 3, /* the budget or an interrupt ended it before every shape was done */
    EXIT_DEVICE = 4   /* the device, its driver or every worker failed */
};

#define MAX_SHAPES 64

struct options {
    const char *command;
    const char *device; /* part of a name */
    struct shape shapes[MAX_SHAPES];
    int shape_count; /* 0: the benchmark's shapes */
    const char *budget;
    double seconds;  /* 0: the budget's */
    int evaluations; /* 0: the budget's */
    const char *seed_from;
    uint64_t seed;
    bool is_warm, is_json, is_quiet;
    const char *config, *journal; /* folder of tuning files; file: NULL: the user's own */
    const char *out, *format;
    const char *against; /* bench: folder of other results, or "shipped"; NULL: untuned */
    int rounds, runs;
    const char *table;            /* replay: another table, whose best points are the starts */
    const char *variant, *space;  /* run: only this variant, only these values */
    const char *const *arguments; /* after the command's options */
    int argument_count;
    const char *const *worker; /* argv of the worker */
};

/* Each returns an enum exit_code. */
int command_devices(const struct options *options);
int command_run(const struct options *options);
int command_resume(const struct options *options);
int command_show(const struct options *options);
int command_explain(const struct options *options);
int command_verify(const struct options *options);
int command_bench(const struct options *options);
int command_export(const struct options *options);
int command_import(const struct options *options);
int command_prune(const struct options *options);
int command_replay(const struct options *options);
int command_worker(const struct options *options);

/* False after a message on standard error. `worker` receives the worker's argv. */
struct worker_argv {
    const char *argv[3];
    char program[4096];
};
bool options_parse(int argc, char **argv, struct options *options, struct worker_argv *worker);
void options_print_help(FILE *file);

/* The folder of tuning files: --config, or the user's own. */
bool options_folder(const struct options *options, char *folder, size_t bytes, char *why,
                    size_t why_bytes);

/* "B4 H12 N197 D64 f32 causal", "M788 K768 N2304 f32"; false with a reason. */
bool shape_parse(const char *text, struct shape *shape, char *why, size_t why_bytes);
#define SHAPE_TEXT_BYTES 96
void shape_print(const struct shape *shape, char text[SHAPE_TEXT_BYTES]);

#endif
