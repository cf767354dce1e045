"""Outputs complete or not at all: one run at a time writes a draft of its own, then moves it."""

import os
import platform
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from reid.runtime.errors import InputError


@contextmanager
def lock(path: Path, wait: bool = False) -> Iterator[None]:
    """Hold the lock file beside `path`, a file or folder to be, which one process has at a time.

    Where another has it, raises InputError that names it, or with `wait` says so and waits. The
    lock file is removed at the end.
    """
    file = path.with_name(f".{path.name}.lock")
    held = FileLock(file, timeout=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        held.acquire()
    except Timeout:
        holder = _holder(file)
        if not wait:
            raise InputError(
                f"{path} is being written by {holder}: wait until it has ended, or name another "
                "output."
            ) from None
        print(f"waiting for {holder}, which is writing {path}", file=sys.stderr)
        held.acquire(timeout=-1)
    try:
        file.write_text(f"process {os.getpid()} on {platform.node()}", encoding="utf-8")
        yield
    finally:
        file.unlink(missing_ok=True)
        held.release()


@contextmanager
def draft(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` that no other process has, and remove what is there at the end.

    Call it within `lock(path)`: drafts that killed processes left are removed too.
    """
    for left in path.parent.glob(f".{path.name}.*.partial"):
        remove(left)
    own = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        yield own
    finally:
        remove(own)


def remove(path: Path) -> None:
    """Remove a file or folder as far as it is there; other processes may be removing it too."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _holder(file: Path) -> str:
    """Say who has a lock file, as the holder has written into it."""
    try:
        return file.read_text(encoding="utf-8").strip() or "another process"
    except (OSError, ValueError):
        return "another process"
