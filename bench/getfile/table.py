"""getfile's rows: HTTP against nginx, GETFILE against our own HTTP, the tail of latencies, and what
ten thousand slow peers take from the others."""

import contextlib
import pathlib
import shutil

from getfile import getfile_bench
from getfile.ground import HEADER_TIMEOUT_SECONDS, SIZES, SLOW_PEERS, WORKERS, Ground, path_of
from harness import machine, wrk
from harness.processes import (CLIENT_BUSY, CLIENT_CPU, PEAK_RESIDENT, SERVER_CPU, Account,
                               Server)
from harness.rows import (Contestant, DerivedRow, Kind, Measurement, Program, Role, Row, System,
                          Table)

IN_FLIGHT_BYTES_MAX = 10 << 30
OPEN_LOOP_SHARE = 0.7  # of the slower one's throughput
OPEN_LOOP_CONNECTIONS = 64
SLOW_PEERS_RESIDENT_MIB = 64
OTHERS_BUSY = "slow peers and sink, cores"


def kept(keep_alive: bool) -> str:
    return "kept" if keep_alive else "one per request"


def of(count: int) -> str:
    return f"{count} connection" + ("s" if count != 1 else "")


class GetfileTables:
    def __init__(self, bin_folder: pathlib.Path, scratch: pathlib.Path):
        nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/sbin")
        self.ground = Ground(bin_folder, nginx, scratch)
        self._bench = bin_folder / "getfile-bench"
        self.programs = [
            *(self._ours(bin_folder / name) for name in ("getfile-server", "getfile-bench")),
            self._peer("nginx", nginx, "-v"),
            self._peer("wrk", shutil.which("wrk"), "-v"),
        ]

    @staticmethod
    def _ours(path: pathlib.Path) -> Program:
        there = path.exists()
        return Program(path.name, str(path) if there else None,
                       machine.first_line(str(path), "--version") if there else "",
                       f"{path.name} is not built")

    @staticmethod
    def _peer(name: str, path: str | None, option: str) -> Program:
        version = machine.first_line(path, option).partition(" Copyright")[0] if path else ""
        return Program(name, path, version,
                       f"{name} is not installed (scripts/bench.sh --install)")

    # ---- Contestants.

    def _ours_by_wrk(self, load: wrk.Load) -> Contestant:
        return Contestant("getfile-server", lambda seconds: wrk.measure(
            self.ground.ours, self.ground.ours_address, load, seconds))

    def _nginx_by_wrk(self, load: wrk.Load) -> Contestant:
        return Contestant("nginx", lambda seconds: wrk.measure(
            self.ground.nginx, self.ground.nginx_address, load, seconds))

    def _loop_by_wrk(self, load: wrk.Load, size: str) -> Contestant:
        return Contestant("sendfile loop", lambda seconds: wrk.measure(
            self.ground.loop, self.ground.loop_address, load, seconds),
            lambda: self.ground.sendfile_loop(size))

    def _loop_by_bench(self, size: str) -> Contestant:
        def measure(seconds: float) -> Measurement:
            load = getfile_bench.Load("http", 1, False, self.ground.workload(size))
            return getfile_bench.throughput(self._bench, self.ground.loop,
                                            self.ground.loop_address, load, seconds)
        return Contestant("sendfile loop", measure, lambda: self.ground.sendfile_loop(size))

    def _ours_by_bench(self, protocol: str, size: str, connections: int) -> Contestant:
        def measure(seconds: float) -> Measurement:
            load = getfile_bench.Load(protocol, connections, False, self.ground.workload(size))
            return getfile_bench.throughput(self._bench, self.ground.ours,
                                            self.ground.ours_address, load, seconds)
        return Contestant(f"getfile-server, {protocol}", measure)

    # ---- Tables.

    def http(self) -> Table:
        rows = [self._http_row(size, connections, keep_alive)
                for keep_alive in (True, False)
                for size, count in SIZES.items()
                for connections in (1, 32, 256, 1000)
                if count * connections <= IN_FLIGHT_BYTES_MAX]
        for keep_alive in (True, False):
            nginx = self._nginx_by_wrk(wrk.Load(path_of("4 KiB"), 32, keep_alive, SIZES["4 KiB"]))
            rows.append(Row(f"control: nginx, nginx; 4 KiB, 32 connections, {kept(keep_alive)}",
                            wrk.REQUESTS_PER_SECOND, nginx, nginx, Role.CONTROL,
                            needs=("nginx", "wrk"), quick=keep_alive))
        load = wrk.Load(path_of("100 MiB"), 1, True, SIZES["100 MiB"])
        rows.append(Row("limit: a sendfile loop in Python; 100 MiB, 1 connection, kept", load.unit,
                        self._ours_by_wrk(load), self._loop_by_wrk(load, "100 MiB"), Role.LIMIT,
                        needs=("getfile-server", "wrk"), quick=True, change_seconds=0.3))
        return Table(
            "HTTP against nginx",
            "HTTP/1.1 GET of one file by `wrk`, a closed loop, kept connections and one per "
            f"request: `getfile-server --root FILES -t {WORKERS}`, and nginx with as many workers, "
            "sendfile and an open-file cache of 1 s as well "
            "([nginx.conf.in](getfile/nginx.conf.in)), on the same files. From 1 MiB on bytes are "
            "counted. Cells with over 10 GiB in flight are left out. Processor time is user and "
            "system, per request (of large files: per as many bytes); memory is the sum over the "
            "processes.",
            Kind.THROUGHPUT, 1.0, rows, (SERVER_CPU, CLIENT_CPU, CLIENT_BUSY, PEAK_RESIDENT))

    def _http_row(self, size: str, connections: int, keep_alive: bool) -> Row:
        load = wrk.Load(path_of(size), connections, keep_alive, SIZES[size])
        return Row(f"{size}, {of(connections)}, {kept(keep_alive)}", load.unit,
                   self._ours_by_wrk(load), self._nginx_by_wrk(load),
                   needs=("getfile-server", "nginx", "wrk"),
                   quick=(size, connections) == ("4 KiB", 32) and keep_alive,
                   aim=1.3 if size == "4 KiB" else None)

    def protocols(self) -> Table:
        rows = []
        for size in ("4 KiB", "64 KiB", "1 MiB"):
            for connections in (1, 32, 256):
                rows.append(Row(
                    f"{size}, {of(connections)}", wrk.REQUESTS_PER_SECOND,
                    self._ours_by_bench("getfile", size, connections),
                    self._ours_by_bench("http", size, connections),
                    needs=("getfile-server", "getfile-bench"),
                    quick=(size, connections) == ("4 KiB", 32),
                    overhead_seconds=getfile_bench.WARM_UP_SECONDS))
        http = self._ours_by_bench("http", "4 KiB", 32)
        rows.append(Row("control: HTTP, HTTP; 4 KiB, 32 connections", wrk.REQUESTS_PER_SECOND,
                        http, http, Role.CONTROL, needs=("getfile-server", "getfile-bench"),
                        overhead_seconds=getfile_bench.WARM_UP_SECONDS))
        rows.append(Row("limit: a sendfile loop in Python, HTTP; 1 MiB, 1 connection",
                        wrk.REQUESTS_PER_SECOND, self._ours_by_bench("getfile", "1 MiB", 1),
                        self._loop_by_bench("1 MiB"), Role.LIMIT,
                        needs=("getfile-server", "getfile-bench"), change_seconds=0.3,
                        overhead_seconds=getfile_bench.WARM_UP_SECONDS))
        return Table(
            "GETFILE against our own HTTP",
            "The same server, files and client (`getfile-bench`, a closed loop), a connection per "
            "request; the peer is `--protocol http`.",
            Kind.THROUGHPUT, 1.0, rows,
            (SERVER_CPU, CLIENT_CPU, getfile_bench.P99, CLIENT_BUSY))

    def latency(self) -> Table:
        rows = [self._latency_row(size, keep_alive, control=False)
                for size in ("4 KiB", "64 KiB") for keep_alive in (True, False)]
        rows.append(self._latency_row("4 KiB", True, control=True))
        return Table(
            "Tail of latencies against nginx",
            f"99th percentile in an open loop over HTTP, {of(OPEN_LOOP_CONNECTIONS)}: "
            "`getfile-bench` sends at the same fixed rate to both, "
            f"{OPEN_LOOP_SHARE:.0%} of the throughput that the slower one has just shown in a "
            "closed loop, and counts from the moment a request was due.",
            Kind.COST, 1.0, rows,
            ("rate, requests/s", SERVER_CPU, CLIENT_CPU, CLIENT_BUSY))

    def _latency_row(self, size: str, keep_alive: bool, control: bool) -> Row:
        ground, rate = self.ground, [0.0]

        def sides():
            ours = (ground.ours, ground.ours_address)
            nginx = (ground.nginx, ground.nginx_address)
            return (nginx if control else ours), nginx

        def load(rate_of_it: float | None) -> getfile_bench.Load:
            return getfile_bench.Load("http", OPEN_LOOP_CONNECTIONS, keep_alive,
                                      ground.workload(size), rate_of_it)

        def find_rate(seconds: float) -> None:
            shown = [0.0, 0.0]
            for side in (0, 1, 1, 0):
                shown[side] += getfile_bench.throughput(
                    self._bench, *sides()[side], load(None), seconds).value / 2
            rate[0] = float(f"{OPEN_LOOP_SHARE * min(shown):.3g}")

        def contestant(side: int) -> Contestant:
            return Contestant(
                "nginx" if control or side else "getfile-server",
                lambda seconds: getfile_bench.p99(self._bench, *sides()[side], load(rate[0]),
                                                  seconds))

        name = f"{size}, {kept(keep_alive)}"
        nginx = contestant(1)
        return Row(f"control: nginx, nginx; {name}" if control else name, "µs",
                   nginx if control else contestant(0), nginx,
                   Role.CONTROL if control else Role.BAR,
                   needs=("getfile-bench", "nginx", *(() if control else ("getfile-server",))),
                   quick=not control and (size, keep_alive) == ("4 KiB", True),
                   prepare=find_rate, length=1.3, once_seconds=4.0,
                   overhead_seconds=getfile_bench.WARM_UP_SECONDS)

    def slow_peers(self, quick: bool) -> list[Table]:
        load = wrk.Load(path_of("4 KiB"), 32, True, SIZES["4 KiB"])
        # Long enough that they are timed out as evenly as they came; a quick run does without.
        ramp = 2.0 if quick else float(HEADER_TIMEOUT_SECONDS)

        beside_it: list[Server] = []  # what runs besides the server and wrk

        def measure(seconds: float) -> Measurement:
            with contextlib.ExitStack() as stack:
                accounts = [stack.enter_context(Account(server)) for server in beside_it]
                measured = wrk.measure(self.ground.ours, self.ground.ours_address, load, seconds)
            busy = sum(account.cpu_seconds for account in accounts) / seconds
            return Measurement(
                measured.value,
                f"slow_peers.py $SLOW {SLOW_PEERS} {ramp:g} & {measured.command}",
                {**measured.extra, OTHERS_BUSY: busy})

        @contextlib.contextmanager
        def beside(*servers: Server):
            beside_it.extend(servers)
            try:
                yield
            finally:
                beside_it.clear()

        @contextlib.contextmanager
        def at_the_server():
            with self.ground.slow_peers(self.ground.ours_address, ramp) as peers, beside(peers):
                yield

        @contextlib.contextmanager
        def at_the_sink():
            with (self.ground.sink() as sink,
                  self.ground.slow_peers(self.ground.sink_address, ramp) as peers,
                  beside(sink, peers)):
                yield

        ours = Contestant("slow peers at getfile-server", measure, at_the_server)
        sink = Contestant("slow peers at a bare epoll sink", measure, at_the_sink)
        row = Row(f"4 KiB, {of(32)}, kept", load.unit, ours, sink,
                  needs=("getfile-server", "wrk"), quick=True, length=1.5,
                  change_seconds=ramp + 1.5)
        control = Row(f"control: sink, sink; 4 KiB, {of(32)}, kept", load.unit, sink, sink,
                      Role.CONTROL, needs=("getfile-server", "wrk"), length=1.5,
                      change_seconds=ramp + 1.5)
        fast = Table(
            f"Fast clients beside {SLOW_PEERS} slow peers",
            f"`wrk` loads getfile-server while {SLOW_PEERS} peers send a byte of a header a second "
            "([slow_peers.py](getfile/slow_peers.py)), to the same server or, as the control that "
            "ours is held against, to an epoll loop that reads and forgets "
            "([sink.py](getfile/sink.py)), which is also the limit of what can be had. Both throw "
            f"a peer out after {HEADER_TIMEOUT_SECONDS} s, and it comes back (a quick run is over "
            "before that).",
            Kind.THROUGHPUT, 0.95, [row, control],
            (SERVER_CPU, CLIENT_CPU, OTHERS_BUSY, PEAK_RESIDENT))
        memory = Table(
            f"Memory beside {SLOW_PEERS} slow peers",
            "Peak resident memory of getfile-server in the runs of the table above, held against "
            "a limit: limit / ours.",
            Kind.COST, 1.0,
            [DerivedRow("peak resident", "MiB", fast.key(row), PEAK_RESIDENT,
                        SLOW_PEERS_RESIDENT_MIB, "limit")])
        return [fast, memory]


def system(bin_folder: pathlib.Path, scratch: pathlib.Path, quick: bool) -> System:
    tables = GetfileTables(bin_folder, scratch)
    return System("getfile", tables.programs, tables.ground,
                  [tables.http(), tables.protocols(), tables.latency(), *tables.slow_peers(quick)],
                  tables.ground.check)
