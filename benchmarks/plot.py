"""Pictures for pages: the same figures give the same file, byte for byte, on the same versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.ticker

__all__ = ["line_plot"]

_STYLE = {
    "svg.hashsalt": "ranksearch",  # else the ids in the file are random
    "svg.fonttype": "path",  # looks the same wherever it is opened
    "font.size": 12,
    "axes.grid": True,
    "axes.grid.which": "both",
    "grid.color": "0.9",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "legend.frameon": False,
    "axes.prop_cycle": mpl.cycler(
        color=["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"],  # Okabe & Ito
        marker=["o", "s", "^", "D", "v", "P", "X"],
    ),
}


_MARKED = 40
"""Points of a line up to which each has a marker."""


def line_plot(
    target: Path,
    lines: Mapping[str, Sequence[tuple[float, float]]],
    *,
    x_label: str,
    y_label: str,
    title: str = "",
    bands: Mapping[str, Sequence[tuple[float, float, float]]] | None = None,
    log_x: bool = False,
    log_y: bool = False,
    size: tuple[float, float] = (7.5, 5.0),
    legend: str = "best",
) -> None:
    """Write an SVG of labelled lines on a white background.

    Args:
        target: the file; its folder is made.
        lines: label → points (x, y), joined in order of x.
        x_label: what x is, with its unit.
        y_label: what y is, with its unit.
        title: above the picture.
        bands: label of a line → (x, lowest, highest), shaded in its colour.
        log_x: logarithmic x axis.
        log_y: logarithmic y axis.
        size: width and height, inches.
        legend: where it stands, in matplotlib's words.
    """
    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the backend is chosen

    with mpl.rc_context(_STYLE):
        figure, axes = plt.subplots(figsize=size, layout="constrained")
        for label, points in lines.items():
            crowd = {"marker": ""} if len(points) > _MARKED else {}
            (line,) = axes.plot(*zip(*sorted(points), strict=True), label=label, **crowd)
            if bands and label in bands:
                axes.fill_between(*zip(*bands[label], strict=True), color=line.get_color(), alpha=0.15, linewidth=0)
        axes.set(xlabel=x_label, ylabel=y_label, title=title)
        for axis, is_log in ((axes.xaxis, log_x), (axes.yaxis, log_y)):
            if is_log:
                (axes.set_xscale if axis is axes.xaxis else axes.set_yscale)("log")
                low, high = axis.get_view_interval()
                crowded = high > 10 * low  # all nine labels of a decade are too many for several
                axis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 3, 5) if crowded else range(1, 10)))
                axis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:,g}"))
                axis.set_minor_formatter(mpl.ticker.NullFormatter())
        axes.legend(loc=legend)
        target.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(target, format="svg", facecolor="white", metadata={"Date": None, "Creator": None})
        plt.close(figure)
