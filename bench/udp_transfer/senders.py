"""What sends a file: our own programs and the peers, each as a server's and a client's command."""

import dataclasses
import pathlib
import shlex
from collections.abc import Callable, Mapping, Sequence

LIMIT_SECONDS = 20  # then a transfer is cut short, and what has arrived counts


@dataclasses.dataclass(frozen=True)
class Place:
    """Where one transfer goes: every sender has a folder and a port of its own."""

    host: str
    port: int
    folder: pathlib.Path


@dataclasses.dataclass(frozen=True)
class Sender:
    name: str
    needs: Sequence[str]  # names of programs
    server: Callable[[Mapping[str, str], Place], list[str]]  # programs by name: paths
    client: Callable[[Mapping[str, str], Place, pathlib.Path, float], list[str]]  # …, seconds
    ends_itself: bool = False  # after these seconds, and says how much was acknowledged by then

    def there(self, paths: Mapping[str, str]) -> bool:
        return all(name in paths for name in self.needs)


def _ours(mode: str, name: str, *server_options: str) -> Sender:
    return Sender(
        name, ("udp-server", "udp-client"),
        lambda paths, place: [
            paths["udp-server"], "--listen", f"{place.host}:{place.port}", "--dir",
            str(place.folder), "--allow-insecure", *server_options],
        lambda paths, place, file, _seconds: [
            paths["udp-client"], "--mode", mode, "--json", f"{place.host}:{place.port}", str(file),
            file.name])


def _tcp(congestion: str) -> Sender:
    return Sender(
        f"TCP {congestion}", ("udp-bench",),
        lambda paths, place: [
            paths["udp-bench"], "tcp-receive", "--listen", f"{place.host}:{place.port}", "--dir",
            str(place.folder), "--allow-insecure"],
        lambda paths, place, file, seconds: [
            paths["udp-bench"], "tcp-send", f"{place.host}:{place.port}", str(file), "--congestion",
            congestion, "--time-limit", f"{seconds:g}", "--json"], ends_itself=True)


def uftp(rate_mbit: float) -> Sender:
    """Sends at a fixed rate: it is told that of the link, less its headers."""
    return Sender(
        "uftp", ("uftp", "uftpd"),
        lambda paths, place: [paths["uftpd"], "-d", "-p", str(place.port), "-D", str(place.folder),
                              "-L", "/dev/null", "-B", "8388608"],
        lambda paths, place, file, _seconds: [
            paths["uftp"], "-q", "-p", str(place.port), "-M", place.host, "-P", place.host, "-R",
            f"{950 * rate_mbit:.0f}", "-B", "8388608", "-r", "0.2", str(file)])


FAST = _ours("fast", "udp-client")
CLASSIC = _ours("classic", "udp-client, classic", "--classic")
TCP_BBR = _tcp("bbr")
TCP_CUBIC = _tcp("cubic")
UDT = Sender(
    "UDT", ("udt_copy",),
    lambda paths, place: [paths["udt_copy"], "receive", place.host, str(place.port),
                          str(place.folder)],
    lambda paths, place, file, _seconds: [
        paths["udt_copy"], "send", place.host, str(place.port), str(file), file.name])
# One block of as many bytes as a classic datagram of ours carries, then its acknowledgement.
ATFTP = Sender(
    "atftp", ("atftp", "atftpd"),
    lambda paths, place: [paths["atftpd"], "--daemon", "--no-fork", "--user", "root.root",
                          "--bind-address", place.host, "--port", str(place.port),
                          str(place.folder)],
    lambda paths, place, file, _seconds: [
        paths["atftp"], "--option", "blksize 1015", "--put", "--local-file", str(file),
        "--remote-file", file.name, place.host, str(place.port)])


def shell(argv: Sequence[str]) -> str:
    return shlex.join(argv)
