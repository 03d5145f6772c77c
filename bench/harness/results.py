"""bench/results/<system>.json: every measurement of every row, and what the report needs to be
drawn from it alone. Written after each row, so that a run can end anywhere.

A row has up to two entries, "full" and "quick"; each carries the fingerprint it was measured under.
"""

import json
import os
import pathlib

from harness.pairs import Pairs
from harness.rows import DerivedRow, Measurement, System

VERSION = 1
MODES = ("full", "quick")  # the better first


def _side(name: str, measurements: list[Measurement]) -> dict:
    columns = {key for m in measurements for key in m.extra}
    return {
        "name": name,
        "command": measurements[-1].command,
        "values": [m.value for m in measurements],
        "extra": {key: [m.extra[key] for m in measurements if key in m.extra]
                  for key in sorted(columns)},
    }


def entry_of(ours: str, peer: str, pairs: Pairs, **facts) -> dict:
    return {**facts, "ours": _side(ours, pairs.ours), "peer": _side(peer, pairs.peer)}


def derived_entry(row: DerivedRow, source: dict) -> dict | None:
    """The entry of a derived row from that of its source; None when the column is not there."""
    values = source["ours"]["extra"].get(row.column)
    if not values:
        return None
    facts = {key: value for key, value in source.items() if key not in ("ours", "peer")}
    return {
        **facts,
        "ours": {"name": source["ours"]["name"], "command": source["ours"]["command"],
                 "values": values, "extra": {}},
        "peer": {"name": row.limit_name, "command": "", "values": [row.limit] * len(values),
                 "extra": {}},
    }


def chosen(entries: dict, fingerprint: str, prefer: str = MODES[0]) -> tuple[str, dict] | None:
    """The entry to show: one of the present build before an older one, then the preferred mode."""
    if not entries:
        return None
    return min(entries.items(),
               key=lambda item: (item[1]["fingerprint"] != fingerprint, item[0] != prefer))


class ResultFile:
    def __init__(self, path: pathlib.Path, system: str):
        self.path = path
        self.doc = {"version": VERSION, "system": system, "rows": {}, "skipped": {}}
        if path.exists():
            doc = json.loads(path.read_text())
            if doc.get("version") == VERSION:
                self.doc = doc

    def describe(self, system: System, fingerprint: str, machine: dict) -> None:
        """Takes over what the tables say now; rows that they no longer have are dropped."""
        self.doc["fingerprint"] = fingerprint
        self.doc["machine"] = machine
        self.doc["programs"] = {p.name: p.version for p in system.programs if p.path}
        self.doc["tables"] = [{
            "title": table.title, "slug": table.slug, "about": table.about,
            "kind": table.kind.value, "bar": table.bar, "columns": list(table.columns),
            "rows": [{"key": table.key(row), "name": row.name, "unit": row.unit,
                      "role": row.role.value, "aim": row.aim} for row in table.rows],
        } for table in system.tables]
        known = {table.key(row) for table in system.tables for row in table.rows}
        for part in ("rows", "skipped"):
            self.doc[part] = {k: v for k, v in self.doc.get(part, {}).items() if k in known}

    def finished(self, key: str, mode: str) -> dict | None:
        """An entry that makes measuring this row in this mode needless."""
        entries = self.doc["rows"].get(key, {})
        for better in MODES[:MODES.index(mode) + 1]:
            entry = entries.get(better)
            if entry and entry["fingerprint"] == self.doc["fingerprint"]:
                return entry
        return None

    def forget(self, key: str, mode: str) -> None:
        """So that a run that is cut short goes on where it was, instead of keeping the old one."""
        entry = self.doc["rows"].get(key, {}).get(mode)
        if entry and entry["fingerprint"] == self.doc["fingerprint"]:
            del self.doc["rows"][key][mode]

    def put(self, key: str, mode: str, entry: dict) -> None:
        self.doc["rows"].setdefault(key, {})[mode] = entry
        self.doc["skipped"].pop(key, None)

    def skip(self, key: str, why: str) -> None:
        self.doc["skipped"][key] = why

    def save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(json.dumps(self.doc, indent=1, ensure_ascii=False) + "\n")
        os.replace(temporary, self.path)
