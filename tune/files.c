/* In: paths, bytes. Out: folders, bytes on the disk. */
#include "files.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool files_make_folder(const char *path, char *why, size_t why_bytes) {
    char part[4096];
    const size_t length = strlen(path);
    if (!length || length >= sizeof(part)) {
        snprintf(why, why_bytes, "\"%.40s\" is no path", path);
        return false;
    }
    strcpy(part, path);
    for (char *p = part + 1;; ++p) {
        const char c = *p;
        if (c != '/' && c != 0)
            continue;
        *p = 0;
        if (mkdir(part, 0755) && errno != EEXIST && errno != EISDIR) {
            /* A parent that is there may be where nothing can be made, such as a read-only /home.
             */
            struct stat st;
            const int code = errno;
            if (stat(part, &st) || !S_ISDIR(st.st_mode)) {
                snprintf(why, why_bytes, "can't make the folder %s: %s", part, strerror(code));
                return false;
            }
        }
        *p = c;
        if (c == 0)
            return true;
    }
}

bool files_write(int file, const void *data, size_t bytes) {
    for (const char *p = data; bytes;) {
        const ssize_t n = write(file, p, bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        p += n;
        bytes -= (size_t)n;
    }
    return true;
}

bool files_sync(int file) {
    /* EINVAL: a device, a pipe, or a folder of a file system that has no need. */
    return !fsync(file) || errno == EINVAL;
}
