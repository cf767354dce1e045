"""Stage prepare: a dataset's raw folder (or the drawn benchmark) -> packed splits, manifest and statistics."""

import argparse
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from reid import command, config, datasets, downloads, packs, synthetic
from reid.errors import InputError


@dataclass(frozen=True)
class PrepareSettings:
    """Section `prepare`: the raw folder ('': $REID_DATA, else ./raw), may it be fetched, the crops' seed, leniency."""

    raw: str
    download: bool
    partial_seed: int
    allow_incomplete: bool


@dataclass(frozen=True)
class SourceSettings:
    """Section `datasets.<name>.source` of a dataset that is read, not drawn."""

    reader: str


def read_source(source: Any, where: str, settings: PrepareSettings, scratch: Path) -> datasets.Splits:
    """Records of the dataset that `source` (params.yaml's `where`) names; the benchmark is drawn in `scratch`."""
    choices = [*datasets.READERS, "synthetic"]
    if not isinstance(source, dict) or source.get("reader") not in choices:
        raise InputError(
            f"`{where}` in params.yaml: got {source!r}, wanted `reader:` with one of {', '.join(choices)}."
        )
    if source["reader"] == "synthetic":
        values = {key: value for key, value in source.items() if key != "reader"}
        synthetic.draw(config.settings(synthetic.SyntheticSettings, values, where), scratch)
        return datasets.read_market1501(scratch)
    name = config.settings(SourceSettings, source, where).reader
    raw = Path(settings.raw or os.environ.get("REID_DATA") or "raw")
    folders = datasets.READERS[name].folders
    splits = datasets.READERS[name].read(
        downloads.provide(name, raw, folders, settings.download, settings.allow_incomplete)
    )
    datasets.check_counts(name, splits, settings.allow_incomplete)
    return splits


def main() -> None:
    """Read, check and pack one dataset, then print how many people, images and cameras it has."""
    parser = argparse.ArgumentParser(prog="python -m stages.prepare", description=__doc__)
    parser.add_argument("dataset", help="an entry under `datasets:` in params.yaml, such as market1501")
    parser.add_argument("out", type=Path, help="folder to write: a zip per split, manifest.csv, statistics.json")
    parser.add_argument("--params", default="params.yaml", help="the settings, params.yaml by default")
    arguments = parser.parse_args()
    params = config.read(arguments.params)
    source = config.entry(params, "datasets", arguments.dataset).get("source")
    settings = config.settings(PrepareSettings, config.section(params, "prepare"), "prepare")
    with command.whole(arguments.out) as draft, tempfile.TemporaryDirectory() as scratch:
        splits = read_source(source, f"datasets.{arguments.dataset}.source", settings, Path(scratch))
        datasets.check_matches(splits["query"], splits["gallery"])
        datasets.check_images(splits)
        packed = {split: datasets.stored_images(records) for split, records in splits.items()}
        packed["query_partial"] = datasets.partial_images(splits["query"], settings.partial_seed)
        statistics = packs.write(draft, packed)
    rows = [{"subset": split, **counts} for split, counts in statistics.items()]
    print(tabulate(rows, headers={"people": "ids"}))


if __name__ == "__main__":
    command.run(main)
