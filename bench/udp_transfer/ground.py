"""What udp_transfer's rows stand on: files, and UDT's own copy program."""

import contextlib
import os
import pathlib
import shutil
import subprocess

from harness.rows import MeasurementFailed

HERE = pathlib.Path(__file__).resolve().parent
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
UDT_HEADER = pathlib.Path("/usr/include/udt/udt.h")


def build_udt_copy(program: pathlib.Path) -> None:
    source = HERE / "udt_copy.cc"
    if program.exists() and program.stat().st_mtime > source.stat().st_mtime:
        return
    done = subprocess.run(["g++", "-O2", "-o", str(program), str(source), "-ludt", "-lpthread"],
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise MeasurementFailed(f"build {source}: {done.stderr[-500:]}")


def write_file(path: pathlib.Path, size: int) -> pathlib.Path:
    with open(path, "wb") as out:
        for at in range(0, size, MIB):
            out.write(os.urandom(min(MIB, size - at)))
    return path


class Ground:
    """Files in memory, where the link is what is measured, and on the disk."""

    def __init__(self, scratch: pathlib.Path):
        self.disk = scratch / "udp_transfer"
        self.memory = pathlib.Path("/dev/shm") / f"bench-udp_transfer-{os.getuid()}"
        self.udt_copy = scratch / "udt_copy"
        if UDT_HEADER.exists():
            scratch.mkdir(parents=True, exist_ok=True)
            build_udt_copy(self.udt_copy)
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            for folder in (self.disk, self.memory):
                shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
                folder.mkdir(parents=True)
                stack.callback(shutil.rmtree, folder, ignore_errors=True)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    def file(self, folder: pathlib.Path, name: str, size: int) -> pathlib.Path:
        """A file of random bytes; made when it is first asked for."""
        path = folder / name
        return path if path.exists() else write_file(path, size)

    def touch(self, size: int) -> None:
        """Takes that many bytes of memory on each core, for each keeps what it has freed for itself,
        and gives them back. Memory that the host of a virtual machine has to find first takes up to
        ten times as long to write to: without this whoever meets such memory, ours or the peer,
        pays for it."""
        path = self.memory / "touched"
        cores = os.sched_getaffinity(0)
        try:
            for core in cores:
                os.sched_setaffinity(0, {core})
                with open(path, "wb", buffering=0) as file:
                    for _ in range(0, size, MIB):
                        file.write(bytes(MIB))
                path.unlink()
        finally:
            os.sched_setaffinity(0, cores)
