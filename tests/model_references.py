#!/usr/bin/env python3
"""Reference activations of the two example models, from the files that tools/get-models.sh gets.

Usage: model_references.py vit [PHOTO] [--dump FILE] --out FILE [--models FOLDER]
       model_references.py sentence [TEXT] [--dump FILE] --out FILE [--models FOLDER]
       model_references.py self-check [--models FOLDER]

vit         runs the package's own ONNX file on ONNX Runtime
sentence    computes the published arithmetic of BERT in double precision
self-check  the converted weights against the ONNX file, block by block, and against examples/data
--dump      what the example program saw and computed; its `pixels` or `token_ids` are the input, so
            that another way of resizing a photo makes no difference. Where the photo or the text is
            given too, the program's preparation of it is checked: a photo must then be 224 x 224.
--models    default: ${XDG_CACHE_HOME:-$HOME/.cache}/mha-cl/models

Written are `embeddings` (the first layer's input), `layer.N.output` [tokens][width],
`layer.N.attention` [heads][tokens][tokens], and `embedding`: the CLS token after the last layer
norm, or the pooled sentence. compare_models.py compares them.
"""

from __future__ import annotations

import argparse
import math
import os
import pathlib
import sys

import numpy as np
import safetensors
import safetensors.numpy

Tensors = dict[str, np.ndarray]

TOP = pathlib.Path(__file__).resolve().parent.parent
SENTENCE = "The animal didn't cross the street because it was too tired"
# Layers agree far better than this where the arithmetic is the same.
LIMIT = 1e-4


class Problem(Exception):
    """Something that the caller should read, without a traceback."""


def relative_error(value: np.ndarray, reference: np.ndarray) -> float:
    value, reference = value.astype(np.float64), reference.astype(np.float64)
    return float(np.max(np.abs(value - reference)) / np.max(np.abs(reference)))


# ---- Arithmetic in double precision --------------------------------------------------------------


class Model:
    """A converted model: its weights in double precision, and what its metadata says."""

    def __init__(self, path: pathlib.Path) -> None:
        with safetensors.safe_open(path, "np") as file:
            self.metadata = file.metadata()
            self.weights = {name: file.get_tensor(name).astype(np.float64) for name in file.keys()}
        self.layers, self.heads = int(self.metadata["layers"]), int(self.metadata["heads"])
        self.scale = float(self.metadata["attention_scale"])
        self.epsilon = float(self.metadata["layer_norm_epsilon"])

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def norm(self, name: str, x: np.ndarray) -> np.ndarray:
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = np.mean(centred * centred, axis=-1, keepdims=True)
        scaled = centred / np.sqrt(variance + self.epsilon)
        return scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def attention(self, name: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The projected output, and the weights [heads][tokens][tokens]."""
        tokens, width = x.shape
        qkv = self.linear(f"{name}.qkv", x).reshape(tokens, 3, self.heads, -1)
        q, k, v = qkv.transpose(1, 2, 0, 3)
        scores = self.scale * q @ k.transpose(0, 2, 1)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        merged = (weights @ v).transpose(1, 0, 2).reshape(tokens, width)
        return self.linear(f"{name}.proj", merged), weights

    def mlp(self, name: str, x: np.ndarray) -> np.ndarray:
        return self.linear(f"{name}.fc2", gelu(self.linear(f"{name}.fc1", x)))


# NumPy has no error function.
erf = np.vectorize(math.erf, otypes=[np.float64])


def gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + erf(x / math.sqrt(2)))


def patches(pixels: np.ndarray, size: int) -> np.ndarray:
    """[patch][channel * y * x], the patches row by row."""
    channels, height, width = pixels.shape
    blocks = pixels.reshape(channels, height // size, size, width // size, size)
    return blocks.transpose(1, 3, 0, 2, 4).reshape(-1, channels * size * size)


def vit_in_double(model: Model, pixels: np.ndarray) -> Tensors:
    weights, size = model.weights, int(model.metadata["patch_size"])
    embedded = model.linear("patch_embed", patches(pixels.astype(np.float64), size))
    x = np.concatenate([weights["cls_token"][None], embedded]) + weights["pos_embed"]
    result = {"embeddings": x}
    for number in range(model.layers):
        block = f"blocks.{number}"
        attended, result[f"layer.{number}.attention"] = model.attention(
            block, model.norm(f"{block}.norm1", x))
        x = x + weights[f"{block}.ls1"] * attended
        x = x + weights[f"{block}.ls2"] * model.mlp(f"{block}.mlp", model.norm(f"{block}.norm2", x))
        result[f"layer.{number}.output"] = x
    result["embedding"] = model.norm("norm", x)[0]
    return result


def sentence_in_double(model: Model, token_ids: np.ndarray) -> Tensors:
    weights = model.weights
    x = model.norm("embeddings.norm", weights["embeddings.word"][token_ids]
                   + weights["embeddings.position"][: len(token_ids)]
                   + weights["embeddings.token_type"][0])
    result = {"embeddings": x}
    for number in range(model.layers):
        layer = f"layers.{number}"
        attended, result[f"layer.{number}.attention"] = model.attention(layer, x)
        x = model.norm(f"{layer}.norm1", x + attended)
        x = model.norm(f"{layer}.norm2", x + model.mlp(f"{layer}.mlp", x))
        result[f"layer.{number}.output"] = x
    mean = x.mean(axis=0)
    result["embedding"] = mean / np.linalg.norm(mean)
    return result


# ---- ONNX Runtime --------------------------------------------------------------------------------


def vit_on_onnx_runtime(path: pathlib.Path, layers: int, pixels: np.ndarray) -> Tensors:
    """The package's graph as it is, with what is inside of it as further outputs."""
    import onnx
    import onnxruntime

    backbone = "/backbone"
    values = {
        "embeddings": f"{backbone}/embeddings/Add_output_0",
        "embedding": f"{backbone}/layernorm/Add_1_output_0",
    }
    for number in range(layers):
        block = f"{backbone}/encoder/layer.{number}"
        values[f"layer.{number}.output"] = f"{block}/Add_1_output_0"
        values[f"layer.{number}.attention"] = f"{block}/attention/attention/Softmax_output_0"
    graph = onnx.load(path)
    for value in values.values():
        graph.graph.output.append(
            onnx.helper.make_tensor_value_info(value, onnx.TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    # Node by node, as the graph is written: nothing fused away, nothing approximated.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options,
                                           providers=["CPUExecutionProvider"])
    outputs = session.run(list(values.values()), {session.get_inputs()[0].name: pixels[None]})
    result = {name: output[0] for name, output in zip(values, outputs, strict=True)}
    result["embedding"] = result["embedding"][0]
    return result


# ---- Input ---------------------------------------------------------------------------------------


def photo_pixels(path: pathlib.Path, metadata: dict[str, str]) -> np.ndarray:
    from PIL import Image

    size = int(metadata["image_size"])
    image = Image.open(path).convert("RGB")
    if image.size != (size, size):
        raise Problem(f"{path} is not {size} x {size}: give the program's dump and no photo")
    mean, std = (np.array(metadata[key].split(), dtype=np.float64)
                 for key in ("pixel_mean", "pixel_std"))
    return ((np.asarray(image) / 255 - mean) / std).transpose(2, 0, 1).astype(np.float32)


def tokenise(models: pathlib.Path, text: str, limit: int) -> np.ndarray | None:
    """None where the package is missing."""
    try:
        from tokenizers import Tokenizer
    except ImportError:
        return None
    tokenizer = Tokenizer.from_file(str(models / "tokenizer.json"))
    # The file's own settings fill up to 128 tokens and cut what is longer.
    tokenizer.no_padding()
    tokenizer.enable_truncation(limit)
    return np.array(tokenizer.encode(text).ids, dtype=np.int32)


def dumped(path: pathlib.Path, name: str) -> np.ndarray:
    with safetensors.safe_open(path, "np") as file:
        if name not in file.keys():
            raise Problem(f"{path} holds no {name}")
        return file.get_tensor(name)


def vit_input(arguments: argparse.Namespace, metadata: dict[str, str]) -> np.ndarray:
    if not arguments.dump:
        return photo_pixels(arguments.photo, metadata)
    pixels = dumped(arguments.dump, "pixels").astype(np.float32)
    if arguments.photo:
        error = relative_error(pixels, photo_pixels(arguments.photo, metadata))
        print(f"pixels: error {error:.1e} against the photo")
        if not error <= 1e-5:
            raise Problem("the program prepared the photo otherwise")
    return pixels


def sentence_input(arguments: argparse.Namespace, metadata: dict[str, str]) -> np.ndarray:
    expected = None
    if arguments.text is not None:
        expected = tokenise(arguments.models, arguments.text, int(metadata["max_tokens"]))
    if not arguments.dump:
        if expected is None:
            raise Problem("without the package tokenizers the dump is needed")
        return expected
    token_ids = dumped(arguments.dump, "token_ids").reshape(-1)
    if expected is not None:
        if not np.array_equal(token_ids, expected):
            raise Problem(f"the program's tokens are {token_ids.tolist()},"
                          f" those of the package tokenizers {expected.tolist()}")
        print(f"token_ids: the {len(expected)} that the package tokenizers gives")
    elif arguments.text is not None:
        print("token_ids: not checked, the package tokenizers is not here")
    return token_ids


# ---- Self-check ----------------------------------------------------------------------------------


class Checks:
    def __init__(self) -> None:
        self.passed = self.failed = 0

    def check(self, what: str, error: float, limit: float = LIMIT) -> None:
        good = error <= limit
        self.passed, self.failed = self.passed + good, self.failed + (not good)
        print(f"{what}: {error:.1e}{'' if good else f' FAILED, limit {limit:.0e}'}")


def check_vit(checks: Checks, models: pathlib.Path, data: pathlib.Path) -> None:
    model = Model(models / "vit.safetensors")
    pixels = photo_pixels(data / "coffee-224.png", model.metadata)
    reference = vit_on_onnx_runtime(models / "vit.onnx", model.layers, pixels)
    for name, value in vit_in_double(model, pixels).items():
        checks.check(f"vit {name}", relative_error(value, reference[name]))
    last = reference[f"layer.{model.layers - 1}.attention"][:, 0]
    committed = safetensors.numpy.load_file(data / "photo.safetensors")["weights_cls"][0]
    checks.check("vit CLS attention, examples/data", relative_error(last, committed))


def check_sentence(checks: Checks, models: pathlib.Path, data: pathlib.Path) -> None:
    model = Model(models / "sentence.safetensors")
    vocabulary = (models / "vocab.txt").read_text(encoding="utf-8").splitlines()
    words = "[CLS] the animal didn ' t cross the street because it was too tired [SEP]".split()
    token_ids = np.array([vocabulary.index(word) for word in words])
    tokenised = tokenise(models, SENTENCE, int(model.metadata["max_tokens"]))
    if tokenised is not None:
        checks.check("sentence tokens", float(not np.array_equal(token_ids, tokenised)), 0)
    result = sentence_in_double(model, token_ids)
    committed = safetensors.numpy.load_file(data / "sentence.safetensors")["weights"][0]
    checks.check("sentence layer 3 attention, examples/data",
                 relative_error(result["layer.3.attention"], committed))
    it, animal = words.index("it"), words.index("animal")
    for layer, head, expected in ((3, 1, 0.640), (5, 11, 0.647)):
        weight = result[f"layer.{layer}.attention"][head, it, animal]
        checks.check(f"sentence layer {layer} head {head} it -> animal {weight:.4f}",
                     abs(weight - expected), 5e-4)


def self_check(models: pathlib.Path) -> int:
    checks = Checks()
    check_vit(checks, models, TOP / "examples/data")
    check_sentence(checks, models, TOP / "examples/data")
    print(f"{checks.passed} passed, {checks.failed} failed")
    return int(checks.failed != 0)


# ---- Command line --------------------------------------------------------------------------------


def write(path: pathlib.Path, tensors: Tensors) -> None:
    plain = {name: np.ascontiguousarray(t, dtype=np.float32) for name, t in tensors.items()}
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    safetensors.numpy.save_file(plain, fresh)
    fresh.replace(path)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("vit", "sentence", "self-check"):
        command = commands.add_parser(name)
        command.add_argument("--models", type=pathlib.Path, metavar="FOLDER",
                             default=pathlib.Path(cache) / "mha-cl/models")
        if name == "vit":
            command.add_argument("photo", type=pathlib.Path, nargs="?")
        if name == "sentence":
            command.add_argument("text", nargs="?")
        if name != "self-check":
            command.add_argument("--dump", type=pathlib.Path, metavar="FILE")
            command.add_argument("--out", type=pathlib.Path, metavar="FILE", required=True)
    arguments = parser.parse_args()
    if arguments.command == "vit" and not (arguments.photo or arguments.dump):
        parser.error("give PHOTO or --dump")
    if arguments.command == "sentence" and arguments.text is None and not arguments.dump:
        parser.error("give TEXT or --dump")
    return arguments


def run(arguments: argparse.Namespace) -> int:
    if arguments.command == "self-check":
        return self_check(arguments.models)
    model = Model(arguments.models / f"{arguments.command}.safetensors")
    if arguments.command == "vit":
        pixels = vit_input(arguments, model.metadata)
        result = vit_on_onnx_runtime(arguments.models / "vit.onnx", model.layers, pixels)
    else:
        result = sentence_in_double(model, sentence_input(arguments, model.metadata))
    write(arguments.out, result)
    return 0


def main() -> int:
    try:
        return run(parse())
    except (Problem, OSError, safetensors.SafetensorError) as problem:
        print(f"model_references.py: {problem}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
