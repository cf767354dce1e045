"""Features of pictures, kept in the user's cache folder, so that each is described once.

An entry is what one model says of one folder's pictures (or of the pictures of one command): the
arrays of `reid.arrays`, a row for each picture, and index.json, which says of which bytes. A
picture's row is found by the SHA-256 of its bytes, so that one that changed is described anew, one
that moved is not, and one that is gone is dropped. What cannot be read of an entry is made anew.
"""

import hashlib
import os
import secrets
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs
from numpy import ndarray
from PIL import Image

from reid.arrays import npy
from reid.arrays.features import Features
from reid.lookup import entry as entry_files
from reid.lookup.entry import FORMAT, NAMES, Entry
from reid.lookup.files import PictureFile, look, read_bytes, shown
from reid.lookup.model import Model, anonymous, as_rgb
from reid.runtime import outputs
from reid.runtime.errors import InputError

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
        entry = entry_files.read(folder)
        files, unreadable, looked = _look([*given], entry)
        if not _is_current(entry, files):
            with outputs.lock(folder, wait=True):
                entry = entry_files.read(folder)  # again: another search may have written it
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
        reasons, arrays = {}, []
        if new:
            reasons, arrays = _describe_new(folder / f"{token}-new", [*new.values()], model)
        current = {file.checksum for file in files}
        broken = {sha: why for sha, why in (entry.broken | reasons).items() if sha in current}
        rows |= {checksum: len(entry.good) + row for row, checksum in enumerate(new)}
        good = [file.checksum for file in files if file.checksum not in broken]
        places = np.array([rows[checksum] for checksum in good], np.int64)
        renewed = Entry(
            files, broken, (), looked, *_write_arrays(folder, token, entry, arrays, places)
        )
        entry_files.write_index(folder, renewed)
    finally:
        entry_files.remove_others(folder)
    return entry_files.read(folder)


def _write_arrays(
    folder: Path, token: str, entry: Entry, new: list[ndarray], places: ndarray
) -> tuple[str, tuple[int, ...]]:
    """Write the rows `places` [M] of the old arrays and the new ones behind them -> how their names
    begin, and their sums. Where they are the old ones, these stay.
    """
    if entry.arrays and np.array_equal(places, np.arange(len(entry.good))):
        return entry.token, entry.sums
    sums = []
    for number, name in enumerate(NAMES):
        sources = [arrays[number] for arrays in (entry.arrays, new) if len(arrays)]
        sums.append(entry_files.write_rows(folder / f"{token}-{name}.npy", sources, places))
    return token, tuple(sums)


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
