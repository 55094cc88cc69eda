#!/usr/bin/env python3
"""Compares the attention layer with those of other libraries, in fp32.

Usage: layer_peers.py MHA_LAYER_RUN [--limit 1e-4]

PyTorch's nn.MultiheadAttention, and ONNX Runtime's com.microsoft.Attention,
com.microsoft.MultiHeadAttention and Attention of opset 23: whichever of them this Python can
import; what it can't is skipped. MHA_LAYER_RUN is the program of tests/layer_run.c, which also says
what the files between the two look like.

The error of an output is max |ours - theirs| / max |theirs|. One line for each case; the last one
is "N passed, N failed, N skipped", counted in cases. The exit status is 1 when any failed.
"""

from __future__ import annotations

import argparse
import collections.abc
import dataclasses
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

Array = np.ndarray


@dataclasses.dataclass
class Case:
    """A layer's sizes and tensors as layer_run.c names them, and what a peer makes of them."""

    fields: dict[str, int]
    tensors: dict[str, Array]
    y: Array
    weights: Array | None = None


class Skipped(Exception):
    """Why a peer can't be asked."""


# ---- Our side ------------------------------------------------------------------------------------


def write_case(path: pathlib.Path, case: Case) -> None:
    scores = {"scores": int(case.weights is not None)}
    tensors = {name: np.ascontiguousarray(t, np.float32) for name, t in case.tensors.items()}
    with path.open("wb") as file:
        for name, value in (case.fields | scores).items():
            file.write(f"{name} {value}\n".encode())
        for name, tensor in tensors.items():
            file.write(f"tensor.{name} {tensor.size}\n".encode())
        file.write(b"data 0\n")
        for tensor in tensors.values():
            file.write(tensor.tobytes())


def read_result(path: pathlib.Path) -> dict[str, Array]:
    header, data = path.read_bytes().split(b"data 0\n", 1)
    numbers, results, at = np.frombuffer(data, np.float32), {}, 0
    for line in header.decode().splitlines():
        name, count = line.split()
        results[name.removeprefix("tensor.")] = numbers[at : at + int(count)]
        at += int(count)
    return results


def run_layer(program: str, case: Case) -> dict[str, Array]:
    with tempfile.TemporaryDirectory() as folder:
        source, result = pathlib.Path(folder, "in"), pathlib.Path(folder, "out")
        write_case(source, case)
        subprocess.run([program, source, result], check=True, timeout=300)
        return read_result(result)


def relative_error(ours: Array, theirs: Array) -> float:
    theirs = np.asarray(theirs, np.float64)
    difference = np.abs(ours.astype(np.float64).reshape(theirs.shape) - theirs)
    return float(np.max(difference) / np.max(np.abs(theirs)))


def make_fields(batch: int, queries: int, keys: int, embed: tuple[int, int, int], heads: int,
                kv_heads: int, head_dim_qk: int, head_dim_v: int, embed_out: int,
                **flags: bool) -> dict[str, int]:
    sizes = {
        "batch": batch, "seqlen_q": queries, "seqlen_kv": keys, "q_heads": heads,
        "kv_heads": kv_heads, "head_dim_qk": head_dim_qk, "head_dim_v": head_dim_v,
        "embed_q": embed[0], "embed_k": embed[1], "embed_v": embed[2], "embed_out": embed_out,
    }
    return sizes | {name: int(value) for name, value in flags.items()}


# ---- PyTorch -------------------------------------------------------------------------------------


def torch_case(embed: int, heads: int, *, batch: int = 2, queries: int = 11, keys: int = 11,
               bias: bool = True, kdim: int | None = None, vdim: int | None = None,
               is_self: bool = False, batch_first: bool = True, mask: str = "",
               packed: bool = False) -> Case:
    """nn.MultiheadAttention in double precision; `mask` names the kind."""
    try:
        import torch
    except ImportError as error:
        raise Skipped(f"PyTorch: {error}") from None
    torch.manual_seed(queries * 100 + keys)
    module = torch.nn.MultiheadAttention(embed, heads, bias=bias, kdim=kdim, vdim=vdim,
                                         batch_first=batch_first).eval()
    if bias:  # which PyTorch initialises with zeros
        torch.nn.init.normal_(module.in_proj_bias)
        torch.nn.init.normal_(module.out_proj.bias)
    query = torch.randn(batch, queries, embed)
    key = query if is_self else torch.randn(batch, keys, kdim or embed)
    value = query if is_self else torch.randn(batch, keys, vdim or embed)
    tensors = {"query": query} if is_self else {"query": query, "key": key, "value": value}
    ours, theirs, causal = torch_mask(torch, mask, (batch, heads, queries, keys))
    tensors |= ours

    state = module.state_dict()
    if is_self:
        tensors["weights.qkv"] = state["in_proj_weight"]
        if bias:
            tensors["bias.qkv"] = state["in_proj_bias"]
    else:
        separate = kdim or vdim
        parts = ([state[f"{name}_proj_weight"] for name in "qkv"] if separate else
                 state["in_proj_weight"].chunk(3))
        biases = state["in_proj_bias"].chunk(3) if bias else ()
        tensors |= {f"weights.{name}": part for name, part in zip("qkv", parts)}
        tensors |= {f"bias.{name}": part for name, part in zip("qkv", biases)}
    tensors["weights.output"] = state["out_proj.weight"]
    if bias:
        tensors["bias.output"] = state["out_proj.bias"]

    inputs = [t.double() if batch_first else t.double().transpose(0, 1)
              for t in (query, key, value)]
    with torch.no_grad():
        y, weights = module.double()(*inputs, average_attn_weights=False, **theirs)
    if not batch_first:
        y = y.transpose(0, 1)
    width = embed // heads
    fields = make_fields(batch, queries, keys, (embed, kdim or embed, vdim or embed), heads, heads,
                         width, width, embed, fused=is_self, causal=causal, packed=packed)
    return Case(fields, {name: t.numpy() for name, t in tensors.items()}, y.numpy(),
                weights.numpy())


def torch_mask(torch, kind: str, shape: tuple[int, ...]):
    """What the mask is to us and to PyTorch, and whether it is our causal flag. PyTorch's boolean
    masks are true where a key is not seen. Every query sees at least its first key."""
    batch, heads, queries, keys = shape
    if not kind:
        return {}, {}, False
    if kind == "additive":
        bias = torch.randn(queries, keys)
        return {"attention_bias": bias.expand(shape)}, {"attn_mask": bias.double()}, False
    if kind == "additive per head":
        bias = torch.randn(batch * heads, queries, keys)
        return {"attention_bias": bias.reshape(shape)}, {"attn_mask": bias.double()}, False
    if kind == "boolean":
        hidden = torch.rand(queries, keys) < 0.4
        hidden[:, 0] = False
        return {"mask": (~hidden).float().expand(shape)}, {"attn_mask": hidden}, False
    if kind == "padding":
        lengths = torch.arange(batch) % keys + 1
        hidden = torch.arange(keys)[None, :] >= lengths[:, None]
        return {"kv_lengths": lengths.float()}, {"key_padding_mask": hidden}, False
    hidden = torch.ones(queries, keys, dtype=torch.bool).triu(1)
    return {}, {"attn_mask": hidden}, True


TORCH = {
    "self": dict(embed=48, heads=3, is_self=True),
    "self, packed": dict(embed=48, heads=3, is_self=True, packed=True),
    "self, no bias": dict(embed=48, heads=3, is_self=True, bias=False),
    "self, sequence first": dict(embed=48, heads=3, is_self=True, batch_first=False),
    "cross": dict(embed=48, heads=4, queries=5, keys=23),
    "cross, no bias": dict(embed=48, heads=4, queries=5, keys=23, bias=False, packed=True),
    "cross, kdim and vdim": dict(embed=48, heads=4, queries=5, keys=23, kdim=20, vdim=31),
    "cross, vdim, no bias": dict(embed=48, heads=4, queries=9, keys=7, vdim=31, bias=False),
    "additive mask": dict(embed=32, heads=2, is_self=True, mask="additive"),
    "additive mask per head": dict(embed=32, heads=2, keys=17, mask="additive per head"),
    "boolean mask": dict(embed=32, heads=2, is_self=True, mask="boolean"),
    "key padding mask": dict(embed=32, heads=2, batch=4, keys=17, mask="padding"),
    "causal": dict(embed=32, heads=2, is_self=True, mask="causal"),
    "a vision transformer's": dict(embed=768, heads=12, batch=1, queries=197, keys=197,
                                   is_self=True),
}

# ---- ONNX Runtime --------------------------------------------------------------------------------


@dataclasses.dataclass
class Graph:
    """The inputs and nodes of a model; every input is also a tensor of its run."""

    inputs: dict[str, Array] = dataclasses.field(default_factory=dict)
    nodes: list = dataclasses.field(default_factory=list)

    def add(self, op: str, inputs: list[str], outputs: list[str], domain: str = "",
            **attributes) -> None:
        import onnx
        self.nodes.append(onnx.helper.make_node(op, inputs, outputs, domain=domain, **attributes))

    def project(self, name: str, source: str, weight: Array, bias: Array) -> None:
        """`name` = source weight^T + bias."""
        self.inputs[f"{name}.weight"] = weight.T
        self.inputs[f"{name}.bias"] = bias
        self.add("MatMul", [source, f"{name}.weight"], [f"{name}.product"])
        self.add("Add", [f"{name}.product", f"{name}.bias"], [name])

    def run(self, outputs: list[str]) -> list[Array]:
        import onnx
        import onnxruntime
        kinds = {np.dtype(np.float32): onnx.TensorProto.FLOAT,
                 np.dtype(np.int32): onnx.TensorProto.INT32, np.dtype(bool): onnx.TensorProto.BOOL}
        values = {name: np.ascontiguousarray(value) for name, value in self.inputs.items()}
        graph = onnx.helper.make_graph(
            self.nodes, "layer",
            [onnx.helper.make_tensor_value_info(name, kinds[v.dtype], v.shape)
             for name, v in values.items()],
            [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
             for name in outputs])
        opsets = [onnx.helper.make_opsetid("", 23), onnx.helper.make_opsetid("com.microsoft", 1)]
        model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)
        try:
            session = onnxruntime.InferenceSession(model.SerializeToString(),
                                                   providers=["CPUExecutionProvider"])
        except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented as error:
            raise Skipped(f"ONNX Runtime {onnxruntime.__version__}: {error}") from None
        return session.run(outputs, values)


def require_onnx() -> None:
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise Skipped(f"ONNX Runtime: {error}") from None
    del onnx, onnxruntime


def random_tensors(seed: int, shapes: dict[str, tuple[int, ...]]) -> dict[str, Array]:
    """Weights are scaled so that outputs vary as much as inputs do."""
    random = np.random.default_rng(seed)
    return {name: (random.standard_normal(shape) /
                   np.sqrt(shape[-1] if name.startswith("weights") else 1)).astype(np.float32)
            for name, shape in shapes.items()}


def microsoft_attention(*, heads: int, width: int, width_v: int | None = None, batch: int = 2,
                        tokens: int = 13, embed: int = 40, causal: bool = False,
                        has_bias: bool = False, lengths: bool = False) -> Case:
    """The fused layer without an output projection; its weights are [in][out]."""
    require_onnx()
    width_v = width_v or width
    rows, rows_v = heads * width, heads * width_v
    shapes = {"query": (batch, tokens, embed), "weights.qkv": (2 * rows + rows_v, embed),
              "bias.qkv": (2 * rows + rows_v,)}
    if has_bias:
        shapes["attention_bias"] = (batch, heads, tokens, tokens)
    tensors = random_tensors(tokens, shapes)
    graph = Graph({"x": tensors["query"], "w": tensors["weights.qkv"].T, "b": tensors["bias.qkv"]})
    names = ["x", "w", "b"]
    if lengths:
        tensors["kv_lengths"] = graph.inputs["lengths"] = np.arange(1, batch + 1, dtype=np.int32)
        names += ["lengths"]
    if has_bias:
        graph.inputs["attention_bias"] = tensors["attention_bias"]
        names += [""] * (5 - len(names)) + ["attention_bias"]
    graph.add("Attention", names, ["y"], "com.microsoft", num_heads=heads,
              unidirectional=int(causal), qkv_hidden_sizes=[rows, rows, rows_v])
    fields = make_fields(batch, tokens, tokens, (embed, embed, embed), heads, heads, width, width_v,
                         0, fused=True, causal=causal)
    return Case(fields, tensors, graph.run(["y"])[0])


def layer_tensors(fields: dict[str, int], seed: int) -> dict[str, Array]:
    """Inputs and separate weights, with every bias."""
    f = fields
    qk, v = f["head_dim_qk"], f["head_dim_v"]
    shapes = {"query": (f["batch"], f["seqlen_q"], f["embed_q"]),
              "key": (f["batch"], f["seqlen_kv"], f["embed_k"]),
              "value": (f["batch"], f["seqlen_kv"], f["embed_v"])}
    for name, rows in (("q", f["q_heads"] * qk), ("k", f["kv_heads"] * qk),
                       ("v", f["kv_heads"] * v)):
        shapes |= {f"weights.{name}": (rows, f[f"embed_{name}"]), f"bias.{name}": (rows,)}
    shapes["weights.output"] = (f["embed_out"], f["q_heads"] * v)
    shapes["bias.output"] = (f["embed_out"],)
    return random_tensors(seed, shapes)


def onnx_layer(op: str, *, queries: int, keys: int, heads: int, kv_heads: int | None = None,
               width: int = 16, width_v: int | None = None, batch: int = 2,
               embed: tuple[int, int, int] = (40, 28, 36), embed_out: int = 44,
               causal: bool = False, mask: str = "", packed: bool = False) -> Case:
    """Projections by MatMul and Add around `op`, which takes [batch][token][heads * head_dim]."""
    require_onnx()
    kv_heads = kv_heads or heads
    fields = make_fields(batch, queries, keys, embed, heads, kv_heads, width, width_v or width,
                         embed_out, causal=causal, packed=packed)
    tensors = layer_tensors(fields, queries)
    graph = Graph({name: tensors[name] for name in ("query", "key", "value")})
    for name, source in (("q", "query"), ("k", "key"), ("v", "value")):
        graph.project(name, source, tensors[f"weights.{name}"], tensors[f"bias.{name}"])
    random = np.random.default_rng(keys)
    shape = (batch, heads, queries, keys)
    names = ["q", "k", "v"]
    if mask == "boolean":
        seen = random.random(shape) < 0.6
        seen[..., 0] = True
        graph.inputs["mask"], tensors["mask"] = seen, seen
    elif mask:
        bias = random.standard_normal(shape).astype(np.float32)
        graph.inputs["mask"] = tensors["attention_bias"] = bias
    if op == "Attention":
        graph.add(op, names + (["mask"] if mask else []), ["o", "", "", "weights"],
                  q_num_heads=heads, kv_num_heads=kv_heads, is_causal=int(causal),
                  qk_matmul_output_mode=3)
    else:
        graph.add(op, names + (["", "", "mask"] if mask else []), ["o"], "com.microsoft",
                  num_heads=heads, unidirectional=int(causal))
    graph.project("y", "o", tensors["weights.output"], tensors["bias.output"])
    outputs = graph.run(["y", "weights"] if op == "Attention" else ["y"])
    return Case(fields, tensors, outputs[0], outputs[1] if len(outputs) > 1 else None)


MICROSOFT = {
    "fused": dict(heads=3, width=16),
    "causal": dict(heads=3, width=16, causal=True),
    "another width of v": dict(heads=2, width=16, width_v=24),
    "attention bias": dict(heads=2, width=16, has_bias=True),
    "key lengths": dict(heads=2, width=16, batch=4, lengths=True),
    "a sentence model's": dict(heads=12, width=32, tokens=128, embed=384),
}
MULTI_HEAD = {
    "cross": dict(queries=6, keys=19, heads=3),
    "attention bias": dict(queries=6, keys=19, heads=3, mask="additive"),
    "causal": dict(queries=12, keys=12, heads=2, causal=True, packed=True),
}
OPSET_23 = {
    "cross": dict(queries=6, keys=19, heads=3),
    "grouped heads": dict(queries=6, keys=19, heads=6, kv_heads=2, packed=True),
    "causal": dict(queries=12, keys=12, heads=2, causal=True),
    "boolean mask": dict(queries=6, keys=19, heads=2, mask="boolean"),
    "additive mask": dict(queries=6, keys=19, heads=2, mask="additive"),
    "another width of v": dict(queries=6, keys=19, heads=2, width=16, width_v=24),
}

# ---- All of them ---------------------------------------------------------------------------------


def all_cases() -> collections.abc.Iterator[tuple[str, collections.abc.Callable[[], Case]]]:
    for name, options in TORCH.items():
        yield f"nn.MultiheadAttention, {name}", lambda o=options: torch_case(**o)
    for name, options in MICROSOFT.items():
        yield f"com.microsoft.Attention, {name}", lambda o=options: microsoft_attention(**o)
    for name, options in MULTI_HEAD.items():
        yield (f"com.microsoft.MultiHeadAttention, {name}",
               lambda o=options: onnx_layer("MultiHeadAttention", **o))
    for name, options in OPSET_23.items():
        yield f"Attention-23, {name}", lambda o=options: onnx_layer("Attention", **o)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program")
    parser.add_argument("--limit", type=float, default=1e-4)
    options = parser.parse_args()
    counts = collections.Counter()
    for name, make in all_cases():
        try:
            case = make()
            ours = run_layer(options.program, case)
        except Skipped as reason:
            print(f"{name}: skipped, {reason}")
            counts["skipped"] += 1
            continue
        except subprocess.SubprocessError as error:
            print(f"{name}: FAILED, {error}")
            counts["failed"] += 1
            continue
        errors = {"y": relative_error(ours["y"], case.y)}
        if case.weights is not None:
            errors["weights"] = relative_error(ours["scores"], case.weights)
        # A NaN is not within the limit either.
        is_ok = all(error <= options.limit for error in errors.values())
        text = ", ".join(f"{what} {error:.1e}" for what, error in errors.items())
        print(f"{name}: {'ok' if is_ok else 'FAILED'}, {text}", flush=True)
        counts["passed" if is_ok else "failed"] += 1
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return int(counts["failed"] > 0)


if __name__ == "__main__":
    sys.exit(main())
