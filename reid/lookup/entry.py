"""The files of an entry of the cache: index.json, which says of which bytes each row is, and the
arrays it names, with their CRC-32.
"""

import json
import os
import zlib
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy import ndarray

from reid.arrays import npy
from reid.lookup.files import PictureFile, Stat
from reid.runtime import outputs
from reid.runtime.errors import InputError

FORMAT = 1
NAMES = ("global_features", "stripes")
CHUNK = 4096  # rows


@dataclass(frozen=True)
class Entry:
    """Looked-at files, why the bytes of some are no picture, and the features [M, ...] of the
    others, in their order.
    """

    files: list[PictureFile] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)  # by checksum
    arrays: tuple[ndarray, ...] = ()
    looked: int = 0  # nanoseconds: when the files were looked at
    token: str = ""  # with which the arrays' names begin
    sums: tuple[int, ...] = ()  # CRC-32 of the arrays

    @property
    def good(self) -> list[PictureFile]:
        """The files that have a row."""
        return [file for file in self.files if file.checksum not in self.broken]


def write_rows(file: Path, sources: list[ndarray], places: ndarray) -> int:
    """Write rows [M] of sources, one behind the other, to a file -> its numbers' CRC-32."""
    target, total = npy.create(file, (len(places), *sources[0].shape[1:])), 0
    borders = np.cumsum([0, *map(len, sources)])
    for start in range(0, len(places), CHUNK):
        chunk = places[start : start + CHUNK]
        rows = np.empty((len(chunk), *target.shape[1:]), np.float32)
        for source, first in zip(sources, borders, strict=False):
            is_here = (chunk >= first) & (chunk < first + len(source))
            rows[is_here] = source[chunk[is_here] - first]
            npy.release(source)
        target[start : start + len(chunk)] = rows
        total = zlib.crc32(rows, total)
    return total


def write_index(folder: Path, entry: Entry) -> None:
    """Write index.json in one step."""
    content = {
        "format": FORMAT,
        "token": entry.token,
        "sums": entry.sums,
        "looked": entry.looked,
        "broken": entry.broken,
        "files": [[file.path, *file.stat, file.checksum] for file in entry.files],
    }
    draft = folder / f"{entry.token}-index.json"
    draft.write_text(json.dumps(content), encoding="utf-8")
    os.replace(draft, folder / "index.json")


def read(folder: Path) -> Entry:
    """Read an entry; an empty one where there is none or it is damaged."""
    try:
        content = json.loads((folder / "index.json").read_bytes())
        files = [
            PictureFile(path, Stat(*stat), checksum) for path, *stat, checksum in content["files"]
        ]
        kept = content["looked"], content["token"], tuple(content["sums"])
        entry = Entry(files, content["broken"], (), *kept)
        arrays = [
            _read_rows(folder / f"{content['token']}-{name}.npy", total, len(entry.good))
            for name, total in zip(NAMES, content["sums"], strict=True)
        ]
        return replace(entry, arrays=tuple(arrays))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, InputError):
        return Entry()


def _read_rows(file: Path, total: int, count: int) -> ndarray:
    """Map a file's features [M, ...]. Raises ValueError where they are not those written."""
    array = npy.read(file, np.float32, "features")
    found = 0
    for start in range(0, len(array), CHUNK):
        found = zlib.crc32(np.ascontiguousarray(array[start : start + CHUNK]), found)
    if len(array) != count or found != total:
        raise ValueError("other features than those written")
    return array


def remove_others(folder: Path) -> None:
    """Remove all files but those that index.json names; whoever has mapped them keeps them."""
    token = ""
    with suppress(OSError, ValueError, LookupError, TypeError):
        token = json.loads((folder / "index.json").read_bytes())["token"]
    kept = {"index.json", *(f"{token}-{name}.npy" for name in NAMES)}
    for file in folder.iterdir():
        if file.name not in kept:
            outputs.remove(file)
