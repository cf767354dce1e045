"""A dataset's raw folder: as it lies there, unpacked from its official archive, or downloaded where
its terms allow that.

An archive without a published MD5 is checked by the CRCs it holds when it is unpacked, and by the
dataset's counts.
"""

import os
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from reid.datasets import archive, readers
from reid.datasets.official import ARCHIVES, Archive
from reid.datasets.records import first_few
from reid.runtime import outputs
from reid.runtime.errors import InputError, paragraph

Progress = Callable[[int, int | None], None]  # bytes so far, of how many


def provide(
    name: str, raw: Path, folders: Sequence[str], download: bool, allow_incomplete: bool
) -> Path:
    """The folder of dataset `name` in `raw`, called one of `folders` (the official name first).

    Where it is absent, the archive lying in `raw` is verified and unpacked beside it; where that
    is absent too and `download` is set, it is downloaded if its terms allow that. Raises
    InputError saying what to fetch by hand.
    """
    raw, archives = Path(raw).absolute(), ARCHIVES.get(name, ())
    folder = find_folder(raw, folders, archives)
    if folder is not None:
        return folder
    if not archives:
        return readers.locate(raw, folders)  # which says what is missing
    place = readers.find_folder(raw, folders) or raw  # a folder may have been made for the archive
    file = find_archive(place, archives, allow_incomplete)
    if file is None and download:
        file = fetch(place, archives)
    if file is None:
        raise _absent(place, folders, archives)
    archive.unpack(file, place / _folder_name(file, folders))
    return readers.locate(place, folders)


def find_folder(raw: Path, folders: Sequence[str], archives: Sequence[Archive]) -> Path | None:
    """The dataset's folder in `raw`; None where there is none, or one that holds an archive and no
    folder.
    """
    folder = readers.find_folder(raw, folders)
    if folder is None or not any((folder / official.file).is_file() for official in archives):
        return folder
    is_used = any(entry.is_dir() and entry.name[0] != "." for entry in folder.iterdir())
    return folder if is_used else None  # hidden: what another process is unpacking


def find_archive(
    place: Path, archives: Sequence[Archive], allow_incomplete: bool = False
) -> Path | None:
    """The first of the archives that lies in `place`, None where there is none.

    Raises InputError when it has another MD5 than the official one, unless `allow_incomplete`.
    """
    official = next((known for known in archives if (place / known.file).is_file()), None)
    if official is None:
        return None
    path = place / official.file
    if official.md5 and not allow_incomplete and (got := archive.md5(path)) != official.md5:
        raise InputError(
            f"{path} is damaged or not the official archive: its MD5 is {got}, wanted "
            f"{official.md5}. Replace it with a whole copy. {_by_hand(archives, place)} To use "
            "this one as it is, set `prepare.allow_incomplete: true` in params.yaml."
        )
    return path


def fetch(place: Path, archives: Sequence[Archive]) -> Path | None:
    """Download the first of the archives that may be downloaded to `place`; None where none may.

    Raises InputError saying why it failed and what to fetch by hand.
    """
    official = next((known for known in archives if known.drive), None)
    if official is None:
        return None
    try:
        return transfer(official, place)
    except Exception as error:  # gdown raises nearly anything
        reason = paragraph(error)[:300].rstrip(".") or type(error).__name__
        raise InputError(
            f"{official.file} could not be downloaded: {reason}. {_by_hand(archives, place)}"
        ) from None


def transfer(official: Archive, place: Path) -> Path:
    """Download an archive into the folder `place` from $REID_MIRROR, else Google Drive; it has its
    name once verified.

    An interrupted download is continued by the next call; one with a wrong checksum is deleted. Of
    two processes the second waits, and takes what the first has downloaded. Raises nearly anything.
    """
    file = place / official.file
    with outputs.lock(file, wait=True):
        if not file.is_file():
            _download(official, file)
    return file


def _download(official: Archive, file: Path) -> None:
    mirror = os.environ.get("REID_MIRROR")
    part = file.with_name(f"{file.name}.{'part' if mirror else 'drive'}")
    url = f"{mirror.rstrip('/')}/{official.file}" if mirror else ""
    tqdm.write(
        f"downloading {official.file} from {url or f'Google Drive (id {official.drive})'} to "
        f"{file.parent} (`prepare.download` in params.yaml)",
        sys.stderr,
    )
    with tqdm(desc=official.file, unit="B", unit_scale=True) as bar:

        def progress(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        if mirror:
            resume(url, part, progress)
        else:
            _from_drive(official.drive, part, progress)
    _verify_download(part, official)
    os.replace(part, file)


def _verify_download(part: Path, official: Archive) -> None:
    """Delete what came and raise InputError when it is not the official archive."""
    got = archive.md5(part)
    if got == official.md5 or (not official.md5 and zipfile.is_zipfile(part)):
        return
    part.unlink()
    raise InputError(
        f"what came has MD5 {got}, wanted {official.md5 or 'a zip file'}, so it was deleted"
    )


def resume(url: str, part: Path, progress: Progress) -> None:
    """Download `url` to `part`, from where `part` ends (HTTP Range) or, if the server cannot do
    that, from the start.

    Raises OSError or HTTPException when it is cut short; what has come stays for the next call.
    """
    done, total = part.stat().st_size if part.exists() else 0, None
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            done = done if response.status == 206 else 0
            if response.headers["Content-Length"]:
                total = done + int(response.headers["Content-Length"])
            with open(part, "ab" if done else "wb") as file:
                while block := response.read(archive.BLOCK):
                    file.write(block)
                    done += len(block)
                    progress(done, total)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing after `done`: `part` is whole already, or not of this file
            if error.headers["Content-Range"] == f"bytes */{done}":
                return
            part.unlink()
        raise
    if total is not None and done < total:
        raise OSError(
            f"the connection closed after {done:,} of {total:,} bytes, which the next run continues"
        )


def _from_drive(drive: str, part: Path, progress: Progress) -> None:
    """Google Drive asks for confirmations that gdown knows; it keeps and continues another file
    beside `part`.
    """
    import gdown  # here, so that only a download needs it

    gdown.download(
        id=drive,
        output=str(part),
        quiet=True,
        resume=True,
        use_cookies=False,
        timeout=60,
        progress=progress,
    )


def _folder_name(file: Path, folders: Sequence[str]) -> str:
    """What to call the folder of an archive: its own name if that is one of `folders`."""
    stem = file.name.removesuffix(".zip").removesuffix(".tar.gz").lower()
    return next((name for name in folders if name.lower() == stem), folders[0])


def _absent(place: Path, folders: Sequence[str], archives: Sequence[Archive]) -> InputError:
    """What was looked for, why it is not downloaded, and how to fetch it by hand."""
    there = "no such folder"
    if place.is_dir():
        names = sorted(path.name for path in place.iterdir() if not path.name.startswith("."))
        there = first_few(names, 8) or "nothing"
    reason = "it may not be downloaded"
    if any(official.drive for official in archives):
        reason = "`prepare.download` in params.yaml is false"
    return InputError(
        f"found no dataset in {place}: looked for a folder {', '.join(folders)}, or the archive "
        f"{' or '.join(official.file for official in archives)}; there: {there}; {reason}. "
        f"{_by_hand(archives, place)}"
    )


def _by_hand(archives: Sequence[Archive], place: Path) -> str:
    ways = " Or put ".join(
        f"{official.file} ({'MD5 ' + official.md5 if official.md5 else 'no MD5 is published'}), "
        f"as it is, at {place / official.file}; it comes {official.source}."
        for official in archives
    )
    return (
        f"By hand: put {ways} To use another folder than {place}, name it with `prepare.raw` in "
        "params.yaml or the environment variable REID_DATA."
    )
