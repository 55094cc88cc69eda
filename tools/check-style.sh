#!/usr/bin/env bash
# Formatting of .c, .h and .cl; every kernel program through clang's OpenCL C 1.2 at its default
# tunables; clang-tidy. Prints what is wrong; the exit status is 0 when nothing is. The last two need
# a configured build/.
#
#   tools/check-style.sh [--fix]      --fix: format in place
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bad=0
mapfile -t sources < <(find include src cl tests examples tools tune -type f \
    \( -name '*.c' -o -name '*.cpp' -o -name '*.h' -o -name '*.cl' \) 2>/dev/null | sort)

# Versions of clang-format disagree; the project's is 14, which Debian and Ubuntu both have.
format=$(command -v clang-format-14 || command -v clang-format || true)
if [ -z "$format" ] || ! "$format" --version | grep -q 'version 14\.'; then
    echo "formatting: skipped, there is no clang-format 14 here"
elif [ "${1:-}" = --fix ]; then
    "$format" -i "${sources[@]}"
else
    "$format" --dry-run -Werror "${sources[@]}" || bad=1
    echo "formatting: ${#sources[@]} files"
fi

# In: the text of one program on standard input. Each must compile alone as OpenCL C 1.2.
check_kernel() {
    local name=$1
    shift
    clang -x cl -cl-std=CL1.2 -fsyntax-only -Xclang -finclude-default-header \
        -Wall -Werror -Wno-unused-function -Icl "$@" - || {
        echo "kernel program $name does not compile as OpenCL C 1.2"
        bad=1
    }
}

# The programs as src/source.c puts them together: the prelude, then its texts in their order.
programs=build/tools/mha-programs
if ! command -v clang >/dev/null; then
    echo "kernels: skipped, there is no clang here"
elif [ ! -f build/build.ninja ]; then
    echo "kernels: skipped, build/ is not configured"
elif ! message=$(ninja -C build tools/mha-programs); then
    printf '%s\n' "$message"
    bad=1
else
    n=0
    while read -r name; do
        check_kernel "$name" < <("$programs" "$name")
        n=$((n + 1))
    done < <("$programs")
    echo "kernels: $n programs"
fi

# Defects in the library, the tuner and the examples, as far as they are in the build.
tidy=$(command -v clang-tidy-14 || command -v clang-tidy || true)
if [ -z "$tidy" ] || ! "$tidy" --version | grep -q 'version 14\.'; then
    echo "clang-tidy: skipped, there is no clang-tidy 14 here"
elif [ -f build/compile_commands.json ]; then
    mapfile -t sources < <(for file in src/*.c tune/*.c examples/*.c; do
        grep -q "\"file\": \".*/$file\"" build/compile_commands.json && echo "$file"
    done)
    report=$(printf '%s\n' "${sources[@]}" |
        xargs -P "$(nproc)" -n 4 "$tidy" --quiet -p build 2>/dev/null) || {
        printf '%s\n' "$report"
        bad=1
    }
    echo "clang-tidy: ${#sources[@]} files"
fi
exit "$bad"
