"""Reads the machine code that PoCL makes of the kernels the library chooses by default.

Usage: loops.py --opencl PROGRAM [--vendors ICD-FOLDER] [--shapes TEXT]

For each of the benchmark's shapes the kernels are compiled into an empty cache and run once; then
every innermost loop with multiply-adds of vectors is looked at. A vector that is stored on the stack
there is a spill; a constant that is but loaded from it costs no more than from elsewhere. Exit status
1 where there is a spill, 2 where nothing could be looked at. tools/inspect-kernels.sh calls this.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "bench"))
import bench  # noqa: E402
import cases  # noqa: E402
import report  # noqa: E402

# Fewer are not what a kernel spends its time on.
LEAST_FMAS = 4

INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):\s+(\S+)\s*(.*)$")
FUNCTION = re.compile(r"^[0-9a-f]+ <(.+)>:$")
JUMP = re.compile(r"^([0-9a-f]+) <")
FMA = re.compile(r"^v?fn?m(add|sub)\d*p[sd]$|^fml[as]$")
# Destinations come last on x86, first on ARM.
SPILL = re.compile(r"%[xyz]mm\d+,.*\(%(rsp|rbp)[^)]*\)$|^q\d+, \[(sp|x29)")


@dataclasses.dataclass(frozen=True, order=True)
class Loop:
    instructions: int
    fmas: int
    spills: int


def read_functions(path: pathlib.Path):
    """Lists of (address, mnemonic, operands)."""
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", path], check=True,
                          capture_output=True, text=True).stdout
    function: list[tuple[int, str, str]] = []
    for line in text.splitlines():
        if FUNCTION.match(line):
            yield function
            function = []
        elif match := INSTRUCTION.match(line):
            function.append((int(match[1], 16), match[2], match[3]))
    yield function


def find_loops(function: list[tuple[int, str, str]]) -> list[Loop]:
    """Innermost ones: from where a jump goes back to, up to it, with no other such jump inside."""
    index = {address: i for i, (address, _, _) in enumerate(function)}
    # %rbp is the stack's only where the function begins by saying so.
    has_frame = any("%rsp,%rbp" in operands for _, _, operands in function[:8])
    loops, last = [], -1
    for i, (address, mnemonic, operands) in enumerate(function):
        target = JUMP.match(operands)
        if not target or not mnemonic.startswith(("j", "b")) or int(target[1], 16) > address:
            continue
        first = index.get(int(target[1], 16), i)
        if first > last:
            body = function[first:i + 1]
            spills = [o for _, m, o in body if SPILL.search(o) and m.startswith(("vmov", "mov", "st"))
                      and (has_frame or "%rbp" not in o)]
            loops.append(Loop(len(body), sum(bool(FMA.match(m)) for _, m, _ in body), len(spills)))
        last = i
    return [loop for loop in loops if loop.fmas >= LEAST_FMAS]


def give_up(why: str) -> None:
    print(why, file=sys.stderr)
    sys.exit(2)


def run_case(side: bench.Side, case: cases.Case, folder: pathlib.Path) -> dict:
    cases.write_inputs(cases.make_inputs(case), folder)
    facts = side.ask({"do": "open", "case": case.to_json(folder)})
    side.ask({"do": "write", "name": report.OURS, "file": str(folder / "output.bin")})
    side.ask({"do": "close"})
    return next(f for f in facts["contenders"] if f["name"] == report.OURS)


def inspect(case: cases.Case, options: argparse.Namespace) -> int:
    """Prints a line a hot loop; returns the number of spills."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        environment = {"POCL_CACHE_DIR": name + "/pocl", "XDG_CACHE_HOME": name + "/cache"}
        if options.vendors:
            environment["OCL_ICD_VENDORS"] = options.vendors
        side = bench.Side([options.opencl, "Portable"], environment)
        if not side.start():
            give_up(f"PoCL can't be used: {side.missing}")
        facts = run_case(side, case, folder)
        side.end()
        objects = sorted((folder / "pocl").rglob("*.so"))
        if not objects:
            give_up("PoCL's cache holds no object")
        print(f"{case.text}: {facts.get('variant')} {facts.get('parameters')}")
        # The same code is there for small grids and large ones: once is enough.
        found = {(path.stem, loop) for path in objects for function in read_functions(path)
                 for loop in find_loops(function)}
        if not found:
            give_up(f"{case.text}: no loop with {LEAST_FMAS} multiply-adds was recognised")
        for kernel, loop in sorted(found, key=lambda each: (each[0], -each[1].fmas)):
            print(f"  {kernel:16} {loop.instructions:4} instructions, {loop.fmas:3} multiply-adds, "
                  f"{loop.spills} spills")
        return sum(loop.spills for _, loop in found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--opencl", required=True, help="mha-bench-opencl")
    parser.add_argument("--vendors", help="the folder with PoCL's .icd file only")
    parser.add_argument("--shapes", default="")
    parser.set_defaults(quick=False)
    options = parser.parse_args()
    chosen = bench.choose_cases(options)
    if not chosen:
        give_up("no shape is called so")
    spills = sum(inspect(case, options) for case in chosen)
    print(f"{len(chosen)} shapes, {spills} spills in hot loops")
    return 1 if spills else 0


if __name__ == "__main__":
    sys.exit(main())
