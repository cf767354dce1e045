"""Start a stage as several processes on this machine, `python -m reid.runtime.launch 2
stages.extract ...`: torchrun, quietly.

`reid.runtime.distributed` calls this for REID_PROCESSES. The processes
report their errors themselves.
"""

import logging
import signal
import sys
import tempfile

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from reid.runtime.cli import SIGNALS


def main() -> None:
    """Run the processes to their end; exit as the first of them that failed did."""
    logging.disable(logging.ERROR)
    processes, module, *arguments = sys.argv[1:]
    handled = [number.name for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    try:
        with tempfile.TemporaryDirectory() as logs:  # which torchrun would leave behind
            options = [
                "--standalone",
                "--nproc-per-node",
                processes,
                "--signals-to-handle",
                ",".join(handled),  # less SIGHUP under nohup
                "--log-dir",
                logs,
                "-m",
                module,
                *arguments,
            ]
            run.run(run.parse_args(options))
    except SignalException as stopped:
        _leave(stopped.sigval)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode > 128:
            _leave(failure.exitcode - 128)
        if failure.exitcode < 0:
            sys.exit(
                f"error: process {rank} of {processes} was killed by signal {-failure.exitcode}, "
                "maybe for want of memory: start fewer processes, or look at the system's log."
            )
        sys.exit(failure.exitcode)


def _leave(number: int) -> None:
    """Exit as shells expect after a signal. What was saved, a process has said."""
    print(f"{signal.Signals(number).name}: all processes have ended", file=sys.stderr)
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
