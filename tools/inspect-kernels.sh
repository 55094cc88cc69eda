#!/usr/bin/env bash
# What compilers make of the kernels: no vector may be spilt in a hot loop of what runs on PoCL by
# default, and a table of registers, spills and local memory on GPUs, by their offline compilers.
#
#   tools/inspect-kernels.sh [--shapes TEXT] [--cpu | --gpu]
#
# --shapes      parts of the benchmark's shapes or their names, by commas (default: all)
# --cpu, --gpu  only one of the two
#
# For GPUs it takes what is installed: clang with libclc, and ptxas (NVIDIA) or ocloc (Intel).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
TOOLS_LOGS=build/tools-logs
# shellcheck source=tools/packages.sh
. tools/packages.sh

BUILD=build-bench
PEERS=$TOOLS_CACHE/bench

what=both
shapes=
while [ $# -gt 0 ]; do
    case $1 in
    --cpu | --gpu) what=${1#--} ;;
    --shapes)
        [ $# -ge 2 ] || fail "$1 needs a value"
        shapes=$2
        shift
        ;;
    -h | --help)
        sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
        exit 0
        ;;
    *) fail "unknown option $1; try --help" ;;
    esac
    shift
done

build_released "$BUILD" mha-bench-opencl mha-programs || fail "the kernels can't be compiled"

status=0
if [ "$what" != gpu ]; then
    require pocl || fail "PoCL can't be installed"
    plotting_python "$PEERS" || fail "numpy and matplotlib could not be installed"
    vendors=$(mktemp -d)
    trap 'rm -rf "$vendors"' EXIT
    one_vendor "$vendors" "$(icd_file pocl)"
    "$PEERS/bin/python" tools/inspect/loops.py --opencl "$BUILD/tools/mha-bench-opencl" \
        --vendors "$vendors" --shapes "$shapes" || status=$?
fi
if [ "$what" != cpu ]; then
    python3 tools/inspect/registers.py "$BUILD/tools/mha-programs" || status=$?
fi
exit "$status"
