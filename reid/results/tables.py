"""Runs -> the ablation tables: rows for JSON, Markdown in the published layout, and the headline
cell.

The layout and the numbers set beside ours are those of `reid.results.paper`. Imports no torch.
"""

import json
import math
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate

from reid.results import paper, seeds
from reid.runtime.errors import InputError

COLUMNS = {
    "global": "Global",
    "local": "Local",
    "dmli": "DMLI",
    "global_dmli": "Global+DMLI",
    "global_rk": "Global(RK)",
    "dmli_rk": "DMLI(RK)",
    "global_dmli_rk": "Global+DMLI(RK)",
}
PUBLISHED_COLUMNS = ("global", "local", "dmli", "global_dmli", "global_dmli_rk")
PROTOCOLS = ("full", "partial")
METRICS = ("rank1", "mAP")

Row = dict[str, Any]


@dataclass(frozen=True)
class TablesSettings:
    """Section `tables`: the cells (every dataset with every loss), and how a dataset, loss or
    trunk is called.
    """

    datasets: tuple[str, ...]
    losses: tuple[str, ...]
    names: dict[str, str]

    def __post_init__(self) -> None:
        """Raises InputError for lists that are empty or name something twice and for names that
        break a table.
        """
        files = [
            file_name(dataset, protocol) for dataset in self.datasets for protocol in PROTOCOLS
        ]
        for key, values in (("datasets", files), ("losses", self.losses)):
            if not values or len(set(values)) < len(values):
                raise InputError(
                    f"`tables.{key}` in params.yaml: got {list(getattr(self, key))}, wanted at "
                    "least one, none of them twice, and no dataset called as another one with "
                    "`_partial` behind it."
                )
        for key, name in self.names.items():
            if not isinstance(name, str) or not name.strip() or set(name) & set("|\n"):
                raise InputError(
                    f"`tables.names.{key}` in params.yaml: got {name!r}, wanted one line of text "
                    "without |."
                )

    def name(self, key: str) -> str:
        """What the tables call the dataset, loss or trunk `key`; the key itself when it has no
        name.
        """
        return self.names.get(key, key)


def file_name(dataset: str, protocol: str) -> str:
    """The table's file name without its ending."""
    return dataset if protocol == "full" else f"{dataset}_{protocol}"


def parse_run(text: bytes | str, where: str) -> dict[str, Any]:
    """The JSON of one evaluated cell, called `where` in errors, checked.

    Raises InputError when it is no JSON, or lacks its dataset, loss, trunk, or a column's rank-1
    or mAP in [0, 100].
    """
    try:
        run = json.loads(text)
    except ValueError as error:
        raise InputError(
            f"{where} is not valid JSON: {error}. Make it again with `dvc repro evaluate`."
        ) from None
    for key in ("dataset", "loss", "trunk"):
        if not isinstance(run, dict) or not isinstance(run.get(key), str):
            raise InputError(
                f"{where} is no evaluated run: it has no text `{key}`. Make it again with `dvc "
                "repro evaluate`."
            )
    if not isinstance(run.get("provenance", {}), dict):
        raise InputError(
            f"{where}: `provenance` is no mapping. Make it again with `dvc repro evaluate`."
        )
    for protocol in PROTOCOLS:
        for column in COLUMNS:
            for metric in METRICS:
                _check_percent(run, (protocol, column, metric), where)
    return run


def _check_percent(run: dict[str, Any], path: tuple[str, ...], where: str) -> None:
    value: Any = run
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    if (
        isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100
    ):  # refuses NaN too
        raise InputError(
            f"{where}: `{'.'.join(path)}` is {'missing' if value is None else repr(value)}, wanted "
            "a percentage, 0 to 100. Make it again with `dvc repro "
            f"evaluate@{run['dataset']}-{run['loss']}`."
        )


def headline(run: dict[str, Any]) -> dict[str, Any]:
    """A run of `parse_run` -> {"dataset", "loss", "full": {column: {"rank1", "mAP"}}, "partial":
    ...}, unrounded.
    """
    return {key: run[key] for key in ("dataset", "loss")} | {
        protocol: _ours(run, protocol) for protocol in PROTOCOLS
    }


def _ours(run: dict[str, Any], protocol: str) -> dict[str, dict[str, float]]:
    return {
        column: {metric: run[protocol][column][metric] for metric in METRICS} for column in COLUMNS
    }


def rows(runs: list[dict[str, Any]], protocol: str, settings: TablesSettings) -> list[Row]:
    """One dataset's runs -> {"model", "loss", "source", "columns": {column: {"rank1", "mAP"}}}, in
    the order of `runs`.

    Source is "ours", followed by "published" and "difference" (ours - published, points) where
    anything was published; those two hold the published columns and metrics only. Runs of one name
    and trunk are seeds of one row: `columns` are their means, and "seeds", "deviations" and
    "values" join it. Raises InputError when there is no run, and when seeds of a row differ in
    more than the seed.
    """
    if not runs:
        raise InputError(
            "a table needs at least one run: got none. Name the cells under `tables:` in "
            "params.yaml."
        )
    table = []
    for of_row in seeds.rows_of(runs, settings.name):
        first = of_row[0]
        model, loss = settings.name(first["trunk"]), settings.name(first["loss"])
        ours = _over_seeds(of_row, protocol)
        theirs = paper.columns(first["dataset"], protocol, first["loss"])
        table.append({"model": model, "loss": loss, "source": "ours", **ours})
        if theirs:
            difference = _difference(ours["columns"], theirs)
            table.append(
                {"model": paper.MODEL, "loss": loss, "source": "published", "columns": theirs}
            )
            table.append(
                {"model": model, "loss": loss, "source": "difference", "columns": difference}
            )
    return table


def _over_seeds(runs: list[dict[str, Any]], protocol: str) -> dict[str, Any]:
    """The columns of one run; of several, their means, and each seed, the standard deviations,
    each seed's values.
    """
    scores = [_ours(run, protocol) for run in runs]
    if len(runs) == 1:
        return {"columns": scores[0]}
    means, deviations = seeds.mean_and_deviation(scores)
    told = {
        "seeds": [seeds.seed(run) for run in runs],
        "deviations": deviations,
        "values": seeds.gathered(scores),
    }
    return {"columns": means, **told}


def _difference(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, dict[str, float]]:
    return {
        column: {
            metric: round(ours[column][metric] - number, 4) for metric, number in numbers.items()
        }
        for column, numbers in theirs.items()
    }


def markdown(table: list[Row], dataset: str, protocol: str, settings: TablesSettings) -> str:
    """The rows of `rows` as a Markdown page: the published layout, what its rows mean, then every
    column of ours.
    """
    ours = [row for row in table if row["source"] == "ours"]
    title = settings.name(dataset) + ("-Partial" if protocol == "partial" else "")
    parts = [f"#### {title}", _grid(table, PUBLISHED_COLUMNS), "Cells are rank-1/mAP in percent."]
    if any("seeds" in row for row in ours):
        parts[-1] += " Over several seeds: mean±sample standard deviation."
    if len(ours) < len(table):
        parts[-1] += (
            f" Published: {paper.SOURCE}. Difference: ours - published, in points; `-`: not "
            "published."
        )
        if dataset in paper.NOTES:
            parts.append(paper.NOTES[dataset])
    return "\n\n".join([*parts, f"##### {title}, every column", _grid(ours, tuple(COLUMNS))]) + "\n"


def _grid(table: list[Row], columns: tuple[str, ...]) -> str:
    lines = [
        [row["model"], label(row), *(_cell(row, column) for column in columns)] for row in table
    ]
    headers = ["Model", "Loss", *(COLUMNS[column] for column in columns)]
    align = ["left", "left", *["center"] * len(columns)]
    return tabulate(lines, headers, tablefmt="pipe", colalign=align, disable_numparse=True)


def label(row: Row) -> str:
    """What a row of `rows` is called: its loss, and how many seeds it is the mean of, or that it
    is not ours.
    """
    if row["source"] != "ours":
        return f"{row['loss']}, {row['source']}"
    return f"{row['loss']}, {len(row['seeds'])} seeds" if "seeds" in row else row["loss"]


def _cell(row: Row, column: str) -> str:
    numbers = row["columns"].get(column, {})
    deviations = row.get("deviations", {}).get(column, {})
    sign = "+" if row["source"] == "difference" else ""
    shown = [
        f"{_tenths(numbers[metric]):{sign}.1f}" if metric in numbers else "-" for metric in METRICS
    ]
    spread = [
        f"±{_tenths(deviations[metric]):.1f}" if metric in deviations else "" for metric in METRICS
    ]
    return "/".join(map("".join, zip(shown, spread, strict=True))) if numbers else "-"


def _tenths(number: float) -> float:
    """To one decimal, halves upwards for either sign, so that the numbers shown differ by the
    difference shown.
    """
    return math.floor(round(10 * number, 3) + 0.5) / 10
