"""Folder conventions of each dataset -> sorted records, its published counts, and the partial query images.

Market-1501: Zheng et al., ICCV 2015. DukeMTMC-reID: Zheng et al., ICCV 2017. Partial queries: AlignedReID++ (Luo et
al., Pattern Recognition 94, 2019); theirs are drawn without a seed, ours from a seed and the image's name.
"""

import hashlib
import io
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from reid.errors import InputError


@dataclass(frozen=True)
class Record:
    """One image of a dataset; pid 0 is a distractor, cameras count from 1."""

    path: Path
    name: str
    pid: int
    camid: int


Splits = dict[str, list[Record]]


class Counts(NamedTuple):
    """What is published of a split: people (distractors are none), images (distractors included), distractors."""

    people: int
    images: int
    distractors: int = 0


@dataclass(frozen=True)
class Reader:
    """How one dataset is read: its function, the names its folder goes by (the official one first), its counts."""

    read: Callable[[Path], Splits]
    folders: tuple[str, ...]
    published: dict[str, Counts]


SUBFOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}


def read_market1501(folder: Path) -> Splits:
    """Records of train, query and gallery, each sorted by name; junk (pid -1) is dropped, distractors (0) are kept.

    24 real names end in `.jpg.jpg`; without them a person is lost. Raises InputError for a missing or empty subfolder
    and for names of another grammar.
    """
    pattern = r"(?P<pid>-1|[0-9]{4})_c(?P<camid>[1-6])s[1-6]_[0-9]{6}_[0-9]{2}\.jpg(\.jpg)?"
    return _read_subfolders(Path(folder), pattern, "0002_c1s1_000451_03.jpg")


def read_dukemtmcreid(folder: Path) -> Splits:
    """Records of train, query and gallery, each sorted by name. Raises InputError as `read_market1501` does."""
    pattern = r"(?P<pid>[0-9]{4})_c(?P<camid>[1-8])_f[0-9]{7}\.jpg"
    return _read_subfolders(Path(folder), pattern, "0001_c2_f0046182.jpg")


READERS = {
    "market1501": Reader(
        read_market1501,
        ("Market-1501-v15.09.15", "Market-1501", "market1501", "market"),
        {"train": Counts(751, 12_936), "query": Counts(750, 3_368), "gallery": Counts(750, 15_913, 2_798)},
    ),
    "dukemtmcreid": Reader(
        read_dukemtmcreid,
        ("DukeMTMC-reID", "dukemtmcreid", "dukemtmc", "duke"),
        {"train": Counts(702, 16_522), "query": Counts(702, 2_228), "gallery": Counts(1_110, 17_661)},
    ),
}


def locate(raw: Path, names: Sequence[str]) -> Path:
    """The dataset's folder: `raw` itself, a folder in it, or one nested in that, called one of `names` in any case.

    Raises InputError saying what was looked for and what is there.
    """
    raw, wanted = Path(raw), [name.lower() for name in names]
    if not raw.is_dir():
        raise InputError(
            f"the folder of the raw datasets, {raw.absolute()}, is missing: make it and put {names[0]} there, "
            f"or name another with `prepare.raw` in params.yaml or the environment variable REID_DATA."
        )
    inside = _folders(raw)
    named = [folder for folder in (raw.absolute(), *inside) if folder.name.lower() in wanted]
    if not named:
        raise InputError(
            f"found no dataset in {raw.absolute()}: looked for a folder {', '.join(names)}; there "
            f"{'are ' + ', '.join(folder.name for folder in inside[:8]) if inside else 'is no folder at all'}. Unpack "
            f"the archive there, or name another place with `prepare.raw` in params.yaml or the environment variable "
            f"REID_DATA."
        )
    found = min(named, key=lambda folder: wanted.index(folder.name.lower()))
    nested = [folder for folder in _folders(found) if folder.name.lower() in wanted]
    return nested[0] if nested else found


def check_counts(name: str, splits: Splits, allow_incomplete: bool = False) -> None:
    """Raise InputError saying by how much `splits` differ from the counts published for reader `name`."""
    differences = []
    for split, published in READERS[name].published.items():
        for what, wanted, got in zip(Counts._fields, published, _count(splits[split]), strict=True):
            if got != wanted:
                more = "too many" if got > wanted else "missing"
                differences.append(f"{split} has {got:,} {what} of {wanted:,} ({abs(got - wanted):,} {more})")
    if differences and not allow_incomplete:
        raise InputError(
            f"{splits['train'][0].path.parent.parent} is not {name} as published: {'; '.join(differences)}. Unpack the "
            f"archive again, or set `prepare.allow_incomplete: true` in params.yaml to use the folder as it is."
        )


def check_matches(query: Sequence[Record], gallery: Sequence[Record]) -> None:
    """Raise InputError when no query has a match: a gallery image of the same pid from another camera."""
    cameras = defaultdict(set)
    for record in gallery:
        cameras[record.pid].add(record.camid)
    if any(cameras[record.pid] - {record.camid} for record in query):
        return
    same = [record for record in query if cameras[record.pid]]
    examples = (
        f"{record.name} (pid {record.pid}, camera {record.camid}; gallery cameras of this pid: "
        f"{', '.join(map(str, sorted(cameras[record.pid]))) or 'none'})"
        for record in query[:3]
    )
    raise InputError(
        f"none of the {len(query):,} query images has a match, a gallery image of the same pid from another camera: "
        f"{len(same):,} have the person in the gallery, but from their own camera only, and "
        f"{len(query) - len(same):,} are of people who are not in the gallery. Examples: {'; '.join(examples)}. "
        f"Check the pids and cameras in the file names."
    )


def check_images(splits: Splits) -> None:
    """Decode every image once; raise InputError with the first few that cannot be read, and how many they are."""
    records = [record for split in splits.values() for record in split]
    readable = tqdm(_in_threads(_is_readable, records), "checking images", len(records), unit="image", delay=1)
    corrupt = [str(record.path) for record, good in zip(records, readable, strict=True) if not good]
    if corrupt:
        shown = ", ".join(corrupt[:5]) + (f" and {len(corrupt) - 5:,} more" if len(corrupt) > 5 else "")
        raise InputError(
            f"{len(corrupt):,} of {len(records):,} images cannot be read or decoded: {shown}. Unpack the archive again."
        )


def stored_images(records: Sequence[Record]) -> Iterator[tuple[str, int, int, bytes]]:
    """(name, pid, camid, bytes) of each image, one at a time, the bytes as they lie on the disk."""
    for record in records:
        yield record.name, record.pid, record.camid, record.path.read_bytes()


def partial_images(records: Sequence[Record], seed: int) -> Iterator[tuple[str, int, int, bytes]]:
    """(name, pid, camid, bytes) of each query image's partial variant, a PNG under the same stem."""

    def crop(record: Record) -> tuple[str, int, int, bytes]:
        file = io.BytesIO()
        with Image.open(record.path) as image:
            crop_partial(image.convert("RGB"), seed, record.name).save(file, "PNG")
        return str(Path(record.name).with_suffix(".png")), record.pid, record.camid, file.getvalue()

    yield from tqdm(_in_threads(crop, records), "cropping queries", len(records), unit="image", delay=1)


def crop_partial(image: Image.Image, seed: int, name: str) -> Image.Image:
    """A band of whole rows, 0.6 to 0.9 (excluded) of the height, at a uniform offset, stretched back to the size.

    Drawn from `seed` and the image's `name` alone, so that neither order nor the other images matter. An image of
    fewer than 3 rows has no such band and stays as it is.
    """
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest, "big"))
    width, height = image.size
    low, high = -(-6 * height // 10), -(-9 * height // 10)  # both rounded up, in integers
    rows = int(rng.integers(low, max(high, low + 1)))
    top = int(rng.integers(0, height - rows + 1))
    return image.crop((0, top, width, top + rows)).resize(image.size, Image.Resampling.BILINEAR)


def _read_subfolders(folder: Path, pattern: str, example: str) -> Splits:
    """Market-1501's three subfolders, listed once each; `pattern` has the groups pid and camid."""
    missing = [name for name in SUBFOLDERS.values() if not (folder / name).is_dir()]
    if missing:
        there = ", ".join(sorted(os.listdir(folder))[:8]) if folder.is_dir() else "no such folder"
        raise InputError(
            f"{folder} lacks {', '.join(missing)}: wanted {', '.join(SUBFOLDERS.values())}, there: {there or 'nothing'}"
            f". Unpack the archive again."
        )
    return {split: _read_folder(folder / name, re.compile(pattern), example) for split, name in SUBFOLDERS.items()}


def _read_folder(folder: Path, pattern: re.Pattern[str], example: str) -> list[Record]:
    names = sorted(name for name in os.listdir(folder) if name.lower() != "thumbs.db" and not name.startswith("."))
    matches = [pattern.fullmatch(name) for name in names]
    odd = [name for name, match in zip(names, matches, strict=True) if not match]
    if odd:
        raise InputError(
            f"{folder} has {len(odd):,} names that are not the dataset's: {', '.join(odd[:3])}; wanted names such as "
            f"{example}. Move them away, or rename them."
        )
    found = [Record(folder / match[0], match[0], int(match["pid"]), int(match["camid"])) for match in matches]
    records = [record for record in found if record.pid >= 0]
    if not records:
        raise InputError(f"{folder} holds no images: wanted names such as {example}. Unpack the archive again.")
    return records


def _folders(parent: Path) -> list[Path]:
    return sorted(parent.absolute() / entry.name for entry in os.scandir(parent) if entry.is_dir())


def _count(records: Sequence[Record]) -> Counts:
    distractors = sum(record.pid == 0 for record in records)
    return Counts(len({record.pid for record in records} - {0}), len(records), distractors)


def _is_readable(record: Record) -> bool:
    try:
        with Image.open(record.path) as image:
            image.convert("RGB")
    except Exception:  # a damaged file raises nearly anything
        return False
    return True


def _in_threads(function: Callable[[Record], Any], records: Sequence[Record]) -> Iterator[Any]:
    """`map` in a thread pool (PIL lets other threads run), a few hundred images at a time to bound the memory."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(records), 256):
            yield from pool.map(function, records[start : start + 256])
