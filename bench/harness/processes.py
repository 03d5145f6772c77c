"""Servers under test and the clients that load them: start, wait until ready, account, stop."""

import ctypes
import os
import pathlib
import re
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence

from harness.rows import MeasurementFailed

START_SECONDS = 30
STOP_SECONDS = 10
# Columns of the report.
SERVER_CPU = "server CPU, µs/request"
CLIENT_CPU = "client CPU, µs/request"
CLIENT_BUSY = "client busy, share of its threads"  # near 1, it is the client that is measured
PEAK_RESIDENT = "peak resident, MiB"

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def _end_with_us() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def accepts(host: str, port: int) -> Callable[[str], bool]:
    """Readiness of a peer that has no ready line."""
    def ready(_printed: str) -> bool:
        try:
            socket.create_connection((host, port), timeout=1).close()
            return True
        except OSError:
            return False
    return ready


def ready_line(printed: str) -> bool:
    return re.search(r"^READY .*\n", printed, re.MULTILINE) is not None


class Server:
    """A process, with those it forks. Ends with us, however we end."""

    def __init__(self, name: str, argv: Sequence[str], folder: pathlib.Path,
                 ready: Callable[[str], bool] = ready_line):
        self.name = name
        self.argv = list(argv)
        self._out = folder / f"{name}.out"
        self._log = folder / f"{name}.log"
        with open(self._out, "wb") as out, open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=log,
                preexec_fn=_end_with_us)
        deadline = time.monotonic() + START_SECONDS
        while not ready(self._out.read_text(errors="replace")):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise MeasurementFailed(f"start {name}: it ended or took too long:\n{self.tail()}")
            time.sleep(0.01)

    def ready_key(self, key: str) -> str:
        found = re.search(rf"^READY .*\b{key}=(\S+)", self._out.read_text(), re.MULTILINE)
        if not found:
            raise MeasurementFailed(f"start {self.name}: no {key}= in its ready line")
        return found.group(1)

    def printed(self) -> str:
        return self._out.read_text(errors="replace")

    def tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])

    def alive(self) -> bool:
        return self._process.poll() is None

    def check(self) -> None:
        if not self.alive():
            raise MeasurementFailed(
                f"{self.name}: it ended with {self._process.returncode}:\n{self.tail()}")

    def pids(self) -> list[int]:
        found, unseen = [], [self._process.pid]
        while unseen:
            pid = unseen.pop()
            found.append(pid)
            for children in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
                try:
                    unseen += map(int, children.read_text().split())
                except OSError:
                    pass  # it ended meanwhile
        return found

    def cpu_seconds(self) -> float:
        """User and system time of all its processes and threads since they began."""
        ticks = 0
        for pid in self.pids():
            try:
                fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            ticks += int(fields[11]) + int(fields[12])
        return ticks / TICKS_PER_SECOND

    def peak_resident_mib(self) -> float:
        """Since reset_peak_resident(); the sum over its processes."""
        kib = 0
        for pid in self.pids():
            try:
                status = pathlib.Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
            kib += int(found.group(1)) if found else 0
        return kib / 1024

    def reset_peak_resident(self) -> None:
        for pid in self.pids():
            try:
                pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")
            except OSError:
                pass  # of another user: the peak is then that since its start

    def stop(self) -> None:
        if self.alive():
            self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Account:
    """What a server spends while a block runs."""

    cpu_seconds = 0.0
    peak_resident_mib = 0.0

    def __init__(self, server: Server):
        self._server = server

    def __enter__(self):
        self._server.reset_peak_resident()
        self._cpu_before = self._server.cpu_seconds()
        return self

    def __exit__(self, *_):
        self.cpu_seconds = self._server.cpu_seconds() - self._cpu_before
        self.peak_resident_mib = self._server.peak_resident_mib()

    def columns(self, work: float, client_cpu_seconds: float) -> dict[str, float]:
        """The columns of the report; work: how many requests, or whatever the row counts."""
        columns = {PEAK_RESIDENT: self.peak_resident_mib}
        if work > 0:
            columns[SERVER_CPU] = self.cpu_seconds / work * 1e6
            columns[CLIENT_CPU] = client_cpu_seconds / work * 1e6
        return columns


def run_client(argv: Sequence[str], limit_seconds: float, good: Sequence[int] = (0,)
               ) -> tuple[str, float]:
    """Runs to the end; what it printed on stdout, and the processor time it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, errors="replace",
                               start_new_session=True, preexec_fn=_end_with_us)
    try:
        out, err = process.communicate(timeout=limit_seconds)
    except subprocess.TimeoutExpired:
        raise MeasurementFailed(f"run {' '.join(argv)}: not done after {limit_seconds:.0f} s"
                                ) from None
    finally:
        if process.poll() is None:  # however we got here: with all that it started
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode not in good:
        last = (err.strip() or out.strip()).splitlines()[-3:]
        raise MeasurementFailed(
            f"run {' '.join(argv)}: exit status {process.returncode}: {' | '.join(last)}")
    return out, (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
