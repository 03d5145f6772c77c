"""Draws bench/REPORT.md from bench/results/*.json. Text in, text out, but for write_all()."""

import json
import pathlib
import statistics

from harness import plot
from harness.results import VERSION, chosen
from harness.rows import Kind, Role
from harness.verdict import (ROW_TOLERANCE, Judgement, Ratios, geometric_mean, judge, pair_ratios,
                             row_met, summary)

AXIS = {Kind.THROUGHPUT: "ours / peer", Kind.COST: "peer / ours"}


def figure(value: float) -> str:
    """Three digits are more than these measurements carry; thousands apart by a thin gap."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{float(f'{value:.3g}'):,.0f}".replace(",", " ")
    return f"{value:.3g}"


def ratio_text(ratios: Ratios) -> str:
    return f"{ratios.median:.2f} [{ratios.lowest:.2f}–{ratios.highest:.2f}]"


def ratios_of(table: dict, entry: dict) -> Ratios:
    return summary(pair_ratios(Kind(table["kind"]), entry["ours"]["values"],
                               entry["peer"]["values"]))


class TableView:
    """A table of a result file, with the entry to show for each row."""

    def __init__(self, doc: dict, table: dict, prefer: str = "full"):
        self.table = table
        self.kind = Kind(table["kind"])
        self.fingerprint = doc["fingerprint"]
        self.shown = {}  # key: (mode, entry)
        self.ratios = {}
        self.skipped = {}
        for row in table["rows"]:
            found = chosen(doc["rows"].get(row["key"], {}), self.fingerprint, prefer)
            if found:
                self.shown[row["key"]] = found
                self.ratios[row["key"]] = ratios_of(table, found[1])
            elif row["key"] in doc["skipped"]:
                self.skipped[row["key"]] = doc["skipped"][row["key"]]

    def fresh(self, key: str) -> bool:
        return key in self.shown and self.shown[key][1]["fingerprint"] == self.fingerprint

    def rows(self, role: Role) -> list[dict]:
        return [row for row in self.table["rows"] if row["role"] == role.value]

    def medians(self) -> dict[str, float]:
        """By the name of the row; only of those that count and were measured on this build."""
        return {row["name"]: self.ratios[row["key"]].median
                for row in self.rows(Role.BAR) if self.fresh(row["key"])}

    def judgement(self) -> Judgement | None:
        medians = self.medians()
        return judge(self.table["bar"], medians) if medians else None

    def verdict(self) -> str:
        judgement = self.judgement()
        done, all_of_them = len(self.medians()), len(self.rows(Role.BAR))
        if all_of_them == 0:
            return "no bar: beside limits only"
        if judgement is None:
            return "not measured on this build"
        part = "" if done == all_of_them else f", on {done} of {all_of_them} rows"
        so_far = " so far" if part and judgement.met else ""
        text = (f"bar {'met' if judgement.met else 'missed'}{so_far}{part}: "
                f"geometric mean {judgement.mean:.3f}, bar {self.table['bar']:.2f}")
        if judgement.missed:
            text += (f"; rows below {ROW_TOLERANCE * self.table['bar']:.2f}: "
                     + "; ".join(judgement.missed))
        return text

    def aims(self) -> list[str]:
        """A line for each aim that rows have, whether they count for the bar or not."""
        rows_with_aim = [row for row in self.table["rows"] if row["aim"]]
        lines = []
        for aim in sorted({row["aim"] for row in rows_with_aim}):
            of_aim = [self.ratios[row["key"]].median for row in rows_with_aim
                      if row["aim"] == aim and self.fresh(row["key"])]
            if of_aim:
                mean = geometric_mean(of_aim)
                rows = "1 row" if len(of_aim) == 1 else f"{len(of_aim)} rows"
                lines.append(f"aim {aim:.2f} ({rows}): geometric mean {mean:.3f}, "
                             f"{'reached' if mean >= aim else 'not reached'}")
        return lines

    def control(self) -> str:
        shown = [ratio_text(self.ratios[row["key"]]) for row in self.rows(Role.CONTROL)
                 if row["key"] in self.ratios]
        return ", ".join(shown)

    def row_verdict(self, row: dict) -> str:
        if row["role"] != Role.BAR.value:
            return row["role"]
        met = row_met(self.ratios[row["key"]].median, self.table["bar"])
        return "met" if met else "**missed**"


def _pair_of_medians(entry: dict, column: str) -> str:
    sides = [entry[side]["extra"].get(column) for side in ("ours", "peer")]
    return " / ".join(figure(statistics.median(v)) if v else "–" for v in sides)


def _command(entry: dict) -> str:
    commands = list(dict.fromkeys(c for c in (entry["ours"]["command"], entry["peer"]["command"])
                                  if c))
    return "<br>".join(f"`{c}`" for c in commands)


def row_cells(view: TableView, row: dict) -> list[str]:
    columns = view.table["columns"]
    key = row["key"]
    if key not in view.shown:
        why = f"skipped: {view.skipped[key]}" if key in view.skipped else "not measured"
        return [row["name"], *["–"] * 4, why, "–", *["–"] * len(columns), ""]
    mode, entry = view.shown[key]
    pairs = f"{len(entry['ours']['values'])}"
    if mode == "quick":
        pairs += ", quick"
    if not view.fresh(key):
        pairs += ", earlier build"
    bars = [f"{view.table['bar']:.2f}"] if row["role"] == Role.BAR.value else []
    bar = ", ".join([*bars, *([f"aim {row['aim']:.2f}"] if row["aim"] else [])]) or "–"
    medians = [f"{figure(statistics.median(entry[side]['values']))} {row['unit']}"
               for side in ("ours", "peer")]
    return [row["name"], *medians, ratio_text(view.ratios[key]), bar, view.row_verdict(row), pairs,
            *[_pair_of_medians(entry, column) for column in columns], _command(entry)]


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def table_markdown(view: TableView, svg: str | None) -> str:
    table = view.table
    ratio = f"{AXIS[view.kind]}, median [range]"
    head = ["row", "ours", "peer", ratio, "bar", "verdict", "pairs",
            *[f"{column}: ours / peer" for column in table["columns"]], "command"]
    parts = [f"### {table['title']}", table["about"], f"**{view.verdict()}**"]
    parts += [line[0].upper() + line[1:] + "." for line in view.aims()]
    if view.control():
        parts.append(f"Control, the peer against itself: {view.control()}. "
                     "Nothing finer than that is claimed.")
    parts.append("\n".join([_line(head), _line(["---"] * len(head)),
                            *[_line(row_cells(view, row)) for row in table["rows"]]]))
    if svg:
        parts.append(f"![{table['title']}]({svg})")
    return "\n\n".join(parts)


def system_markdown(doc: dict, plots: dict[str, str], notes: str) -> str:
    """plots: path of the SVG by slug of the table; notes: bench/<system>/NOTES.md."""
    dates = sorted(e["date"] for row in doc["rows"].values() for e in row.values())
    commits = sorted({e["commit"] for row in doc["rows"].values() for e in row.values()
                      if e["fingerprint"] == doc["fingerprint"]})
    facts = [("measured", f"{dates[0]} to {dates[-1]}" if dates else "nothing yet"),
             ("build", f"{doc['fingerprint']}, commit {', '.join(commits) or 'none'}"),
             *doc["machine"].items(), *doc["programs"].items()]
    parts = [f"## {doc['system']}",
             "\n".join(["| | |", "|---|---|", *[_line([k, v]) for k, v in facts]])]
    for table in doc["tables"]:
        parts.append(table_markdown(TableView(doc, table), plots.get(table["slug"])))
    if notes.strip():
        parts.append(f"### Notes\n\n{notes.strip()}")
    return "\n\n".join(parts)


def report_markdown(systems: list[str]) -> str:
    head = ("# Figures\n\nDrawn by `scripts/bench.sh`; not edited by hand. How they are taken, and "
            "what a row means: [README.md](README.md).")
    return "\n\n".join([head, *systems]) + "\n"


def plot_script(view: TableView, svg: pathlib.Path) -> str | None:
    points = [plot.Point(row["name"], view.ratios[row["key"]], row["role"] == Role.BAR.value)
              for row in view.table["rows"] if row["key"] in view.ratios]
    if not points:
        return None
    return plot.script(view.table["title"], f"{AXIS[view.kind]} of the pairs, median and range",
                       view.table["bar"], points, svg)


def write_all(bench: pathlib.Path) -> None:
    """All systems that have results; the plots too, where gnuplot is there."""
    results = bench / "results"
    sections = []
    for path in sorted(results.glob("*.json")):
        doc = json.loads(path.read_text())
        if doc.get("version") != VERSION:
            continue
        plots = {}
        for table in doc["tables"]:
            svg = results / f"{doc['system']}-{table['slug']}.svg"
            text = plot_script(TableView(doc, table), svg)
            if text and plot.available():
                plot.draw(text)
            if text and svg.exists():
                plots[table["slug"]] = svg.relative_to(bench).as_posix()
        notes = bench / doc["system"] / "NOTES.md"
        sections.append(system_markdown(doc, plots, notes.read_text() if notes.exists() else ""))
    (bench / "REPORT.md").write_text(report_markdown(sections))
