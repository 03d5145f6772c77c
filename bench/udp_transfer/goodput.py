#!/usr/bin/env python3
"""Prints the goodput of every sender on every emulated profile, measured once: for developers.

usage: bench/udp_transfer/goodput.py [--bin FOLDER] [--only REGEX] [--senders REGEX] [--seed N]
"""

import argparse
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from udp_transfer import table  # noqa: E402
from harness.rows import MeasurementFailed  # noqa: E402
from udp_transfer.links import Link, Links, Transfer  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bin", type=pathlib.Path, default=HERE.parents[1] / "build/release/bin")
    parser.add_argument("--only", default="", metavar="REGEX", help="profiles")
    parser.add_argument("--senders", default="", metavar="REGEX")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    tables = table.UdpTransferTables(options.bin, HERE.parents[1] / "build/bench", quick=False)
    paths = {p.name: p.path for p in tables.programs if p.path}
    with tables.ground as ground:
        links = Links(paths, ground.memory)
        for profile in table.PROFILES:
            if not re.search(options.only, profile.name):
                continue
            senders = [s for s in table.SENDERS
                       if s.there(paths) and re.search(options.senders, s.name)]
            done = links.at_once([
                Link(profile, [sender], lambda: ground.file(ground.memory, *table.BIG),
                     seed=options.seed) for sender in senders])
            for (_, sender), transfer in done.items():
                print(f"{profile.name}, {sender}: {describe(transfer)}", flush=True)


def describe(transfer: Transfer | MeasurementFailed) -> str:
    if isinstance(transfer, MeasurementFailed):
        return f"FAILED: {transfer}"
    return (f"{transfer.mbit_per_s:.1f} Mbit/s{'' if transfer.complete else ' (cut short)'}, sent "
            f"{transfer.sent_share:.3f} times, emulator {transfer.late_us:.0f} µs late")


if __name__ == "__main__":
    main()
