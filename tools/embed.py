#!/usr/bin/env python3
"""Writes a C file that holds each given text as a NUL-terminated array, and a table of them.

Usage: embed.py TABLE OUTPUT [INPUT...]
"""

import pathlib
import sys


def main() -> None:
    name = sys.argv[1]
    output, *inputs = map(pathlib.Path, sys.argv[2:])
    lines = ['#include "source.h"', ""]
    table = []
    for number, path in enumerate(inputs):
        data = path.read_bytes() + b"\0"
        lines.append(f"static const char text_{number}[] = {{")
        for start in range(0, len(data), 24):
            lines.append("    " + ", ".join(str(byte) for byte in data[start : start + 24]) + ",")
        lines.append("};")
        table.append(f'    {{.name = "{path.name}", .text = text_{number}}},')
    lines += ["", f"const struct kernel_text {name}[] = {{", *table, "    {.name = NULL},", "};"]
    output.write_text("\n".join(lines) + "\n")


main()
