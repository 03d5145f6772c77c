"""The gRPC text service's rows: numbers of a stream beside unary calls. A part of table.py."""

import json
import pathlib

from compute.ours import ours
from harness.processes import CLIENT_BUSY, PEAK_RESIDENT, SERVER_CPU, Account, Server, run_client
from harness.rows import Contestant, Kind, Measurement, MeasurementFailed, Role, Row, Table

OURS = ("text-server", "text-bench")
CALLERS = (1, 16)
P50, P99 = "p50, µs", "p99, µs"


class TextRows:
    """Enter it while rows are measured: the server is started then."""

    def __init__(self, bin_folder: pathlib.Path, scratch: pathlib.Path):
        self._bin = bin_folder
        self._folder = scratch / "compute-text"
        self._server: Server | None = None
        self.programs = [ours(bin_folder / name) for name in OURS]

    def __enter__(self):
        self._folder.mkdir(parents=True, exist_ok=True)
        if (self._bin / "text-server").exists():
            self._server = Server("text-server", [str(self._bin / "text-server"), "0"],
                                  self._folder)
        return self

    def __exit__(self, *_):
        if self._server:
            self._server.stop()

    def check(self) -> None:
        if self._server:
            self._server.check()

    def _contestant(self, mode: str, callers: int) -> Contestant:
        def measure(seconds: float) -> Measurement:
            address = self._server.ready_key("listen").split(",")[0]
            argv = [str(self._bin / "text-bench"), "--json", "--mode", mode, "-c", str(callers),
                    "--seconds", f"{seconds:g}", address]
            with Account(self._server) as account:
                printed, _ = run_client(argv, seconds + 60)
            report = json.loads(printed)
            if report["errors"] or not report["requests"]:
                raise MeasurementFailed(f"{' '.join(argv)}: {report['errors']}")
            latency = report["latency_us"]
            shown = " ".join(["text-bench", *argv[1:-1], "$SERVER"])
            return Measurement(report["requests_per_second"], shown, {
                P50: latency["p50"], P99: latency["p99"],
                SERVER_CPU: account.cpu_seconds * 1e6 / report["requests"],
                CLIENT_BUSY: report["client_cpu_fraction"],
                PEAK_RESIDENT: self._server.peak_resident_mib()})
        return Contestant(mode, measure)

    def tables(self) -> list[Table]:
        rows = [Row(f"{callers} caller{'s' if callers > 1 else ''}, lock-step", "answers/s",
                    self._contestant("stream", callers), self._contestant("unary", callers),
                    needs=OURS, quick=callers == 1) for callers in CALLERS]
        unary = self._contestant("unary", CALLERS[-1])
        rows.append(Row(f"control: unary, unary; {CALLERS[-1]} callers", "answers/s", unary, unary,
                        Role.CONTROL, needs=OURS))
        return [Table(
            "gRPC stream beside unary",
            "`text-server` over loopback, by `text-bench`: callers with a connection each, that "
            "wait for an answer before they ask again. Stream: numbers of one IsPrime stream each; "
            "unary: calls of Reverse with the same eight bytes, each a stream of HTTP/2 with "
            "headers, deadline and status of its own. The stream's answers cost about 2 µs of "
            "Miller-Rabin more.",
            Kind.THROUGHPUT, 1.0, rows, (P50, P99, SERVER_CPU, CLIENT_BUSY, PEAK_RESIDENT))]
