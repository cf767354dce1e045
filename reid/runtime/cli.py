"""What every stage's command shares: its errors in one paragraph, its outputs whole or not at
all.
"""

import atexit
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

from reid.runtime.errors import InputError


def run(
    main: Callable[[], None], group: Callable[[], AbstractContextManager] | None = None
) -> None:
    """Call a stage's `main`; exit with 1 and one paragraph on bad input, with 130 when
    interrupted.

    `group` joins the processes of a stage that several can share out
    (`reid.runtime.distributed.group`). Such a stage starts as REID_PROCESSES processes, if that is
    set, unless torchrun has started it.
    """
    try:
        if group:
            _start_processes(main)
        elif _under_torchrun():
            raise InputError(
                "this stage works in one process: start it without torchrun, as `python -m "
                "stages...`."
            )
        with group() if group else nullcontext(), warnings.catch_warnings():
            warnings.showwarning = _tell
            _refuse_the_same_path_twice(sys.argv[1:])
            main()
    except InputError as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
    except KeyboardInterrupt:
        print("interrupted: nothing was written", file=sys.stderr)
        sys.exit(130)


def _tell(message: Warning | str, *_: object, **__: object) -> None:
    """A warning in the form of an error, without the line of code; by the first of several
    processes.
    """
    if os.environ.get("RANK", "0") == "0":
        print(f"\nwarning: {' '.join(str(message).split())}", file=sys.stderr)


def _start_processes(main: Callable[[], None]) -> None:
    """Become the stage's REID_PROCESSES processes, which share the cores; return if that is one."""
    wanted = os.environ.get("REID_PROCESSES") or "1"
    if not wanted.isdecimal() or int(wanted) < 1:
        raise InputError(
            f"REID_PROCESSES is {wanted!r}: wanted a whole number of processes, 1 or more."
        )
    if int(wanted) == 1 or _under_torchrun():
        return
    threads = max((os.cpu_count() or 1) // int(wanted), 1)
    stage = sys.modules[main.__module__].__spec__.name
    sys.stdout.flush()
    os.execve(
        sys.executable,
        [sys.executable, "-m", "reid.runtime.launch", wanted, stage, *sys.argv[1:]],
        {"OMP_NUM_THREADS": str(threads), **os.environ},
    )


def _under_torchrun() -> bool:
    return "RANK" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1"


def _refuse_the_same_path_twice(arguments: list[str]) -> None:
    """An output that is also an input would be lost."""
    paths = [Path(argument).resolve() for argument in arguments if os.path.exists(argument)]
    twice = [path for path in paths if paths.count(path) > 1]
    if twice:
        raise InputError(
            f"{twice[0]} is named twice: what is read and what is written must be different places."
        )


@contextmanager
def whole(output: str | Path, wait: Callable[[], None] | None = None) -> Iterator[Path]:
    """Yield a path beside `output` to write a file or folder to; it takes `output`'s place only
    when all went well.

    A file is replaced. `wait`, with several processes, returns when all have called it; all of
    them write to one path. Raises InputError when writing fails, and when `output` is a folder
    that holds something: that is not ours to delete (DVC removes a stage's old outputs itself).
    """
    output = Path(output)
    if output.is_dir() and any(output.iterdir()):
        raise InputError(
            f"the output folder {output} is not empty: name another, or remove it first."
        )
    draft = output.with_name(f".{output.name}.partial")
    is_alone = wait is None or not _under_torchrun()
    is_first, meet = is_alone or os.environ["RANK"] == "0", (lambda: None) if is_alone else wait
    try:
        if is_first:
            output.parent.mkdir(parents=True, exist_ok=True)
            _remove(draft)
        meet()
        yield draft
        meet()
        if is_first:
            _put(draft, output)
    except BaseException as error:
        # of several, later: another that misses its file is not to tell of that before this one
        # has told its error
        _remove(draft) if is_alone else atexit.register(_remove, draft)
        if isinstance(error, OSError):
            raise InputError(
                f"{output} cannot be written: {error}. Name another place, or make room."
            ) from error
        raise


def _put(draft: Path, output: Path) -> None:
    if output.is_dir():
        output.rmdir()
    os.replace(draft, output)


def _remove(path: Path) -> None:
    """Remove a file or folder as far as it is there and can be: other processes may be removing it
    too.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
