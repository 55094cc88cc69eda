/* Tuning results as commands read and show them. */
#ifndef TUNE_RESULTS_H
#define TUNE_RESULTS_H

#include "command.h"

#include <jansson.h>

/* Every layer, as the library reads them; --config's folder takes the application's place. */
bool results_load(struct config *config, const char *folder);

/* Only those of a folder; NULL: the user's own, which need not be there. "shipped": what is
 * compiled in. Each gives false after a message, and warns of what it skips. */
bool results_load_folder(struct config *config, const char *folder);
void results_release(struct config *config);

/* Warns of what is skipped of a file's text. */
void results_check(const char *text, size_t bytes, const char *origin);

/* Those of --shape, or the benchmark's; how many. */
int results_shapes(const struct options *options, struct shape shapes[MAX_SHAPES]);

/* Whether --device, part of a device's or platform's name, and --shape ask for it. */
bool results_is_asked(const struct config_entry *entry, const struct options *options);

/* Whether the name, part of the device's or its platform's, fits; NULL fits all. */
bool results_is_called(const struct config_device *device, const char *name);

bool results_is_same_shape(const struct shape *a, const struct shape *b);

/* Whatever its driver. */
bool results_is_same_device(const struct config_device *a, const struct config_device *b);

/* The very same measurement. */
bool results_is_same(const struct config_entry *a, const struct config_entry *b);

/* Whether it was measured with the kernels of this version. */
bool results_is_current(const struct config_entry *entry);

/* What takes long to find out, of every entry of a config: for comparing all with all. */
struct results_fact {
    char shape_class[SHAPE_CLASS_BYTES];
    bool is_current;
};

struct results_fact results_fact(const struct config_entry *entry);

/* One for each entry, to be released with free(); NULL, after a message, when memory runs out. */
struct results_fact *results_facts(const struct config *config);

/* Says of an entry that it was measured today with this version. */
void results_stamp(struct config_entry *entry);

/* What a choice must gain, with 95 % confidence, to take the default's place. */
#define RESULTS_LEAST_GAIN 1.02

/* How many times faster than the default it was; 1 for the default. */
double results_gain(const struct config_entry *entry);

/* "panel VEC=16 BLOCK_Q=96", or "the default (panel)". */
#define RESULTS_TEXT_BYTES 320
void results_print(const struct config_entry *entry, char text[RESULTS_TEXT_BYTES]);

/* Milliseconds, "1.2340". */
#define RESULTS_TIME_BYTES 32
void results_print_ms(double ns, char text[RESULTS_TIME_BYTES]);

/* An entry with its device, layer, file, gain, and whether it is current; a new reference, NULL
 * when memory runs out. */
json_t *results_write(const struct config_entry *entry);

/* Prints and releases; an exit code. NULL stands for memory that ran out. */
int results_dump(json_t *json);

/* "mha-tune: ..." on standard error; returns EXIT_USAGE. */
int results_complain(const char *why);

#endif
