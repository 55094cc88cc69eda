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
# --latency        instead, host time: plans and first calls with an empty cache and in new processes
#                  after it, an enqueue beyond the kernels and arguments that it gives to OpenCL;
#                  checks no output
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
unset peers
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

program=mha-bench-opencl
if [ "$latency" = 1 ]; then
    [ "$install" = 0 ] && [ -z "${peers+given}" ] && [ "${#options[@]}" = 0 ] ||
        fail "--latency goes with --devices only"
    program=mha-bench-latency
fi
build_released "$BUILD" "$program" || fail "the benchmark can't be built"

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

[ "${#names[@]}" -gt 0 ] || fail "there is no device in --devices"

if [ "$latency" = 1 ]; then
    for i in "${!names[@]}"; do (
        [ -z "${folders[i]}" ] || export OCL_ICD_VENDORS=${folders[i]}
        export XDG_CACHE_HOME=$vendors/cache-$i POCL_CACHE_DIR=$vendors/pocl-cache-$i
        export CUDA_CACHE_PATH=$vendors/cuda-cache-$i
        for state in "empty cache" "new processes"; do
            printf '%s\n' "$state"
            for shape in 0 1 2; do
                "$BUILD/tools/mha-bench-latency" "${names[i]}" "$shape"
            done
        done
    ); done
    exit 0
fi

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
"$PEERS/bin/python" tools/bench/bench.py --opencl "$BUILD/tools/$program" \
    --peers "${peers-torch,onnxruntime,openvino}" "${options[@]}"
