"""What ipc_proxy_cache's rows stand on: an nginx origin, our cache with its proxies, the peers in
front of the same origin, and all of them filled. One for the whole run."""

import contextlib
import grp
import hashlib
import itertools
import json
import os
import pathlib
import pwd
import resource
import shutil
import sys
import time
import urllib.request

from harness.loopback import LoopbackLease
from harness.processes import Account, Server, accepts, run_client
from harness.rows import Measurement, MeasurementFailed
from ipc_proxy_cache.servers import Servers

HERE = pathlib.Path(__file__).resolve().parent
KIB, MIB = 1 << 10, 1 << 20
SIZES = {"1 KiB": KIB, "16 KiB": 16 * KIB, "64 KiB": 64 * KIB, "1 MiB": MIB, "16 MiB": 16 * MIB}
WORKERS = 2
# Every address on one port: a listener on another 127.x.y.z does not mind.
PORT = 8080
CROWD = 1000
FETCHES = "fetches"
CROWD_SECONDS = "until the last has it, s"
TMPFS = pathlib.Path("/dev/shm")
# Varnish logs each request into shared memory. This leaves nothing of it but errors.
VSL_MASK = ",".join(f"-{tag}" for tag in (
    "Begin Link End SessOpen SessClose ReqStart ReqMethod ReqURL ReqProtocol ReqHeader ReqUnset "
    "ReqAcct RespProtocol RespStatus RespReason RespHeader RespUnset Timestamp VCL_call VCL_return "
    "VCL_acl VCL_use Hit HitMiss HitPass Filters Length").split())


def path_of(size: str) -> str:
    return "/" + size.replace(" ", "") + ".bin"


class Ground:
    cached: Server | None = None
    proxy: Server | None = None  # with two workers
    halves: list[Server] = []  # two proxies with a worker each, at the same cache
    file_server: Server | None = None
    nginx: Server | None = None
    varnish: Server | None = None
    memcached: Server | None = None

    def __init__(self, bin_folder: pathlib.Path, peers: dict[str, str | None],
                 scratch: pathlib.Path):
        """peers: their programs, None for one that is not there."""
        self._bin = bin_folder
        self._peers = peers
        self.folder = scratch / "ipc_proxy_cache"
        # Of its own for each checkout, in which only one run at a time is allowed.
        name = hashlib.sha256(str(self.folder).encode()).hexdigest()[:12]
        self._tmpfs = TMPFS / f"distsys-bench-{name}"
        self._stack = contextlib.ExitStack()
        self._cold = itertools.count()

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            for folder in (self.folder, self._tmpfs):
                shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
                folder.mkdir(parents=True)
                stack.callback(shutil.rmtree, folder, ignore_errors=True)
            self._lease = LoopbackLease()
            stack.callback(self._lease.close)
            self._write_files()
            self._start(stack)
            for address in self._caches():
                self._fill(address)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    # ---- Addresses.

    def _address(self, number: int) -> str:
        return f"{self._lease.address(number)}:{PORT}"

    @property
    def origin_address(self) -> str:
        return self._address(1)

    @property
    def proxy_address(self) -> str:
        return self._address(2)

    @property
    def half_addresses(self) -> tuple[str, str]:
        return self._address(3), self._address(4)

    @property
    def file_server_address(self) -> str:
        return self._address(5)

    @property
    def nginx_address(self) -> str:
        return self._address(6)

    @property
    def varnish_address(self) -> str:
        return self._address(7)

    @property
    def memcached_socket(self) -> pathlib.Path:
        return self.folder / "memcached.sock"

    def _caches(self) -> list[str]:
        if not self.nginx:
            return []
        return [self.proxy_address, *self.half_addresses, self.nginx_address,
                *([self.varnish_address] if self.varnish else [])]

    # ---- Starting.

    def _write_files(self) -> None:
        files = self.folder / "files"
        files.mkdir()
        self._sums = {}
        for size, count in SIZES.items():
            body = os.urandom(count)
            self._sums[size] = hashlib.sha256(body).digest()
            file = files / path_of(size)[1:]
            file.write_bytes(body)
            os.utime(file, (1e9, 1e9))

    def _start(self, stack: contextlib.ExitStack) -> None:
        def server(name: str, *argv: str, **options) -> Server:
            return stack.enter_context(Server(name, list(argv), self.folder, **options))

        if self._peers["nginx"]:  # the origin, without which there is nothing to cache
            self._start_caches(server)
        if self._peers["memcached"]:
            self.memcached = server(
                "memcached", self._peers["memcached"], "-u", pwd.getpwuid(os.getuid()).pw_name,
                "-s", str(self.memcached_socket), "-t", str(WORKERS), "-m", "256",
                ready=lambda _: self.memcached_socket.exists())

    def _start_caches(self, server) -> None:
        def ours(name: str, program: str, *argv: str) -> Server:
            return server(name, str(self._bin / program), *argv)

        def peer_ready(address: str):
            host, _, port = address.rpartition(":")
            return accepts(host, int(port))

        server("origin", *self._nginx("origin.conf", self.origin_address),
               ready=peer_ready(self.origin_address))
        socket = str(self.folder / "cache.sock")
        self.cached = ours("getfile-cached", "getfile-cached", "--socket", socket)
        proxies = [ours(name, "getfile-proxy", "-s", f"http://{self.origin_address}",
                        "-t", str(threads), "--cache-socket", socket, "--listen", address)
                   for name, threads, address in (
                       ("getfile-proxy", WORKERS, self.proxy_address),
                       ("getfile-proxy-1", 1, self.half_addresses[0]),
                       ("getfile-proxy-2", 1, self.half_addresses[1]))]
        self.proxy, self.halves = proxies[0], proxies[1:]
        self.file_server = ours("getfile-server", "getfile-server", "-t", str(WORKERS), "--root",
                                str(self.folder / "files"), "--listen", self.file_server_address)
        self.nginx = server("nginx", *self._nginx("nginx.conf", self.nginx_address),
                            ready=peer_ready(self.nginx_address))
        if self._peers["varnishd"]:
            host, _, port = self.origin_address.rpartition(":")
            self._write_configuration("varnish.vcl", {"ORIGIN_HOST": host, "ORIGIN_PORT": port})
            self.varnish = server(
                "varnish", self._peers["varnishd"], "-F", "-j", "none",
                "-n", str(self._tmpfs / "varnish"), "-a", self.varnish_address,
                "-f", str(self.folder / "varnish.vcl"), "-s", "malloc,256m",
                "-p", "listen_depth=4096", "-p", f"vsl_mask={VSL_MASK}",
                ready=peer_ready(self.varnish_address))

    def _nginx(self, name: str, address: str) -> list[str]:
        self._write_configuration(name, {
            "USER": f"{pwd.getpwuid(os.getuid()).pw_name} {grp.getgrgid(os.getgid()).gr_name}",
            "OPEN_FILES": str(resource.getrlimit(resource.RLIMIT_NOFILE)[1]),
            "WORKERS": str(WORKERS),
            "FOLDER": str(self.folder),
            "TMPFS": str(self._tmpfs),
            "ORIGIN": self.origin_address,
            "ADDRESS": address,
        })
        return [self._peers["nginx"], "-p", str(self.folder), "-e", "stderr",
                "-c", str(self.folder / name)]

    def _write_configuration(self, name: str, values: dict[str, str]) -> None:
        text = (HERE / f"{name}.in").read_text()
        for key, value in values.items():
            text = text.replace(f"@{key}@", value)
        (self.folder / name).write_text(text)

    # ---- What is asked of them.

    def ours(self, proxies: list[Server]) -> Servers:
        return Servers([*proxies, self.cached])

    def _fill(self, address: str) -> None:
        """All objects into the cache at that address, and one more look, that must be a hit."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for size, expected in self._sums.items():
            for _ in range(2):
                with opener.open(f"http://{address}{path_of(size)}", timeout=30) as answer:
                    if hashlib.sha256(answer.read()).digest() != expected:
                        raise MeasurementFailed(f"fill the cache at {address}: another {size}")

    def origin_requests(self, path: str | None = None) -> int:
        """How many it has answered, of that path or of all."""
        lines = (self.folder / "origin.access").read_text().splitlines()
        return lines.count(path) if path else len(lines)

    @contextlib.contextmanager
    def only_hits(self, name: str):
        before = self.origin_requests()
        yield
        asked = self.origin_requests() - before
        if asked:
            raise MeasurementFailed(f"{name}: {asked} requests were no hits, but went to the origin")

    def crowd(self, servers, addresses: list[str]) -> Measurement:
        """A thousand clients want a path that nobody has: how often the origin was asked for it."""
        path = f"/cold/{next(self._cold)}"
        servers.check()
        with Account(servers) as account:
            printed, client_cpu = run_client(
                [sys.executable, str(HERE / "crowd.py"), str(CROWD), path, *addresses], 60)
        time.sleep(0.1)  # the origin writes its log after the last byte of an answer
        to = " ".join(f"$SERVER{i}" for i in range(1, len(addresses) + 1))
        fetches = self.origin_requests(path)
        return Measurement(fetches, f"ipc_proxy_cache/crowd.py {CROWD} {path} "
                           + (to if len(addresses) > 1 else "$SERVER"),
                           {FETCHES: fetches, CROWD_SECONDS: json.loads(printed)["seconds"],
                            **account.columns(CROWD, client_cpu)})

    def check(self) -> None:
        for server in (self.cached, self.proxy, *self.halves, self.file_server, self.nginx,
                       self.varnish, self.memcached):
            if server:
                server.check()
