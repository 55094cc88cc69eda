#!/usr/bin/env bash
# Installs what is missing, builds, and runs every test on every device kind:
#
#   style      formatting, clang-tidy, and each kernel program through clang's OpenCL C 1.2
#   header     mha_cl.h alone as C11 and C++17, warnings as errors; its man page
#   unit       tests that need no device
#   package    the README's program against the installed library: pkg-config, CMake, subproject
#   pocl       every test on PoCL
#   intel      every test on the Intel CPU runtime
#   llvmpipe   a reduced set on Mesa's llvmpipe
#   oclgrind   a reduced set under Oclgrind: data races, uninitialised values, API misuse
#   asan       the single-feature tests with AddressSanitizer and UBSan, on PoCL
#   tsan       one engine and one plan shared by threads, with ThreadSanitizer, on PoCL
#
#   tools/run-tests.sh [--devices pocl,intel,llvmpipe,oclgrind,asan,tsan] [--quick]
#
# --devices  only these of the last six (default: all)
# --quick    the reduced set on every device
#
# The last line is "Total: N passed, N failed, N skipped" over all stages; the exit status is 0 when
# nothing failed. A stage that can't run here is counted as skipped and says why.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
TOP=$PWD
TOOLS_LOGS=$TOP/build/tools-logs
# shellcheck source=tools/packages.sh
. tools/packages.sh

DEVICES=pocl,intel,llvmpipe,oclgrind,asan,tsan
QUICK=0
while [ $# -gt 0 ]; do
    case $1 in
    --devices)
        [ $# -ge 2 ] || fail "--devices needs a list"
        DEVICES=$2
        shift 2
        ;;
    --quick)
        QUICK=1
        shift
        ;;
    -h | --help)
        sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
        exit 0
        ;;
    *) fail "unknown option $1; try --help" ;;
    esac
done
for device in ${DEVICES//,/ }; do
    case $device in
    pocl | intel | llvmpipe | oclgrind | asan | tsan) ;;
    *) fail "no device kind called $device; known: pocl intel llvmpipe oclgrind asan tsan" ;;
    esac
done
wanted() { [[ ",$DEVICES," == *",$1,"* ]]; }

SCRATCH=$(mktemp -d)
trap 'rm -rf "$SCRATCH"' EXIT
trap 'exit 130' INT TERM
mkdir -p "$TOOLS_LOGS"

# Every run compiles its kernels afresh, in folders of its own.
export POCL_CACHE_DIR=$SCRATCH/pocl-cache XDG_CACHE_HOME=$SCRATCH/cache
mkdir -p "$POCL_CACHE_DIR" "$XDG_CACHE_HOME"

# ---- Stages ------------------------------------------------------------------------------------
# A stage is a function stage_NAME, run in a subshell. It calls `count` or `skip`; one that calls
# neither counts as one test, passed when it exits 0.

STAGES=() TABLE=()
PASSED=0 FAILED=0 SKIPPED=0

count() { printf '%s %s %s %s\n' "$1" "$2" "$3" "${4:-}" >>"$SCRATCH/count"; }
skip() {
    say "skipped: $*"
    count 0 0 1 "$*"
}

run_stage() {
    local name=$1 what=$2 code begun=$SECONDS passed=0 failed=0 skipped=0 reason='' p f s r
    local log=$TOOLS_LOGS/stage-$name.log
    say
    say "[$((${#TABLE[@]} + 1))/$N_STAGES] $name: $what"
    : >"$SCRATCH/count"
    set +e
    (
        set -e
        "stage_$name"
    ) 2>&1 </dev/null | tee "$log" | sed -u 's/^/      /'
    code=${PIPESTATUS[0]}
    set -e
    while read -r p f s r; do
        passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
        reason=${r:-$reason}
    done <"$SCRATCH/count"
    if [ "$code" != 0 ] && [ "$failed" = 0 ]; then
        failed=1
    elif [ $((passed + failed + skipped)) = 0 ]; then
        passed=1
    fi
    PASSED=$((PASSED + passed)) FAILED=$((FAILED + failed)) SKIPPED=$((SKIPPED + skipped))
    TABLE+=("$(printf '%-9s %8d %8d %8d %7ds  %s' "$name" "$passed" "$failed" "$skipped" \
        $((SECONDS - begun)) "$reason")")
    say "      $name: $passed passed, $failed failed, $skipped skipped in $((SECONDS - begun)) s"
}

# criterion BINARY [ARGUMENT...]: runs a Criterion program and counts its tests.
# LIMIT: seconds it may take. Returns 1 when anything failed.
criterion() {
    local tap=$SCRATCH/tap out=$SCRATCH/out code=0 tested passing failing skipped cases
    rm -f "$tap"
    timeout --foreground --kill-after=10 "${LIMIT:-1800}" "$@" --tap="$tap" 2>&1 | tee "$out" ||
        code=${PIPESTATUS[0]}
    # The last one, since a test may print another's output.
    read -r tested passing failing < <(sed -n \
        's/.*Synthesis: Tested: \([0-9]*\) | Passing: \([0-9]*\) | Failing: \([0-9]*\).*/\1 \2 \3/p' \
        "$out" | tail -n 1) || true
    if [ -z "${tested:-}" ]; then
        if [ "$code" = 124 ] || [ "$code" = 137 ]; then
            say "stopped after ${LIMIT:-1800} s"
        else
            say "ended without a summary (exit $code)"
        fi
        count 0 1 0
        return 1
    fi
    # A test of ours runs many cases and prints "suite/variant type: N passed, N failed, N skipped".
    cases=$(awk '$1 ~ /^[a-z]+\// && match($0, /: [0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$/) {
            split(substr($0, RSTART + 2), n, /[^0-9]+/)
            passed += n[1]; failed += n[2]; skipped += n[3]
        } END {
            if (passed + failed)
                printf "%d cases passed, %d failed, %d skipped", passed, failed, skipped
        }' "$out")
    # Criterion marks what --filter left out as skipped too; those are not counted.
    skipped=$(grep -E '# SKIP ' "$tap" 2>/dev/null | grep -vc '# SKIP test was skipped' || true)
    if [ "$skipped" != 0 ]; then
        say "Skipped, with their reasons:"
        grep -E '# SKIP ' "$tap" | grep -v '# SKIP test was skipped' | sed 's/^ok - /  /'
    fi
    if [ "$code" != 0 ] && [ "$failing" = 0 ]; then
        say "exit $code, although no test failed"
        failing=1
    fi
    if [ $((passing + failing + skipped)) = 0 ]; then
        say "no test ran"
        failing=1
    fi
    count "$passing" "$failing" "$skipped" "$cases"
    [ "$failing" = 0 ]
}

# Makes the OpenCL loader see one runtime only: only_icd FILE-OR-LIBRARY.
only_icd() {
    mkdir -p "$SCRATCH/vendors"
    rm -f "$SCRATCH/vendors"/*
    case $1 in
    *.icd) cp "$1" "$SCRATCH/vendors/" ;;
    *) printf '%s\n' "$1" >"$SCRATCH/vendors/only.icd" ;;
    esac
    export OCL_ICD_VENDORS=$SCRATCH/vendors
}

# device_tests DEVICE [reduced]: the whole test program on the device of that name.
device_tests() {
    local found
    [ -x "$TESTS" ] || {
        say "there is no ${TESTS#"$TOP"/}"
        return 1
    }
    found=$(opencl_devices)
    say "device: ${found:-none}"
    [ -n "$found" ] || {
        skip "the runtime is installed, but has no device on this machine"
        return 0
    }
    export MHA_TEST_DEVICE=$1
    if [ "${2:-}" = reduced ] || [ "$QUICK" = 1 ]; then
        export MHA_TEST_REDUCED=1
        criterion "$TESTS"
        return
    fi
    local bad=0
    criterion "$TESTS" || bad=1
    criterion "$FAILURE_TESTS" -j1 || bad=1
    return "$bad"
}

TESTS=$TOP/build/tests/mha-tests
FAILURE_TESTS=$TOP/build/tests/mha-failure-tests

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
    cd "$dir"

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

attempt() {
    local what=$1 code=0
    shift
    "$@" || code=$?
    if [ "$code" = 0 ]; then
        say "$what: ok"
        count 1 0 0
    else
        say "$what: FAILED"
        count 0 1 0
        return 1
    fi
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

only_pocl() {
    local icd
    icd=$(icd_file pocl)
    [ -n "$icd" ] || {
        say "PoCL has no ICD file"
        return 1
    }
    only_icd "$icd"
}

stage_pocl() {
    if ! require pocl; then
        skip "PoCL can't be installed"
        return 0
    fi
    only_pocl
    device_tests "Portable Computing Language"
}

# The Intel runtime is no package of Debian's, but of the Python package index. It goes into a
# virtual environment of its own: there nothing counts as installed already, so no part is left out.
# Its libraries find one another by their run path, so LD_LIBRARY_PATH (which would also replace the
# OpenCL loader by theirs) is not needed.
intel_library() {
    local venv=$TOOLS_CACHE/intel library
    library=$venv/lib/libintelocl.so
    local -a parts=(libintelocl.so libcommon_clang.so libtbb.so.12 libsvml.so libimf.so
        libintlc.so.5 libocl_svml_l9.so clbltfnshared.rtl)
    local part complete=1
    for part in "${parts[@]}"; do
        [ -e "$venv/lib/$part" ] || complete=0
    done
    if [ "$complete" = 0 ]; then
        rm -rf "$venv"
        quietly intel-venv python3 -m venv "$venv" &&
            quietly intel-pip "$venv/bin/pip" install --no-cache-dir --progress-bar off \
                intel-opencl-rt intel-cmplr-lib-rt || return 1
        for part in "${parts[@]}"; do
            [ -e "$venv/lib/$part" ] || {
                say "the Intel runtime was installed without $part" >&2
                return 1
            }
        done
    fi
    printf '%s\n' "$library"
}

stage_intel() {
    local library
    if [ "$(uname -m)" != x86_64 ]; then
        skip "the Intel CPU runtime is for x86-64, this is $(uname -m)"
        return 0
    fi
    require python-venv || {
        skip "no Python with venv to install the Intel runtime with"
        return 0
    }
    if ! library=$(intel_library); then
        skip "the Intel runtime could not be installed"
        return 0
    fi
    only_icd "$library"
    device_tests "Intel(R) OpenCL"
}

stage_llvmpipe() {
    local icd
    require llvmpipe || {
        skip "Mesa's OpenCL can't be installed"
        return 0
    }
    icd=$(icd_file rusticl)
    only_icd "$icd"
    export RUSTICL_ENABLE=llvmpipe
    device_tests llvmpipe reduced
}

# The single-feature set only: it runs every kernel with every feature, and what the other suites
# add is on the host's side, where Oclgrind allows no second thread.
#
# Oclgrind comes between the program and the OpenCL loader by LD_PRELOAD, also in the processes
# that Criterion forks. Its exit status says nothing about what it found, so its reports are read
# from the output. -O0, because its check for uninitialised values does not know the instruction
# (freeze) that optimisation puts before a division whose remainder is wanted too.
stage_oclgrind() {
    local code=0
    require oclgrind || {
        skip "Oclgrind can't be installed"
        return 0
    }
    [ -x "$TESTS" ] || {
        say "there is no ${TESTS#"$TOP"/}"
        return 1
    }
    export MHA_TEST_DEVICE=Oclgrind MHA_TEST_REDUCED=1
    LIMIT=3000 criterion oclgrind --build-options -O0 --data-races --uninitialized --check-api \
        --num-threads 1 "$TESTS" --filter 'single/*' || code=1
    tools/oclgrind-reports.awk -v suppressions=tools/oclgrind-suppressions.txt "$SCRATCH/out" ||
        code=1
    if [ "$code" = 0 ]; then
        count 1 0 0
    else
        count 0 1 0
    fi
    return "$code"
}

stage_asan() {
    build_in build-asan -Dbuildtype=debugoptimized -Db_sanitize=address,undefined -Db_lundef=false \
        -Dtests=enabled -Dexamples=disabled || return 1
    only_pocl
    export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1
    export LSAN_OPTIONS=suppressions=$TOP/tools/lsan-suppressions.txt:print_suppressions=0
    export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
    export MHA_TEST_DEVICE="Portable Computing Language"
    [ "$QUICK" = 0 ] || export MHA_TEST_REDUCED=1
    criterion "$TOP/build-asan/tests/mha-tests" --filter 'single/*'
    # A leak is found after the test has ended, when Criterion no longer looks.
    if grep -qE 'ERROR: (Leak|Address)Sanitizer|runtime error:' "$SCRATCH/out"; then
        count 0 1 0
        return 1
    fi
}

# ThreadSanitizer leaves no room in the address space for the arena Criterion forks its tests with,
# so this one is a plain program: exit status 0, nothing reported.
stage_tsan() {
    build_in build-tsan -Dbuildtype=debugoptimized -Db_sanitize=thread -Db_lundef=false \
        -Dtests=disabled -Dexamples=disabled || return 1
    quietly tsan-compile ninja -C build-tsan tools/mha-threads || return 1
    only_pocl
    export MHA_TEST_DEVICE="Portable Computing Language"
    # PoCL and LLVM are not instrumented: what happens inside them is not seen whole.
    export TSAN_OPTIONS=ignore_noninstrumented_modules=1:halt_on_error=0:exitcode=66
    timeout 900 build-tsan/tools/mha-threads
}

# ---- All of it ---------------------------------------------------------------------------------

STAGES=(style header unit package)
for device in pocl intel llvmpipe oclgrind asan tsan; do
    wanted "$device" && STAGES+=("$device")
done
N_STAGES=${#STAGES[@]}

# Before the first stage: nothing was tested, and that is a failure.
stop() {
    say "$1"
    say "Total: 0 passed, 1 failed, 0 skipped"
    exit 1
}

say "[0/$N_STAGES] What must be here, and the build"
require compiler cxx pkg-config clinfo opencl-loader ||
    stop "Can't go on without these."
require opencl-headers meson ninja jansson cairo fonts criterion pocl ||
    stop "Can't go on without these."
require clang clang-format clang-tidy ||
    note "style is checked in part only"
# In CI the project's own warnings are errors; elsewhere another compiler's must stop nobody.
werror=false
[ "${CI:-}" != true ] || werror=true
build_in build -Dtests=enabled -Dexamples=enabled -Dwerror=$werror || stop "The build failed."

declare -A WHAT=(
    [style]="formatting, OpenCL C 1.2, clang-tidy"
    [header]="the public header alone, and its man page"
    [unit]="tests that need no device"
    [package]="the README's program against the installed library"
    [pocl]="all tests on PoCL"
    [intel]="all tests on the Intel CPU runtime"
    [llvmpipe]="reduced set on llvmpipe"
    [oclgrind]="reduced set under Oclgrind"
    [asan]="single-feature tests with AddressSanitizer and UBSan"
    [tsan]="shared engine and plan with ThreadSanitizer"
)
for stage in "${STAGES[@]}"; do
    run_stage "$stage" "${WHAT[$stage]}"
done

say
printf '%-9s %8s %8s %8s %8s\n' stage passed failed skipped time
printf '%s\n' "${TABLE[@]}"
say
say "Logs: $TOOLS_LOGS"
say "Total: $PASSED passed, $FAILED failed, $SKIPPED skipped"
[ "$FAILED" = 0 ]
