"""The ablation figure: rank-1 and mAP of every column, a dot per loss, with a bar of the standard
deviation to either side where it is the mean of several seeds. The only file that imports
matplotlib.
"""

import math
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reid.results.tables import COLUMNS, label
from reid.runtime.errors import InputError

METRIC_NAMES = {"rank1": "rank-1 (%)", "mAP": "mAP (%)"}
# Okabe and Ito's colours, told apart by colour-blind readers; marker and colour repeat together
# only after 35 losses.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v")


def ablation_figure(tables: dict[str, list[dict[str, Any]]], path: str | Path) -> None:
    """Draw {title: rows of `reid.results.tables.rows`} to a PNG: a line of panels per table,
    rank-1 left, mAP right.

    Only the rows of ours are drawn. The same tables give the same bytes. Raises InputError for a
    table without rows of ours or with a number that is missing or not finite.
    """
    if not tables:
        raise InputError("there is no table to draw: make them with `dvc repro tables`.")
    drawn = {title: _ours(title, rows) for title, rows in tables.items()}
    figure = Figure(figsize=(11, 3.2 * len(drawn) + 0.6), layout="constrained")
    panels = figure.subplots(len(drawn), 2, squeeze=False, sharex=True)
    for line, (title, rows) in zip(panels, drawn.items(), strict=True):
        for axes, metric in zip(line, METRIC_NAMES, strict=True):
            _panel(axes, rows, metric)
            axes.set_title(f"{title}: {METRIC_NAMES[metric]}", loc="left", fontsize=11)
    _legend(figure, panels.flat)
    figure.savefig(path, dpi=120, format="png", metadata={"Software": None})


def _ours(title: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of ours, each with a finite number, and deviation of several seeds, for every
    column and metric.
    """
    try:
        ours = [row for row in rows if row["source"] == "ours"]
        drawn = [
            row[key]
            for row in ours
            for key in ("columns", "deviations")
            if key == "columns" or "seeds" in row
        ]
        numbers = [
            scores[column][metric]
            for scores in drawn
            for column in COLUMNS
            for metric in METRIC_NAMES
        ]
        whole = bool(ours) and all(row["loss"] for row in ours) and all(map(math.isfinite, numbers))
    except (KeyError, TypeError):
        whole = False
    if not whole:
        raise InputError(
            f"the table '{title}' cannot be drawn: wanted rows of ours, each with `loss` and a "
            "finite rank-1 and mAP, and deviations of several seeds, for every column. Make the "
            "tables again with `dvc repro tables`."
        )
    return ours


def _panel(axes: Axes, rows: list[dict[str, Any]], metric: str) -> None:
    """One dot per row and column, the rows of a column side by side, every second column shaded."""
    models = {row.get("model") for row in rows}
    for i, row in enumerate(rows):
        shift = 0.6 * ((i + 0.5) / len(rows) - 0.5)
        heights = [row["columns"][column][metric] for column in COLUMNS]
        places = [place + shift for place in range(len(COLUMNS))]
        style = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]}
        called = label(row) if len(models) == 1 else f"{row['model']}, {label(row)}"
        axes.plot(places, heights, linestyle="none", markersize=7, label=called, **style)
        if "seeds" in row:
            deviations = [row["deviations"][column][metric] for column in COLUMNS]
            axes.errorbar(
                places,
                heights,
                deviations,
                fmt="none",
                color=style["color"],
                capsize=3,
                elinewidth=1,
            )
    for place in range(0, len(COLUMNS), 2):
        axes.axvspan(place - 0.5, place + 0.5, color="#f2f2f2", zorder=0)
    axes.set_xlim(-0.5, len(COLUMNS) - 0.5)
    axes.set_xticks(range(len(COLUMNS)), COLUMNS.values(), rotation=25, ha="right")
    axes.grid(axis="y", color="#cccccc", linewidth=0.6)
    axes.tick_params(length=0)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _legend(figure: Figure, panels: Any) -> None:
    """One legend below all panels: a loss once, however many panels show it."""
    handles = {
        label: handle
        for axes in panels
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower center", ncols=4, frameon=False
    )
