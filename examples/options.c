/* In: argc, argv. Out: options. */
#include "options.h"

#include "mha_cl.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

static const char usage[] =
    "usage: attention-map FILE.safetensors --out PICTURE.png [options]\n"
    "\n"
    "Computes the attention of q, k and v in FILE with libmha-cl, compares it with what the file\n"
    "expects, prints what attends to what and draws it.\n"
    "\n"
    "  -o, --out PICTURE.png  where the picture goes\n"
    "  -p, --photo PHOTO.png  photo under the map; default: the one that FILE names, beside FILE\n"
    "  -w, --word WORD        word of the sentence to call out; default: it\n"
    "  -d, --device NAME      part of a platform's or device's name; default: the best device\n"
    "  -v, --variant NAME     how to compute the output; default: the library's selection\n"
    "  -h, --help             this text\n"
    "\n"
    "FILE holds fp32 tensors q, k, v [batch][head][token][head_dim] and, to compare with, output\n"
    "and weights or weights_cls. Metadata `tokens`, a JSON list of words, makes it a sentence;\n"
    "without it the tokens are CLS and a square of patches of a photo, row by row. Metadata "
    "scale,\n"
    "model and image are used where given.\n"
    "\n"
    "Exit status: 0 done; 1 the results differ from FILE's by more than 2e-6 (sentence) or 1e-5\n"
    "(photo); 2 usage, bad input or output file; 3 OpenCL.\n";

static bool known_variant(const char *name, failure *f) {
    char names[400] = "";
    size_t used = 0;
    for (size_t i = 0; mha_variant_name(i); ++i) {
        if (strcmp(mha_variant_name(i), name) == 0)
            return true;
        int wrote = snprintf(names + used, sizeof(names) - used, " %s", mha_variant_name(i));
        used += wrote > 0 && (size_t)wrote < sizeof(names) - used ? (size_t)wrote : 0;
    }
    return fail(f, EXIT_INPUT, "no variant is called '%.60s'; there are:%s", name, names);
}

bool options_parse(int argc, char **argv, options *o, failure *f) {
    static const struct option names[] = {
        {.name = "out", .has_arg = required_argument, .val = 'o'},
        {.name = "photo", .has_arg = required_argument, .val = 'p'},
        {.name = "word", .has_arg = required_argument, .val = 'w'},
        {.name = "device", .has_arg = required_argument, .val = 'd'},
        {.name = "variant", .has_arg = required_argument, .val = 'v'},
        {.name = "help", .has_arg = no_argument, .val = 'h'},
        {0},
    };
    int option;
    *o = (options){0};
    while ((option = getopt_long(argc, argv, "o:p:w:d:v:h", names, NULL)) != -1) {
        switch (option) {
        case 'o':
            o->out = optarg;
            break;
        case 'p':
            o->photo = optarg;
            break;
        case 'w':
            o->word = optarg;
            break;
        case 'd':
            o->device = optarg;
            break;
        case 'v':
            o->variant = optarg;
            break;
        case 'h':
            o->help = true;
            fputs(usage, stdout);
            return true;
        default: /* getopt has said what is wrong */
            return fail(f, EXIT_INPUT, "see attention-map --help");
        }
    }
    if (optind != argc - 1)
        return fail(f, EXIT_INPUT, "%s; see attention-map --help",
                    optind < argc ? "give one file, not several" : "which file?");
    if (!o->out)
        return fail(f, EXIT_INPUT, "give --out PICTURE.png; see attention-map --help");
    o->file = argv[optind];
    return !o->variant || known_variant(o->variant, f);
}
