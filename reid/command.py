"""What every stage's command shares: its errors in one paragraph, its outputs whole or not at all."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from reid.errors import InputError


def run(main: Callable[[], None]) -> None:
    """Call a stage's `main`; exit with 1 and one paragraph on bad input, with 130 when interrupted."""
    try:
        _refuse_the_same_path_twice(sys.argv[1:])
        main()
    except InputError as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
    except KeyboardInterrupt:
        print("interrupted: nothing was written", file=sys.stderr)
        sys.exit(130)


def _refuse_the_same_path_twice(arguments: list[str]) -> None:
    """An output that is also an input would be lost."""
    paths = [Path(argument).resolve() for argument in arguments if os.path.exists(argument)]
    twice = [path for path in paths if paths.count(path) > 1]
    if twice:
        raise InputError(f"{twice[0]} is named twice: what is read and what is written must be different places.")


@contextmanager
def whole(output: str | Path) -> Iterator[Path]:
    """Yield a path beside `output` to write a file or folder to; it takes `output`'s place only when all went well.

    A file is replaced. Raises InputError when writing fails, and when `output` is a folder that holds something: that
    is not ours to delete (DVC removes a stage's old outputs itself).
    """
    output = Path(output)
    if output.is_dir() and any(output.iterdir()):
        raise InputError(f"the output folder {output} is not empty: name another, or remove it first.")
    draft = output.with_name(f".{output.name}.partial")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        _remove(draft)
        yield draft
        if output.is_dir():
            output.rmdir()
        os.replace(draft, output)
    except OSError as error:
        raise InputError(f"{output} cannot be written: {error}. Name another place, or make room.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        if draft.is_file():
            draft.unlink()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
