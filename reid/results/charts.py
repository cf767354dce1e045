"""The data of DVC's charts, which dvc.yaml draws under `plots`: one CSV for all rows of the tables.

`dvc plots show` and `dvc plots diff` colour the lines by the column `row`: `.dvc/plots/rows.json`.
"""

import csv
import io
from typing import Any

from reid.arrays.names import COLUMNS
from reid.results import history
from reid.results.cell import Run
from reid.results.tables import TablesSettings

Line = dict[str, Any]


def files(cells: dict[str, list[list[Run]]], settings: TablesSettings) -> dict[str, str]:
    """{dataset: its cells} -> {file name: text}: training.csv (row, epoch, loss, accuracy) and
    cmc.csv (row, rank, and of every column the percentage, with full queries).
    """
    runs = [run for of_dataset in cells.values() for cell in of_dataset for run in cell]
    named = {_name(run, cells, settings): run for run in runs}
    training = [line for name, run in named.items() for line in _training(name, run)]
    cmc = [line for name, run in named.items() for line in _cmc(name, run)]
    return {
        "training.csv": _text(("row", "epoch", *history.CURVES), training),
        "cmc.csv": _text(("row", "rank", *COLUMNS), cmc),
    }


def _name(run: Run, cells: dict[str, list[list[Run]]], settings: TablesSettings) -> str:
    """What the charts call a run: its loss, and dataset and seed where there are several."""
    dataset = [settings.name(run["dataset"])] if len(cells) > 1 else []
    seed = [f"seed {run['seed']}"] if len(settings.seeds) > 1 else []
    return ", ".join([*dataset, settings.name(run["loss"]), *seed])


def _training(name: str, run: Run) -> list[Line]:
    """A line for each epoch of a run; none of a converted model."""
    curves = run.get("history") or {"epoch": []}
    return [
        {"row": name} | {key: values[i] for key, values in curves.items()}
        for i in range(len(curves["epoch"]))
    ]


def _cmc(name: str, run: Run) -> list[Line]:
    """A line for each rank of a run."""
    curves = run["cmc"]["full"]
    return [
        {"row": name, "rank": i + 1} | {column: curves[column][i] for column in COLUMNS}
        for i in range(len(curves[COLUMNS[0]]))
    ]


def _text(columns: tuple[str, ...], lines: list[Line]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()
