"""Official dataset archives: their MD5, and unpacking that is safe and complete or not at all.

Only plain files and folders inside the archive's folder are taken: dataset archives hold nothing
else, so links are refused outright, also those that point inside (tarfile's `data` filter alone
was bypassed through them, CVE-2025-4517). They hold pictures, which hardly shrink: an archive that
unpacks to RATIO times its size is refused, as is one that the disk cannot take.
"""

import gzip
import hashlib
import os
import shutil
import stat
import tarfile
import zipfile
from pathlib import Path, PureWindowsPath

from tqdm import tqdm

from reid.datasets import zip_entries
from reid.runtime import outputs
from reid.runtime.errors import InputError, paragraph, short

BLOCK = 1 << 20  # bytes read at a time
RATIO, SMALL = 20, 100_000_000  # an archive may grow so many times, or to so many bytes
ENTRIES = 1_000_000  # in an archive; the largest of a dataset has 500,001
NAME = 1_000  # characters in the name of an entry


def md5(path: Path) -> str:
    """MD5 of a file as 32 hex digits, read a block at a time so that its size does not matter.

    Raises InputError when it cannot be read.
    """
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with open(path, "rb") as file, _bar(f"checking {path.name}", path.stat().st_size) as bar:
            while block := file.read(BLOCK):
                digest.update(block)
                bar.update(len(block))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}.") from None
    return digest.hexdigest()


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a .zip, or else a gzipped tar, to become `folder`; a failure, even a kill, leaves
    nothing of that name.

    When all of it lies in one folder of `folder`'s name, that one takes its place. Of two processes
    the second waits, and leaves `folder` as the first has made it. Raises InputError for a damaged
    or too large archive and, naming the entry, for one that would write outside the folder or make
    links or devices.
    """
    try:
        with outputs.lock(folder, wait=True), outputs.draft(folder) as draft:
            if not folder.exists():
                _unpack_to(draft, archive)
                os.replace(_nested(draft, folder.name) or draft, folder)
    except InputError:
        raise
    except Exception as error:  # a damaged archive raises nearly anything
        reason = paragraph(error)[:300] or type(error).__name__
        raise InputError(
            f"{archive} cannot be unpacked to {folder}: {reason}. Nothing was kept. If "
            "the archive is damaged, replace it with a whole copy; otherwise unpack it yourself."
        ) from None


def _unpack_to(folder: Path, archive: Path) -> None:
    folder.mkdir()
    if archive.suffix.lower() == ".zip":
        _unpack_zip(archive, folder)
    else:
        _unpack_tar(archive, folder)


def _nested(folder: Path, name: str) -> Path | None:
    """The folder called `name`, in any case, that is all that `folder` holds."""
    entries = [entry for entry in folder.iterdir() if entry.name != "__MACOSX"]
    is_nested = len(entries) == 1 and entries[0].name.lower() == name.lower()
    return entries[0] if is_nested and entries[0].is_dir() else None


def _unpack_zip(archive: Path, folder: Path) -> None:
    """Unpack a zip; zipfile itself ends each entry at the size that the check has counted."""
    with zipfile.ZipFile(archive) as opened:
        members = opened.infolist()
        total = sum(member.file_size for member in members)
        _check_size(archive, total, shutil.disk_usage(folder).free)
        zip_entries.check(archive, opened)
        with _bar(f"unpacking {archive.name}", total) as bar:
            for number, member in enumerate(members, 1):
                kind = stat.S_IFMT(member.external_attr >> 16)  # 0: not made on Unix
                is_plain = kind in (0, stat.S_IFREG, stat.S_IFDIR)
                _check_entry(archive, number, member.filename, is_plain)
                _check_new(archive, folder / member.filename, member.is_dir())
                opened.extract(member, folder)
                bar.update(member.file_size)


def _unpack_tar(archive: Path, folder: Path) -> None:
    """Unpack in one pass: listing a gzipped tar first would decompress it twice."""
    with (
        open(archive, "rb") as file,
        _bar(f"unpacking {archive.name}", archive.stat().st_size) as bar,
        gzip.open(file) as unzipped,
    ):
        stream = _Stream(unzipped, archive, shutil.disk_usage(folder).free)
        with tarfile.open(fileobj=stream, mode="r|") as opened:
            # absent before Python 3.11.4
            opened.extraction_filter = getattr(tarfile, "data_filter", None)
            for number, member in enumerate(opened, 1):
                _check_entry(archive, number, member.name, member.isreg() or member.isdir())
                _check_new(archive, folder / member.name, member.isdir())
                opened.extract(member, folder)
                bar.update(file.tell() - bar.n)
        while stream.read(BLOCK):  # to gzip's checksum, which a truncated archive lacks
            pass


class _Stream:
    """The contents of a gzip, checked for their size while they are read."""

    def __init__(self, unzipped: gzip.GzipFile, archive: Path, free: int) -> None:
        self.unzipped, self.archive, self.free, self.done = unzipped, archive, free, 0

    def read(self, size: int) -> bytes:
        """Read at most `size` bytes more. Raises InputError as `_check_size` does."""
        block = self.unzipped.read(size)
        self.done += len(block)
        _check_size(self.archive, self.done, self.free)
        return block


def _check_size(archive: Path, total: int, free: int) -> None:
    """Raise InputError when an archive unpacks to `total` bytes, more than is sane or is free."""
    size = archive.stat().st_size
    if total > max(RATIO * size, SMALL):
        raise InputError(
            f"{archive} is not safe to unpack: its {size / 1e6:,.1f} MB unpack to "
            f"{total / 1e6:,.0f} MB or more, over {RATIO} times as many, which no dataset archive "
            "does. Nothing was kept. Replace it with the official one, or unpack it yourself."
        )
    if total > free:
        raise InputError(
            f"{archive} cannot be unpacked: it needs {total / 1e6:,.0f} MB or more beside it, and "
            f"{free / 1e6:,.0f} MB are free. Nothing was kept. Make room, or move it to another "
            "disk and name that with `prepare.raw` in params.yaml."
        )


def _check_entry(archive: Path, number: int, name: str, is_plain: bool) -> None:
    """Raise InputError for an entry that no dataset archive has; `number` counts from 1."""
    path = PureWindowsPath(name)  # reads both / and \, and drives
    if number > ENTRIES:
        reason = f"is one of more than {ENTRIES:,}"
    elif len(name) > NAME:
        reason = f"has a name of {len(name):,} characters"
    elif "\0" in name or name != name.encode("utf-8", "replace").decode():
        reason = "has a name that is not UTF-8 text"
    elif not is_plain:
        reason = "is neither a plain file nor a folder"
    elif path.drive or path.root or ".." in path.parts:
        reason = "would be written outside its folder"
    else:
        return
    raise _unsafe(archive, name, reason)


def _check_new(archive: Path, path: Path, is_folder: bool) -> None:
    """Raise InputError for a file that would be written over another one, also where the file
    system takes upper and lower case for the same.
    """
    if not is_folder and os.path.lexists(path):
        raise _unsafe(archive, path.name, "comes twice")


def _unsafe(archive: Path, name: str, reason: str) -> InputError:
    return InputError(
        f"{archive} is not safe to unpack: its entry {short(name)} {reason}, which no dataset "
        "archive needs. Nothing was kept. Replace it with the official one."
    )


def _bar(what: str, total: int) -> tqdm:
    return tqdm(desc=what, total=total, unit="B", unit_scale=True, delay=1)
