#!/usr/bin/env bash
# From a fresh machine to pictures of what attention looks at: installs what is missing, builds into
# build/, runs the examples on this machine's best OpenCL device: attention of the values in
# examples/data, then two whole models, whose weights (250 MB) it gets where they can be had.
#
#   tools/quickstart.sh [--device NAME] [--photo FILE]
#
# --device  part of a device's or platform's name
# --photo   a PNG or JPEG for the vision transformer (default: examples/data/coffee-224.png)
#
# Safe to run again; a second run installs nothing.
set -euo pipefail
caller=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
TOOLS_LOGS=build/tools-logs
# shellcheck source=tools/packages.sh
. tools/packages.sh

device=()
photo=examples/data/coffee-224.png
while [ $# -gt 0 ]; do
    case $1 in
    --device)
        [ $# -ge 2 ] || fail "--device needs a name"
        device=(--device "$2")
        shift 2
        ;;
    --photo)
        [ $# -ge 2 ] || fail "--photo needs a file"
        # As the caller sees it, who may be in another folder.
        photo=$2
        [[ $photo == /* ]] || photo=$caller/$photo
        [ -f "$photo" ] || fail "there is no photo $photo"
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
variant() { sed -nE "s/^$1: variant ([^ ,]+).*/\1/p" "$TOOLS_LOGS/attention-photo.log"; }

pictures=()

# draw NAME PROGRAM INPUT [OPTION...]: build/NAME.png, and what the program says.
draw() {
    local log=$TOOLS_LOGS/$1.log picture=build/$1.png program=$2 code=0
    shift 2
    rm -f "$picture"
    "build/examples/$program" "$@" --out "$picture" ${device[@]+"${device[@]}"} \
        >"$log" 2>&1 </dev/null || code=$?
    sed 's/^/      /' "$log"
    [ "$code" = 0 ] || fail "the example $program failed (exit $code) on $1;" \
        "with several devices, --device NAME chooses another"
    [ -s "$picture" ] || fail "the example $program drew no $picture"
    pictures+=("$PWD/$picture")
}

say "[1/6] What this machine has"
# The compiler and clinfo first: other probes ask them.
require compiler pkg-config clinfo opencl-loader ||
    fail "can't go on without these"
require opencl-device opencl-headers meson ninja jansson zlib cairo glib fonts ||
    fail "can't go on without these"
require libjpeg ||
    note "going on without: photos must be PNG"
opencl_devices | sed 's/^/      OpenCL device: /'

say "[2/6] Building into build/"
build_in build -Dexamples=enabled || fail "the build failed"

say "[3/6] Attention of a sentence: what does \"it\" look at?"
draw attention-sentence attention-map examples/data/sentence.safetensors --word it

say "[4/6] Attention over a photo: where does the vision transformer look?"
draw attention-photo attention-map examples/data/photo.safetensors \
    --photo examples/data/coffee-224.png

say "[5/6] The weights of two whole models"
code=0
tools/get-models.sh 2>&1 || code=$?
case $code in
0)
    say "[6/6] The whole models, from a photo and a sentence"
    draw vit vit "$photo"
    draw sentence sentence "The animal didn't cross the street because it was too tired" \
        --word it --layer 3 --head 1
    ;;
3) say "[6/6] The whole models: left out, their weights can't be had here" ;;
*) fail "tools/get-models.sh failed (exit $code)" ;;
esac

say
printf 'Pictures:  %s\n' "${pictures[0]}"
printf '           %s\n' "${pictures[@]:1}"
say "Device:    $(sed -n 's/^device: //p' "$TOOLS_LOGS/attention-photo.log")"
say "Variant:   $(variant output) for the output, $(variant weights) for the weights"
