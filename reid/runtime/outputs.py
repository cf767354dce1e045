"""Outputs complete or not at all: one run at a time writes a draft of its own, then moves it.

Nothing but a plain file or an empty folder is ever replaced, and what cannot be written is told
before the work starts.
"""

import errno
import fcntl
import os
import platform
import re
import secrets
import shutil
import stat
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from reid.runtime.errors import InputError
from reid.runtime.system_errors import describe

NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # a file system that has none
MOUNTS = Path("/proc/self/mountinfo")  # Linux alone has it


@contextmanager
def atomic(
    output: str | Path, is_file: bool = False, inputs: Iterable[str | Path] = ()
) -> Iterator[Path]:
    """Yield a draft beside `output`, a folder to be (or a file), that replaces it at the end.

    A link is followed. Raises InputError before the work when `output` is something else than a
    plain file or an empty folder, cannot be written, is being written by another process, or is a
    file of one of the `inputs`.
    """
    path = resolve(output, is_file)
    if path.exists():
        for place in (Path(os.path.realpath(each)) for each in inputs):
            if path.is_relative_to(place):
                raise _unusable(path, f"it is read, as {place} is an input")
    with lock(path), draft(path) as own, explained(path, own):
        check(path, is_file)  # again: the process that had the lock before may have written it
        yield own
        move(own, path)


def resolve(output: str | Path, is_file: bool = False) -> Path:
    """Return the path that `output` leads to, its links followed.

    Raises InputError when it cannot become a folder (or a file).
    """
    try:
        path = _follow(Path(output).absolute())
        check(path, is_file)
        with suppress(FileNotFoundError):  # its name is longer than the output's
            _draft_name(path, "0" * 8).lstat()
    except (OSError, ValueError) as error:  # ValueError: NUL in the name
        raise _unusable(output, getattr(error, "strerror", None) or error) from None
    return path


def _follow(output: Path) -> Path:
    """Follow links, also those in the middle; one that dangles leads to a place to be made, if
    the folder around that is there, and else to a disk that is not mounted.
    """
    for place in [output, *output.parents]:
        target = Path(os.path.realpath(place)) if place.is_symlink() else place
        if target != place and not target.exists() and not target.parent.is_dir():
            raise InputError(
                f"{output} cannot be written: the link {place} leads to {target}, and "
                f"{target.parent} is not there. Mount its disk, or make the link anew."
            )
    path, project = Path(os.path.realpath(output)), Path.cwd()
    if "DVC_STAGE" in os.environ and output.is_relative_to(project) > path.is_relative_to(project):
        raise InputError(
            f"{output} lies in {path} by a link, which DVC does not follow: it would fail after "
            "the work. Let `dvc cache dir` name a folder on that disk, and remove the link."
        )
    return path


def check(path: Path, is_file: bool = False) -> None:
    """Raise InputError when `path`, without links, is there and may not be replaced by a folder
    (or a file).
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if _is_mount_point(path):
        raise _unusable(path, "it is a mount point, which cannot be replaced", "a place below it")
    if path == Path.cwd():
        raise _unusable(path, "it is the current folder, which is not to be replaced")
    if _is_kept_by_another(path):
        raise _unusable(path, "it is another user's, in a folder where each replaces only his own")
    if stat.S_ISDIR(mode) and any(path.iterdir()):
        raise InputError(
            f"the output folder {path} is not empty: name another, or remove it first."
        )
    if is_file and stat.S_ISDIR(mode):
        raise _unusable(path, "it is a folder, and a file is to be written")
    if not is_file and stat.S_ISREG(mode):
        raise _unusable(path, "it is a file, and a folder is to be written")
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise _unusable(
            path, "it is neither a file nor a folder, but a device, pipe or broken link"
        )
    if stat.S_ISREG(mode) and not mode & stat.S_IWUSR:
        raise _unusable(path, "it is write-protected, as files of DVC's cache are")


def _is_mount_point(path: Path) -> bool:
    """Whether something is mounted at `path`; `os.path.ismount` misses files and folders of the
    same disk, as containers mount them.
    """
    escaped = "".join(f"\\{ord(c):03o}" if c in " \t\n\\" else c for c in str(path))
    lines = []
    with suppress(OSError):
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    return os.path.ismount(path) or any(line.split(" ")[4] == escaped for line in lines)


def _is_kept_by_another(path: Path) -> bool:
    """Whether the sticky bit, as of /tmp, keeps this user from replacing `path`."""
    folder = path.parent.stat()
    is_kept = folder.st_mode & stat.S_ISVTX and os.geteuid() not in (0, folder.st_uid)
    return bool(is_kept) and path.lstat().st_uid != os.geteuid()


def _unusable(output: str | Path, reason: object, instead: str = "another place") -> InputError:
    text = str(output).replace("\0", "\\0")
    shown = text if len(text) <= 300 else f"{text[:300]}..."
    return InputError(f"{shown} cannot be written: {reason}. Name {instead}.")


@contextmanager
def lock(path: Path, wait: bool = False) -> Iterator[None]:
    """Hold the lock file beside `path`, a file or folder to be, which one process has at a time.

    Where another has it, raises InputError that names it, or with `wait` says so and waits. The
    lock file is removed at the end. A file system without locks is warned of: drafts of their own
    still keep two runs apart there.
    """
    file = path.with_name(f".{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = _acquire(path, file, wait)
    except OSError as error:
        raise _unusable(path, f"{error.strerror or error}: {error.filename or file}") from None
    try:
        with suppress(OSError):  # a full disk
            os.truncate(held, 0)
            os.write(held, f"process {os.getpid()} on {platform.node()}".encode())
        yield
    finally:
        if _is_at(held, file):
            with suppress(OSError):
                file.unlink()
        os.close(held)


def _acquire(path: Path, file: Path, wait: bool) -> int:
    """Return the descriptor of the lock file, once it is locked.

    The holder before removes its file: one that was opened then is no longer there, and the lock
    is tried anew, so that two never hold it.
    """
    while True:
        held = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        try:
            if not stat.S_ISREG(os.fstat(held).st_mode):
                raise OSError(errno.EINVAL, "it is no plain file", str(file))
            _flock(path, file, held, wait)
        except BaseException:
            os.close(held)
            raise
        if _is_at(held, file):
            return held
        os.close(held)


def _flock(path: Path, file: Path, held: int, wait: bool) -> None:
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = _holder(file)
        if not wait:
            raise InputError(
                f"{path} is being written by {holder}: wait until it has ended, or name another "
                "output."
            ) from None
        print(f"waiting for {holder}, which is writing {path}", file=sys.stderr)
        fcntl.flock(held, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        warnings.warn(
            f"the file system of {path.parent} has no locks ({error.strerror}): start no second "
            f"run that writes {path}.",
            stacklevel=2,
        )


def _holder(file: Path) -> str:
    """Say who has a lock file, as the holder has written into it."""
    try:
        return file.read_text(encoding="utf-8").strip() or "another process"
    except (OSError, ValueError):
        return "another process"


def _is_at(held: int, file: Path) -> bool:
    """Whether the open file `held` is the one that has its name now."""
    try:
        return os.path.samestat(os.fstat(held), file.stat())
    except OSError:
        return False


@contextmanager
def draft(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` that no other process has, and remove what is there at the end.

    Call it within `lock(path)`: drafts that killed processes left are removed too.
    """
    of_path = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.partial")
    for left in path.parent.iterdir():
        if of_path.fullmatch(left.name):
            remove(left)
    own = _draft_name(path, secrets.token_hex(4))
    try:
        yield own
    finally:
        remove(own)


def _draft_name(path: Path, token: str) -> Path:
    return path.with_name(f".{path.name}.{token}.partial")


@contextmanager
def explained(path: Path, own: Path) -> Iterator[None]:
    """Raise InputError for the system's errors in writing the draft `own` of `path`, and for a full
    disk; others pass.
    """
    try:
        yield
    except BrokenPipeError:  # of the standard output
        raise
    except OSError as error:
        file = None if isinstance(error.filename, int | None) else Path(os.fsdecode(error.filename))
        if file is None:
            if sys.stdout:
                sys.stdout.flush()  # fails again where it was what failed
            raise InputError(describe(error, path)) from error
        if file.is_relative_to(own) or file == path:
            raise _unusable(path, error.strerror or error, "another place, or make room") from error
        raise


def move(own: Path, path: Path) -> None:
    """Move a draft to its place in one step. Raises InputError as `check` does."""
    check(path, is_file=not own.is_dir())
    if path.is_dir():
        path.rmdir()
    os.replace(own, path)


def remove(path: Path) -> None:
    """Remove a file or folder as far as it is there; other processes may be removing it too."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
