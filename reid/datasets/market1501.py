"""Market-1501 (Zheng et al., ICCV 2015), with its 500,000 distractors or without."""

import gzip
from dataclasses import replace
from pathlib import Path

from reid.datasets.filenames import read_folder, read_subfolders
from reid.datasets.records import Counts, Extra, Reader, Record, SourceSettings, Splits
from reid.runtime.errors import InputError
from reid.runtime.settings import settings_class

# 0002_c1s1_000451_03.jpg: pid, camera, sequence, frame, detection; 24 names end in .jpg.jpg
NAME_PATTERN = r"(?P<pid>-1|[0-9]{4})_c(?P<camid>[1-6])s[1-6]_[0-9]{6}_[0-9]{2}\.jpg(\.jpg)?"
EXAMPLE = "0002_c1s1_000451_03.jpg"
DISTRACTOR_PATTERN = r"(?P<pid>0000)_c(?P<camid>[1-6])[^/]*\.jpg"
DISTRACTORS = 500_000
NAMES = Path(__file__).parent / "names"


@settings_class
class Market1501Settings(SourceSettings):
    """distractors_500k: add the images of distractors_500k.zip to the gallery."""

    distractors_500k: bool


def read(folder: Path, settings: Market1501Settings) -> Splits:
    """Records of train, query and gallery, each sorted by name; junk (pid -1) is dropped,
    distractors (0) are kept.

    24 real names end in `.jpg.jpg`; without them a person is lost. The 500,000 distractors follow
    the gallery, named `distractors_500k/...`. Raises InputError for missing or empty folders and
    for names of another grammar.
    """
    splits = read_subfolders(folder, NAME_PATTERN, EXAMPLE)
    if settings.distractors_500k:
        splits["gallery"] += _distractors(folder)
    return splits


def published(settings: Market1501Settings) -> dict[str, Counts]:
    """The published counts; Market-1501+500k has 515,913 gallery images."""
    more = DISTRACTORS * settings.distractors_500k
    return {
        "train": Counts(751, 12_936),
        "query": Counts(750, 3_368),
        "gallery": Counts(750, 15_913 + more, 2_798 + more),
    }


def names() -> dict[str, list[str]]:
    """The file names of each split as distributed, junk left out; from the lists of triplet-reid
    (MIT licence).
    """
    lists = {"train": "train", "query": "query", "gallery": "test"}
    official = {}
    for split, stem in lists.items():
        with gzip.open(NAMES / f"market1501_{stem}.csv.gz", "rt", encoding="utf-8") as file:
            rows = [line.strip().split(",") for line in file]
        official[split] = [Path(path).name for pid, path in rows if pid != "-1"]
    return official


def extras(settings: Market1501Settings) -> tuple[Extra, ...]:
    """The archive of the 500,000 distractors, where the settings ask for them."""
    extra = Extra("distractors_500k", find_distractors)
    return (extra,) if settings.distractors_500k else ()


def find_distractors(folder: Path) -> Path | None:
    """The flat folder of distractors_500k.zip, unpacked in the dataset's folder or beside it; None
    where it is not.
    """
    return next((place for place in _places(folder) if place.is_dir()), None)


def _places(folder: Path) -> list[Path]:
    """Where the distractors are looked for: the archive has one folder, `images`."""
    inside, beside = (place / "distractors_500k" for place in (folder, folder.parent))
    with_images = [place / "images" for place in (inside, folder, beside, folder.parent)]
    return [*with_images, inside, beside]


def _distractors(folder: Path) -> list[Record]:
    place = find_distractors(folder)
    if place is None:
        raise InputError(
            "there are no distractors for `distractors_500k: true`: looked for "
            f"{', '.join(map(str, _places(folder)))}. Unpack distractors_500k.zip there, or set "
            "`distractors_500k: false` in params.yaml."
        )
    records = read_folder(place, DISTRACTOR_PATTERN, "0000_c1s1_000151_01.jpg")
    return [replace(record, name=f"distractors_500k/{record.name}") for record in records]


READER = Reader(
    Market1501Settings,
    read,
    ("Market-1501-v15.09.15", "Market-1501", "market1501", "market_1501", "market"),
    published,
    names,
    extras,
)
