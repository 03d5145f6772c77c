"""The programs of compute, as rows name them."""

import pathlib

from harness import machine
from harness.rows import Program


def ours(path: pathlib.Path) -> Program:
    there = path.exists()
    return Program(path.name, str(path) if there else None,
                   machine.first_line(str(path), "--version") if there else "",
                   f"{path.name} is not built")
