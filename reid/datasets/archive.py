"""Official dataset archives: their MD5, and unpacking that is safe and complete or not at all.

Only plain files and folders inside the archive's folder are taken: dataset archives hold nothing
else, so links are refused outright, also those that point inside (tarfile's `data` filter alone
was bypassed through them, CVE-2025-4517).
"""

import gzip
import hashlib
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PureWindowsPath

from tqdm import tqdm

from reid.runtime.errors import InputError, short

BLOCK = 1 << 20  # bytes read at a time
# what zipfile, tarfile and gzip raise for a damaged archive, and the system for a full disk
DAMAGES = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
)


def md5(path: Path) -> str:
    """MD5 of a file as 32 hex digits, read a block at a time so that its size does not matter."""
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file, _bar(f"checking {path.name}", path.stat().st_size) as bar:
        while block := file.read(BLOCK):
            digest.update(block)
            bar.update(len(block))
    return digest.hexdigest()


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a .zip, or else a gzipped tar, to become `folder`; a failure, even a kill, leaves
    nothing of that name.

    When all of it lies in one folder of `folder`'s name, that one takes its place. Raises
    InputError for a damaged archive and, naming the entry, for one that would write outside the
    folder or make links or devices.
    """
    draft = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir()
        if archive.suffix.lower() == ".zip":
            _unpack_zip(archive, draft)
        else:
            _unpack_tar(archive, draft)
        os.replace(_nested(draft, folder.name) or draft, folder)
    except DAMAGES as error:
        raise InputError(
            f"{archive} cannot be unpacked to {folder}: {error or type(error).__name__}. Nothing "
            "was kept. If the archive is damaged, replace it with a whole copy; otherwise unpack "
            "it yourself."
        ) from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _nested(folder: Path, name: str) -> Path | None:
    """The folder called `name`, in any case, that is all that `folder` holds."""
    entries = [entry for entry in folder.iterdir() if entry.name != "__MACOSX"]
    is_nested = len(entries) == 1 and entries[0].name.lower() == name.lower()
    return entries[0] if is_nested and entries[0].is_dir() else None


def _unpack_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        members = opened.infolist()
        for member in members:
            kind = stat.S_IFMT(member.external_attr >> 16)  # 0: the archive was not made on Unix
            _refuse_unsafe(archive, member.filename, kind in (0, stat.S_IFREG, stat.S_IFDIR))
        total = sum(member.file_size for member in members)
        with _bar(f"unpacking {archive.name}", total) as bar:
            for member in members:
                opened.extract(member, folder)
                bar.update(member.file_size)


def _unpack_tar(archive: Path, folder: Path) -> None:
    """Unpack in one pass: listing a gzipped tar first would decompress it twice."""
    with (
        open(archive, "rb") as file,
        _bar(f"unpacking {archive.name}", archive.stat().st_size) as bar,
        gzip.open(file) as unzipped,
        tarfile.open(fileobj=unzipped, mode="r|") as opened,
    ):
        # absent before Python 3.11.4
        opened.extraction_filter = getattr(tarfile, "data_filter", None)
        for member in opened:
            _refuse_unsafe(archive, member.name, member.isreg() or member.isdir())
            opened.extract(member, folder)
            bar.update(file.tell() - bar.n)
        while unzipped.read(BLOCK):  # to gzip's checksum, which a truncated archive lacks
            pass


def _refuse_unsafe(archive: Path, name: str, is_plain: bool) -> None:
    path = PureWindowsPath(name)  # reads both / and \, and drives
    if is_plain and not (path.drive or path.root or ".." in path.parts):
        return
    reason = "is neither a plain file nor a folder"
    if is_plain:
        reason = "would be written outside its folder"
    raise InputError(
        f"{archive} is not safe to unpack: its entry {short(name)} {reason}, which no dataset "
        "archive needs. Nothing was kept. Replace it with the official one."
    )


def _bar(what: str, total: int) -> tqdm:
    return tqdm(desc=what, total=total, unit="B", unit_scale=True, delay=1)
