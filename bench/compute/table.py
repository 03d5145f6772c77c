"""compute's rows: primes by TCP beside a bare echo on the same socket shell, and, where they are
there, the rows of the other two services (zmq_rows.py, text_rows.py)."""

import contextlib
import dataclasses
import json
import pathlib
import shlex
import tempfile

from compute.ours import ours
from compute.text_rows import TextRows
from compute.zmq_rows import ZmqRows
from harness.loopback import LoopbackLease
from harness.processes import (CLIENT_BUSY, CLIENT_CPU, PEAK_RESIDENT, SERVER_CPU, Account, Server,
                               run_client)
from harness.rows import (Contestant, Kind, Measurement, MeasurementFailed, Role, Row,
                          System, Table)

WORKERS = 2
PORT = 5500
WARM_UP_SECONDS = 0.2
P99 = "p99, µs"
NUMBERS_PER_SECOND = "numbers/s"
NEEDS = ("prime-server", "prime-bench")
TEN_DIGITS = ("1234567891", "4294967291", "9999999967")
TWENTY_DIGITS = ("18446744073709551557", "18446744073709551533")


@dataclasses.dataclass(frozen=True)
class Load:
    connections: int
    depth: int
    numbers: tuple[str, ...] = ()  # empty: the tool's list

    def argv(self, program: str, address: str, seconds: float, echo: bool) -> list[str]:
        return [program, address, *self.numbers, "-c", str(self.connections),
                "-t", str(min(2, self.connections)), "--depth", str(self.depth),
                "-d", f"{seconds:g}", "--warmup", f"{WARM_UP_SECONDS:g}",
                *(["--echo"] if echo else []), "--json"]


class PrimeRows:
    """prime-server, and the same program with --echo."""

    def __init__(self, bin_folder: pathlib.Path, scratch: pathlib.Path):
        self._bin = bin_folder
        self._scratch = scratch
        self.programs = [ours(bin_folder / name) for name in NEEDS]

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self._scratch.mkdir(parents=True, exist_ok=True)
            folder = pathlib.Path(stack.enter_context(
                tempfile.TemporaryDirectory(prefix="compute-", dir=self._scratch)))
            self._lease = LoopbackLease()
            stack.callback(self._lease.close)
            program = str(self._bin / "prime-server")
            common = ["--workers", str(WORKERS), "--listen"]
            self._prime = stack.enter_context(Server(
                "prime-server", [program, *common, self._address(False)], folder))
            self._echo = stack.enter_context(Server(
                "echo", [program, "--echo", *common, self._address(True)], folder))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    def _address(self, echo: bool) -> str:
        return f"{self._lease.address(2 if echo else 1)}:{PORT}"

    def check(self) -> None:
        self._prime.check()
        self._echo.check()

    def _contestant(self, load: Load, echo: bool) -> Contestant:
        def measure(seconds: float) -> Measurement:
            server = self._echo if echo else self._prime
            server.check()
            argv = load.argv(str(self._bin / "prime-bench"), self._address(echo), seconds, echo)
            with Account(server) as account:
                printed, client_cpu = run_client(argv, seconds + 60)
            try:
                result = json.loads(printed)
                requests, tail = result["requests"], result["latency_us"]["p99"]
            except (json.JSONDecodeError, KeyError) as failure:
                raise MeasurementFailed(
                    f"run {shlex.join(argv)}: not the expected JSON ({failure})") from None
            # The warm-up is in the processor time, not in the requests.
            whole = requests * (1 + WARM_UP_SECONDS / seconds)
            return Measurement(
                result["requests_per_second"],
                shlex.join(load.argv("prime-bench", "SERVER", seconds, echo)).replace(
                    "SERVER", "$SERVER"),
                {**account.columns(whole, client_cpu), P99: tail,
                 CLIENT_BUSY: result["client_cpu_fraction"]})
        return Contestant("bare echo" if echo else "prime-server", measure)

    def _row(self, name: str, load: Load, role: Role = Role.BAR, quick: bool = False) -> Row:
        echo = self._contestant(load, True)
        ours = echo if role is Role.CONTROL else self._contestant(load, False)
        return Row(name, NUMBERS_PER_SECOND, ours, echo, role, needs=NEEDS, quick=quick,
                   overhead_seconds=WARM_UP_SECONDS)

    def tables(self) -> list[Table]:
        columns = (SERVER_CPU, CLIENT_CPU, P99, CLIENT_BUSY, PEAK_RESIDENT)
        pipelined = [self._row(f"{depth} under way, {connections} connection"
                               + ("s" if connections > 1 else ""), Load(connections, depth),
                               quick=(connections, depth) == (32, 16))
                     for depth in (16, 256) for connections in (1, 32, 256)]
        pipelined += [
            self._row("control: echo, echo; 16 under way, 32 connections", Load(32, 16),
                      Role.CONTROL),
            self._row("limit: numbers of ten digits; 16 under way, 32 connections",
                      Load(32, 16, TEN_DIGITS), Role.LIMIT),
            self._row("limit: primes of twenty digits; 16 under way, 32 connections",
                      Load(32, 16, TWENTY_DIGITS), Role.LIMIT)]
        lock_step = [self._row(f"{connections} connection" + ("s" if connections > 1 else ""),
                               Load(connections, 1), quick=connections == 32)
                     for connections in (1, 32, 256)]
        lock_step.append(self._row("control: echo, echo; 32 connections", Load(32, 1),
                                   Role.CONTROL))
        both = (f"`prime-server --workers {WORKERS}` and the same program with `--echo`, which "
                "sends back what comes: the same socket shell, event loop and threads, and the "
                "floor that this shell can reach. `prime-bench` is the client of both, with one "
                "thread for one connection, else two; it checks every byte that comes. ")
        return [
            Table("Primes pipelined beside a bare echo",
                  both + "Lines, so many under way on each connection; the client's list of "
                  "twelve numbers of eight digits, nine of them prime. The limit rows ask for "
                  "numbers that no table holds, and show what Miller-Rabin costs.",
                  Kind.THROUGHPUT, 0.9, pipelined, columns),
            Table("Primes in lock-step beside a bare echo",
                  both + "Lines, one under way on each connection.",
                  Kind.THROUGHPUT, 0.9, lock_step, columns)]


class Parts:
    """All services that have rows, as one ground."""

    def __init__(self, parts: list):
        self._parts = parts

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            for part in self._parts:
                stack.enter_context(part)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    def check(self) -> None:
        for part in self._parts:
            part.check()


def system(bin_folder: pathlib.Path, scratch: pathlib.Path, _quick: bool) -> System:
    parts = [part(bin_folder, scratch) for part in (PrimeRows, ZmqRows, TextRows)]
    ground = Parts(parts)
    return System("compute", [p for part in parts for p in part.programs], ground,
                  [t for part in parts for t in part.tables()], ground.check)
