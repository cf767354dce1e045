"""The datasets that can be read: where their folders are, and whether they hold what is published
of them.

A dataset is a module with a Reader, and a line of READERS.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from reid.datasets import csv_file, cuhk03, dukemtmcreid, market1501, msmt17, partial_reid
from reid.datasets.records import Counts, Record, Splits, count, first_few
from reid.datasets.synthetic import reader as synthetic
from reid.runtime.errors import InputError

READERS = {
    "market1501": market1501.READER,
    "dukemtmcreid": dukemtmcreid.READER,
    "cuhk03": cuhk03.READER,
    "msmt17": msmt17.V1,
    "msmt17_v2": msmt17.V2,
    "occludedduke": dukemtmcreid.OCCLUDED,
    "partialreid": partial_reid.REID,
    "partialilids": partial_reid.ILIDS,
    "csv": csv_file.READER,
    "synthetic": synthetic.READER,
}


def find_folder(raw: Path, names: Sequence[str]) -> Path | None:
    """The dataset's folder: `raw` itself, a folder in it, or one nested in that, called one of
    `names` in any case; None where there is none.

    The first of the names that is there counts. Without names the folder is `raw`.
    """
    if not raw.is_dir() or not names:
        return raw if raw.is_dir() else None
    wanted = [name.lower() for name in names]

    def named(folders: Sequence[Path]) -> list[Path]:
        return [folder for folder in folders if folder.name.lower() in wanted]

    candidates = named([raw.absolute(), *_subfolders(raw)])
    if not candidates:
        return None
    folder = min(candidates, key=lambda folder: wanted.index(folder.name.lower()))
    nested = named(_subfolders(folder))
    return nested[0] if nested else folder


def locate(raw: Path, names: Sequence[str]) -> Path:
    """As `find_folder`. Raises InputError saying what was looked for and what is there."""
    raw = Path(raw)
    folder = find_folder(raw, names)
    if folder is not None:
        return folder
    elsewhere = "with `prepare.raw` in params.yaml or the environment variable REID_DATA"
    if not raw.is_dir():
        raise InputError(
            f"the folder of the raw datasets, {raw.absolute()}, is missing: make it and put "
            f"{[*names, 'your dataset'][0]} there, or name another {elsewhere}."
        )
    there = first_few([folder.name for folder in _subfolders(raw)], 8)
    raise InputError(
        f"found no dataset in {raw.absolute()}: looked for a folder {', '.join(names)}; there "
        f"{f'are {there}' if there else 'is no folder at all'}. Unpack the archive there, or name "
        f"another place {elsewhere}."
    )


def only_present(splits: Splits, allow_incomplete: bool = False) -> Splits:
    """The records whose file is there: the lists of some datasets may name more. Raises InputError
    naming the missing.

    With `allow_incomplete` the missing ones are left out.
    """
    kept = {
        split: [record for record in records if record.extract or os.path.isfile(record.path)]
        for split, records in splits.items()
    }
    missing = [
        str(record)
        for split, records in splits.items()
        if len(kept[split]) < len(records)
        for record in sorted({*records} - {*kept[split]}, key=lambda record: record.name)
    ]
    if missing and not allow_incomplete:
        raise InputError(
            f"{len(missing):,} images are listed, but not there: {first_few(missing)}. Put them "
            "there, or unpack the archive again, or set `prepare.allow_incomplete: true` in "
            "params.yaml to use those that are there."
        )
    return kept


def check_counts(
    folder: Path,
    splits: Splits,
    published: Mapping[str, Counts],
    allow_incomplete: bool = False,
    names: Callable[[], Mapping[str, list[str]]] | None = None,
) -> None:
    """Raise InputError saying by how much `splits`, read in `folder`, differ from their published
    counts.

    With `names`, the official file names of each split, it also says which are missing.
    """
    differences = [
        difference
        for split, counts in published.items()
        for difference in _differences(split, counts, count(splits[split]))
    ]
    if differences and not allow_incomplete:
        raise InputError(
            f"{folder} is not the dataset as published: "
            f"{'; '.join(differences)}.{_missing(splits, names)} Unpack the archive again, or set "
            "`prepare.allow_incomplete: true` in params.yaml to use the folder as it is."
        )


def _differences(split: str, published: Counts, counted: Counts) -> Iterator[str]:
    """What to say of each count that is published and differs."""
    for what, wanted, got in zip(Counts._fields, published, counted, strict=True):
        if wanted is not None and got != wanted:
            more = "too many" if got > wanted else "missing"
            yield f"{split} has {got:,} {what} of {wanted:,} ({abs(got - wanted):,} {more})"


def _missing(splits: Splits, names: Callable[[], Mapping[str, list[str]]] | None) -> str:
    """A sentence that names the first five missing images of every split, or nothing."""
    missing = []
    for split, official in (names() if names else {}).items():
        absent = sorted(set(official) - {record.name for record in splits[split]})
        if absent:
            missing.append(f"{first_few(absent)} of {split}")
    return f" Missing are {'; '.join(missing)}." if missing else ""


def check_splits(splits: Splits, wanted: Sequence[str], where: str) -> None:
    """Raise InputError when a split `wanted` of the dataset that params.yaml's `where` describes
    has no image.
    """
    empty = [split for split in wanted if not splits[split]]
    if empty:
        raise InputError(
            f"`{where}` in params.yaml gives no image for {', '.join(empty)}. A dataset without a "
            "train split, such as Partial-REID, is for testing: name it as `test` of a source "
            "with `reader: combined`."
        )


def check_matches(query: Sequence[Record], gallery: Sequence[Record]) -> None:
    """Raise InputError when no query has a match: a gallery image of the same pid from another
    camera.
    """
    cameras = defaultdict(set)
    for record in gallery:
        cameras[record.pid].add(record.camid)
    if any(cameras[record.pid] - {record.camid} for record in query):
        return
    same = [record for record in query if cameras[record.pid]]
    examples = (
        f"{record.name} (pid {record.pid}, camera {record.camid}; gallery cameras of this pid: "
        f"{', '.join(map(str, sorted(cameras[record.pid]))) or 'none'}"
        f"{'; ' if record.line else ''}{record.line})"
        for record in query[:3]
    )
    raise InputError(
        f"none of the {len(query):,} query images has a match, a gallery image of the same pid "
        f"from another camera: {len(same):,} have the person in the gallery, but from their own "
        f"camera only, and {len(query) - len(same):,} are of people who are not in the gallery. "
        f"Examples: {'; '.join(examples)}. Check the pids and cameras in the names or the list."
    )


def _subfolders(parent: Path) -> list[Path]:
    return sorted(parent.absolute() / entry.name for entry in os.scandir(parent) if entry.is_dir())
