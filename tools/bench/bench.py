"""Measures libmha-cl beside other libraries: same problems, same threads, in turn, in one run.

Usage: bench.py --opencl PROGRAM [--device NAME=ICD-FOLDER ...] [--peers torch,...] [--quick]
                [--shapes TEXT] [--json FILE] [--chart FILE]

Every side has a process of its own, stopped while it is not its turn, so that no thread pool that
waits for work takes time from another. Outputs are checked before anything is timed. tools/bench.sh
finds programs and peers and calls this.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

import cases
import report

HERE = pathlib.Path(__file__).parent

# Rounds, and seconds of a side's turn in each. What is far behind is measured in the first ones only.
ROUNDS = {True: 5, False: 12}
TURN_SECONDS = {True: 0.05, False: 0.12}
FAR_BEHIND = 2.5
LEAST_ROUNDS = 2

# The largest error over the largest value.
TOLERANCE = {"f32": 1e-4, "f16": 1e-2}


class Side:
    """A process that computes: a device, or a peer."""

    def __init__(self, command: list[str], environment: dict[str, str]):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, env=os.environ | environment)
        self.name, self.is_device = "", False
        self.missing = ""

    def start(self) -> bool:
        line = self.process.stdout.readline()
        hello = json.loads(line) if line else {"missing": "it ended"}
        self.name, self.missing = hello.get("name", ""), hello.get("missing", "")
        self.stop()
        return not self.missing

    def stop(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def ask(self, request: dict) -> dict:
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        self.stop()
        return json.loads(line) if line else {"error": "the process ended"}

    def end(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()


class Contender:
    def __init__(self, side: Side, facts: dict):
        self.side, self.name, self.facts = side, facts["name"], facts
        self.times: list[float] = []  # ns
        self.why = facts.get("why", "")  # it can't be measured
        self.error = 0.0
        # A measure of the device, not a way to compute the case.
        self.is_gauge = self.name in report.GAUGES

    def check(self, case: cases.Case, inputs: dict, folder: pathlib.Path) -> None:
        path = folder / "output.bin"
        answer = self.side.ask({"do": "write", "name": self.name, "file": str(path)})
        if "error" in answer:
            self.why = answer["error"]
            return
        kind = case.numpy_type if self.side.is_device else cases.np.float32
        self.error = cases.check(case, inputs, cases.np.fromfile(path, kind))
        if not self.error <= TOLERANCE[case.dtype]:
            self.why = f"wrong: error {self.error:.1e}"

    def run(self, seconds: float) -> None:
        answer = self.side.ask({"do": "run", "name": self.name, "seconds": seconds})
        self.times += answer.get("ns", [])
        self.why = answer.get("error", self.why)

    def to_json(self) -> dict:
        known = {k: v for k, v in self.facts.items() if k not in ("name", "why")}
        measured = report.Times(self.times).to_json() if self.times else {}
        why = {"why": self.why} if self.why else {}
        return {"side": self.side.name, "name": self.name, "is_device": self.side.is_device,
                "error": self.error} | known | measured | why


def open_case(sides: list[Side], case: cases.Case, folder: pathlib.Path) -> list[Contender]:
    contenders = []
    for side in sides:
        answer = side.ask({"do": "open", "case": case.to_json(folder)})
        facts = answer.get("contenders", [{"name": side.name, "why": answer.get("error", "")}])
        contenders += [Contender(side, fact) for fact in facts]
    return contenders


def measure(sides: list[Side], case: cases.Case, is_quick: bool) -> dict:
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        inputs = cases.make_inputs(case)
        cases.write_inputs(inputs, folder)
        contenders = open_case(sides, case, folder)
        for contender in contenders:
            if not contender.why and not contender.is_gauge:
                contender.check(case, inputs, folder)
    able = [c for c in contenders if not c.why]
    for contender in able:
        contender.run(0)  # warms up
        contender.times.clear()
    able = [c for c in able if not c.why]
    for number in range(ROUNDS[is_quick]):
        fastest = min((min(c.times) for c in able if c.times and not c.is_gauge),
                      default=float("inf"))
        for contender in able:
            is_ours = contender.is_gauge or contender.name == report.OURS
            if not contender.why and (is_ours or number < LEAST_ROUNDS or
                                      min(contender.times) < FAR_BEHIND * fastest):
                contender.run(TURN_SECONDS[is_quick])
    for side in sides:
        side.ask({"do": "close"})
    return {"name": case.name, "shape": case.text, "kind": case.kind, "flops": case.flops,
            "contenders": [c.to_json() for c in contenders]}


def start_sides(options: argparse.Namespace) -> list[Side]:
    threads = os.cpu_count() or 1
    # One pool each, of as many threads as there are processors, that stay where they are.
    environment = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads),
                   "POCL_AFFINITY": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    sides = []
    for device in options.device:
        name, _, folder = device.partition("=")
        more = {"OCL_ICD_VENDORS": folder} if folder else {}
        side = Side([options.opencl, name], environment | more)
        side.is_device = True
        sides.append(side)
    for peer in filter(None, options.peers.split(",")):
        sides.append(Side([sys.executable, str(HERE / "peer.py"), peer, str(threads)], environment))
    usable = []
    for side in sides:
        if side.start():
            usable.append(side)
        else:
            print(f"left out: {side.missing}", file=sys.stderr)
            side.end()
    return usable


def choose_cases(options: argparse.Namespace) -> list[cases.Case]:
    words = [word.strip() for word in options.shapes.split(",") if word.strip()]
    return [case for case in cases.CASES
            if (case.is_quick or not options.quick) and
            (not words or any(word in case.text or word in case.name for word in words))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--opencl", required=True, help="mha-bench-opencl")
    parser.add_argument("--device", action="append", default=[],
                        help="part of a device's name, and the folder of its .icd file")
    parser.add_argument("--peers", default="torch,onnxruntime,openvino")
    parser.add_argument("--shapes", default="", help="parts of names or shapes, by commas")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json")
    parser.add_argument("--chart")
    options = parser.parse_args()
    chosen = choose_cases(options)
    if not chosen:
        print("no shape is called so; there are:", file=sys.stderr)
        for case in cases.CASES:
            print(f"  {case.text:40} {case.name}", file=sys.stderr)
        return 2
    sides = start_sides(options)
    if not any(side.is_device for side in sides):
        print("there is no OpenCL device", file=sys.stderr)
        return 1
    results = []
    try:
        for case in chosen:
            results.append(measure(sides, case, options.quick))
            report.print_case(results[-1])
    finally:
        for side in sides:
            side.end()
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(results, indent=1) + "\n")
    if options.chart:
        report.draw(results, options.chart)
    report.print_summary(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
