"""SIGINT, SIGTERM and SIGHUP as requests to stop a training after its current step."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """Tell that a signal has stopped training, its checkpoint saved; `number` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class StopRequests:
    """Remember the last of SIGNALS in `signal`, 0 before there is one.

    `is_first` is whether this process is rank 0, which saves the checkpoint.
    """

    def __init__(self, is_first: bool = True) -> None:
        self.is_first = is_first
        self.signal = 0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within, let SIGNALS ask for a stop; a second SIGINT interrupts at once.

        A second SIGTERM or SIGHUP changes nothing: schedulers send one to each process, and
        torchrun hands on its own. After a signal all are ignored from the end of the block on, so
        that cleaning up is not stopped. Raises SystemExit for an error after a signal on another
        rank than 0: that has saved the checkpoint and ended, and this rank has lost it.
        """
        handlers = {number: signal.getsignal(number) for number in SIGNALS}
        for number in SIGNALS:
            if handlers[number] != signal.SIG_IGN:  # as SIGHUP is under nohup
                signal.signal(number, self._remember)
        try:
            yield
        except RuntimeError:
            if self.signal and not self.is_first:
                raise SystemExit(128 + self.signal) from None
            raise
        finally:
            for number, handler in handlers.items():
                signal.signal(number, signal.SIG_IGN if self.signal else handler)

    def _remember(self, number: int, frame: object) -> None:
        self.signal = number
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)
