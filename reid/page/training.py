"""How training went: the histories of all losses as charts."""

import csv
import math
from pathlib import Path

from reid.page import charts
from reid.page.charts import Axis, Line
from reid.page.figures import Figure
from reid.runtime.errors import InputError

FIELDS = {
    "loss": "mean loss",
    "accuracy": "accuracy (share of images)",
    "held_out_mAP": "mAP on held-out people (%)",
}


def charts_of(histories: dict[str, dict[str, list[float]]]) -> list[Figure]:
    """{loss: its history by column} -> a chart for each of FIELDS that some history has."""
    figures = []
    for field, title in FIELDS.items():
        lines = [
            Line(name, number, history["epoch"], history[field])
            for number, (name, history) in enumerate(histories.items())
            if field in history
        ]
        if lines:
            x = Axis("epoch", 0, max(max(line.x) for line in lines))
            values = [value for line in lines for value in line.y if math.isfinite(value)]
            chart = charts.lines(lines, x, charts.limits(values, title), f"{title} by epoch")
            figures.append(Figure(title.partition(" (")[0].capitalize(), chart))
    return figures


def read_history(file: Path) -> dict[str, list[float]]:
    """history.csv -> its numbers by column, NaN where empty; {} without the file, and of a
    converted model, whose file has no losses.

    Raises InputError for a file that is no such table.
    """
    if not file.exists():
        return {}
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        if rows and rows[0].keys() == {"epoch"}:
            return {}
        history = {name: [_number(row[name]) for row in rows] for name in rows[0]}
        history["epoch"], history["loss"]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(
            f"{file} is no table of epochs: {error!r}. Wanted a row of numbers for each, with "
            "`epoch` and `loss`. Train the model again."
        ) from None
    return history


def _number(text: str) -> float:
    """A field's number, NaN where it is empty."""
    return float(text) if text != "" else float("nan")
