/* In: a JPEG file. Out: the message that this build can't read it. */
#include "photo_jpeg.h"

bool photo_read_jpeg(FILE *stream, const char *path, photo *p, failure *f) {
    (void)stream;
    (void)p;
    return fail(f, EXIT_INPUT,
                "%s is a JPEG, and this program was built without libjpeg; give a PNG", path);
}
