"""What a system's benchmark is made of: tables with a bar, rows, two contestants a row.

bench/<system>/table.py builds these; everything else here only runs, judges and prints them.
"""

import contextlib
import dataclasses
import enum
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager


class MeasurementFailed(Exception):
    """A figure could not be taken. The row is not recorded, and the run ends with 1."""


class Kind(enum.Enum):
    """What a larger figure means, and so which way round a ratio is: above 1, ours is better."""

    THROUGHPUT = "throughput"  # ours / peer
    COST = "cost"  # latency, memory: peer / ours


class Role(enum.Enum):
    BAR = "bar"  # counts for the bar of its table
    CONTROL = "control"  # the peer against itself: how far this machine is to be believed
    LIMIT = "limit"  # against what the machine itself can do


@dataclasses.dataclass(frozen=True)
class Measurement:
    value: float  # in the unit of the row
    command: str  # what was run, in a form to paste: $SERVER stands for the contestant's address
    extra: Mapping[str, float] = dataclasses.field(default_factory=dict)  # further columns by name


@dataclasses.dataclass(frozen=True, eq=False)
class Contestant:
    name: str
    measure: Callable[[float], Measurement]  # argument: for how many seconds
    # What must be so while it is measured (slow peers, say): held over consecutive measurements.
    during: Callable[[], AbstractContextManager] = contextlib.nullcontext


@dataclasses.dataclass(frozen=True)
class Row:
    name: str  # unique in its table
    unit: str
    ours: Contestant
    peer: Contestant
    role: Role = Role.BAR
    needs: Sequence[str] = ()  # programs, without one of which the row is skipped by name
    quick: bool = False  # also part of --quick
    aim: float | None = None  # a ratio we would like; not a bar
    prepare: Callable[[float], None] | None = None  # once, before the first pair
    length: float = 1.0  # of a measurement, in multiples of the usual one
    # For the time budget, what the row costs beside its measurements: once, and at each change from
    # one contestant to the other.
    once_seconds: float = 0.0
    change_seconds: float = 0.0
    overhead_seconds: float = 0.0  # of each measurement, beyond that of any client


@dataclasses.dataclass(frozen=True)
class DerivedRow:
    """A further column of ours in another row, held against a fixed figure. Costs no time."""

    name: str
    unit: str
    source: str  # name of a row in the same system, as "table/row" keys have it
    column: str
    limit: float
    limit_name: str
    role: Role = Role.BAR
    quick: bool = True
    aim: float | None = None


@dataclasses.dataclass(frozen=True)
class Table:
    title: str
    about: str  # what is compared, and what differs between the two sides
    kind: Kind
    bar: float
    rows: Sequence[Row | DerivedRow]
    columns: Sequence[str] = ()  # the further figures to print: keys of Measurement.extra

    @property
    def slug(self) -> str:
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")

    def key(self, row: Row | DerivedRow) -> str:
        return f"{self.slug}/{row.name}"


@dataclasses.dataclass(frozen=True)
class Program:
    """Something a row needs. A peer has a package to install it from; ours are built."""

    name: str
    path: str | None  # None: not there
    version: str  # what it says of itself; part of the fingerprint
    missing: str  # what to tell when it is not there


@dataclasses.dataclass(frozen=True)
class System:
    name: str
    programs: Sequence[Program]
    ground: AbstractContextManager  # entered while rows are measured: files, servers
    tables: Sequence[Table]
    # Called after a failed measurement: raises if the rest would fail as well.
    check: Callable[[], None] = lambda: None

    def rows(self, quick: bool) -> list[tuple[Table, Row | DerivedRow]]:
        return [(t, r) for t in self.tables for r in t.rows if r.quick or not quick]
