/* In: a table's row. Out: a struct with one thing wrong, and a verdict on the status it got. */
#include "misuse.h"

#include <stdio.h>
#include <string.h>

void misuse_apply(const struct misuse *misuse, void *object) {
    for (int n = 0; n < MAX_EDITS && misuse->edits[n].bytes; ++n) {
        const struct edit *edit = &misuse->edits[n];
        memcpy((char *)object + edit->offset, &edit->value, edit->bytes);
    }
}

bool misuse_check(const struct misuse *misuse, const char *call, mha_status status,
                  const mha_error *error) {
    const char *text = misuse->text ? misuse->text : "";
    if (status == misuse->expected && error->status == status && error->message[0] &&
        strstr(error->message, text))
        return true;
    fprintf(stderr, "FAILED %s, %s: %s (error.status %s) \"%.300s\", not %s with \"%s\"\n", call,
            misuse->name, mha_status_name(status), mha_status_name(error->status), error->message,
            mha_status_name(misuse->expected), text);
    return false;
}
