#!/usr/bin/env bash
# Installs what is missing, builds, and runs every test on every device kind:
#
#   style      formatting, clang-tidy, and each kernel program through clang's OpenCL C 1.2
#   header     mha_cl.h alone as C11 and C++17, warnings as errors; its man page
#   unit       tests that need no device
#   tune       mha-tune: files, search, faulty workers, commands; a short run on PoCL
#   package    the README's program against the installed library: pkg-config, CMake, subproject
#   pocl       every test on PoCL
#   intel      every test on the Intel CPU runtime
#   llvmpipe   a reduced set on Mesa's llvmpipe
#   models     vit and sentence, layer by layer against their references, on PoCL and Intel
#   peers      the layer against those of other libraries, on PoCL
#   oclgrind   a reduced set under Oclgrind: data races, uninitialised values, API misuse
#   asan       single features, layers and both models with AddressSanitizer and UBSan, on PoCL
#   tsan       one engine and one plan shared by threads, with ThreadSanitizer, on PoCL
#
#   tools/run-tests.sh [--devices pocl,intel,llvmpipe,models,peers,oclgrind,asan,tsan] [--quick]
#
# --devices  only these of the last eight (default: all)
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

KINDS="pocl intel llvmpipe models peers oclgrind asan tsan"
DEVICES=${KINDS// /,}
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
    [[ " $KINDS " == *" $device "* ]] || fail "no device kind called $device; known: $KINDS"
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
# A stage is a function stage_NAME, run in a subshell. It calls `count` or `skip`, or what calls
# them: `attempt`, `counted`, `criterion`. One that calls none is one test, passed when it exits 0.

STAGES=() TABLE=() FAILURES=()
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
    [ "$failed" = 0 ] || FAILURES+=("$name")
    TABLE+=("$(printf '%-9s %8d %8d %8d %7ds  %s' "$name" "$passed" "$failed" "$skipped" \
        $((SECONDS - begun)) "$reason")")
    say "      $name: $passed passed, $failed failed, $skipped skipped in $((SECONDS - begun)) s"
}

# attempt WHAT COMMAND...: one test.
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

# counted COMMAND...: counts the last "N passed, N failed" that it prints; ", N skipped" may follow.
# LIMIT: seconds it may take. Returns 1 when anything failed.
counted() {
    local code=0 passing='' failing=0 skipped=0
    timeout --foreground --kill-after=10 "${LIMIT:-600}" "$@" 2>&1 | tee "$SCRATCH/out" ||
        code=${PIPESTATUS[0]}
    read -r passing failing skipped < <(sed -nE \
        's/^(.*[^0-9])?([0-9]+) passed, ([0-9]+) failed(, ([0-9]+) skipped)?.*/\2 \3 0\5/p' \
        "$SCRATCH/out" | tail -n 1) || true
    if [ -z "$passing" ]; then
        say "ended without a summary (exit $code)"
        passing=0 failing=1
    elif [ "$code" != 0 ] && [ "$failing" = 0 ]; then
        say "exit $code, although no test failed"
        failing=1
    fi
    count "$passing" "$failing" "$((10#${skipped:-0}))"
    [ "$failing" = 0 ]
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

# shellcheck source=tools/test-stages.sh
. tools/test-stages.sh
# shellcheck source=tools/test-devices.sh
. tools/test-devices.sh
# shellcheck source=tools/test-models.sh
. tools/test-models.sh

# ---- All of it ---------------------------------------------------------------------------------

STAGES=(style header unit tune package)
for device in $KINDS; do
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
require opencl-headers meson ninja jansson zlib cairo glib fonts criterion pocl ||
    stop "Can't go on without these."
require libjpeg ||
    note "vit will read no JPEG"
require clang clang-format clang-tidy ||
    note "style is checked in part only"
# In CI the project's own warnings are errors; elsewhere another compiler's must stop nobody.
werror=false
[ "${CI:-}" != true ] || werror=true
build_in build -Dtests=enabled -Dexamples=enabled -Dtune=enabled -Dwerror=$werror || stop "The build failed."

declare -A WHAT=(
    [style]="formatting, OpenCL C 1.2, clang-tidy"
    [header]="the public header alone, and its man page"
    [unit]="tests that need no device"
    [tune]="mha-tune's own tests, and a short run on PoCL"
    [package]="the README's program against the installed library"
    [pocl]="all tests on PoCL"
    [intel]="all tests on the Intel CPU runtime"
    [llvmpipe]="reduced set on llvmpipe"
    [models]="two real models, layer by layer, against their references"
    [peers]="the layer against those of other libraries"
    [oclgrind]="reduced set under Oclgrind"
    [asan]="single features, layers and models with AddressSanitizer and UBSan"
    [tsan]="shared engine and plan with ThreadSanitizer"
)
for stage in "${STAGES[@]}"; do
    run_stage "$stage" "${WHAT[$stage]}"
done

say
printf '%-9s %8s %8s %8s %8s\n' stage passed failed skipped time
printf '%s\n' "${TABLE[@]}"
for stage in ${FAILURES[@]+"${FAILURES[@]}"}; do
    say
    say "What failed in $stage:"
    grep -E -A 6 'FAIL|Assertion|CRASH|error:|warning:' "$TOOLS_LOGS/stage-$stage.log" | head -n 40 || true
done
say
say "Logs: $TOOLS_LOGS"
say "Total: $PASSED passed, $FAILED failed, $SKIPPED skipped"
[ "$FAILED" = 0 ]
