"""ipc_proxy_cache's rows: hits beside nginx's proxy_cache, Varnish and getfile-server, the lookup
beside memcached, the eviction beside LRU and the optimum, and a thousand misses at once."""

import json
import pathlib
import re
import shutil

from harness import machine, wrk
from harness.processes import CLIENT_BUSY, CLIENT_CPU, PEAK_RESIDENT, SERVER_CPU, run_client
from harness.rows import (Contestant, DerivedRow, Kind, Measurement, MeasurementFailed, Program,
                          Role, Row, System, Table)
from ipc_proxy_cache import two_wrk
from ipc_proxy_cache.ground import (CROWD, CROWD_SECONDS, FETCHES, MIB, SIZES, WORKERS, Ground,
                                    path_of)

LOOKUP_LIMIT_NS = 1000
MEAN = "mean, ns"
P50, P99 = "p50, ns", "p99, ns"
TRACE_REQUESTS = 100_000
TRACES = ("zipf 0.8", "zipf 1.0", "scan in zipf 0.8", "scan in zipf 1.0", "shift of zipf 0.8",
          "news")
BYTE_RATIO = "of the bytes, %"
HIT_COLUMNS = (SERVER_CPU, CLIENT_CPU, CLIENT_BUSY, "p99, µs", PEAK_RESIDENT)
OURS = ("getfile-proxy", "getfile-cached")


def kept(keep_alive: bool) -> str:
    return "kept" if keep_alive else "one per request"


def load_of(size: str, keep_alive: bool) -> wrk.Load:
    """Few enough of the large ones that a measurement sees many of them complete."""
    return wrk.Load(path_of(size), 8 if SIZES[size] > MIB else 32, keep_alive, SIZES[size])


class Traces:
    """Hit ratios of all policies on all traces, by seed; each seed is computed once."""

    def __init__(self, program: pathlib.Path):
        self._program = program
        self._of_seed: dict[int, dict[str, dict]] = {}

    def command(self, seed: int) -> list[str]:
        return ["ipc-cache-traces", "-n", str(TRACE_REQUESTS), "--seed", str(seed), "--json"]

    def ratios(self, seed: int, trace: str, policy: str) -> dict[str, float]:
        if seed not in self._of_seed:
            printed, _ = run_client([str(self._program), *self.command(seed)[1:]], 60)
            self._of_seed[seed] = {row["trace"]: row for row in json.loads(printed)}
        try:
            return self._of_seed[seed][trace][policy]
        except KeyError as missing:
            raise MeasurementFailed(f"run ipc-cache-traces: it knows no {missing}") from None


class IpcProxyCacheTables:
    def __init__(self, bin_folder: pathlib.Path, scratch: pathlib.Path):
        def found(name: str) -> str | None:
            return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")

        peers = {name: found(name) for name in ("nginx", "varnishd", "memcached")}
        self.ground = Ground(bin_folder, peers, scratch)
        self._bin = bin_folder
        self._traces = Traces(bin_folder / "ipc-cache-traces")
        self.programs = [
            *(self._ours(bin_folder / name) for name in (
                "getfile-proxy", "getfile-cached", "getfile-server", "ipc-lookup-bench",
                "ipc-cache-traces")),
            self._peer("nginx", peers["nginx"], "-v"),
            self._peer("varnishd", peers["varnishd"], "-V"),
            self._peer("memcached", peers["memcached"], "-V"),
            self._peer("wrk", shutil.which("wrk"), "-v"),
        ]

    @staticmethod
    def _ours(path: pathlib.Path) -> Program:
        there = path.exists()
        tells = there and not path.name.startswith("ipc-")
        return Program(path.name, str(path) if there else None,
                       machine.first_line(str(path), "--version") if tells else "",
                       f"{path.name} is not built")

    @staticmethod
    def _peer(name: str, path: str | None, option: str) -> Program:
        version = machine.first_line(path, option).partition(" Copyright")[0] if path else ""
        return Program(name, path, version,
                       f"{name} is not installed (scripts/bench.sh --install)")

    # ---- Hits.

    def _hits(self, name: str, servers, address, load: wrk.Load) -> Contestant:
        """servers, address: functions, since nothing has either before it is started. Two
        addresses are loaded by a wrk each."""
        def measure(seconds: float) -> Measurement:
            to = address()
            with self.ground.only_hits(name):
                if isinstance(to, tuple):
                    return two_wrk.measure(servers(), to, load, seconds)
                return wrk.measure(servers(), to, load, seconds)
        return Contestant(name, measure)

    def _one_proxy(self, load: wrk.Load) -> Contestant:
        ground = self.ground
        return self._hits("getfile-proxy", lambda: ground.ours([ground.proxy]),
                          lambda: ground.proxy_address, load)

    def _two_proxies(self, load: wrk.Load) -> Contestant:
        ground = self.ground
        return self._hits("two getfile-proxy", lambda: ground.ours(ground.halves),
                          lambda: ground.half_addresses, load)

    def _file_server(self, load: wrk.Load) -> Contestant:
        ground = self.ground
        return self._hits("getfile-server", lambda: ground.file_server,
                          lambda: ground.file_server_address, load)

    def _peer_hits(self, peer: str, load: wrk.Load, twice: bool = False) -> Contestant:
        ground = self.ground

        def address():
            one = ground.nginx_address if peer == "nginx" else ground.varnish_address
            return (one, one) if twice else one
        return self._hits(peer, lambda: ground.nginx if peer == "nginx" else ground.varnish,
                          address, load)

    @staticmethod
    def _needs(peer: str) -> tuple[str, ...]:
        return (*OURS, "getfile-server", "nginx", "wrk",
                *(("varnishd",) if peer == "varnish" else ()))

    def _hit_rows(self, peer: str) -> list[Row]:
        rows = []
        for keep_alive in (True, False):
            for size in SIZES:
                load = load_of(size, keep_alive)
                rows.append(Row(f"{size}, {load.connections} connections, {kept(keep_alive)}",
                                load.unit, self._one_proxy(load), self._peer_hits(peer, load),
                                needs=self._needs(peer),
                                quick=size == "16 KiB" and keep_alive))
        for size, keep_alive in (("1 KiB", True), ("64 KiB", True), ("1 MiB", True),
                                 ("1 KiB", False)):
            load = load_of(size, keep_alive)
            rows.append(Row(
                f"two proxies; {size}, {load.connections} connections, {kept(keep_alive)}",
                load.unit, self._two_proxies(load), self._peer_hits(peer, load, twice=True),
                needs=self._needs(peer), quick=peer == "nginx" and size == "1 KiB" and keep_alive))
        load = load_of("16 KiB", True)
        one = self._peer_hits(peer, load)
        rows.append(Row(f"control: {peer}, {peer}; 16 KiB, {load.connections} connections, kept",
                        load.unit, one, one, Role.CONTROL, needs=self._needs(peer)))
        return rows

    def hits_beside_nginx(self) -> Table:
        rows = self._hit_rows("nginx")
        for size, keep_alive in (*((size, True) for size in SIZES), ("1 KiB", False),
                                 ("1 MiB", False)):
            load = load_of(size, keep_alive)
            rows.append(Row(
                f"limit: getfile-server with the file itself; {size}, {load.connections} "
                f"connections, {kept(keep_alive)}", load.unit,
                self._one_proxy(load), self._file_server(load), Role.LIMIT,
                needs=self._needs("nginx"), aim=1.0))
        return Table(
            "Hits beside nginx proxy_cache",
            "HTTP/1.1 GET of one object that is in the cache, by `wrk`, a closed loop, over kept "
            f"connections and one per request: `getfile-proxy -t {WORKERS}` with getfile-cached, "
            "and nginx with as many workers, its cache in tmpfs, sendfile on, no access log "
            "([nginx.conf.in](ipc_proxy_cache/nginx.conf.in)), in front of the same origin "
            "([origin.conf.in](ipc_proxy_cache/origin.conf.in)). *Two proxies*: of one worker "
            "each, at one cache, a `wrk` for each; nginx, whose instances share no cache, stays "
            f"one of {WORKERS} workers, loaded by two `wrk` as well. A measurement in which a "
            "request reached the origin fails. From 1 MiB on bytes are counted. Processor time "
            "and memory of ours are those of the proxies and the cache; memory is what is "
            "resident, in which the shared memory of ours counts once for each process, and "
            "nginx's files in tmpfs do not. An aim: a hit as fast as `getfile-server --root` with "
            "the file itself, the limit rows.",
            Kind.THROUGHPUT, 1.0, rows, HIT_COLUMNS)

    def hits_beside_varnish(self) -> Table:
        return Table(
            "Hits beside Varnish",
            "The same against `varnishd -s malloc,256m` in front of the same origin "
            "([varnish.vcl.in](ipc_proxy_cache/varnish.vcl.in)), without its log of requests. It "
            "has a thread for each connection that has work, in its default pools of 100 to 5000.",
            Kind.THROUGHPUT, 1.0, self._hit_rows("varnish"), HIT_COLUMNS)

    # ---- Misses.

    def misses(self) -> list[Table]:
        ground = self.ground

        def one() -> Contestant:
            return Contestant("getfile-proxy", lambda _: ground.crowd(
                ground.ours([ground.proxy]), [ground.proxy_address]))

        def two() -> Contestant:
            return Contestant("two getfile-proxy", lambda _: ground.crowd(
                ground.ours(ground.halves), list(ground.half_addresses)))

        nginx = Contestant("nginx, proxy_cache_lock", lambda _: ground.crowd(
            ground.nginx, [ground.nginx_address]))
        varnish = Contestant("varnish", lambda _: ground.crowd(
            ground.varnish, [ground.varnish_address]))

        def row(name: str, ours: Contestant, peer: Contestant, **fields) -> Row:
            needs = self._needs("varnish" if "varnish" in name else "nginx")
            return Row(name, "fetches", ours, peer, needs=needs, length=0.001,
                       overhead_seconds=1.2, **fields)

        rows = [row("beside nginx", one(), nginx, quick=True),
                row("beside varnish", one(), varnish),
                row("two proxies, beside nginx", two(), nginx),
                row("control: nginx, nginx", nginx, nginx, role=Role.CONTROL)]
        fetches = Table(
            f"Misses of {CROWD} at once",
            f"{CROWD} clients are connected, then all ask for one path that nobody has yet, of 64 "
            "KiB, which the origin sends over a third of a second "
            "([crowd.py](ipc_proxy_cache/crowd.py)). The figure is how often the origin was asked, "
            "by its access log: peer / ours. The column says when the last client had its answer.",
            Kind.COST, 1.0, rows, (CROWD_SECONDS, SERVER_CPU))
        waiting = Table(
            f"Fetches of {CROWD} misses at once",
            "The same figure of ours, held against the one fetch that is needed.",
            Kind.COST, 1.0,
            [DerivedRow(name, "fetches", fetches.key(source), FETCHES, 1, "limit", quick=quick)
             for name, source, quick in (("one proxy", rows[0], True),
                                         ("two proxies", rows[2], False))])
        return [fetches, waiting]

    # ---- Lookups.

    def lookups(self) -> list[Table]:
        def measure(seconds: float, *options: str) -> Measurement:
            argv = [str(self._bin / "ipc-lookup-bench"), "--seconds", f"{seconds:g}", *options]
            printed, _ = run_client(argv, seconds + 30)
            found = dict(re.findall(r"(\w+)=(\S+)", printed))
            shown = " ".join(["ipc-lookup-bench", *argv[1:]]).replace(
                str(self.ground.folder) + "/", "")
            value = float(found["p50_ns"])
            return Measurement(value, shown, {P50: value, P99: float(found["p99_ns"]),
                                              MEAN: float(found["mean_ns"])})

        ours = Contestant("index", measure)
        peer = Contestant("memcached", lambda seconds: measure(
            seconds, "--memcached", str(self.ground.memcached_socket)))
        needs = ("ipc-lookup-bench", "memcached")
        row = Row("1 KiB, 10 000 objects", "ns", ours, peer, needs=needs, quick=True,
                  overhead_seconds=0.2)
        control = Row("control: memcached, memcached", "ns", peer, peer, Role.CONTROL,
                      needs=needs, overhead_seconds=0.2)
        table = Table(
            "Lookup beside memcached",
            "Median time of a worker to find one of 10 000 objects, drawn evenly, in one thread "
            "(`ipc-lookup-bench`): our index with record, key and reference, after which the body "
            f"can be sent from where it lies; `memcached -t {WORKERS}` over its Unix socket, which "
            "copies the object as well.",
            Kind.COST, 1.0, [row, control], (P99, MEAN))
        limit = Table(
            "Lookup",
            "The same figure of ours, held against a limit: limit / ours.",
            Kind.COST, 1.0,
            [DerivedRow("p50", "ns", table.key(row), P50, LOOKUP_LIMIT_NS, "limit")])
        return [table, limit]

    # ---- Eviction.

    def _policy(self, trace: str, policy: str) -> Contestant:
        """Each measurement takes the next seed; both sides of a row so have the same ones."""
        seeds = iter(range(1, 1_000_000))

        def measure(_seconds: float) -> Measurement:
            seed = next(seeds)
            ratios = self._traces.ratios(seed, trace, policy)
            return Measurement(100 * ratios["objects"], " ".join(self._traces.command(seed)),
                               {BYTE_RATIO: 100 * ratios["bytes"]})
        return Contestant(policy, measure)

    def eviction(self) -> Table:
        def row(name: str, trace: str, peer: str, role: Role = Role.BAR, **fields) -> Row:
            return Row(name, "% of requests", self._policy(trace, "tiny_lfu"),
                       self._policy(trace, peer), role, needs=("ipc-cache-traces",),
                       length=0.001, **fields)

        rows = [row(trace, trace, "lru", quick=trace == "scan in zipf 0.8",
                    once_seconds=15.0 if trace == TRACES[0] else 0.0) for trace in TRACES]
        lru = self._policy("zipf 0.8", "lru")
        rows.append(Row("control: LRU, LRU with another seed; zipf 0.8", "% of requests", lru, lru,
                        Role.CONTROL, needs=("ipc-cache-traces",), length=0.001))
        rows += [row(f"limit: the optimum, MIN; {trace}, equal sizes", f"{trace}, equal sizes",
                     "min", Role.LIMIT) for trace in ("zipf 0.8", "scan in zipf 0.8")]
        rows += [row(f"limit: an upper bound, PFOO-U; {trace}", trace, "bound", Role.LIMIT)
                 for trace in ("zipf 0.8", "scan in zipf 0.8")]
        return Table(
            "Hit ratio on traces beside LRU",
            "Share of the requests that getfile-cached's eviction (W-TinyLFU in bytes) has, beside "
            f"LRU's, on synthetic traces of {TRACE_REQUESTS:,} requests".replace(",", " ")
            + " in a cache of a tenth of the catalogue's bytes; each pair has a seed of its own. "
            "Sizes are lognormal (median 16 KiB) unless the row says equal. *Scan*: every third "
            "request is of a run of objects that never come again; *shift*: other objects become "
            "popular four times; *loop*: all in turn, a tenth more than fits; *news*: each object "
            "is asked for some times after it appeared, then never. With equal sizes MIN "
            "(Belady) is the optimum; else PFOO-U is an upper bound of it that may be out of "
            "reach.",
            Kind.THROUGHPUT, 1.0, rows, (BYTE_RATIO,))


def system(bin_folder: pathlib.Path, scratch: pathlib.Path, quick: bool) -> System:
    tables = IpcProxyCacheTables(bin_folder, scratch)
    del quick  # the same rows, fewer of them
    return System("ipc_proxy_cache", tables.programs, tables.ground,
                  [tables.hits_beside_nginx(), tables.hits_beside_varnish(), *tables.misses(),
                   *tables.lookups(), tables.eviction()],
                  tables.ground.check)
