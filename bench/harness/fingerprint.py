"""What a figure depends on, as one short value: a row measured under it need not be run again."""

import hashlib
import pathlib
from collections.abc import Iterable, Mapping

# Of bench/ itself: what measures counts, what only prints does not.
PRINTING = {"report.py", "plot.py", "README.md", "NOTES.md"}


def digest_of_file(path: pathlib.Path) -> str:
    sha = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            sha.update(block)
    return sha.hexdigest()


def measuring_files(bench: pathlib.Path, system: str) -> list[pathlib.Path]:
    return [bench / "run.py", *sorted(
        path
        for folder in (bench / "harness", bench / system)
        for path in folder.rglob("*")
        if path.is_file() and path.name not in PRINTING and "__pycache__" not in path.parts)]


def fingerprint(digests: Mapping[str, str], versions: Iterable[str]) -> str:
    """digests: by a name that does not depend on where the repository lies."""
    sha = hashlib.sha256()
    for name, digest in sorted(digests.items()):
        sha.update(f"{name}\0{digest}\0".encode())
    for version in sorted(versions):
        sha.update(f"{version}\0".encode())
    return sha.hexdigest()[:16]
