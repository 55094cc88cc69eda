# shellcheck shell=bash
# Sourced by run-tests.sh: the example programs that run whole models, and the layers of other
# libraries.

# The user's own cache, which XDG_CACHE_HOME does not name in a test run.
MODELS=$(dirname "$TOOLS_CACHE")/mha-cl/models
MODELS_PYTHON=$TOOLS_CACHE/models/bin/python
PHOTO=examples/data/coffee-224.png
SENTENCE="The animal didn't cross the street because it was too tired"

# get_models [--references]: returns 1, after a skip or a failure, where there are no weights.
get_models() {
    local code=0 said=$SCRATCH/get-models
    XDG_CACHE_HOME=$(dirname "$TOOLS_CACHE") tools/get-models.sh "$@" 2>&1 | tee "$said" ||
        code=${PIPESTATUS[0]}
    case $code in
    0) return 0 ;;
    3) skip "models: $(sed -n 's/^get-models.sh: //p' "$said" | tail -n 1)" ;;
    *) count 0 1 0 "tools/get-models.sh failed (exit $code)" ;;
    esac
    return 1
}

# run_model BUILD LOG PROGRAM INPUT OPTION...: with what it says also in LOG.
run_model() {
    local build=$1 log=$2 program=$3
    shift 3
    timeout --foreground --kill-after=10 300 "$build/examples/$program" "$@" --models "$MODELS" \
        2>&1 | tee "$log"
}

# model PROGRAM INPUT OPTION...: runs it and compares the embeddings, each layer's output and
# attention, and the whole model's with the reference. In: models_on's dtype and dir.
model() {
    local program=$1 input=$2
    local dump=$dir/$1.safetensors reference=$dir/$1-reference.safetensors
    local -a limits=(--limit 1e-4)
    # ViT's layer 3 has large logits, which amplify what rounding q and k to fp16 changes: done in
    # double precision apart from that rounding, its attention is 9.9e-3 off.
    case $program/$dtype in
    vit/f16) limits=(--limit 1e-2 --attention-limit 2e-2) ;;
    */f16) limits=(--limit 1e-2) ;;
    esac
    shift 2
    attempt "$program in $dtype" run_model build "$dir/$program.log" "$program" "$input" \
        --out "$dir/$program.png" --dump "$dump" --dtype "$dtype" "$@" || return 1
    attempt "its reference" "$MODELS_PYTHON" tests/model_references.py "$program" "$input" \
        --models "$MODELS" --dump "$dump" --out "$reference" || return 1
    counted "$MODELS_PYTHON" tests/compare_models.py "$dump" "$reference" "${limits[@]}"
}

# looks_at LAYER HEAD WEIGHT: what "it" looks at in the sentence's figure.
looks_at() {
    local line="layer $1 head $2: it -> animal $3"
    run_model build "$dir/looks.log" sentence "$SENTENCE" --out "$dir/looks.png" --word it \
        --layer "$1" --head "$2" >/dev/null && grep -Fx "$line" "$dir/looks.log"
}

# Any size and kind of photo is accepted.
reads_jpeg() {
    "$MODELS_PYTHON" -c 'import sys; from PIL import Image
Image.open(sys.argv[1]).resize((500, 300)).save(sys.argv[2])' "$PHOTO" "$dir/photo.jpg" &&
        run_model build "$dir/jpeg.log" vit "$dir/photo.jpg" --out "$dir/jpeg.png" >/dev/null &&
        [ -s "$dir/jpeg.png" ]
}

# models_on RUNTIME DTYPE: both programs on the runtime in sight.
models_on() {
    local runtime=$1 dtype=$2 dir=$SCRATCH/models/$1-$2 bad=0
    mkdir -p "$dir"
    say
    say "$runtime, $dtype: $(opencl_devices)"
    model vit "$PHOTO" || bad=1
    model sentence "$SENTENCE" || bad=1
    if [ "$dtype" = f32 ]; then
        attempt "layer 3 head 1" looks_at 3 1 0.640 || bad=1
        attempt "layer 5 head 11" looks_at 5 11 0.647 || bad=1
        if grep -q photo_jpeg.c build/compile_commands.json; then
            attempt "vit on a JPEG of 500 x 300" reads_jpeg || bad=1
        else
            skip "vit is built without libjpeg"
        fi
    fi
    return "$bad"
}

stage_models() {
    local program bad=0
    for program in vit sentence; do
        [ -x "build/examples/$program" ] || {
            say "there is no build/examples/$program"
            return 1
        }
    done
    get_models --references || return 0
    say
    say "The references themselves"
    counted "$MODELS_PYTHON" tests/model_references.py self-check --models "$MODELS" || bad=1
    only_pocl
    models_on PoCL f32 || bad=1
    if [ "$QUICK" = 0 ]; then
        models_on PoCL f16 || bad=1
        if only_intel; then
            if [ -n "$(opencl_devices)" ]; then
                models_on Intel f32 || bad=1
                models_on Intel f16 || bad=1
            else
                skip "the Intel runtime is installed, but has no device on this machine"
            fi
        fi
    fi
    return "$bad"
}

# An environment with the system's PyTorch, which unlike the Python package index's comes without
# 3 GB for CUDA, and with ONNX Runtime. In: an environment that get_models made, for its pip.
PEERS_PYTHON=$TOOLS_CACHE/peers/bin/python
PEERS_PACKAGES=(onnxruntime==1.23.2 flatbuffers==25.9.23 packaging==25.0 protobuf==6.33.0
    onnx==1.19.1 ml_dtypes==0.5.3 typing_extensions==4.15.0 safetensors==0.6.2)

peers_python() {
    local stamp=$TOOLS_CACHE/peers/.installed
    require pytorch || return 1
    "$PEERS_PYTHON" -c 'import torch' 2>/dev/null || {
        rm -rf "$TOOLS_CACHE/peers"
        quietly peers-venv /usr/bin/python3 -m venv --without-pip --system-site-packages \
            "$TOOLS_CACHE/peers" || return 1
    }
    [ "$(cat "$stamp" 2>/dev/null)" != "${PEERS_PACKAGES[*]}" ] || return 0
    quietly peers-pip "$MODELS_PYTHON" -m pip --python "$PEERS_PYTHON" install --no-cache-dir \
        --progress-bar off --no-deps --only-binary :all: --retries 2 "${PEERS_PACKAGES[@]}" &&
        printf '%s\n' "${PEERS_PACKAGES[*]}" >"$stamp"
}

# The script skips what its Python lacks.
stage_peers() {
    local script=tests/layer_peers.py python=$PEERS_PYTHON
    [ -f "$script" ] || {
        skip "there is no $script"
        return 0
    }
    get_models --references || return 0
    only_pocl
    peers_python || {
        skip "PyTorch can't be had"
        python=$MODELS_PYTHON
    }
    counted "$python" "$script" build/tests/mha-layer-run
}
