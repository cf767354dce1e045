"""How every command starts and ends: errors in one paragraph, outputs whole or not at all."""

import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

from reid.runtime.errors import InputError


def run(main: Callable[[], None]) -> None:
    """Call the `main` of a command that runs in one process.

    Exits with 1 and one paragraph on bad input, and with 130 when interrupted. Stages that several
    processes share out start by `distributed.run`.
    """
    with exit_codes():
        if under_torchrun():
            raise InputError(
                "this command works in one process: start it without torchrun, as "
                f"`python -m {command_name(main)} ...`."
            )
        call(main)


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turn an InputError into its text and exit code 1, and an interrupt into exit code 130."""
    try:
        yield
    except InputError as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
    except KeyboardInterrupt:
        print("interrupted: nothing was written", file=sys.stderr)
        sys.exit(130)


def call(main: Callable[[], None], group: AbstractContextManager | None = None) -> None:
    """Call `main` within `group`, with warnings in the form of errors."""
    with group or nullcontext(), warnings.catch_warnings():
        warnings.showwarning = _show_warning
        warnings.filterwarnings("ignore", module="PIL")  # one for each of many thousand pictures
        _refuse_the_same_path_twice(sys.argv[1:])
        main()


def command_name(main: Callable[[], None]) -> str:
    """Return the module that holds `main`, as `python -m` takes it."""
    spec = sys.modules[main.__module__].__spec__
    return spec.name if spec else main.__module__


def under_torchrun() -> bool:
    """Whether torchrun started this process as one of several."""
    return "RANK" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1"


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Print a warning without the line of code, in the first of several processes."""
    if os.environ.get("RANK", "0") == "0":
        print(f"\nwarning: {' '.join(str(message).split())}", file=sys.stderr)


def _refuse_the_same_path_twice(arguments: list[str]) -> None:
    """Raise InputError when a path comes twice: an output that is also an input would be lost."""
    paths = [Path(argument).resolve() for argument in arguments if os.path.exists(argument)]
    twice = [path for path in paths if paths.count(path) > 1]
    if twice:
        raise InputError(
            f"{twice[0]} is named twice: what is read and what is written must be different places."
        )


@contextmanager
def atomic_output(output: str | Path) -> Iterator[Path]:
    """Yield a draft beside `output`, a file or folder to be, that replaces it when all went well.

    Raises InputError when writing fails, and when `output` is a folder that holds something: DVC
    removes a stage's old outputs itself, and others are not ours to delete.
    """
    output = Path(output)
    refuse_full_folder(output)
    draft = draft_of(output)
    try:
        start_draft(draft)
        yield draft
        finish_draft(draft, output)
    except OSError as error:
        remove(draft)
        raise cannot_write(output, error) from error
    except BaseException:
        remove(draft)
        raise


def refuse_full_folder(output: Path) -> None:
    """Raise InputError when `output` is a folder that is not empty."""
    if output.is_dir() and any(output.iterdir()):
        raise InputError(
            f"the output folder {output} is not empty: name another, or remove it first."
        )


def draft_of(output: Path) -> Path:
    """Return the path beside `output` that is written to until all is done."""
    return output.with_name(f".{output.name}.partial")


def start_draft(draft: Path) -> None:
    """Make the draft's folder, and remove what an earlier process has left of it."""
    draft.parent.mkdir(parents=True, exist_ok=True)
    remove(draft)


def finish_draft(draft: Path, output: Path) -> None:
    """Move a draft to the place of `output`, in one step."""
    if output.is_dir():
        output.rmdir()
    os.replace(draft, output)


def cannot_write(output: Path, error: OSError) -> InputError:
    """Return the error to raise when `output` cannot be written."""
    return InputError(f"{output} cannot be written: {error}. Name another place, or make room.")


def remove(path: Path) -> None:
    """Remove a file or folder as far as it is there; other processes may be removing it too."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
