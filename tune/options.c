/* In: argc, argv. Out: options, or what is wrong with them. */
#include "command.h"
#include "store.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char general_help[] =
    "usage: mha-tune COMMAND [OPTIONS]\n"
    "\n"
    "Finds the fastest kernels and tile sizes of libmha-cl for an OpenCL device, and keeps them "
    "in\n"
    "a file that the library reads.\n"
    "\n"
    "  devices   list the OpenCL devices\n"
    "  run       tune a device\n"
    "  resume    go on with the last run where it ended\n"
    "  show      print the results there are\n"
    "  explain   say what a shape uses, from where, and why\n"
    "  verify    check the results of a device anew, and mark or drop what does not hold\n"
    "  bench     measure tuned against untuned, in pairs\n"
    "  export    write a run as csv, t4, svg or png\n"
    "  import    take the results of a file\n"
    "  prune     drop results that serve no longer\n"
    "  replay    judge the search on a table of exhaustive measurements\n"
    "\n"
    "  -d, --device NAME      part of a device's or platform's name, in any case\n"
    "  -s, --shape SHAPE      such as \"B4 H12 N197 D64 f32 causal\" or, for a projection,\n"
    "                         \"M788 K768 N2304 f32\"; may be given several times.\n"
    "                         Without it: shapes of common models\n"
    "  -b, --budget NAME      quick (40 evaluations a shape, 90 s in all), standard (200,\n"
    "                         300 s), patient (400, 1200 s), exhaustive\n"
    "  -t, --time SECONDS     hard limit of the whole run\n"
    "  -n, --evals N          the same in evaluations\n"
    "      --seed-from KIND   where the search starts: all, safe, heuristic, none\n"
    "      --seed N           of the random numbers; default 1\n"
    "      --warm             leave the tensors in the caches between calls\n"
    "  -r, --rounds N         bench: how often each pair is measured; default 16\n"
    "      --against FOLDER   bench: against these results instead of none; \"shipped\": against\n"
    "                         those of this version alone\n"
    "      --runs N           replay: how many seeds; default 50\n"
    "      --starts-from FILE replay: the table of another device to start from\n"
    "      --variant NAME     run, export: of this variant only\n"
    "      --space VALUES     run: only these values, such as \"VEC=8,16 MICRO_D=4\"\n"
    "  -c, --config FOLDER    of tuning files; default: $XDG_CONFIG_HOME/mha-cl/tune\n"
    "  -j, --journal FILE     default: in $XDG_STATE_HOME/mha-cl\n"
    "  -o, --out FILE         export: where to; default: standard output\n"
    "  -f, --format NAME      export: csv, t4, svg, png\n"
    "      --json             results as JSON\n"
    "  -q, --quiet            no progress\n"
    "  -h, --help             this text\n"
    "      --version          of the library\n"
    "\n"
    "Exit status: 0 tuned, or done; 1 usage or files; 2 nothing was gained; 3 it ended before all\n"
    "was done; 4 the device or its driver failed.\n";

void options_print_help(FILE *file) {
    fputs(general_help, file);
}

static bool complain(const char *what, const char *value) {
    fprintf(stderr, "mha-tune: %s \"%s\"; see mha-tune --help\n", what, value);
    return false;
}

static bool read_count(const char *text, int *count) {
    char *end;
    errno = 0;
    const long value = strtol(text, &end, 10);
    *count = (int)value;
    return *text && !*end && !errno && value >= 1 && value <= 1000000000;
}

static bool read_seconds(const char *text, double *seconds) {
    char *end;
    *seconds = strtod(text, &end);
    return *text && !*end && *seconds > 0 && *seconds < 1e9;
}

static bool add_shape(const char *text, struct options *o) {
    char why[200];
    if (o->shape_count == MAX_SHAPES)
        return complain("too many shapes, no room for", text);
    if (shape_parse(text, &o->shapes[o->shape_count], why, sizeof(why))) {
        ++o->shape_count;
        return true;
    }
    fprintf(stderr, "mha-tune: shape \"%s\": %s\n", text, why);
    return false;
}

enum long_option {
    OPTION_SEED_FROM = 256,
    OPTION_SEED,
    OPTION_WARM,
    OPTION_RUNS,
    OPTION_STARTS_FROM,
    OPTION_VARIANT,
    OPTION_AGAINST,
    OPTION_SPACE,
    OPTION_JSON,
    OPTION_VERSION,
    OPTION_WORKER
};

static const struct option long_options[] = {
    {"device", required_argument, NULL, 'd'},
    {"shape", required_argument, NULL, 's'},
    {"budget", required_argument, NULL, 'b'},
    {"time", required_argument, NULL, 't'},
    {"evals", required_argument, NULL, 'n'},
    {"seed-from", required_argument, NULL, OPTION_SEED_FROM},
    {"seed", required_argument, NULL, OPTION_SEED},
    {"warm", no_argument, NULL, OPTION_WARM},
    {"rounds", required_argument, NULL, 'r'},
    {"runs", required_argument, NULL, OPTION_RUNS},
    {"starts-from", required_argument, NULL, OPTION_STARTS_FROM},
    {"variant", required_argument, NULL, OPTION_VARIANT},
    {"space", required_argument, NULL, OPTION_SPACE},
    {"against", required_argument, NULL, OPTION_AGAINST},
    {"config", required_argument, NULL, 'c'},
    {"journal", required_argument, NULL, 'j'},
    {"out", required_argument, NULL, 'o'},
    {"format", required_argument, NULL, 'f'},
    {"json", no_argument, NULL, OPTION_JSON},
    {"quiet", no_argument, NULL, 'q'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"worker", required_argument, NULL, OPTION_WORKER}, /* for tests: another program */
    {NULL, 0, NULL, 0},
};

static bool take(int option, struct options *o, struct worker_argv *worker) {
    int seed;
    switch (option) {
    case 'd':
        o->device = optarg;
        return true;
    case 's':
        return add_shape(optarg, o);
    case 'b':
        o->budget = optarg;
        return true;
    case 't':
        return read_seconds(optarg, &o->seconds) || complain("no number of seconds:", optarg);
    case 'n':
        return read_count(optarg, &o->evaluations) || complain("no number of evaluations:", optarg);
    case OPTION_SEED_FROM:
        o->seed_from = optarg;
        return true;
    case OPTION_SEED:
        if (!read_count(optarg, &seed))
            return complain("a seed is a number of 1 or more, not", optarg);
        o->seed = (uint64_t)seed;
        return true;
    case OPTION_WARM:
        return o->is_warm = true;
    case 'r':
        return (read_count(optarg, &o->rounds) && o->rounds <= 1000) ||
               complain("rounds are 1 to 1000, not", optarg);
    case OPTION_RUNS:
        return read_count(optarg, &o->runs) || complain("no number of runs:", optarg);
    case OPTION_STARTS_FROM:
        o->table = optarg;
        return true;
    case OPTION_VARIANT:
        o->variant = optarg;
        return true;
    case OPTION_SPACE:
        o->space = optarg;
        return true;
    case OPTION_AGAINST:
        o->against = optarg;
        return true;
    case 'c':
        o->config = optarg;
        return true;
    case 'j':
        o->journal = optarg;
        return true;
    case 'o':
        o->out = optarg;
        return true;
    case 'f':
        o->format = optarg;
        return true;
    case OPTION_JSON:
        return o->is_json = true;
    case 'q':
        return o->is_quiet = true;
    case 'h':
        o->command = "help";
        return true;
    case OPTION_VERSION:
        o->command = "version";
        return true;
    case OPTION_WORKER:
        worker->argv[0] = optarg;
        worker->argv[1] = NULL;
        return true;
    default: /* getopt has said what is wrong */
        fputs("see mha-tune --help\n", stderr);
        return false;
    }
}

bool options_parse(int argc, char **argv, struct options *o, struct worker_argv *worker) {
    const ssize_t bytes = readlink("/proc/self/exe", worker->program, sizeof(worker->program) - 1);
    worker->program[bytes > 0 ? bytes : 0] = 0;
    worker->argv[0] = bytes > 0 ? worker->program : argv[0];
    worker->argv[1] = "worker";
    worker->argv[2] = NULL;
    *o = (struct options){.worker = worker->argv};
    int option;
    while ((option = getopt_long(argc, argv, "d:s:b:t:n:r:c:j:o:f:qh", long_options, NULL)) != -1)
        if (!take(option, o, worker))
            return false;
    if (o->command)
        return true;
    if (optind == argc)
        return complain("which command? There is", "devices, run, show, explain, ...");
    o->command = argv[optind];
    o->arguments = (const char *const *)argv + optind + 1;
    o->argument_count = argc - optind - 1;
    return true;
}

bool options_folder(const struct options *options, char *folder, size_t bytes, char *why,
                    size_t why_bytes) {
    if (!options->config)
        return store_folder(folder, bytes, why, why_bytes);
    snprintf(why, why_bytes, "the path of --config is too long");
    return (size_t)snprintf(folder, bytes, "%s", options->config) < bytes;
}
