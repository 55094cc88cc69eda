#!/usr/bin/env bash
# libmha-cl beside PyTorch, ONNX Runtime, OpenVINO and CLBlast, measured in turn in one run, on every
# OpenCL device at hand. Checks every output before it times anything.
#
#   tools/bench.sh [--quick] [--shapes TEXT] [--devices pocl,intel,...] [--peers torch,...]
#                  [--json FILE] [--chart FILE] [--install-peers]
#   tools/bench.sh --latency [--devices pocl,intel,...]
#
# --quick          three attention shapes and a layer; less than a minute
# --shapes         parts of the shapes or their names, by commas, such as "decode,N197"
# --devices        pocl, intel (the Intel CPU runtime, which is installed if need be), or parts of
#                  names of devices (default: pocl and, once it was installed, intel)
# --peers          of torch, onnxruntime, openvino (default: all that are installed)
# --json, --chart  the figures; a bar chart, PNG or SVG by the file's name
# --install-peers  the latest peers, several GB, into a Python environment of the tools' own
# --latency        instead, host time: plans and first calls with an empty cache and in a new process
#                  after it, an enqueue beyond the OpenCL calls that it makes
set -euo pipefail
caller=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
TOOLS_LOGS=build/tools-logs
# shellcheck source=tools/packages.sh
. tools/packages.sh

BUILD=build-bench
PEERS=$TOOLS_CACHE/bench
PEER_PACKAGES=(torch onnxruntime onnx openvino numpy matplotlib)

devices=pocl
[ ! -e "$TOOLS_CACHE/intel/lib/libintelocl.so" ] || devices=pocl,intel
peers=torch,onnxruntime,openvino
install=0
latency=0
options=()
while [ $# -gt 0 ]; do
    case $1 in
    --quick) options+=("$1") ;;
    --install-peers) install=1 ;;
    --latency) latency=1 ;;
    --shapes | --devices | --peers | --json | --chart)
        [ $# -ge 2 ] || fail "$1 needs a value"
        case $1 in
        --devices) devices=$2 ;;
        --peers) peers=$2 ;;
        --shapes) options+=("$1" "$2") ;;
        # As the caller sees it, who may be in another folder.
        *) [[ $2 == /* ]] && options+=("$1" "$2") || options+=("$1" "$caller/$2") ;;
        esac
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

# Names of devices, and where each one's vendor is named; nowhere: all vendors.
names=()
folders=()
vendors=$(mktemp -d)
trap 'rm -rf "$vendors"' EXIT
for device in ${devices//,/ }; do
    case $device in
    pocl)
        require pocl || fail "PoCL can't be installed"
        one_vendor "$vendors/pocl" "$(icd_file pocl)"
        names+=("Portable")
        folders+=("$vendors/pocl")
        ;;
    intel)
        library=$(intel_library) || fail "the Intel CPU runtime can't be installed"
        one_vendor "$vendors/intel" "$library"
        names+=("Intel(R) OpenCL")
        folders+=("$vendors/intel")
        ;;
    *)
        names+=("$device")
        folders+=("")
        ;;
    esac
done

if [ "$latency" = 1 ]; then
    build_released "$BUILD" mha-bench-latency || fail "the benchmark can't be built"
    for i in "${!names[@]}"; do (
        [ -z "${folders[i]}" ] || export OCL_ICD_VENDORS=${folders[i]}
        export XDG_CACHE_HOME=$vendors/cache-$i POCL_CACHE_DIR=$vendors/pocl-cache-$i
        for state in "empty cache" "new process"; do
            printf '%s: ' "$state"
            "$BUILD/tools/mha-bench-latency" "${names[i]}"
        done
    ); done
    exit 0
fi

build_released "$BUILD" mha-bench-opencl || fail "the benchmark can't be built"

if [ "$install" = 1 ]; then
    [ -x "$PEERS/bin/python" ] || quietly bench-venv python3 -m venv "$PEERS"
    quietly bench-pip "$PEERS/bin/pip" install --no-cache-dir --progress-bar off --only-binary :all: \
        --upgrade "${PEER_PACKAGES[@]}" || fail "the peers could not be installed"
fi
[ -x "$PEERS/bin/python" ] || note "there are no peers; --install-peers gets them"
plotting_python "$PEERS" || fail "numpy and matplotlib could not be installed"

for i in "${!names[@]}"; do
    options+=(--device "${names[i]}${folders[i]:+=${folders[i]}}")
done
"$PEERS/bin/python" tools/bench/bench.py --opencl "$BUILD/tools/mha-bench-opencl" --peers "$peers" \
    "${options[@]}"
