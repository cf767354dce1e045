"""All that the page shows, gathered from a dataset's folders: plain values and charts for the
template.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from tqdm import tqdm

from reid import prepared
from reid.arrays.names import COLUMNS, PROTOCOLS
from reid.page import browser, choose, figures, verification
from reid.page import run as page_run
from reid.page.choose import HEADLINE, PageSettings
from reid.page.run import Folders, View
from reid.results import cell, metrics, tables
from reid.results.cell import Run
from reid.results.metrics import EvaluateSettings
from reid.results.tables import TITLES, TablesSettings
from reid.runtime import made_by
from reid.runtime.errors import InputError

Contents = dict[str, Any]
QUERIES = {"full": "Full queries", "partial": "Partial queries"}
SPLITS = ("train", *PROTOCOLS.values(), "gallery")


def gather(
    folders: Folders,
    identity: tuple[str, str],
    settings: tuple[TablesSettings, EvaluateSettings, PageSettings],
) -> Contents:
    """A dataset's folders and (dataset, loss) of the headline -> what the template shows.

    Of several seeds, all but the tables is of the first. Raises InputError for what is missing,
    broken or of different runs.
    """
    (dataset, loss), (naming, evaluate, page) = identity, settings
    seed, losses = naming.seeds[0], list(dict.fromkeys([*naming.losses, loss]))
    run = cell.read_cell(folders.runs / loss, [seed])[0]
    places = [folder / loss / str(seed) for folder in (folders.features, folders.distances)]
    views = page_run.read_views(folders.data, *places, folders.reranked / loss / str(seed))
    titles = {name: naming.name(name) for name in losses}
    head = {"dataset": naming.name(dataset), "loss": naming.name(loss), "seed": seed}
    return {
        **head,
        "trunk": naming.name(run["trunk"]),
        "tiles": tiles(run, next(iter(views.values()))),
        "browser": _browser(views, page),
        "tables": [_table(folders.tables, dataset, name) for name in PROTOCOLS],
        "columns": [(column, TITLES[column]) for column in COLUMNS],
        "losses": list(titles.values()),
        "cmc": _cmc(folders, titles, seed, evaluate),
        "distances": figures.distances(views["full"], page.seed),
        "sample": min(figures.SAMPLE, len(views["full"].queries)),
        "cameras": figures.cameras(views["full"]),
        "training": _training(folders.models, titles, seed),
        "statistics": statistics(folders.data),
        "verification": verification.section(run, QUERIES),
        "provenance": provenance(run),
    }


def tiles(run: Run, view: View) -> list[Contents]:
    """The headline's numbers: rank-1 and mAP by HEADLINE with full and partial queries, counts."""
    found = []
    for protocol, name in QUERIES.items():
        for measure, title in (("rank1", "Rank-1"), ("mAP", "mAP")):
            ends = cell.value_at(run, f"intervals.{protocol}.{HEADLINE}.{measure}")
            interval = f"95 %: {ends[0]:.1f} to {ends[1]:.1f}; " if ends else ""
            note = f"{interval}{TITLES['global']}: {run[protocol]['global'][measure]:.1f} %"
            value = f"{run[protocol][HEADLINE][measure]:.1f} %"
            found.append({"value": value, "title": f"{title}, {name.lower()}", "note": note})
    gallery = f"searched in {len(view.gallery):,} gallery images"
    return [*found, {"value": f"{len(view.queries):,}", "title": "queries", "note": gallery}]


def _browser(views: dict[str, View], settings: PageSettings) -> Contents:
    """Score every query with full queries, choose some, and describe them."""
    view = views["full"]
    sides, precisions = view.sides, {}
    for column in tqdm(COLUMNS, desc="scoring queries", unit="column", delay=2, leave=False):
        matrix = view.columns[column]
        scores = metrics.evaluate(matrix, sides.queries, sides.gallery)
        precisions[column] = scores.average_precisions
        page_run.matrices.release(matrix)
    return browser.document(views, choose.groups(precisions, settings))


def _table(folder: Path, dataset: str, protocol: str) -> Contents:
    """A table's rows as the tables stage wrote them. Raises InputError for a missing or broken
    one.
    """
    file = folder / f"{tables.file_name(dataset, protocol)}.json"
    try:
        rows = json.loads(file.read_bytes())
        shown = [
            {
                "label": tables.label(row),
                "model": row["model"],
                "source": row["source"],
                "cells": [tables.cell_text(row, column) for column in COLUMNS],
            }
            for row in rows
        ]
        notes = list(dict.fromkeys(note for row in rows for note in row.get("notes", [])))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{file} is no table of {dataset}: {error!r}. Name the dataset under "
            "`tables.datasets` in params.yaml, and make it with `dvc repro tables`."
        ) from None
    return {"title": QUERIES[protocol], "rows": shown, "notes": notes}


def _cmc(
    folders: Folders, titles: dict[str, str], seed: int, settings: EvaluateSettings
) -> list[Contents]:
    """By protocol, the CMC charts of all losses."""
    of_losses = {}
    for loss, title in tqdm(titles.items(), "CMC curves", unit="loss", delay=2, leave=False):
        run_folders = [folders.features, folders.distances, folders.reranked]
        found = page_run.read_columns(*(folder / loss / str(seed) for folder in run_folders))
        of_losses[title] = figures.curves(found, settings)
    protocols = [name for name in PROTOCOLS if any(name in by for by in of_losses.values())]
    return [{"title": QUERIES[name], "figures": figures.cmc(of_losses, name)} for name in protocols]


def _training(models: Path, titles: dict[str, str], seed: int) -> list[figures.Figure]:
    histories = {
        title: figures.read_history(models / loss / str(seed) / "history.csv")
        for loss, title in titles.items()
    }
    return figures.training(histories)


def statistics(data: Path) -> list[Contents]:
    """Of each split: people, images, distractors, and images by camera."""
    rows = []
    for name in SPLITS:
        if (data / name).is_dir():
            split = prepared.read(data / name)
            people, by_camera = set(split.pids.tolist()), Counter(split.camids.tolist())
            distractors = int((split.pids == 0).sum())
            counts = {"people": len(people - {0}), "images": len(split)}
            rows.append({"split": name, **counts, "distractors": distractors, "cameras": by_camera})
    return rows


def provenance(run: Run) -> list[tuple[str, list[tuple[str, str]]]]:
    """The run's provenance by stage: dotted keys and values."""
    stages = []
    for stage, content in run.get("provenance", {}).items():
        values = made_by.dotted(content) if isinstance(content, dict) else {"": content}
        stages.append((stage, [(key, json.dumps(value)) for key, value in values.items()]))
    return stages
