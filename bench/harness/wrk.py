"""wrk, the HTTP client that both sides of a row are loaded with."""

import dataclasses
import json
import math
import pathlib
import re
import shlex

from harness.processes import CLIENT_BUSY, Account, Server, run_client
from harness.rows import Measurement, MeasurementFailed

SCRIPT = pathlib.Path(__file__).with_name("wrk.lua")
# Bodies from this size on are counted in bytes: some of them are always under way at the end.
LARGE_BYTES = 1 << 20
REQUESTS_PER_SECOND = "requests/s"
MEGABYTES_PER_SECOND = "MB/s"
ERRORS_ALLOWED = 0.001  # of the requests; above that, speed means nothing


@dataclasses.dataclass(frozen=True)
class Load:
    path: str
    connections: int
    keep_alive: bool
    body_bytes: int  # of each answer

    @property
    def unit(self) -> str:
        return REQUESTS_PER_SECOND if self.body_bytes < LARGE_BYTES else MEGABYTES_PER_SECOND

    @property
    def threads(self) -> int:
        return min(2, self.connections)

    def argv(self, seconds: float, server: str) -> list[str]:
        """wrk itself knows whole seconds only; SIGINT ends it properly at any time."""
        close = [] if self.keep_alive else ["-H", "Connection: close"]
        return ["timeout", "-s", "INT", f"{seconds:g}", "wrk", f"-t{self.threads}",
                f"-c{self.connections}", f"-d{math.ceil(seconds) + 1}", "--timeout", "20", *close,
                f"http://{server}{self.path}"]

    def command(self, seconds: float) -> str:
        return shlex.join(self.argv(seconds, "SERVER")).replace("SERVER", "$SERVER")


@dataclasses.dataclass(frozen=True)
class Run:
    seconds: float
    requests: int
    bytes: int
    p99_us: float
    client_cpu_seconds: float


def run(load: Load, seconds: float, server: str) -> Run:
    argv = load.argv(seconds, server)
    argv[-1:-1] = ["-s", str(SCRIPT)]
    printed, cpu = run_client(argv, seconds + 60, good=(0, 124))  # 124: timeout(1) ended it
    found = re.search(r"^JSON (.*)$", printed, re.MULTILINE)
    if not found:
        raise MeasurementFailed(f"run {shlex.join(argv)}: it printed no summary: {printed[-200:]}")
    summary = json.loads(found.group(1))
    errors = sum(summary["errors"].values())
    if errors > ERRORS_ALLOWED * summary["requests"]:
        raise MeasurementFailed(f"run {shlex.join(argv)}: errors {summary['errors']} in "
                                f"{summary['requests']} requests")
    return Run(summary["duration_us"] / 1e6, summary["requests"], summary["bytes"],
               summary["p99_us"], cpu)


def measure(server: Server, address: str, load: Load, seconds: float) -> Measurement:
    server.check()
    with Account(server) as account:
        done = run(load, seconds, address)
    if load.body_bytes < LARGE_BYTES:
        work, value = done.requests, done.requests / done.seconds
    else:
        work, value = done.bytes / load.body_bytes, done.bytes / done.seconds / 1e6
    return Measurement(value, load.command(seconds), {
        **account.columns(work, done.client_cpu_seconds),
        CLIENT_BUSY: done.client_cpu_seconds / (done.seconds * load.threads),
        "p99, µs": done.p99_us})
