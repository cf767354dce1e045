"""A dataset's raw folder: found, unpacked from its official archive, or downloaded where its terms
allow that.

An archive without a published MD5 is checked by the CRCs it holds when it is unpacked, and by the
dataset's counts.
"""

import os
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from reid.datasets import archive, readers
from reid.runtime.errors import InputError

Progress = Callable[[int, int | None], None]  # bytes so far, of how many


@dataclass(frozen=True)
class Archive:
    """An official archive: MD5 ('' where none is published), Google Drive id ('' for no download),
    where it is from.
    """

    file: str
    md5: str
    drive: str
    source: str


ARCHIVES = {
    "market1501": (
        Archive(
            "Market-1501-v15.09.15.zip",
            "65005ab7d12ec1c44de4eeafe813e68a",
            "0B8-rUzbwVRk0c054eEozWG9COHM",
            "from https://drive.google.com/file/d/0B8-rUzbwVRk0c054eEozWG9COHM/view (linked at "
            "https://zheng-lab.cecs.anu.edu.au/Project/project_reid.html; for research only)",
        ),
    ),
    "distractors_500k": (
        Archive(
            "distractors_500k.zip",
            "",
            "0B8-rUzbwVRk0cGtxWmFFVDZkNUE",
            "from https://drive.google.com/file/d/0B8-rUzbwVRk0cGtxWmFFVDZkNUE/view (linked at "
            "https://zheng-lab.cecs.anu.edu.au/Project/project_reid.html; for research only)",
        ),
    ),
    "dukemtmcreid": (
        Archive(
            "DukeMTMC-reID.zip",
            "2f93496f9b516d1ee5ef51c1d5e7d601",
            "",
            "from a copy that you already hold: its authors withdrew the dataset in 2019 and "
            "give it to nobody",
        ),
    ),
    "cuhk03": (
        Archive(
            "cuhk03-np.zip",
            "",
            "1pBCIAGSZ81pgvqjC-lUHtl0OYV1icgkz",
            "from https://drive.google.com/file/d/1pBCIAGSZ81pgvqjC-lUHtl0OYV1icgkz/view "
            "(linked at https://github.com/zhunzhong07/person-re-ranking, CUHK03-NP)",
        ),
        Archive(
            "cuhk03_release.zip",
            "728939e58ad9f0ff53e521857dd8fb43",
            "",
            "on request from its authors "
            "(https://www.ee.cuhk.edu.hk/~xgwang/CUHK_identification.html)",
        ),
    ),
    "msmt17": (
        Archive(
            "MSMT17_V1.tar.gz",
            "ea5502ae9dd06c596ad866bd1db0280d",
            "",
            "on request by e-mail from its authors (https://www.pkuvmc.com/dataset.html)",
        ),
    ),
}


def provide(
    name: str, raw: Path, folders: Sequence[str], download: bool, allow_incomplete: bool
) -> Path:
    """The folder of dataset `name` in `raw`, called one of `folders` (the official name first).

    Where it is absent, the archive lying in `raw` is verified and unpacked beside it; where that
    is absent too and `download` is set, it is downloaded if its terms allow that. Raises
    InputError saying what to fetch by hand.
    """
    raw, known = Path(raw).absolute(), ARCHIVES.get(name, ())
    try:
        found = readers.locate(raw, folders)
    except InputError:
        if not known:
            raise
    else:
        if not _held(known, found) or any(entry.is_dir() for entry in found.iterdir()):
            return found
        raw = found  # a folder of the dataset's name, made for its archive
    archive = _held(known, raw)
    if archive is None:
        archive = _downloaded(known, raw, folders, download)
    elif archive.md5 and not allow_incomplete:
        _verify(raw / archive.file, archive.md5, known)
    stem = archive.file.removesuffix(".zip").removesuffix(".tar.gz")
    archive.unpack(
        raw / archive.file,
        raw / next((one for one in folders if one.lower() == stem.lower()), folders[0]),
    )
    return readers.locate(raw, folders)


def fetch(archive: Archive, raw: Path) -> None:
    """Download an archive into the folder `raw` from $REID_MIRROR, else Google Drive; it has its
    name once verified.

    An interrupted download is continued by the next call; one with a wrong checksum is deleted.
    Raises nearly anything.
    """
    mirror = os.environ.get("REID_MIRROR")
    where = (
        f"{mirror.rstrip('/')}/{archive.file}" if mirror else f"Google Drive (id {archive.drive})"
    )
    part = raw / f"{archive.file}.{'part' if mirror else 'drive'}"
    raw.mkdir(parents=True, exist_ok=True)
    tqdm.write(
        f"downloading {archive.file} from {where} to {raw} (`prepare.download` in params.yaml)",
        sys.stderr,
    )
    with tqdm(desc=archive.file, unit="B", unit_scale=True) as bar:

        def progress(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        (resume(where, part, progress) if mirror else _from_drive(archive.drive, part, progress))
    got = archive.md5(part)
    if got != archive.md5 if archive.md5 else not zipfile.is_zipfile(part):
        part.unlink()
        raise InputError(
            f"what came has MD5 {got}, wanted {archive.md5 or 'a zip file'}, so it was deleted"
        )
    os.replace(part, raw / archive.file)


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
    """Google Drive asks for confirmations that gdown knows; it keeps and continues a file of its
    own beside `part`.
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


def _held(known: Sequence[Archive], folder: Path) -> Archive | None:
    return next((archive for archive in known if (folder / archive.file).is_file()), None)


def _downloaded(
    known: Sequence[Archive], raw: Path, folders: Sequence[str], download: bool
) -> Archive:
    archive = next((archive for archive in known if archive.drive), None)
    if archive is None or not download:
        names = (
            sorted(path.name for path in raw.iterdir() if not path.name.startswith("."))
            if raw.is_dir()
            else ()
        )
        there = ", ".join(names[:8]) or ("nothing" if raw.is_dir() else "no such folder")
        reason = (
            "it may not be downloaded"
            if archive is None
            else "`prepare.download` in params.yaml is false"
        )
        raise InputError(
            f"found no dataset in {raw}: looked for a folder {', '.join(folders)}, or the archive "
            f"{' or '.join(archive.file for archive in known)}; there: {there}; {reason}. "
            f"{_by_hand(known, raw)}"
        )
    try:
        fetch(archive, raw)
    except Exception as error:  # gdown raises nearly anything
        said = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
        raise InputError(
            f"{archive.file} could not be downloaded: {said}. {_by_hand(known, raw)}"
        ) from None
    return archive


def _verify(path: Path, wanted: str, known: Sequence[Archive]) -> None:
    got = archive.md5(path)
    if got != wanted:
        raise InputError(
            f"{path} is damaged or not the official archive: its MD5 is {got}, wanted {wanted}. "
            f"Replace it with a whole copy. {_by_hand(known, path.parent)} To use this one as it "
            "is, set `prepare.allow_incomplete: true` in params.yaml."
        )


def _by_hand(known: Sequence[Archive], raw: Path) -> str:
    ways = " Or put ".join(
        f"{archive.file} ({'MD5 ' + archive.md5 if archive.md5 else 'no MD5 is published'}), as it "
        f"is, at {raw / archive.file}; it comes {archive.source}."
        for archive in known
    )
    return (
        f"By hand: put {ways} To use another folder than {raw}, name it with `prepare.raw` in "
        "params.yaml or the environment variable REID_DATA."
    )
