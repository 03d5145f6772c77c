"""One SVG per table, drawn by gnuplot: the pair ratios of each row, median and range."""

import dataclasses
import pathlib
import shutil
import subprocess
from collections.abc import Sequence

from harness.verdict import Ratios


@dataclasses.dataclass(frozen=True)
class Point:
    label: str
    ratios: Ratios
    counts: bool  # for the bar; control and limit rows are drawn hollow


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def script(title: str, axis: str, bar: float, points: Sequence[Point], svg: pathlib.Path) -> str:
    """What gnuplot is told. Rows from top to bottom, ratio to the right on a logarithmic axis."""
    last = len(points)
    margin = 20 + 7.5 * max(len(p.label) for p in points)  # pixels; gnuplot's own guess is too wide
    width = margin + 560
    lowest = min([bar, *(p.ratios.lowest for p in points)])
    highest = max([bar, *(p.ratios.highest for p in points)])
    tics = ", ".join(f"{_quoted(p.label.replace('%', '%%'))} {last - i}"  # a label is a format
                     for i, p in enumerate(points))
    lines = [
        f"set terminal svg size {width:.0f},{110 + 20 * last} font 'sans,12' background 'white'",
        f"set lmargin at screen {margin / width:.3f}",
        f"set output {_quoted(str(svg))}",
        f"set title {_quoted(title)} noenhanced",
        f"set xlabel {_quoted(axis)} noenhanced",
        "set logscale x 2",
        "set format x '%.2g'",
        f"set xrange [{lowest * 0.9:.4g}:{highest * 1.1:.4g}]",
        f"set yrange [0.3:{last + 0.7}]",
        f"set ytics ({tics}) noenhanced",
        "set grid xtics lc rgb '#dddddd'",
        f"set arrow from {bar:g}, graph 0 to {bar:g}, graph 1 nohead lc rgb '#cc3311' lw 2",
        "unset key",
    ]
    plots = []
    for name, counts, style in (("bars", True, "pt 7"), ("others", False, "pt 6")):
        rows = [f"{p.ratios.median:.5g} {last - i} {p.ratios.lowest:.5g} {p.ratios.highest:.5g}"
                for i, p in enumerate(points) if p.counts == counts]
        if rows:
            lines += [f"${name} << END", *rows, "END"]
            plots.append(f"${name} using 1:2:3:4 with xerrorbars {style} lc rgb '#0077bb'")
    return "\n".join([*lines, "plot " + ", ".join(plots)]) + "\n"


def draw(text: str) -> None:
    """REQUIRES: available()."""
    subprocess.run(["gnuplot"], input=text, text=True, check=True, timeout=60)


def available() -> bool:
    return shutil.which("gnuplot") is not None
