#!/usr/bin/env bash
# From a fresh machine to two pictures of what attention looks at: installs what is missing, builds
# into build/, runs the example on this machine's best OpenCL device.
#
#   tools/quickstart.sh [--device NAME]      NAME: part of a device's or platform's name
#
# Safe to run again; a second run installs nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
TOOLS_LOGS=build/tools-logs
# shellcheck source=tools/packages.sh
. tools/packages.sh

device=()
while [ $# -gt 0 ]; do
    case $1 in
    --device)
        [ $# -ge 2 ] || fail "--device needs a name"
        device=(--device "$2")
        shift 2
        ;;
    -h | --help)
        sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
        exit 0
        ;;
    *) fail "unknown option $1; try --help" ;;
    esac
done

# The variant the photo's run reported: `variant output`.
variant() { sed -nE "s/^$1: variant ([^ ,]+).*/\1/p" "$TOOLS_LOGS/photo.log"; }

draw() {
    local name=$1 picture=build/attention-$1.png code=0
    shift
    rm -f "$picture"
    build/examples/attention-map "examples/data/$name.safetensors" --out "$picture" "$@" \
        ${device[@]+"${device[@]}"} >"$TOOLS_LOGS/$name.log" 2>&1 </dev/null || code=$?
    sed 's/^/      /' "$TOOLS_LOGS/$name.log"
    [ "$code" = 0 ] || fail "the example failed (exit $code) on $name.safetensors;" \
        "with several devices, --device NAME chooses another"
    [ -s "$picture" ] || fail "the example drew no $picture"
}

say "[1/4] What this machine has"
# The compiler and clinfo first: other probes ask them.
require compiler pkg-config clinfo opencl-loader ||
    fail "can't go on without these"
require opencl-device opencl-headers meson ninja jansson cairo fonts ||
    fail "can't go on without these"
opencl_devices | sed 's/^/      OpenCL device: /'

say "[2/4] Building into build/"
build_in build -Dexamples=enabled || fail "the build failed"

say "[3/4] A sentence: what does \"it\" look at?"
draw sentence --word it

say "[4/4] A photo: where does the vision transformer look?"
draw photo --photo examples/data/coffee-224.png

say
say "Pictures:  $PWD/build/attention-sentence.png"
say "           $PWD/build/attention-photo.png"
say "Device:    $(sed -n 's/^device: //p' "$TOOLS_LOGS/photo.log")"
say "Variant:   $(variant output) for the output, $(variant weights) for the weights"
