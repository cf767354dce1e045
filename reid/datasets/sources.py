"""A dataset's source in params.yaml -> records, and the images to pack of them.

A source is a reader's name and that reader's settings. The reader `combined` has sources itself.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reid.datasets import combined, download, duplicates, packing, readers
from reid.datasets.combined import CombinedSettings
from reid.datasets.packing import PackedImage
from reid.datasets.records import Reader, SourceSettings, Splits
from reid.runtime import made_by
from reid.runtime import settings as section_settings
from reid.runtime.errors import InputError, short
from reid.runtime.settings import Seed, Text, settings_class


@settings_class
class PrepareSettings:
    """`prepare` in params.yaml: the raw folder ('': $REID_DATA, else ./raw), whether it may be
    fetched, the seed of the partial queries' crops, and whether less than published will do.
    """

    raw: Text
    download: bool
    partial_seed: Seed
    allow_incomplete: bool


def images_to_pack(
    source: Any, where: str, settings: PrepareSettings, scratch: Path
) -> dict[str, Iterator[PackedImage]]:
    """Read and check the dataset of `source`, params.yaml's `where`: -> each split's images.

    The images are read when they are asked for; until then the empty folder `scratch`, in which a
    benchmark is drawn, must stay. Raises InputError for a dataset that cannot be evaluated on.
    """
    splits = read_source(source, where, settings, scratch)
    readers.check_splits(splits, list(splits), where)
    readers.check_matches(splits["query"], splits["gallery"])
    duplicates.check(splits, packing.check_images(splits))
    images = {split: packing.original_images(records) for split, records in splits.items()}
    images["query_partial"] = packing.partial_query_images(splits["query"], settings.partial_seed)
    return images


def record(folder: Path, source: dict[str, Any], settings: PrepareSettings) -> None:
    """Write into each split's folder what it was made of, and the SHA-256 of its manifest.

    The manifest holds that of every image, so code and versions, which would retrain models when
    the images are the same, are left out.
    """
    for split in sorted(path.parent for path in folder.glob("*/manifest.csv")):
        values: dict[str, Any] = {"source": source}
        if split.name == "query_partial":
            values["partial_seed"] = settings.partial_seed
        content = hashlib.sha256((split / "manifest.csv").read_bytes()).hexdigest()
        made_by.write(
            split, {"stage": "prepare", "settings": values, "content": content, "inputs": {}}
        )


def read_source(source: Any, where: str, settings: PrepareSettings, scratch: Path) -> Splits:
    """Records of the dataset that `source`, params.yaml's `where`, describes."""
    choices = [*readers.READERS, "combined"]
    if not isinstance(source, dict) or source.get("reader") not in choices:
        raise InputError(
            f"`{where}` in params.yaml: got {short(source)}, wanted `reader:` with one of "
            f"{', '.join(choices)}."
        )
    if source["reader"] == "combined":
        return _read_combined(source, where, settings, scratch)
    reader = readers.READERS[source["reader"]]
    values = section_settings.make(reader.settings, source, where)
    folder = _draw(reader, values, scratch) if reader.draw else _provide(reader, values, settings)
    splits = readers.only_present(reader.read(folder, values), settings.allow_incomplete)
    published = reader.published(values)
    readers.check_counts(folder, splits, published, settings.allow_incomplete, reader.names)
    return splits


def _read_combined(
    source: dict[str, Any], where: str, settings: PrepareSettings, scratch: Path
) -> Splits:
    """The train records of some sources, query and gallery of another."""
    combined.check_source(source, where)
    values = section_settings.make(CombinedSettings, source, where)
    train = {}
    for name, part in values.train.items():
        splits = read_source(part, f"{where}.train.{name}", settings, scratch / f"train-{name}")
        readers.check_splits(splits, ["train"], f"{where}.train.{name}")
        train[name] = splits["train"]
    test = read_source(values.test, f"{where}.test", settings, scratch / "test")
    return combined.combine(train, test)


def _draw(reader: Reader, values: SourceSettings, folder: Path) -> Path:
    reader.draw(values, folder)
    return folder


def _provide(reader: Reader, values: SourceSettings, settings: PrepareSettings) -> Path:
    """The dataset's folder in the raw folder, and its further archives unpacked beside it."""
    raw = Path(settings.raw or os.environ.get("REID_DATA") or "raw")
    allowed = settings.download, settings.allow_incomplete
    folder = download.provide(values.reader, raw, reader.folders, *allowed)
    for extra in reader.extras(values):
        if extra.find(folder) is None:
            download.provide(extra.archive, folder.parent, [extra.archive], *allowed)
    return folder
