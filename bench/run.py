#!/usr/bin/env python3
"""Measures systems against their peers; scripts/bench.sh builds first and then calls this.

Exit status: 0 also when a bar is missed (a losing row is published), 1 when a measurement failed,
2 for a wrong command line.
"""

import argparse
import datetime
import fcntl
import importlib
import os
import pathlib
import re
import signal
import sys
import time

from harness import budget, fingerprint, machine, plot, report, results
from harness.pairs import run_pairs
from harness.rows import DerivedRow, MeasurementFailed, System

BENCH = pathlib.Path(__file__).resolve().parent
REPOSITORY = BENCH.parent
PAIRS = {"full": 9, "quick": 3}
MINUTES = {"full": 15.0, "quick": 1.2}
RESERVE_SECONDS = 15  # of the time of a system: its start and end, the report


def known_systems() -> list[str]:
    return sorted(path.parent.name for path in BENCH.glob("*/table.py"))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true",
                        help="a row per bar with 3 pairs, about a minute a system")
    parser.add_argument("--fresh", action="store_true", help="measure finished rows again")
    parser.add_argument("--only", metavar="REGEX", default="",
                        help="only rows whose TABLE/ROW matches")
    parser.add_argument("--list", action="store_true", help="print the rows and end")
    parser.add_argument("--pairs", type=int, help="pairs of each row (9; quick: 3)")
    parser.add_argument("--minutes", type=float, help="time for a system (15; quick: 1.2)")
    parser.add_argument("--bin", type=pathlib.Path, metavar="FOLDER",
                        default=REPOSITORY / "build/release/bin", help="the programs of ours")
    parser.add_argument("--results", type=pathlib.Path, metavar="FOLDER", default=BENCH / "results",
                        help="where <system>.json goes; the report is drawn only for the default")
    parser.add_argument("systems", nargs="*", metavar="system",
                        help=f"default: all of {', '.join(known_systems())}")
    parsed = parser.parse_args()
    for system in parsed.systems:
        if system not in known_systems():
            parser.error(f"{system}: no such system (there are: {', '.join(known_systems())})")
    parsed.systems = parsed.systems or known_systems()
    parsed.mode = "quick" if parsed.quick else "full"
    parsed.pairs = parsed.pairs or PAIRS[parsed.mode]
    published = parsed.mode == "full" and parsed.results == BENCH / "results"
    if published and parsed.pairs < PAIRS["full"]:
        parser.error("--pairs: fewer than 9 are no published figure; give --results another folder")
    parsed.minutes = parsed.minutes or MINUTES[parsed.mode]
    return parsed


def say(text: str) -> None:
    print(text, flush=True)


class Run:
    """One system, from what is already known about it to its verdicts."""

    def __init__(self, system: System, options: argparse.Namespace):
        self.system = system
        self.options = options
        self.file = results.ResultFile(options.results / f"{system.name}.json", system.name)
        self.there = {p.name: p for p in system.programs}
        present = [p for p in system.programs if p.path]
        digests = {f"program {p.name}": fingerprint.digest_of_file(pathlib.Path(p.path))
                   for p in present}
        for path in fingerprint.measuring_files(BENCH, system.name):
            digests[path.relative_to(BENCH).as_posix()] = fingerprint.digest_of_file(path)
        facts = machine.facts()
        self.file.describe(system, fingerprint.fingerprint(
            digests, [p.version for p in present] + machine.identity(facts)), facts)
        self.commit = machine.commit(REPOSITORY)
        self.failed: list[str] = []
        self.remaining: list[str] = []

    def missing(self, row) -> str:
        for name in getattr(row, "needs", ()):
            if not self.there[name].path:
                return self.there[name].missing
        return ""

    def to_measure(self, rows):
        """The rows that are not finished; says of the others why nothing is done about them."""
        rest = []
        for table, row in rows:
            key, why = table.key(row), self.missing(row)
            if why:
                self.file.skip(key, why)
                say(f"skipped  {key}: {why}")
            elif not isinstance(row, DerivedRow):
                if self.options.fresh:
                    self.file.forget(key, self.options.mode)
                elif self.file.finished(key, self.options.mode):
                    say(f"finished {key}: measured before on this build (--fresh: again)")
                    continue
                rest.append((table, row))
        return rest

    def measure(self, table, row, seconds: float) -> None:
        begin = time.monotonic()
        pairs = run_pairs(row, self.options.pairs, seconds)
        key = table.key(row)
        self.file.put(key, self.options.mode, results.entry_of(
            row.ours.name, row.peer.name, pairs, fingerprint=self.file.doc["fingerprint"],
            commit=self.commit, date=datetime.datetime.now(datetime.UTC).strftime("%F %H:%M UTC"),
            seconds=round(seconds * row.length, 3)))
        self.file.save()
        self.show(key, time.monotonic() - begin)

    def view(self, table: dict) -> report.TableView:
        return report.TableView(self.file.doc, table, self.options.mode)

    def show(self, key: str, took: float) -> None:
        for table in self.file.doc["tables"]:
            for row in table["rows"]:
                if row["key"] == key:
                    cells = report.row_cells(self.view(table), row)
                    say(f"{key}: {cells[1]}, peer {cells[2]}, ratio {cells[3]}, bar {cells[4]}: "
                        f"{cells[5].strip('*')}  ({took:.0f} s)")

    def derive(self, rows) -> None:
        for table, row in rows:
            if not isinstance(row, DerivedRow):
                continue
            key = table.key(row)
            for mode, source in self.file.doc["rows"].get(row.source, {}).items():
                entry = results.derived_entry(row, source)
                if entry:
                    self.file.put(key, mode, entry)
            if key in self.file.doc["rows"]:
                self.show(key, 0)
            elif row.source in self.file.doc["skipped"]:
                self.file.skip(key, self.file.doc["skipped"][row.source])

    def run(self) -> None:
        begin = time.monotonic()
        rows = self.system.rows(self.options.quick)
        seconds = budget.seconds_per_measurement(
            [row for _, row in rows], self.options.pairs,
            self.options.minutes * 60 - RESERVE_SECONDS)
        rest = self.to_measure([(table, row) for table, row in rows
                                if re.search(self.options.only, table.key(row))])
        deadline = begin + self.options.minutes * 60 - RESERVE_SECONDS
        if rest:
            say(f"{self.system.name}: {len(rest)} rows, {self.options.pairs} pairs each, "
                f"{seconds:g} s a measurement; build {self.file.doc['fingerprint']}")
            if os.getloadavg()[0] > 1:
                say(f"{self.system.name}: the machine has other work (load average "
                    f"{os.getloadavg()[0]:.1f}): figures will scatter")
            self.measure_all(rest, seconds, deadline)
        self.derive(rows)
        self.file.save()

    def measure_all(self, rest, seconds: float, deadline: float) -> None:
        with self.system.ground:
            for i, (table, row) in enumerate(rest):
                expected = budget.row_seconds(row, self.options.pairs, seconds)
                if i and time.monotonic() + expected > deadline:
                    self.remaining.append(table.key(row))
                    continue
                try:
                    self.measure(table, row, seconds)
                except MeasurementFailed as failure:
                    self.failed.append(table.key(row))
                    say(f"FAILED   {table.key(row)}: {failure}")
                    self.system.check()

    def close(self) -> None:
        say("")
        for table in self.file.doc["tables"]:
            view = self.view(table)
            say(f"{self.system.name}, {table['title']}: {view.verdict()}")
            for line in view.aims():
                say(f"  {line}")
            if view.control():
                say(f"  control, the peer against itself: {view.control()}")
        if self.remaining:
            say(f"remaining, the time of {self.options.minutes:g} minutes is over (run again to go "
                f"on): {'; '.join(self.remaining)}")


def only_run() -> int:
    """The lock that says so: two benchmarks at once would measure each other."""
    folder = REPOSITORY / "build/bench"
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"run.py: lock {folder / 'lock'}: another benchmark is running")
    return lock


def end_by_signal(number, _frame):
    sys.exit(128 + number)


def main() -> None:
    options = arguments()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end_by_signal)
    failed = []
    lock = None if options.list else only_run()
    for name in options.systems:
        system = importlib.import_module(f"{name}.table").system(
            options.bin, REPOSITORY / "build/bench", options.quick)
        if options.list:
            for table, row in system.rows(options.quick):
                say(table.key(row))
            continue
        run = Run(system, options)
        try:
            run.run()
        except MeasurementFailed as failure:  # nothing can be measured any more
            failed.append(name)
            say(f"FAILED   {name}: {failure}")
        run.close()
        failed += [f"{name}: {key}" for key in run.failed]
    if not options.list and options.results == BENCH / "results":
        report.write_all(BENCH)
        say(f"report: {(BENCH / 'REPORT.md').relative_to(REPOSITORY)}")
        if not plot.available():
            say("report: no plots were drawn: gnuplot is not installed (scripts/bench.sh --install)")
    if lock is not None:
        os.close(lock)
    if failed:
        sys.exit(f"run.py: measure: failed: {'; '.join(failed)}")


if __name__ == "__main__":
    main()
