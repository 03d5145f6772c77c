#!/usr/bin/env python3
"""Runs the ```sh blocks of a README, in order, in one bash session in an empty folder.

usage: readme_test.py README.md BIN_FOLDER

A ```text block right after a ```sh block is what that block prints: every line of it must come, in
this order; `…` in a line stands for anything. Blocks of other kinds are left alone. A README without
a single ```sh block fails.

Addresses 127.0.0.N other than 127.0.0.1 stand for leased ones, so that any number of runs, and
servers of the machine's own, get along with each other.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "bench"))
from harness.loopback import LoopbackLease

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def session_of(readme):
    """[(commands, expected lines or None)]"""
    blocks = [(m.group(1), m.group(2)) for m in FENCE.finditer(readme)]
    session = []
    for i, (kind, text) in enumerate(blocks):
        if kind == "sh":
            follows = blocks[i + 1] if i + 1 < len(blocks) else ("", "")
            session.append((text, follows[1].splitlines() if follows[0] == "text" else None))
    return session


def matches(line, pattern):
    return re.fullmatch(".*".join(map(re.escape, pattern.split("…"))), line) is not None


def missing_line(printed, expected):
    """The first expected line that does not come in its turn, or None."""
    lines = iter(printed)
    for pattern in expected:
        if not any(matches(line, pattern) for line in lines):
            return pattern
    return None


def main():
    readme, bin_folder = sys.argv[1:]
    lease = LoopbackLease()  # until the end of the process
    with open(readme, encoding="utf-8") as file:
        session = session_of(re.sub(r"\b127\.0\.0\.(?!1\b)(\d+)",
                                    lambda match: lease.address(int(match[1])), file.read()))
    if not session:
        sys.exit(f"{readme}: no ```sh block")
    mark = "--end-of-block--"
    script = "set -euo pipefail\n" + "".join(f"{text}\necho {mark}\n" for text, _ in session)
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            ["bash", "-c", script], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PATH": os.path.abspath(bin_folder) + ":" + os.environ["PATH"]},
            start_new_session=True)
        try:
            out, _ = process.communicate(timeout=270)
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)  # daemons that a block left behind
            except ProcessLookupError:
                pass
    printed = out.split(mark + "\n")
    if process.returncode != 0 or len(printed) != len(session) + 1:
        sys.exit(f"{readme}: exit {process.returncode} in block {len(printed)}:\n{out}")
    for number, ((text, expected), block) in enumerate(zip(session, printed), 1):
        if expected is None:
            continue
        missing = missing_line(block.splitlines(), expected)
        if missing is not None:
            sys.exit(f"{readme}: block {number} did not print {missing!r}:\n{text}\nprinted:\n{block}")
    print(f"{readme}: {len(session)} blocks ran as they say")


if __name__ == "__main__":
    main()
