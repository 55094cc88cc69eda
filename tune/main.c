/* mha-tune: finds the fastest kernels and tile sizes for a device. */
#include "command.h"

#include <signal.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(const struct options *options);
    int most_arguments;
} commands[] = {
    {"devices", command_devices, 0}, {"run", command_run, 0},         {"resume", command_resume, 0},
    {"show", command_show, 0},       {"explain", command_explain, 0}, {"verify", command_verify, 0},
    {"bench", command_bench, 0},     {"export", command_export, 0},   {"import", command_import, 1},
    {"prune", command_prune, 0},     {"replay", command_replay, 1},   {"worker", command_worker, 0},
};

/* What was printed must have gone somewhere. */
static int finish(int code) {
    if (!fflush(stdout) && !ferror(stdout))
        return code;
    fprintf(stderr, "mha-tune: standard output can't be written\n");
    return EXIT_USAGE;
}

int main(int argc, char **argv) {
    struct options options;
    struct worker_argv worker;
    /* A file that may not grow, or a pipe that nobody reads, is an error to report. */
    signal(SIGXFSZ, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    if (!options_parse(argc, argv, &options, &worker))
        return EXIT_USAGE;
    if (!strcmp(options.command, "help")) {
        options_print_help(stdout);
        return EXIT_TUNED;
    }
    if (!strcmp(options.command, "version")) {
        const uint32_t version = mha_version();
        printf("mha-tune %u.%u.%u\n", version >> 16, version >> 8 & 255, version & 255);
        return EXIT_TUNED;
    }
    for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); ++i) {
        if (strcmp(commands[i].name, options.command) != 0)
            continue;
        if (options.argument_count <= commands[i].most_arguments)
            return finish(commands[i].run(&options));
        fprintf(stderr, "mha-tune: %s takes no \"%s\"; see mha-tune --help\n", options.command,
                options.arguments[commands[i].most_arguments]);
        return EXIT_USAGE;
    }
    fprintf(stderr, "mha-tune: no command is called \"%s\"; see mha-tune --help\n",
            options.command);
    return EXIT_USAGE;
}
