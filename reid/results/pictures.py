"""One ranked list, or one pair of images with its alignment, as PNG by matplotlib, for a paper."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch
from matplotlib.patheffects import withStroke
from numpy import ndarray

MATCH, WRONG, PLAIN = "#0072B2", "#D55E00", "#555555"  # of Okabe and Ito
SIGNS = {True: "✓", False: "✗"}


@dataclass(frozen=True)
class Picture:
    """RGB [H, W, 3] uint8, a line of text, and whether it is a match; None for a query."""

    image: ndarray
    text: str
    is_match: bool | None = None


def ranked_list(query: Picture, nearest: list[Picture], path: str | Path) -> None:
    """Draw a query and its nearest images in a row, framed and signed as match or not."""
    ranked_lists([[query, *nearest]], path)


def ranked_lists(rows: list[list[Picture]], path: str | Path) -> None:
    """Draw several such rows, each a query and its nearest images, one below the other."""
    longest = max(map(len, rows))
    figure = Figure(figsize=(1.1 * longest, 2.7 * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), longest, squeeze=False)
    for axes in panels.flat:
        axes.set_axis_off()
    for row, of_row in zip(panels, rows, strict=True):
        for axes, picture in zip(row, of_row, strict=False):
            axes.set_axis_on()
            _show(axes, picture)
    _save(figure, path)


def alignment(
    pair: tuple[Picture, Picture], costs: ndarray, cells: list[tuple[int, int]], path: str | Path
) -> None:
    """Draw two images with lines between the stripes of `cells`, beside their costs [S, S] with
    these cells joined.
    """
    figure = Figure(figsize=(9.4, 4.2), layout="constrained")
    left, between, right, table = figure.subplots(1, 4, width_ratios=[1, 0.55, 1, 2.3])
    between.set_axis_off()
    for axes, picture in zip((left, right), pair, strict=True):
        _show(axes, picture)
        height = len(picture.image)
        for stripe in range(1, len(costs)):
            axes.axhline(stripe * height / len(costs) - 0.5, color="w", lw=0.8, ls=(0, (4, 3)))
    heights = [len(picture.image) / len(costs) for picture in pair]
    edge = pair[0].image.shape[1] - 0.5
    spread = float(np.ptp(costs)) or 1.0
    for row, column in cells:
        alike = (float(costs.max()) - float(costs[row, column])) / spread
        ends = (edge, (row + 0.5) * heights[0]), (-0.5, (column + 0.5) * heights[1])
        style = {"color": WRONG, "lw": 0.6 + 2.4 * alike**2, "alpha": 0.4 + 0.6 * alike}
        figure.add_artist(ConnectionPatch(*ends, "data", "data", axesA=left, axesB=right, **style))
    _costs(table, costs, cells)
    _save(figure, path)


def _show(axes: Axes, picture: Picture) -> None:
    """An image in a frame, its text above."""
    colour = {None: PLAIN, True: MATCH, False: WRONG}[picture.is_match]
    sign = f" {SIGNS[picture.is_match]}" if picture.is_match is not None else ""
    axes.imshow(picture.image, interpolation="bilinear")
    axes.set_title(picture.text + sign, fontsize=8, color=colour)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set(color=colour, linewidth=2.5)


def _costs(axes: Axes, costs: ndarray, cells: list[tuple[int, int]]) -> None:
    """The costs as shades and numbers in hundredths, with a line through the cells."""
    axes.imshow(-costs, cmap="Blues", alpha=0.75)
    rows, columns = zip(*cells, strict=True)
    axes.plot(columns, rows, color=WRONG, lw=2)
    for (row, column), cost in np.ndenumerate(costs):
        weight = "bold" if (row, column) in cells else "normal"
        style = {"ha": "center", "va": "center", "fontsize": 7.5, "fontweight": weight}
        number = axes.text(column, row, f"{100 * cost:.0f}", **style)
        number.set_path_effects([withStroke(linewidth=2, foreground="w")])
    numbers = range(len(costs))
    axes.set_xticks(numbers, [number + 1 for number in numbers])
    axes.set_yticks(numbers, [number + 1 for number in numbers])
    axes.set_xlabel("stripe of the gallery image", fontsize=8)
    axes.set_ylabel("stripe of the query", fontsize=8)
    axes.set_title("costs of stripes, in hundredths", fontsize=8)
    axes.tick_params(labelsize=7, length=0)
    axes.spines[:].set_visible(False)


def _save(figure: Figure, path: str | Path) -> None:
    figure.savefig(path, dpi=200, format="png", bbox_inches="tight", metadata={"Software": None})
