/* In: argc, argv and which options there are. Out: their values, checked as far as can be without a
 * model. */
#include "model_options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct option names[] = {
    {.name = "out", .has_arg = required_argument, .val = 'o'},
    {.name = "layer", .has_arg = required_argument, .val = 'l'},
    {.name = "head", .has_arg = required_argument, .val = 'e'},
    {.name = "word", .has_arg = required_argument, .val = 'w'},
    {.name = "dtype", .has_arg = required_argument, .val = 't'},
    {.name = "device", .has_arg = required_argument, .val = 'd'},
    {.name = "models", .has_arg = required_argument, .val = 'm'},
    {.name = "dump", .has_arg = required_argument, .val = 'u'},
    {.name = "help", .has_arg = no_argument, .val = 'h'},
    {0},
};

static const char *name_of(int letter) {
    for (const struct option *o = names; o->name; ++o)
        if (o->val == letter)
            return o->name;
    return "?";
}

static bool read_index(const char *name, const char *text, int count, int *value, failure *f) {
    char *end;
    errno = 0;
    long number = strtol(text, &end, 10);
    if (end == text || *end || errno || number < 0 || number >= count)
        return fail(f, EXIT_INPUT, "--%s '%.40s' is not a number from 0 to %d", name, text,
                    count - 1);
    *value = (int)number;
    return true;
}

static bool read_dtype(const char *text, mha_dtype *dtype, failure *f) {
    const bool half = strcmp(text, "f16") == 0;
    *dtype = half ? MHA_F16 : MHA_F32;
    return half || strcmp(text, "f32") == 0 ||
           fail(f, EXIT_INPUT, "--dtype '%.40s' is neither f32 nor f16", text);
}

static bool take(int letter, const model_program *program, model_options *o, failure *f) {
    const struct {
        int letter;
        const char **text;
    } texts[] = {
        {'o', &o->out}, {'u', &o->dump}, {'m', &o->models}, {'d', &o->device}, {'w', &o->word}};
    if (letter == '?') /* getopt has said what is wrong */
        return fail(f, EXIT_INPUT, "see %s --help", program->name);
    if (!strchr(program->letters, letter))
        return fail(f, EXIT_INPUT, "there is no option --%s; see %s --help", name_of(letter),
                    program->name);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); ++i)
        if (texts[i].letter == letter)
            *texts[i].text = optarg;
    switch (letter) {
    case 'l':
        return read_index("layer", optarg, program->layers, &o->layer, f);
    case 'e':
        return read_index("head", optarg, program->heads, &o->head, f);
    case 't':
        return read_dtype(optarg, &o->dtype, f);
    case 'h':
        o->help = true;
        fputs(program->usage, stdout);
        return true;
    default:
        return true;
    }
}

bool model_options_parse(int argc, char **argv, const model_program *program, model_options *o,
                         failure *f) {
    int letter;
    *o = (model_options){.layer = -1, .head = -1};
    while ((letter = getopt_long(argc, argv, "o:l:e:w:t:d:m:u:h", names, NULL)) != -1)
        if (!take(letter, program, o, f) || o->help)
            return o->help;
    const int given = argc - optind;
    if (given < 1 || given > program->max_inputs)
        return fail(f, EXIT_INPUT, "%s; see %s --help",
                    given < 1 ? "nothing to work on" : "too many arguments", program->name);
    for (int i = 0; i < given; ++i)
        o->inputs[i] = argv[optind + i];
    return o->out || fail(f, EXIT_INPUT, "give --out PICTURE.png; see %s --help", program->name);
}
