"""What getfile's rows stand on: files, both servers, slow peers. One for the whole run."""

import contextlib
import grp
import json
import os
import pathlib
import pwd
import resource
import shutil
import sys

from harness.loopback import LoopbackLease
from harness.processes import Server, accepts
from harness.rows import MeasurementFailed

HERE = pathlib.Path(__file__).resolve().parent
KIB, MIB = 1 << 10, 1 << 20
SIZES = {"4 KiB": 4 * KIB, "64 KiB": 64 * KIB, "1 MiB": MIB, "100 MiB": 100 * MIB}
WORKERS = 2
SLOW_PEERS = 10_000
# Every address on one port: a listener on another 127.x.y.z does not mind.
PORT = 8080
HEADER_TIMEOUT_SECONDS = 10  # the server's default


def path_of(size: str) -> str:
    return "/" + size.replace(" ", "") + ".bin"


class Ground:
    ours: Server
    nginx: Server | None = None

    def __init__(self, bin_folder: pathlib.Path, nginx_path: str | None, scratch: pathlib.Path):
        self._bin = bin_folder
        self._nginx_path = nginx_path
        self.folder = scratch / "getfile"
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            shutil.rmtree(self.folder, ignore_errors=True)  # of a run that was killed
            self.folder.mkdir(parents=True)
            stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            self._lease = LoopbackLease()
            stack.callback(self._lease.close)
            self._write_files()
            self.ours = stack.enter_context(Server(
                "getfile-server",
                [str(self._bin / "getfile-server"), "--root", str(self.folder / "files"),
                 "-t", str(WORKERS), "--listen", self.ours_address], self.folder))
            if self._nginx_path:
                self.nginx = stack.enter_context(self._start_nginx())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    @property
    def ours_address(self) -> str:
        return f"{self._lease.address(1)}:{PORT}"

    @property
    def nginx_address(self) -> str:
        return f"{self._lease.address(2)}:{PORT}"

    @property
    def sink_address(self) -> str:
        return f"{self._lease.address(3)}:{PORT}"

    @property
    def loop_address(self) -> str:
        return f"{self._lease.address(4)}:{PORT}"

    def workload(self, size: str) -> pathlib.Path:
        return self.folder / f"workload{path_of(size).replace('/', '.')}"

    def check(self) -> None:
        for server in (self.ours, self.nginx):
            if server:
                server.check()

    def _write_files(self) -> None:
        files = self.folder / "files"
        files.mkdir()
        for size, count in SIZES.items():
            file = files / path_of(size)[1:]
            with open(file, "wb") as out:
                for at in range(0, count, MIB):
                    out.write(os.urandom(min(MIB, count - at)))
            os.utime(file, (1e9, 1e9))  # no cache may doubt a file that is this old
            self.workload(size).write_text(path_of(size) + "\n")

    def _start_nginx(self) -> Server:
        values = {
            "USER": f"{pwd.getpwuid(os.getuid()).pw_name} {grp.getgrgid(os.getgid()).gr_name}",
            "OPEN_FILES": str(resource.getrlimit(resource.RLIMIT_NOFILE)[1]),
            "FOLDER": str(self.folder),
            "ADDRESS": self.nginx_address,
            "ROOT": str(self.folder / "files"),
        }
        text = (HERE / "nginx.conf.in").read_text()
        for key, value in values.items():
            text = text.replace(f"@{key}@", value)
        (self.folder / "nginx.conf").write_text(text)
        host, _, port = self.nginx_address.rpartition(":")
        return Server("nginx", [self._nginx_path, "-p", str(self.folder), "-e", "stderr",
                                "-c", str(self.folder / "nginx.conf")],
                      self.folder, accepts(host, int(port)))

    def _python(self, script: str, *arguments: str) -> list[str]:
        return [sys.executable, str(HERE / script), *arguments]

    @contextlib.contextmanager
    def sendfile_loop(self, size: str):
        host, _, port = self.loop_address.rpartition(":")
        with Server("sendfile_loop", self._python(
                "sendfile_loop.py", host, port, str(self.folder / "files" / path_of(size)[1:])),
                self.folder) as self.loop:
            yield

    @contextlib.contextmanager
    def sink(self):
        host, _, port = self.sink_address.rpartition(":")
        with Server("sink", self._python("sink.py", host, port, str(HEADER_TIMEOUT_SECONDS)),
                    self.folder) as sink:
            yield sink

    @contextlib.contextmanager
    def slow_peers(self, address: str, ramp: float):
        """Ten thousand of them at that address; fails when they did not stay so many."""
        host, _, port = address.rpartition(":")
        sources = [self._lease.address(100 + i) for i in range(20)]
        peers = Server("slow_peers", self._python("slow_peers.py", host, port, str(SLOW_PEERS),
                                                  f"{ramp:g}", *sources), self.folder)
        with peers:
            yield peers
            peers.check()
        try:
            connected = json.loads(peers.printed().splitlines()[-1])["connected"]
        except (json.JSONDecodeError, IndexError):  # killed before it could say
            raise MeasurementFailed(f"hold {SLOW_PEERS} slow peers at {address}: "
                                    "they did not end in time") from None
        if connected < 0.98 * SLOW_PEERS:
            raise MeasurementFailed(f"hold {SLOW_PEERS} slow peers at {address}: {connected} left")
