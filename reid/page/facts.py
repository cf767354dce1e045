"""What the page tells in numbers and words: headline, tables, the dataset, provenance."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from reid import prepared
from reid.arrays.names import COLUMNS, PROTOCOLS
from reid.page.choose import HEADLINE
from reid.page.run import View
from reid.results import cell, noise, tables
from reid.results.cell import Run
from reid.results.tables import TITLES
from reid.runtime import made_by
from reid.runtime.errors import InputError

QUERIES = {"full": "Full queries", "partial": "Partial queries"}
SPLITS = ("train", *PROTOCOLS.values(), "gallery")


def tiles(run: Run, view: View) -> list[dict[str, Any]]:
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


def table(folder: Path, dataset: str, protocol: str) -> dict[str, Any]:
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
        ours = [row for row in rows if row["source"] == "ours"]
        notes = list(dict.fromkeys(note for row in ours for note in row.get("notes", [])))
        notes.append(noise.sentence(ours, TITLES).replace("`", ""))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{file} is no table of {dataset}: {error!r}. Name the dataset under "
            "`tables.datasets` in params.yaml, and make it with `dvc repro tables`."
        ) from None
    return {"title": QUERIES[protocol], "rows": shown, "notes": notes}


def statistics(data: Path) -> list[dict[str, Any]]:
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
