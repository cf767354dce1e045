"""The ablation figure: rank-1 and mAP of every column, a dot per loss, with a bar of the standard
deviation to either side where it is the mean of several seeds. With
`reid.results.pictures` the only file that imports matplotlib.
"""

import math
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reid.arrays.names import COLUMNS
from reid.results.cell import MEASURES
from reid.results.tables import TITLES, label
from reid.runtime.errors import InputError

AXIS_TITLES = {"rank1": "rank-1 (%)", "mAP": "mAP (%)"}
# Okabe and Ito's colours, which colour-blind readers can tell apart; marker and colour repeat
# together only after 35 losses.
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
    ours = {title: _rows_of_ours(title, rows) for title, rows in tables.items()}
    figure = Figure(figsize=(11, 3.2 * len(ours) + 0.6), layout="constrained")
    panels = figure.subplots(len(ours), 2, squeeze=False, sharex=True)
    for line, (title, rows) in zip(panels, ours.items(), strict=True):
        for axes, measure in zip(line, MEASURES, strict=True):
            _panel(axes, rows, measure)
            axes.set_title(f"{title}: {AXIS_TITLES[measure]}", loc="left", fontsize=11)
    _legend(figure, panels.flat)
    figure.savefig(path, dpi=120, format="png", metadata={"Software": None})


def _rows_of_ours(title: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of ours. Raises InputError unless they can be drawn."""
    try:
        ours = [row for row in rows if row["source"] == "ours"]
        can_be_drawn = bool(ours) and all(map(_can_be_drawn, ours))
    except (KeyError, TypeError):
        can_be_drawn = False
    if not can_be_drawn:
        raise InputError(
            f"the table '{title}' cannot be drawn: wanted rows of ours, each with `loss` and a "
            "finite rank-1 and mAP, and deviations of several seeds, for every column. Make the "
            "tables again with `dvc repro tables`."
        )
    return ours


def _can_be_drawn(row: dict[str, Any]) -> bool:
    """Whether a row has a loss, and of every column finite numbers, and deviations of several
    seeds.
    """
    parts = [row["columns"], row["deviations"]] if "seeds" in row else [row["columns"]]
    numbers = [part[column][key] for part in parts for column in COLUMNS for key in MEASURES]
    return bool(row["loss"]) and all(map(math.isfinite, numbers))


def _panel(axes: Axes, rows: list[dict[str, Any]], measure: str) -> None:
    """One dot per row and column, the rows of a column side by side, every second column shaded."""
    models = {row.get("model") for row in rows}
    for i, row in enumerate(rows):
        shift = 0.6 * ((i + 0.5) / len(rows) - 0.5)
        name = label(row) if len(models) == 1 else f"{row['model']}, {label(row)}"
        style = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]}
        _dots(axes, row, measure, shift, {"label": name, **style})
    for place in range(0, len(COLUMNS), 2):
        axes.axvspan(place - 0.5, place + 0.5, color="#f2f2f2", zorder=0)
    axes.set_xlim(-0.5, len(COLUMNS) - 0.5)
    titles = [TITLES[column] for column in COLUMNS]
    axes.set_xticks(range(len(COLUMNS)), titles, rotation=25, ha="right")
    axes.grid(axis="y", color="#cccccc", linewidth=0.6)
    axes.tick_params(length=0)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _dots(
    axes: Axes, row: dict[str, Any], measure: str, shift: float, style: dict[str, str]
) -> None:
    """One row's dots, `shift` beside the middle of their columns, with bars of several seeds."""
    heights = [row["columns"][column][measure] for column in COLUMNS]
    places = [place + shift for place in range(len(COLUMNS))]
    axes.plot(places, heights, linestyle="none", markersize=7, **style)
    if "seeds" in row:
        deviations = [row["deviations"][column][measure] for column in COLUMNS]
        bars = {"fmt": "none", "capsize": 3, "elinewidth": 1}
        axes.errorbar(places, heights, deviations, color=style["color"], **bars)


def _legend(figure: Figure, panels: Any) -> None:
    """One legend below all panels: a loss once, however many panels show it."""
    handles = {
        name: handle
        for axes in panels
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower center", ncols=4, frameon=False
    )
