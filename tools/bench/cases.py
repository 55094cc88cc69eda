"""The benchmark's problems: sizes, inputs, and what is right, computed in double precision."""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np


@dataclasses.dataclass(frozen=True)
class Case:
    """An attention, or the layer around one, whose heads are then equal."""

    name: str
    batch: int
    q_heads: int
    seqlen_q: int
    head_dim: int
    kv_heads: int = 0  # 0: as many as query heads
    seqlen_kv: int = 0  # 0: as many as queries
    kind: str = "attention"
    dtype: str = "f32"  # of q, k, v and o; f16: storage, not arithmetic
    causal: bool = False
    bias: bool = False
    mask: bool = False
    lengths: tuple[int, ...] = ()  # keys of each batch entry
    scores: bool = False  # the weights are an output
    is_quick: bool = False

    @property
    def hkv(self) -> int:
        return self.kv_heads or self.q_heads

    @property
    def nkv(self) -> int:
        return self.seqlen_kv or self.seqlen_q

    @property
    def embed(self) -> int:
        return self.q_heads * self.head_dim

    @property
    def numpy_type(self) -> type:
        return np.float16 if self.dtype == "f16" else np.float32

    @property
    def flops(self) -> float:
        """Two a multiply-add; scores that the causal mask takes off are not counted."""
        share = (self.nkv + 1) / (2 * self.nkv) if self.causal else 1
        attention = 4 * self.batch * self.q_heads * self.seqlen_q * self.nkv * self.head_dim * share
        rows = self.batch * self.seqlen_q
        return attention + (8 * rows * self.embed**2 if self.kind == "layer" else 0)

    @property
    def text(self) -> str:
        parts = [f"B{self.batch}", f"H{self.q_heads}"]
        parts += [f"Hkv{self.hkv}"] if self.hkv != self.q_heads else []
        parts += [f"N{self.seqlen_q}"]
        parts += [f"Nkv{self.nkv}"] if self.nkv != self.seqlen_q else []
        parts += [f"E{self.embed}"] if self.kind == "layer" else [f"D{self.head_dim}"]
        parts += [self.dtype] if self.dtype != "f32" else []
        parts += [word for word in ("causal", "bias", "mask", "scores") if getattr(self, word)]
        parts += ["lengths"] if self.lengths else []
        return " ".join(parts)

    def to_json(self, folder: pathlib.Path) -> dict:
        return {"kind": self.kind, "dtype": self.dtype, "batch": self.batch,
                "q_heads": self.q_heads, "kv_heads": self.hkv, "seqlen_q": self.seqlen_q,
                "seqlen_kv": self.nkv, "head_dim": self.head_dim, "causal": self.causal,
                "bias": self.bias, "mask": self.mask, "scores": self.scores,
                "lengths": list(self.lengths), "folder": str(folder)}


CASES = (
    Case("ViT-B", 1, 12, 197, 64, is_quick=True),
    Case("ViT-B, batch of 4", 4, 12, 197, 64, is_quick=True),
    Case("DINOv2 ViT-S/14", 1, 6, 257, 64),
    Case("MiniLM", 8, 12, 128, 32),
    Case("BERT", 8, 12, 128, 64),
    Case("BERT, padded", 1, 12, 512, 64, lengths=(400,)),
    Case("long", 1, 12, 2048, 64),
    Case("long, wide heads", 1, 8, 4096, 128),
    Case("long, wide heads, causal", 1, 8, 4096, 128, causal=True),
    Case("grouped prefill", 1, 32, 1024, 128, kv_heads=8, causal=True),
    Case("diffusion, cross", 1, 8, 4096, 40, seqlen_kv=77),
    Case("diffusion, self", 1, 8, 4096, 40),
    Case("decode", 1, 32, 1, 128, seqlen_kv=4096, is_quick=True),
    Case("decode, grouped", 1, 32, 1, 128, kv_heads=8, seqlen_kv=4096),
    Case("decode, fp16", 1, 32, 1, 128, seqlen_kv=4096, dtype="f16"),
    Case("decode, grouped, fp16", 1, 32, 1, 128, kv_heads=8, seqlen_kv=4096, dtype="f16"),
    Case("ViT-B, bias", 4, 12, 197, 64, bias=True),
    Case("long, boolean mask", 1, 12, 2048, 64, mask=True),
    Case("ViT-B, weights", 1, 12, 197, 64, scores=True),
    Case("ViT-B layer", 1, 12, 197, 64, kind="layer", is_quick=True),
    Case("ViT-B layer, batch of 4", 4, 12, 197, 64, kind="layer"),
    Case("DINOv2 layer", 1, 6, 257, 64, kind="layer"),
    Case("MiniLM layer", 8, 12, 128, 32, kind="layer"),
    Case("BERT layer", 1, 12, 512, 64, kind="layer"),
)


def make_inputs(case: Case) -> dict[str, np.ndarray]:
    """Values as trained models have them, roughly: near 1; the same in every run."""
    random = np.random.default_rng(1)

    def normal(*shape: int, scale: float = 1) -> np.ndarray:
        return (random.standard_normal(shape, np.float32) * np.float32(scale))

    if case.kind == "layer":
        scale = case.embed**-0.5
        return {"x": normal(case.batch, case.seqlen_q, case.embed),
                "qkv_weight": normal(3 * case.embed, case.embed, scale=scale),
                "qkv_bias": normal(3 * case.embed),
                "output_weight": normal(case.embed, case.embed, scale=scale),
                "output_bias": normal(case.embed)}
    keys = (case.batch, case.hkv, case.nkv, case.head_dim)
    inputs = {"q": normal(case.batch, case.q_heads, case.seqlen_q, case.head_dim),
              "k": normal(*keys), "v": normal(*keys)}
    inputs = {name: value.astype(case.numpy_type) for name, value in inputs.items()}
    if case.bias:
        inputs["bias"] = normal(case.q_heads, case.seqlen_q, case.nkv)
    if case.mask:
        mask = random.random((case.q_heads, case.seqlen_q, case.nkv), np.float32) < 0.7
        mask[..., 0] = True
        inputs["mask"] = mask.astype(np.uint8)
    if case.lengths:
        inputs["kv_lengths"] = np.array(case.lengths, np.int32)
    return inputs


def write_inputs(inputs: dict[str, np.ndarray], folder: pathlib.Path) -> None:
    for name, value in inputs.items():
        value.tofile(folder / f"{name}.bin")


def read_inputs(case_json: dict) -> dict[str, np.ndarray]:
    """What write_inputs() wrote, for another process."""
    c = case_json
    embed = c["q_heads"] * c["head_dim"]
    kv = (c["batch"], c["kv_heads"], c["seqlen_kv"], c["head_dim"])
    scores = (c["q_heads"], c["seqlen_q"], c["seqlen_kv"])
    kind = np.float16 if c["dtype"] == "f16" else np.float32
    layouts = {
        "q": ((c["batch"], c["q_heads"], c["seqlen_q"], c["head_dim"]), kind),
        "k": (kv, kind), "v": (kv, kind),
        "bias": (scores, np.float32), "mask": (scores, np.uint8),
        "kv_lengths": ((c["batch"],), np.int32),
        "x": ((c["batch"], c["seqlen_q"], embed), np.float32),
        "qkv_weight": ((3 * embed, embed), np.float32), "qkv_bias": ((3 * embed,), np.float32),
        "output_weight": ((embed, embed), np.float32), "output_bias": ((embed,), np.float32),
    }
    files = {name: pathlib.Path(c["folder"], f"{name}.bin") for name in layouts}
    return {name: np.fromfile(files[name], kind).reshape(shape)
            for name, (shape, kind) in layouts.items() if files[name].exists()}


def _attend(case: Case, q: np.ndarray, k: np.ndarray, v: np.ndarray, inputs: dict,
            b: int, h: int, rows: np.ndarray) -> np.ndarray:
    """Of some queries of one head, in double precision."""
    scores = q[rows].astype(np.float64) @ k.astype(np.float64).T * case.head_dim**-0.5
    if case.bias:
        scores += inputs["bias"][h, rows]
    if case.mask:
        scores[inputs["mask"][h, rows] == 0] = -np.inf
    if case.causal:
        scores[np.arange(case.nkv)[None, :] > rows[:, None]] = -np.inf
    if case.lengths:
        scores[:, case.lengths[b]:] = -np.inf
    scores -= scores.max(axis=1, keepdims=True)
    weights = np.exp(scores)
    return weights / weights.sum(axis=1, keepdims=True) @ v.astype(np.float64)


# Rows of a head that are checked, where it has more.
CHECKED_ROWS = 64


def check(case: Case, inputs: dict[str, np.ndarray], output: np.ndarray) -> float:
    """The largest error over the largest value; of every head, but not of every row."""
    rows = np.unique(np.linspace(0, case.seqlen_q - 1, CHECKED_ROWS).astype(int))
    expected, found = [], []
    if case.kind == "layer":
        packed = inputs["x"].astype(np.float64) @ inputs["qkv_weight"].T.astype(np.float64)
        packed += inputs["qkv_bias"]
        shape = (case.batch, case.seqlen_q, 3, case.q_heads, case.head_dim)
        q, k, v = packed.reshape(shape).transpose(2, 0, 3, 1, 4)
        heads = [[_attend(case, q[b, h], k[b, h], v[b, h], inputs, b, h, rows)
                  for h in range(case.q_heads)] for b in range(case.batch)]
        merged = np.array(heads).transpose(0, 2, 1, 3).reshape(case.batch, len(rows), case.embed)
        want = merged @ inputs["output_weight"].T.astype(np.float64) + inputs["output_bias"]
        got = output.reshape(case.batch, case.seqlen_q, case.embed)[:, rows]
        return float(np.abs(got - want).max() / np.abs(want).max())
    group = case.q_heads // case.hkv
    output = output.reshape(case.batch, case.q_heads, case.seqlen_q, case.head_dim)
    for b in range(case.batch):
        for h in range(case.q_heads):
            expected.append(_attend(case, inputs["q"][b, h], inputs["k"][b, h // group],
                                    inputs["v"][b, h // group], inputs, b, h, rows))
            found.append(output[b, h, rows])
    want, got = np.array(expected), np.array(found, np.float64)
    return float(np.abs(got - want).max() / np.abs(want).max())
