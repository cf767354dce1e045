"""Signals while a command still imports its modules, which takes seconds with torch.

The packages that hold commands call this first; from `cli.exit_codes` on, that ends them.
"""

import os
import signal
import sys
from contextlib import suppress

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def end_by_signals() -> None:
    """Let SIGNALS end a command, `python -m ...`, in one line; for an import, do nothing.

    One that is ignored, as SIGHUP under nohup, stays so.
    """
    if sys.argv[0] == "-m":  # so it is until the command's module itself runs
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, _end)


def _end(number: int, frame: object) -> None:
    """End the process now: an exception may be lost in an import, and nothing is to clean up."""
    with suppress(OSError):
        if not under_torchrun():
            os.write(2, f"{ended_by(number)}\n".encode())
    os._exit(128 + number)


def ended_by(number: int) -> str:
    """Say that a signal has ended a command."""
    name = "interrupted" if number == signal.SIGINT else signal.Signals(number).name
    return f"{name}: nothing was written"


def under_torchrun() -> bool:
    """Whether torchrun started this process as one of several."""
    return "RANK" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1"


def is_early(handler: object) -> bool:
    """Whether a signal's handler is this module's."""
    return handler is _end
