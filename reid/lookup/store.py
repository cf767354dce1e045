"""Features of pictures, kept in the user's cache folder, so that each is described once.

An entry is what one model says of one folder's pictures (or of the pictures of one command): the
arrays of `reid.arrays`, a row for each picture, and index.json, which says of which bytes. A
picture's row is found by the SHA-256 of its bytes, so that one that changed is described anew, one
that moved is not, and one that is gone is dropped. What cannot be read of an entry is made anew.
"""

import hashlib
import json
import os
import secrets
import tempfile
import time
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import platformdirs
from numpy import ndarray
from PIL import Image

from reid.arrays import npy
from reid.arrays.features import Features
from reid.lookup.files import PictureFile, Stat, look, read_bytes, shown
from reid.lookup.model import Model, anonymous, as_rgb
from reid.runtime import outputs
from reid.runtime.errors import InputError

FORMAT = 1
NAMES = ("global_features", "stripes")
CHUNK = 4096  # rows
LARGEST = 20 * 10**9  # bytes of all entries; those used longest ago are removed
MOST = 1000  # entries
SETTLED = 10**9  # nanoseconds after which a file of the same stat has the same bytes


@dataclass(frozen=True)
class Described:
    """Pictures that have features, and why others have none."""

    paths: list[Path]
    features: Features
    left_out: dict[Path, str]

    def __len__(self) -> int:
        return len(self.paths)


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


def describe(paths: list[Path], model: Model, name: str | Path) -> Described:
    """Return the features of pictures, described where the cache has none of their bytes.

    `name` is that of the entry: the folder whose pictures they are, or all their paths. Raises
    InputError where none of them can be described.
    """
    here = os.getcwd()
    given = {os.path.join(here, path): path for path in paths}
    with _cache_folder() as root:
        key = f"{FORMAT}\n{model.digest}\n{name}"
        folder = root / hashlib.sha256(os.fsencode(key)).hexdigest()[:32]
        entry = _read(folder)
        files, unreadable, looked = _look([*given], entry)
        if not _is_current(entry, files):
            with outputs.lock(folder, wait=True):
                entry = _read(folder)  # again: another search may have written it
                files, unreadable, looked = _look([*given], entry)
                if not _is_current(entry, files):
                    entry = _renew(folder, entry, files, looked, model)
                    _trim(root, folder)
        with suppress(OSError):
            os.utime(folder / "index.json")
    broken = {file.path: entry.broken.get(file.checksum, "") for file in files}
    reasons = unreadable | {path: reason for path, reason in broken.items() if reason}
    left_out = {given[path]: reason for path, reason in reasons.items()}
    good = [given[file.path] for file in entry.good]
    if not good:
        path, reason = min(left_out.items(), default=(paths[0], "its features cannot be kept"))
        who = (
            ""
            if len(paths) == 1
            else f"none of {len(paths)} pictures can be described; the first: "
        )
        raise InputError(f"{who}{shown(path)} cannot be described: {reason}.")
    return Described(good, anonymous(*entry.arrays), left_out)


@contextmanager
def _cache_folder() -> Iterator[Path]:
    """The folder of all entries; for this search alone where the user's cannot be written."""
    root = platformdirs.user_cache_path("reid") / "features"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as error:
        warnings.warn(
            f"features are not kept: {root} cannot be written ({error.strerror}).", stacklevel=2
        )
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary)
        return
    yield root


def _look(paths: list[str], entry: Entry) -> tuple[list[PictureFile], dict[str, str], int]:
    """The files with their checksums, why some cannot be read, and the time before that."""
    settled = entry.looked - SETTLED
    known = {
        file.path: file
        for file in entry.files
        if max(file.stat.modified, file.stat.changed) < settled
    }
    looked = time.time_ns()
    return (*look(paths, known), looked)


def _is_current(entry: Entry, files: list[PictureFile]) -> bool:
    return bool(entry.arrays) and entry.files == files


def _renew(
    folder: Path, entry: Entry, files: list[PictureFile], looked: int, model: Model
) -> Entry:
    """Describe what the entry has not, and write and return one of `files`."""
    rows = {file.checksum: row for row, file in enumerate(entry.good)}
    new = {
        file.checksum: file
        for file in files
        if file.checksum not in rows and file.checksum not in entry.broken
    }
    folder.mkdir(exist_ok=True)
    token = secrets.token_hex(4)
    try:
        broken, arrays = dict(entry.broken), []
        if new:
            reasons, arrays = _describe_new(folder / f"{token}-new", [*new.values()], model)
            broken |= reasons
        current = {file.checksum for file in files}
        broken = {checksum: why for checksum, why in broken.items() if checksum in current}
        good = [file.checksum for file in files if file.checksum not in broken]
        rows |= {checksum: len(entry.good) + row for row, checksum in enumerate(new)}
        places = np.array([rows[checksum] for checksum in good], np.int64)
        if entry.arrays and np.array_equal(places, np.arange(len(entry.good))):
            token, sums = entry.token, entry.sums  # the arrays stay as they are
        else:
            sources = [_pair(entry.arrays, arrays, number) for number in range(len(NAMES))]
            sums = [
                _write_rows(folder / f"{token}-{name}.npy", source, places)
                for name, source in zip(NAMES, sources, strict=True)
            ]
        _write_index(folder, Entry(files, broken, (), looked, token, tuple(sums)))
    finally:
        _remove_others(folder, token)
    return _read(folder)


def _pair(old: tuple[ndarray, ...], new: list[ndarray], number: int) -> list[ndarray]:
    """The arrays, old and new, that have the rows of one of NAMES."""
    return [arrays[number] for arrays in (old, new) if len(arrays)]


def _describe_new(
    draft: Path, files: list[PictureFile], model: Model
) -> tuple[dict[str, str], list[ndarray]]:
    """Describe files -> why some are no pictures, by checksum, and the others' mapped features,
    a row for each file.
    """
    targets = [
        npy.create(draft.with_name(f"{draft.name}-{name}.npy"), (len(files), *shape))
        for name, shape in zip(NAMES, model.shapes, strict=True)
    ]

    def rgb(row: int) -> Image.Image:
        content = read_bytes(files[row].path)
        if hashlib.sha256(content).hexdigest() != files[row].checksum:
            raise InputError(f"{shown(files[row].path)} changed while it was read: search again.")
        return as_rgb(content)

    def take(rows: slice, *arrays: ndarray) -> None:
        for target, array in zip(targets, arrays, strict=True):
            target[rows] = array

    reasons = model.describe_each(rgb, len(files), take)
    mapped = [npy.read(target.file, np.float32, "features") for target in targets]
    return {files[row].checksum: reason for row, reason in reasons.items()}, mapped


def _write_rows(file: Path, sources: list[ndarray], places: ndarray) -> int:
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


def _write_index(folder: Path, entry: Entry) -> None:
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


def _read(folder: Path) -> Entry:
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


def _remove_others(folder: Path, token: str) -> None:
    """Remove all files but those that index.json names; whoever has mapped them keeps them."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        token = json.loads((folder / "index.json").read_bytes())["token"]
    kept = {"index.json", *(f"{token}-{name}.npy" for name in NAMES)}
    for file in folder.iterdir():
        if file.name not in kept:
            outputs.remove(file)


def _trim(root: Path, kept: Path) -> None:
    """Remove the entries used longest ago, but `kept`, until the others are few and small."""
    used = {}
    for folder in root.iterdir():
        with suppress(OSError):
            used[folder] = (folder / "index.json").stat().st_mtime
    size, by_use = 0, sorted(used, key=lambda folder: (folder != kept, -used[folder]))
    for count, folder in enumerate(by_use, 1):
        with suppress(OSError):
            size += sum(file.stat().st_size for file in folder.iterdir())
        if folder != kept and (size > LARGEST or count > MOST):
            with suppress(InputError), outputs.lock(folder):
                outputs.remove(folder)
