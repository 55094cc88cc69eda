# shellcheck shell=bash
# Sourced by run-tests.sh: the stages that do not depend on the kind of device.

stage_style() { tools/check-style.sh; }

stage_header() {
    local ok=0 standard
    printf '#include "mha_cl.h"\nint main(void) { return mha_version() == 0; }\n' >"$SCRATCH/h.c"
    cp "$SCRATCH/h.c" "$SCRATCH/h.cpp"
    for standard in c11 c++17; do
        local compiler=cc source=$SCRATCH/h.c
        if [ "$standard" = c++17 ]; then
            compiler=c++ source=$SCRATCH/h.cpp
        fi
        say "$compiler -std=$standard"
        "$compiler" -std="$standard" -Wall -Wextra -Werror -pedantic -Iinclude -fsyntax-only \
            "$source" && ok=$((ok + 1))
    done
    say "every public name is in the man page"
    local name missing=
    while read -r name; do
        grep -qw "$name" docs/libmha-cl.3 || missing+=" $name"
    done < <(sed -nE 's/^MHA_API .*\b(mha_[a-z_]+)\(.*/\1/p; s/.*\b(MHA_ERR_[A-Z_]+) = .*/\1/p' \
        include/mha_cl.h)
    if [ -z "$missing" ]; then
        ok=$((ok + 1))
    else
        say "not there:$missing"
    fi
    count "$ok" $((3 - ok)) 0
    [ "$ok" = 3 ]
}

stage_unit() {
    local program=$TOP/build/tests/mha-unit-tests
    if [ ! -x "$program" ]; then
        skip "no unit tests in the build"
        return 0
    fi
    LIMIT=300 criterion "$program"
}

# A user's first minutes with mha-tune, beside its own tests. How fast what it finds is, is no test's
# matter.
stage_tune() {
    local bad=0 tune=$TOP/build/tune/mha-tune
    LIMIT=900 criterion "$TOP/build/tests/mha-tune-tests" || bad=1
    only_pocl
    export XDG_CONFIG_HOME=$SCRATCH/config XDG_STATE_HOME=$SCRATCH/state
    cd "$SCRATCH" || return 1
    attempt "devices" "$tune" devices || bad=1
    attempt "run" tuned "$tune" run --device pocl --time 20 --shape "B1 H4 N64 D32 f32" \
        --shape "M64 K128 N128 f32" || bad=1
    attempt "run again" tuned "$tune" run --device pocl --evals 6 --shape "B1 H4 N64 D32 f32" ||
        bad=1
    attempt "show" "$tune" show || bad=1
    attempt "explain" "$tune" explain --device pocl --shape "B1 H4 N64 D32 f32" || bad=1
    attempt "verify" "$tune" verify --device pocl || bad=1
    attempt "bench" "$tune" bench --device pocl --shape "B1 H4 N64 D32 f32" --rounds 4 || bad=1
    attempt "export csv" "$tune" export --device pocl --shape "B1 H4 N64 D32 f32" \
        --variant panel --format csv --out run.csv || bad=1
    attempt "export t4" "$tune" export --device pocl --format t4 --out run.json || bad=1
    attempt "export svg" "$tune" export --device pocl --format svg --out run.svg || bad=1
    attempt "export png" "$tune" export --device pocl --format png --out run.png || bad=1
    return "$bad"
}

# Nothing to gain is a good end, too.
tuned() {
    local code=0
    "$@" || code=$?
    [ "$code" = 0 ] || [ "$code" = 2 ]
}

# As a user who installs the library and has neither cairo nor Criterion: the README's program with
# pkg-config, shared and static, with CMake, and with the library as a Meson subproject.
stage_package() {
    local dir=$SCRATCH/package prefix=$SCRATCH/prefix program
    program=$dir/program.c
    mkdir -p "$dir/consumer/subprojects"
    if [ -f README.md ]; then
        # The first C block below a heading with the word "program".
        awk '/^```/ && inside { exit }
             inside { print; next }
             /^```c *$/ && below { inside = 1; next }
             /^```/ { other = !other }
             /^#/ && !other { below = tolower($0) ~ /program/ }' README.md >"$program"
        [ -s "$program" ] || {
            say "README.md has no C block below a heading with the word \"program\""
            return 1
        }
        say "the README's program: $(wc -l <"$program") lines"
        [ "$(wc -l <"$program")" -lt 80 ] || {
            say "that is not under 80"
            return 1
        }
    else
        skip "there is no README.md; a program that asks for the version stands in for its own"
        cp "$SCRATCH/h.c" "$program"
    fi
    quietly package-setup "$MESON" setup "$dir/build" --prefix "$prefix" \
        -Dtests=disabled -Dexamples=disabled
    quietly package-install "$MESON" install -C "$dir/build"
    say "installed:"
    (cd "$prefix" && find . -type f -o -type l) | sed 's/^\./  /' | sort
    PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name mha-cl.pc)")
    local lib=${PKG_CONFIG_PATH%/pkgconfig} flags bad=0
    export PKG_CONFIG_PATH
    only_pocl
    cp "$program" "$dir/consumer/"
    cd "$dir" || return 1

    flags=$(pkg-config --cflags --libs mha-cl) || return 1
    attempt "pkg-config" shared_consumer || bad=1
    attempt "pkg-config --static" static_consumer || bad=1
    if require cmake >/dev/null 2>&1; then
        attempt "CMake, find_package(mha-cl)" cmake_consumer || bad=1
    else
        skip "CMake can't be installed"
    fi
    attempt "Meson subproject" subproject_consumer || bad=1
    return "$bad"
}

shared_consumer() {
    # shellcheck disable=SC2086
    cc -std=c11 -Wall -Wextra -Werror program.c -o shared $flags -lm &&
        LD_LIBRARY_PATH=$lib timeout 300 ./shared
}

static_consumer() {
    # shellcheck disable=SC2046
    cc -std=c11 program.c -o static $(pkg-config --cflags mha-cl) -L"$lib" -Wl,-Bstatic -lmha-cl \
        -Wl,-Bdynamic $(pkg-config --static --libs mha-cl | sed 's/-lmha-cl//') -lm &&
        timeout 300 ./static >/dev/null
}

cmake_consumer() {
    cat >consumer/CMakeLists.txt <<'EOF'
cmake_minimum_required(VERSION 3.16)
project(consumer C)
find_package(mha-cl 0.1 REQUIRED)
add_executable(program program.c)
target_link_libraries(program PRIVATE mha-cl::mha-cl m)
EOF
    quietly cmake-configure cmake -G Ninja -S consumer -B cmake "-DCMAKE_PREFIX_PATH=$prefix" &&
        quietly cmake-build cmake --build cmake &&
        timeout 300 cmake/program >/dev/null
}

subproject_consumer() {
    ln -sfn "$TOP" consumer/subprojects/libmha-cl
    cat >consumer/meson.build <<'EOF'
project('consumer', 'c', default_options: ['c_std=c11'])
mha_cl = dependency('mha-cl', fallback: 'libmha-cl')
executable('program', 'program.c',
           dependencies: [mha_cl, meson.get_compiler('c').find_library('m', required: false)])
EOF
    # Without the installed library in sight, so that the fallback is taken.
    quietly subproject-setup env -u PKG_CONFIG_PATH "$MESON" setup subproject consumer \
        --force-fallback-for=mha-cl -Dlibmha-cl:tests=disabled -Dlibmha-cl:examples=disabled &&
        quietly subproject-compile "$MESON" compile -C subproject &&
        timeout 300 subproject/program >/dev/null
}
