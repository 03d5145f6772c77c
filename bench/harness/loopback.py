"""A block of loopback addresses of our own, so that runs and tests share the machine.

The same lock files as tests/harness/loopback_lease: a held flock is the lease, the files stay."""

import fcntl
import os

LOCK_FOLDER = "/tmp/ds-loopback-leases"
BLOCKS = 1024  # 127.16.0.0 to 127.19.255.255
FIRST_OCTET = 16


class LoopbackLease:
    def __init__(self):
        try:
            os.mkdir(LOCK_FOLDER)
            os.chmod(LOCK_FOLDER, 0o1777)
        except FileExistsError:
            pass
        for i in range(BLOCKS):
            block = (os.getpid() + i) % BLOCKS
            self._prefix = f"127.{FIRST_OCTET + block // 256}.{block % 256}"
            try:
                self._lock = self._open(self._prefix)
            except OSError:
                continue
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                os.close(self._lock)
        raise OSError("every block of loopback addresses is leased")

    @staticmethod
    def _open(name: str) -> int:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        path = os.path.join(LOCK_FOLDER, name)
        try:
            return os.open(path, flags)
        except FileNotFoundError:
            return os.open(path, flags | os.O_CREAT, 0o644)

    def address(self, number: int) -> str:
        """number: 1 to 254."""
        return f"{self._prefix}.{number}"

    def close(self) -> None:
        os.close(self._lock)
