"""Curves drawn as SVG files that read on light and on dark pages: nothing behind them, and colours between the two.

Matplotlib draws them. The same curves give the same bytes: no date, no random ids, text left to the reader's fonts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from matplotlib.typing import RcKeyType

from benchmarks.growth import Curve

GREY = "#808080"
STYLES = (
    ("#2f81f7", "o"),
    ("#d9730d", "s"),
    ("#1a9e5c", "^"),
    ("#a065e8", "D"),
    ("#e0524a", "v"),
    ("#a08b16", "P"),
)
SETTINGS: dict[RcKeyType, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "synap",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": GREY,
    "axes.labelcolor": GREY,
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "grid.color": GREY,
    "grid.alpha": 0.25,
    "legend.frameon": False,
}
INCHES = (6.4, 4.2)
LEGEND_COLUMNS = 2
UNITS = ((1e6, "M"), (1e3, "k"))


@dataclass(frozen=True)
class Chart:
    """Curves with one unit. Linear charts begin at zero, so that what looks flat is."""

    title: str
    unit: str
    curves: Sequence[Curve]
    is_logarithmic: bool = False


def draw(chart: Chart, file: Path) -> None:
    """Write a chart as SVG. Raises ValueError when it has more curves than can be told apart."""
    if len(chart.curves) > len(STYLES):
        raise ValueError(f"{len(chart.curves)} curves, expected at most {len(STYLES)}")
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=INCHES, layout="constrained")
        axes = figure.add_subplot()
        for curve, (colour, marker) in zip(chart.curves, STYLES, strict=False):
            sizes, values = list(curve.points), list(curve.points.values())
            axes.plot(sizes, values, color=colour, marker=marker, markersize=5, label=curve.name)
        axes.set_xscale("log")
        if chart.is_logarithmic:
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
        axes.set_xticks(sorted({size for curve in chart.curves for size in curve.points}))
        axes.minorticks_off()
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(_short))
        axes.set_title(chart.title, loc="left")
        axes.set_xlabel("items in memory")
        axes.set_ylabel(chart.unit)
        axes.grid(visible=True, which="major")
        figure.legend(loc="outside lower left", ncols=LEGEND_COLUMNS)
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})


def _short(number: float, _position: object) -> str:
    for unit, letter in UNITS:
        if number >= unit:
            return f"{number / unit:g}{letter}"
    return f"{number:g}"
