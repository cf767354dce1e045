"""Cells -> the ablation tables: rows for JSON, and Markdown in the published layout.

The layout and the numbers set beside ours are those of `reid.results.paper`. Imports no torch.
"""

import json
import math
from typing import Annotated, Any, Self

from pydantic import AfterValidator, model_validator
from tabulate import tabulate

from reid.arrays.names import COLUMNS, PROTOCOLS
from reid.results import noise, paper, seeds
from reid.results.cell import MEASURES, Run
from reid.runtime.errors import InputError
from reid.runtime.settings import Names, Seeds, Text, settings_class

TITLES = {
    "global": "Global",
    "local": "Local",
    "dmli": "DMLI",
    "global_dmli": "Global+DMLI",
    "global_rk": "Global(RK)",
    "dmli_rk": "DMLI(RK)",
    "global_dmli_rk": "Global+DMLI(RK)",
}

Row = dict[str, Any]


def _check_title(title: str) -> str:
    """Return `title`. Raises ValueError where Markdown would make more of it than plain text."""
    if not title.strip() or set(title) & set("|<>[]\\`") or not title.isprintable():
        raise ValueError("printable text without | < > [ ] \\ and `")
    return title


Title = Annotated[Text, AfterValidator(_check_title)]


@settings_class
class TablesSettings:
    """`tables` in params.yaml: the cells (every dataset with every loss), the seeds of each, and
    what datasets, losses and trunks are called.
    """

    datasets: Names
    losses: Names
    seeds: Seeds
    names: dict[str, Title]

    @model_validator(mode="after")
    def _check_that_none_comes_twice(self) -> Self:
        pages = [file_name(name, protocol) for name in self.datasets for protocol in PROTOCOLS]
        for key, values in (("datasets", pages), ("losses", self.losses), ("seeds", self.seeds)):
            if len(set(values)) < len(values):
                raise ValueError(
                    f"`{key}` is {list(getattr(self, key))}, wanted none of them twice, and no "
                    "dataset called as another one with `_partial` behind it"
                )
        return self

    def name(self, key: str) -> str:
        """What the tables call the dataset, loss or trunk `key`; the key itself when it has no
        name.
        """
        return self.names.get(key, key)


def file_name(dataset: str, protocol: str) -> str:
    """The table's file name without its ending."""
    return dataset if protocol == "full" else f"{dataset}_{protocol}"


def pages(cells: dict[str, list[list[Run]]], settings: TablesSettings) -> dict[str, str]:
    """{dataset: its cells} -> {file name: text}: Markdown and JSON of every dataset and protocol.

    Raises InputError as `rows` does.
    """
    files = {}
    for dataset, of_dataset in cells.items():
        for protocol in PROTOCOLS:
            table, stem = rows(of_dataset, protocol, settings), file_name(dataset, protocol)
            files[f"{stem}.md"] = markdown(table, dataset, protocol, settings)
            files[f"{stem}.json"] = json.dumps(table, indent=2, allow_nan=False) + "\n"
    return files


def rows(cells: list[list[Run]], protocol: str, settings: TablesSettings) -> list[Row]:
    """One dataset's cells, each its runs by seed -> {"model", "loss", "source", "columns": {column:
    {"rank1", "mAP"}}}, in the order of `cells`.

    Source is "ours", followed by "published" and "difference" (ours - published, points) where
    anything was published; those two hold the published columns and measures only. Of several
    seeds, `columns` are the means, and "seeds", "deviations" and "values" join them; "notes" are
    sentences that go below the table; "within_noise" is that of `reid.results.noise`. Raises
    InputError when there is no cell, and when seeds of a cell differ in more than the seed.
    """
    if not cells:
        raise InputError(
            "a table needs at least one cell: got none. Name its datasets and losses under "
            "`tables:` in params.yaml."
        )
    return [row for runs in cells for row in _rows_of_cell(runs, protocol, settings)]


def _rows_of_cell(runs: list[Run], protocol: str, settings: TablesSettings) -> list[Row]:
    """Ours, and the published row and the difference where there is something published."""
    seeds.check_alike(runs)
    run = runs[0]
    loss = settings.name(run["loss"])
    ours: Row = {"model": settings.name(run["trunk"]), "loss": loss, "source": "ours"}
    ours |= seeds.summarize(runs, protocol)
    ours["within_noise"] = noise.of_cell(runs, protocol)
    published = paper.columns(run, protocol)
    if notes := _notes(run, protocol, bool(published)):
        ours["notes"] = notes
    if not published:
        return [ours]
    return [
        ours,
        {"model": paper.MODEL, "loss": loss, "source": "published", "columns": published},
        {
            "model": ours["model"],
            "loss": loss,
            "source": "difference",
            "columns": _difference(ours["columns"], published),
        },
    ]


def _notes(run: Run, protocol: str, has_published: bool) -> list[str]:
    """Return what a reader must know of a run's row: an unusual metric, and what was published."""
    notes, is_classic = [], paper.protocol(run) == "classic"
    if run.get("metric") == "cuhk03":
        notes.append("Metric: CUHK03's classic one, the mean over draws of one image a person.")
    elif is_classic:
        notes.append("Metric: Market-1501's, not the classic one that goes with this protocol.")
    if reason := paper.mismatch(run, protocol):
        notes.append(f"No published numbers stand beside ours: {reason}.")
    elif has_published and (note := paper.NOTES.get(paper.reader(run) or "")):
        notes.append(note)
    return notes


def _difference(ours: dict[str, Any], published: dict[str, Any]) -> dict[str, dict[str, float]]:
    return {
        column: {
            measure: round(ours[column][measure] - number, 4) for measure, number in numbers.items()
        }
        for column, numbers in published.items()
    }


def markdown(table: list[Row], dataset: str, protocol: str, settings: TablesSettings) -> str:
    """The rows of `rows` as a Markdown page: the published layout, what its rows mean, then every
    column of ours.
    """
    ours = [row for row in table if row["source"] == "ours"]
    title = settings.name(dataset) + ("-Partial" if protocol == "partial" else "")
    parts = [f"#### {title}", _grid(table, paper.COLUMNS), "Cells are rank-1/mAP in percent."]
    if any("seeds" in row for row in ours):
        parts[-1] += " Over several seeds: mean±sample standard deviation."
    if len(ours) < len(table):
        parts[-1] += (
            f" Published: {paper.SOURCE}. Difference: ours - published, in points; `-`: not "
            "published."
        )
    parts.append(noise.sentence(ours, TITLES))
    parts += dict.fromkeys(note for row in ours for note in row.get("notes", []))
    return "\n\n".join([*parts, f"##### {title}, every column", _grid(ours, COLUMNS)]) + "\n"


def _grid(table: list[Row], columns: tuple[str, ...]) -> str:
    lines = [
        [row["model"], label(row), *(cell_text(row, column) for column in columns)] for row in table
    ]
    headers = ["Model", "Loss", *(TITLES[column] for column in columns)]
    align = ["left", "left", *["center"] * len(columns)]
    return tabulate(lines, headers, tablefmt="pipe", colalign=align, disable_numparse=True)


def label(row: Row) -> str:
    """What a row of `rows` is called: its loss, and how many seeds it is the mean of, or that it
    is not ours.
    """
    if row["source"] != "ours":
        return f"{row['loss']}, {row['source']}"
    return f"{row['loss']}, {len(row['seeds'])} seeds" if "seeds" in row else row["loss"]


def cell_text(row: Row, column: str) -> str:
    """<rank-1>/<mAP> of a column with the deviations of several seeds, or - for what is absent."""
    numbers = row["columns"].get(column)
    if not numbers:
        return "-"
    deviations = row.get("deviations", {}).get(column, {})
    sign = "+" if row["source"] == "difference" else ""
    shown = []
    for measure in MEASURES:
        text = f"{_tenths(numbers[measure]):{sign}.1f}" if measure in numbers else "-"
        if measure in deviations:
            text += f"±{_tenths(deviations[measure]):.1f}"
        shown.append(text)
    return "/".join(shown)


def _tenths(number: float) -> float:
    """To one decimal, halves upwards for either sign, so that the numbers shown differ by the
    difference shown.
    """
    return math.floor(round(10 * number, 3) + 0.5) / 10
