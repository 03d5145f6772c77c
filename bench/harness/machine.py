"""Facts about the machine, for the report."""

import os
import pathlib
import platform
import shutil
import subprocess


def first_line(*command: str) -> str:
    """What a program prints first, on either stream; empty when it is not there."""
    if not shutil.which(command[0]):
        return ""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
    return done.stdout.strip().partition("\n")[0].strip()


def _field(path: str, name: str) -> str:
    try:
        for line in pathlib.Path(path).read_text().splitlines():
            key, separator, value = line.replace("=", ":", 1).partition(":")
            if separator and key.strip() == name:
                return value.strip().strip('"')
    except OSError:
        pass
    return ""


LOAD = "load average at the start"


def facts() -> dict[str, str]:
    memory_kib = int((_field("/proc/meminfo", "MemTotal") or "0").split()[0])
    return {
        "cores": str(len(os.sched_getaffinity(0))),
        "processor": _field("/proc/cpuinfo", "model name") or platform.machine(),
        "memory": f"{memory_kib / (1 << 20):.0f} GiB",
        "kernel": platform.release(),
        "distribution": _field("/etc/os-release", "PRETTY_NAME"),
        "compiler": first_line("g++", "--version"),
        LOAD: f"{os.getloadavg()[0]:.1f}",
    }


def identity(of: dict[str, str]) -> list[str]:
    """Those of the facts that make it another machine when they change."""
    return [f"{key} {of[key]}" for key in ("cores", "processor", "memory", "kernel")]


def commit(repository: pathlib.Path) -> str:
    """The checked-out commit, with a + when files differ from it; empty outside of git."""
    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(repository), *arguments], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
        return done.stdout.strip()

    head = git("rev-parse", "--short", "HEAD")
    results = ":(exclude)bench/results", ":(exclude)bench/REPORT.md"
    return head + ("+" if head and git("status", "--porcelain", "--", ".", *results) else "")
