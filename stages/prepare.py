"""Stage prepare: a dataset's raw folder (or the drawn benchmark) -> packed splits, manifest and
statistics.
"""

import argparse
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from reid import prepared
from reid.datasets import combined, download, market1501, packing, readers
from reid.datasets.records import Splits
from reid.datasets.synthetic import benchmark
from reid.runtime import cli, config
from reid.runtime.errors import InputError


@dataclass(frozen=True)
class PrepareSettings:
    """Section `prepare`: the raw folder ('': $REID_DATA, else ./raw), may it be fetched, the
    crops' seed, leniency.
    """

    raw: str
    download: bool
    partial_seed: int
    allow_incomplete: bool


def read_source(source: Any, where: str, settings: PrepareSettings, scratch: Path) -> Splits:
    """Records of the dataset that `source` (params.yaml's `where`) describes; the benchmark is
    drawn in `scratch`.
    """
    choices = [*readers.READERS, "synthetic", "combined"]
    if not isinstance(source, dict) or source.get("reader") not in choices:
        raise InputError(
            f"`{where}` in params.yaml: got {source!r}, wanted `reader:` with one of "
            f"{', '.join(choices)}."
        )
    if source["reader"] == "combined":
        return read_combined(source, where, settings, scratch)
    if source["reader"] == "synthetic":
        values = {key: value for key, value in source.items() if key != "reader"}
        benchmark.draw(config.settings(benchmark.SyntheticSettings, values, where), scratch)
        return market1501.read(
            scratch, market1501.Market1501Settings("market1501", distractors_500k=False)
        )
    return read_raw(source, where, settings)


def read_raw(source: dict[str, Any], where: str, settings: PrepareSettings) -> Splits:
    """Records of a dataset in the raw folder, fetched where it must and may be; checked against
    what is published.
    """

    def provide(name: str, raw: Path, folders: Sequence[str]) -> Path:
        return download.provide(name, raw, folders, settings.download, settings.allow_incomplete)

    reader = readers.READERS[source["reader"]]
    own = config.settings(reader.settings, source, where)
    folder = provide(
        own.reader, Path(settings.raw or os.environ.get("REID_DATA") or "raw"), reader.folders
    )
    if source.get("distractors_500k") and market1501.distractors_in(folder) is None:
        provide("distractors_500k", folder.parent, ["distractors_500k"])
    splits = readers.only_present(reader.read(folder, own), settings.allow_incomplete)
    readers.check_counts(
        folder, splits, reader.published(own), settings.allow_incomplete, reader.names
    )
    return splits


def read_combined(
    source: dict[str, Any], where: str, settings: PrepareSettings, scratch: Path
) -> Splits:
    """Records of the sources that `source` combines: the train images of some, query and gallery
    of another.
    """
    combined.check_source(source, where)
    own = config.settings(combined.CombinedSettings, source, where)
    train = {}
    for name, part in own.train.items():
        splits = read_source(part, f"{where}.train.{name}", settings, scratch / name)
        readers.check_splits(splits, ["train"], f"{where}.train.{name}")
        train[name] = splits["train"]
    return combined.combine(
        train, read_source(own.test, f"{where}.test", settings, scratch / "-test-")
    )


def main() -> None:
    """Read, check and pack one dataset, then print how many people, images and cameras it has."""
    parser = argparse.ArgumentParser(prog="python -m stages.prepare", description=__doc__)
    parser.add_argument(
        "dataset", help="an entry under `datasets:` in params.yaml, such as market1501"
    )
    parser.add_argument(
        "out", type=Path, help="folder to write: a zip per split, manifest.csv, statistics.json"
    )
    parser.add_argument(
        "--params", default="params.yaml", help="the settings, params.yaml by default"
    )
    arguments = parser.parse_args()
    params = config.read(arguments.params)
    source = config.entry(params, "datasets", arguments.dataset).get("source")
    where = f"datasets.{arguments.dataset}.source"
    settings = config.settings(PrepareSettings, config.section(params, "prepare"), "prepare")
    with cli.whole(arguments.out) as draft, tempfile.TemporaryDirectory() as scratch:
        splits = read_source(source, where, settings, Path(scratch))
        readers.check_splits(splits, list(splits), where)
        readers.check_matches(splits["query"], splits["gallery"])
        packing.check_images(splits)
        packed = {split: packing.stored_images(records) for split, records in splits.items()}
        packed["query_partial"] = packing.partial_images(splits["query"], settings.partial_seed)
        statistics = prepared.write(draft, packed)
    rows = [{"subset": split, **counts} for split, counts in statistics.items()]
    print(tabulate(rows, headers={"people": "ids"}))


if __name__ == "__main__":
    cli.run(main)
