"""The pictures of a folder, and the digests of their bytes."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from reid.runtime.errors import InputError

ENDINGS = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".gif", ".tif"),
        *(".tiff", ".webp", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx", ".jpf"),
    )
)


class Stat(NamedTuple):
    """What the file system says of a file; where it is the same, the bytes are taken to be."""

    size: int
    modified: int  # nanoseconds
    changed: int  # nanoseconds, by the system alone


class PictureFile(NamedTuple):
    """A file, what was said of it before it was read, and the SHA-256 of its bytes."""

    path: str
    stat: Stat
    checksum: str


def pictures_in(folder: str | Path) -> list[Path]:
    """Return the files in a folder, however deep, whose names end as pictures' do, sorted.

    Hidden ones are left out, and links to folders are not followed. Raises InputError for what is
    no folder, for one that cannot be read, and for one without a picture.
    """
    folder, names_below = Path(folder), []
    if not folder.is_dir():
        what = "it is a file" if folder.exists() else "it is not there"
        raise InputError(f"{shown(folder)} is no folder of pictures: {what}. Name a folder.")

    def fail(error: OSError) -> None:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}.") from None

    for place, folders, names in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = os.path.relpath(place, folder)
        names_below += [
            name if below == "." else f"{below}/{name}"
            for name in names
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in ENDINGS
        ]
    if not names_below:
        raise InputError(
            f"{shown(folder)} holds no picture: wanted files whose names end in "
            f"{', '.join(sorted(ENDINGS))}, in it or in folders below it."
        )
    return [folder / name for name in sorted(names_below)]


def read_bytes(path: str | Path) -> bytes:
    """Read a file. Raises ValueError that says why it cannot be read."""
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            raise ValueError("it is not a plain file")
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror or error}") from None


def look(
    paths: Iterable[str], known: Mapping[str, PictureFile]
) -> tuple[list[PictureFile], dict[str, str]]:
    """Return the files with their checksums, and why some cannot be read.

    A file of which the system says the same as of the `known` one is not read.
    """
    looked = [_look_at(path, known.get(path)) for path in paths]
    files = [file for file in looked if isinstance(file, PictureFile)]
    return files, dict(pair for pair in looked if not isinstance(pair, PictureFile))


def _look_at(path: str, known: PictureFile | None) -> PictureFile | tuple[str, str]:
    """One file with its checksum, or why it cannot be read."""
    try:
        result = os.stat(path)
        stat = Stat(result.st_size, result.st_mtime_ns, result.st_ctime_ns)
        if known is not None and known.stat == stat:
            return known
        return PictureFile(path, stat, hashlib.sha256(read_bytes(path)).hexdigest())
    except OSError as error:
        return path, f"it cannot be read: {error.strerror or error}"
    except ValueError as error:
        return path, str(error)


def shown(path: str | Path) -> str:
    """Return a path as text that every terminal can print: names need not be UTF-8."""
    return str(path).encode("utf-8", "backslashreplace").decode()
