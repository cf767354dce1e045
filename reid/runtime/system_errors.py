"""The system's errors in words: which file, whether it was read or written, and what to do."""

import errno
import os
import shutil
import tempfile
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the disk, a quota, `ulimit -f`
ROOM = 1 << 20  # bytes free, below which a disk is called full
NUMBA = (".nbi", ".nbc")  # in the names of its cache's files


def describe(error: OSError, output: Path | None = None) -> str:
    """Return a system's error as a paragraph: the file, whether it was read or written, the
    reason, what to do.

    `output` is the file or folder that was being written, if any: where the error names no file
    and a disk is full, it is that one's or that of temporary files, and the full ones are named.
    """
    reason = error.strerror or str(error) or type(error).__name__
    if error.filename is None:
        return _nameless(reason, error.errno in FULL, output or Path())
    file = os.fsdecode(error.filename) if not isinstance(error.filename, int) else error.filename
    if error.errno in FULL:
        return f"{file} cannot be written: {reason}. Make room on its disk."
    if any(part in str(file) for part in NUMBA):
        return (
            f"{file}, of Numba's cache, cannot be used: {reason}. Remove it, or name another "
            "folder by the environment variable NUMBA_CACHE_DIR."
        )
    temporary = _temporary_folder()
    if temporary and Path(str(file)).is_relative_to(temporary):
        return (
            f"{file} cannot be used: {reason}. If it is a temporary file, look at the folder, or "
            "name another by the environment variable TMPDIR."
        )
    side = "written" if error.errno == errno.EROFS else "read"
    return f"{file} cannot be {side}: {reason}. Look whether it is there, and whose it is."


def _nameless(reason: str, is_full: bool, output: Path | None) -> str:
    """Describe an error that names no file, by the room on the disks that may be meant."""
    place = (output or Path()).absolute()
    folder = next(folder for folder in [place, *place.parents] if folder.is_dir())
    of = {folder: f"where {output} lies" if output else "the current folder"}
    temporary = _temporary_folder()
    of |= {temporary: "for temporary files, TMPDIR"} if temporary else {}
    full = [f"{folder} ({what})" for folder, what in of.items() if _free(folder) < ROOM]
    if full:
        return f"a file cannot be written: {reason}. Full: the disk of {' and of '.join(full)}."
    free = [f"{_free(folder) / 1e6:,.0f} MB in {folder} ({what})" for folder, what in of.items()]
    told = f"{reason}; the system names no file. Free now: {', '.join(free)}."
    if not temporary:
        told += " Name a folder for temporary files by the environment variable TMPDIR."
    if is_full or not temporary:
        told += " Look at quotas, at `ulimit -f`, and where the standard output goes, too."
    return told


def _temporary_folder() -> Path | None:
    """The folder of temporary files; None where no file can be written in any that may be it."""
    try:
        return Path(tempfile.gettempdir())
    except OSError:
        return None


def _free(folder: Path) -> int:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return ROOM
