#!/usr/bin/env python3
"""Compares what a model program dumped with the reference that model_references.py wrote.

Usage: compare_models.py DUMP REFERENCE [--limit 1e-4] [--attention-limit LIMIT]

--attention-limit  for attention weights (default: that of all else)

The error of a tensor is max |dump - reference| / max |reference|. One line for each layer; the last
one is "N passed, N failed", counted in tensors. The exit status is 1 when any failed.
"""

from __future__ import annotations

import argparse
import pathlib
import re
import sys

import numpy as np
import safetensors
import safetensors.numpy


def compare(value: np.ndarray | None, reference: np.ndarray, limit: float) -> tuple[bool, str]:
    """Whether they agree, and the error or what is wrong."""
    if value is None:
        return False, "missing"
    if value.shape != reference.shape:
        return False, f"shape {list(value.shape)} instead of {list(reference.shape)}"
    value, reference = value.astype(np.float64), reference.astype(np.float64)
    error = np.max(np.abs(value - reference)) / np.max(np.abs(reference))
    # A NaN is not within the limit either.
    return bool(error <= limit), f"{error:.1e}"


def lines_of(names: list[str]) -> dict[str, dict[str, str]]:
    """What is printed on one line, in the order of the model: {"layer 3": {"output": name}}."""
    lines: dict[str, dict[str, str]] = {"embeddings": {}}
    layers = [match for name in names if (match := re.fullmatch(r"layer\.(\d+)\.(\w+)", name))]
    for match in sorted(layers, key=lambda m: (int(m[1]), m[2])):
        lines.setdefault(f"layer {match[1]}", {})[match[2]] = match[0]
    for name in sorted(set(names) - {match[0] for match in layers}):
        lines.setdefault(name, {})["values"] = name
    return {line: parts for line, parts in lines.items() if parts}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dump", type=pathlib.Path)
    parser.add_argument("reference", type=pathlib.Path)
    parser.add_argument("--limit", type=float, default=1e-4)
    parser.add_argument("--attention-limit", type=float)
    arguments = parser.parse_args()
    limits = {"attention": arguments.attention_limit or arguments.limit}
    try:
        dump = safetensors.numpy.load_file(arguments.dump)
        reference = safetensors.numpy.load_file(arguments.reference)
    except (OSError, safetensors.SafetensorError) as problem:
        print(f"compare_models.py: {problem}", file=sys.stderr)
        return 1

    passed = failed = 0
    for line, parts in lines_of(list(reference)).items():
        texts = []
        for part, name in parts.items():
            limit = limits.get(part, arguments.limit)
            good, text = compare(dump.get(name), reference[name], limit)
            passed, failed = passed + good, failed + (not good)
            texts.append(f"{part} {text}{'' if good else ' FAILED'}")
        print(f"{line}: {', '.join(texts)}")
    print(f"{passed} passed, {failed} failed")
    return int(failed != 0 or passed == 0)


if __name__ == "__main__":
    sys.exit(main())
