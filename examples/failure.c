/* In: a format and its values. Out: a failure that is safe to print. */
#include "failure.h"

#include <stdarg.h>
#include <stdio.h>

bool fail(failure *f, int exit_code, const char *format, ...) {
    va_list values;
    va_start(values, format);
    f->exit_code = exit_code;
    if (vsnprintf(f->text, sizeof(f->text), format, values) < 0)
        f->text[0] = '\0';
    va_end(values);
    text_clean(f->text);
    return false;
}

/* Bytes of the UTF-8 character at `c`, 0 if there is no valid one. The NUL at the end of the text
 * stops every test in time: it is no continuation byte. */
static int character_bytes(const unsigned char *c) {
    int n = c[0] < 0x80 ? 1 : c[0] < 0xc2 ? 0 : c[0] < 0xe0 ? 2 : c[0] < 0xf0 ? 3 : 4;
    if (c[0] > 0xf4 || (c[0] == 0xe0 && c[1] < 0xa0) || (c[0] == 0xed && c[1] > 0x9f) ||
        (c[0] == 0xf0 && c[1] < 0x90) || (c[0] == 0xf4 && c[1] > 0x8f))
        return 0;
    for (int i = 1; i < n; ++i)
        if ((c[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

void text_clean(char *text) {
    for (unsigned char *c = (unsigned char *)text; *c;) {
        int n = character_bytes(c);
        bool control = *c < 0x20 || *c == 0x7f || (*c == 0xc2 && c[1] < 0xa0);
        if (n == 0 || control)
            *c = '?';
        if (n == 2 && control)
            c[1] = '?';
        c += n ? n : 1;
    }
}
