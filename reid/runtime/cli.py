"""How every command starts and ends: errors in one paragraph, signals in one line, outputs whole or
not at all.
"""

import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

from reid.runtime.errors import InputError, paragraph
from reid.runtime.outputs import atomic as atomic_output
from reid.runtime.starting import SIGNALS, ended_by, is_early, under_torchrun
from reid.runtime.system_errors import describe

__all__ = [
    "atomic_output",
    "call",
    "command_name",
    "exit_codes",
    "flush",
    "not_of_torchrun",
    "run",
    "under_torchrun",
]

TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT")  # numbers


class Ended(SystemExit):
    """A signal has ended the command, which cleans up on the way out; `code` is 128 and its
    number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.signal = signal.Signals(number)


def run(main: Callable[[], None]) -> None:
    """Call the `main` of a command that runs in one process.

    Exits with 1 and one paragraph on bad input, and with 128 and a signal's number after one.
    Stages that several processes share out start by `distributed.run`.
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
    """Turn an InputError, and the system's errors, into their text and exit code 1, and SIGINT,
    SIGTERM and SIGHUP into exit codes 130, 143 and 129.
    """
    try:
        with _ending_by_signals():
            check_torchrun()
            yield
            flush()
    except InputError as error:
        sys.exit(f"error: {paragraph(error)}")
    except KeyboardInterrupt:
        _leave(signal.SIGINT)
    except Ended as ended:
        _leave(ended.signal)
    except OSError as error:
        flush(isinstance(error, BrokenPipeError))
        sys.exit(f"error: {paragraph(describe(error))}")


@contextmanager
def _ending_by_signals() -> Iterator[None]:
    """Let signals end the block by `Ended`; one that is ignored, as SIGHUP under nohup, stays so.

    After the first the others are ignored, to the process's end: cleaning up is not to be stopped.
    So are all after the block where it was a command: what it has written is complete.
    """
    before = {number: signal.getsignal(number) for number in SIGNALS}
    listened = [number for number in SIGNALS if before[number] != signal.SIG_IGN]
    came = []

    def end(number: int, frame: object) -> None:
        for other in listened:
            signal.signal(other, signal.SIG_IGN)
        came.append(number)
        raise Ended(number)

    for number in listened:
        signal.signal(number, end)
    try:
        yield
    except BaseException:
        if came:  # cleaning up may have failed, as a progress bar does whose terminal is closed
            raise Ended(came[0]) from None
        raise
    finally:
        for number in listened:
            if signal.getsignal(number) is end:
                is_command = is_early(before[number])
                signal.signal(number, signal.SIG_IGN if is_command else before[number])


def _leave(number: int) -> None:
    """Exit as shells expect after a signal; of torchrun's processes the launcher tells."""
    if not under_torchrun():
        with suppress(OSError):
            print(ended_by(number), file=sys.stderr)
    sys.exit(128 + number)


def flush(is_broken: bool = False) -> None:
    """Write out what was printed. Exits in silence where nobody reads it, as after `| head`."""
    try:
        if is_broken:
            raise BrokenPipeError
        if sys.stdout:
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python tries again at its end
        if isinstance(error, BrokenPipeError):
            sys.exit(128 + signal.SIGPIPE)
        sys.exit(f"error: the standard output cannot be written: {error.strerror}.")


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


def check_torchrun() -> None:
    """Raise InputError when a variable that torchrun sets is there and makes no sense."""
    values = {name: os.environ[name] for name in TORCHRUN if name in os.environ}
    for name, value in values.items():
        if not (value.isascii() and value.isdecimal() and len(value) < 10):
            raise not_of_torchrun(f"{name} is {value[:100]!r}, wanted a whole number", name)
    for number, count in (("RANK", "WORLD_SIZE"), ("LOCAL_RANK", "LOCAL_WORLD_SIZE")):
        if int(values.get(number, 0)) >= int(values.get(count, 1)) and count in values:
            got = f"{number} is {values.get(number, 'missing')} and {count} is {values[count]}"
            raise not_of_torchrun(f"{got}, wanted ranks from 0, below the count", count)


def not_of_torchrun(what: str, name: str) -> InputError:
    """Return the error for environment variables that torchrun cannot have set."""
    return InputError(
        f"environment variables: {what}. Start the command by torchrun, which sets them, or, for "
        f"one process, `unset {name}`."
    )


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Print a warning without the line of code, in the first of several processes."""
    if os.environ.get("RANK", "0") == "0":
        print(f"\nwarning: {paragraph(message)}", file=sys.stderr)


def _refuse_the_same_path_twice(arguments: list[str]) -> None:
    """Raise InputError when a path comes twice: an output that is also an input would be lost."""
    paths = [Path(argument).resolve() for argument in arguments if os.path.exists(argument)]
    twice = [path for path in paths if paths.count(path) > 1]
    if twice:
        raise InputError(
            f"{twice[0]} is named twice: what is read and what is written must be different places."
        )
