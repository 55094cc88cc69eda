"""Registers, spills and local memory of the kernels for GPUs, as the GPUs' compilers report them.

Usage: registers.py PROGRAMS

PROGRAMS is mha-programs, which prints the kernels at their heuristics' tile sizes. Compiles for an
NVIDIA A100 (ptxas), AMD's RDNA 2 (LLVM) and Intel's Xe (ocloc), without a device. Where a compiler
is missing the last lines say so; where one fails on a kernel the exit status is 1.
tools/inspect-kernels.sh calls this.
"""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

# The newest: libclc's bitcode is read by compilers as new as what made it.
CLANG = next((name for name in [f"clang-{n}" for n in range(25, 13, -1)] + ["clang"]
              if shutil.which(name)), None)
LIBCLC = pathlib.Path("/usr/lib/clc")
# Those that selection chooses on GPUs, where their speed matters.
NAMES = re.compile(r"^(flash|flash_split|staged|gemm_tile)-(f32|f16)-gpu$")


class Missing(Exception):
    """A compiler that is not installed."""


class Failed(Exception):
    """One that does not take the kernel."""


def need(*programs: str | None) -> None:
    for program in programs:
        if not program or not shutil.which(program):
            raise Missing(f"{program or 'clang'} is not installed")


def run(*command: object) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        raise Failed((done.stderr.strip().splitlines() or ["it failed"])[0])
    return done.stdout + done.stderr


def compile_clang(source: pathlib.Path, target: str, cpu: str, library: str,
                  *more: str) -> pathlib.Path:
    """Assembly of the target."""
    need(CLANG)
    bitcode = LIBCLC / library
    if not bitcode.exists():
        raise Missing(f"libclc has no {library}")
    out = source.with_suffix(".s")
    run(CLANG, "-x", "cl", "-cl-std=CL1.2", "-target", target, "-Xclang", "-target-cpu", "-Xclang",
        cpu, "-O3", "-S", "-Xclang", "-finclude-default-header", "-Xclang", "-mlink-builtin-bitcode",
        "-Xclang", bitcode, *more, "-w", source, "-o", out)
    return out


def nvidia(source: pathlib.Path) -> dict[str, str]:
    need("ptxas")
    ptx = compile_clang(source, "nvptx64-nvidia-nvcl", "sm_80", "nvptx64--nvidiacl.bc")
    text = run("ptxas", "-arch=sm_80", "-v", ptx, "-o", source.with_suffix(".cubin"))
    found = {}
    for part in re.split(r"Compiling entry function '", text)[1:]:
        registers = re.search(r"Used (\d+) registers", part)
        spills = re.search(r"(\d+) bytes spill stores", part)
        local = re.search(r"(\d+) bytes smem", part)
        found[part.split("'")[0]] = (f"{registers[1]} reg, {spills[1]} spilt, "
                                     f"{local[1] if local else 0} local")
    return found


def amd(source: pathlib.Path) -> dict[str, str]:
    text = compile_clang(source, "amdgcn-amd-amdhsa", "gfx1030", "amdgcn--amdhsa.bc",
                         "-nogpulib").read_text()
    found = {}
    for part in re.split(r"(?m)^  - \.a", text)[1:]:
        value = {key: re.search(rf"\.{key}:\s+(\S+)", part)
                 for key in ("vgpr_count", "vgpr_spill_count", "group_segment_fixed_size")}
        # Its own, not one of its arguments'.
        name = re.search(r"(?m)^    \.name:\s+(\S+)", part)
        if name and value["vgpr_count"]:
            found[name[1]] = (f"{value['vgpr_count'][1]} reg, {value['vgpr_spill_count'][1]} spilt, "
                              f"{value['group_segment_fixed_size'][1]} local")
    return found


def intel(source: pathlib.Path) -> dict[str, str]:
    """Every kernel has 128 registers: what tells is how many work-items share them."""
    need("ocloc")
    out = source.with_suffix("")
    run("ocloc", "compile", "-file", source, "-device", "dg2-g10", "-out_dir", out, "-options",
        "-cl-std=CL1.2", "-internal_options", "-cl-intel-allow-zebin")
    binary = next(out.glob("*.bin"), None)
    text = binary.read_bytes().decode("latin-1") if binary else ""
    text = text[text.find("kernels:"):text.find("kernels_misc_info:")]
    found = {}
    for part in re.split(r"(?m)^  - name:\s+", text)[1:]:
        lanes = re.search(r"simd_size:\s+(\d+)", part)
        local = re.search(r"slm_size:\s+(\d+)", part)
        spills = re.search(r"spill_fill_space\s+size:\s+(\d+)", part)
        found[part.split()[0]] = (f"SIMD{lanes[1] if lanes else '?'}, {spills[1] if spills else 0} "
                                  f"spilt, {local[1] if local else 0} local")
    if not found:
        raise Failed("ocloc tells nothing of its kernels")
    return found


TARGETS = {"NVIDIA sm_80": nvidia, "AMD gfx1030": amd, "Intel DG2": intel}


def main() -> int:
    programs = sys.argv[1]
    names = [name for name in run(programs).split() if NAMES.match(name)]
    reasons, failures = {}, 0
    print("program | kernel | " + " | ".join(TARGETS))
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            source = pathlib.Path(folder) / f"{name}.cl"
            source.write_text(run(programs, name))
            results = {}
            for target, inspect in TARGETS.items():
                try:
                    results[target] = inspect(source)
                except Missing as missing:
                    reasons[target] = str(missing)
                except Failed as failed:
                    failures += 1
                    print(f"{name} | {target}: {failed}")
            for kernel in sorted({kernel for result in results.values() for kernel in result}):
                cells = [results.get(target, {}).get(kernel, "-") for target in TARGETS]
                print(f"{name} | {kernel} | " + " | ".join(cells))
    for target, reason in reasons.items():
        print(f"{target}: skipped: {reason}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
