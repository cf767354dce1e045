"""Start a stage as several processes on this machine, `python -m reid.runtime.launch 2
stages.extract ...`: torchrun, quietly.

`reid.runtime.distributed` calls this for REID_PROCESSES. The processes
report their errors themselves.
"""

import logging
import sys
import tempfile

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError


def main() -> None:
    """Run the processes to their end; exit as the first of them that failed did."""
    logging.disable(logging.ERROR)
    processes, module, *arguments = sys.argv[1:]
    try:
        with tempfile.TemporaryDirectory() as logs:  # which torchrun would leave behind
            options = [
                "--standalone",
                "--nproc-per-node",
                processes,
                "--log-dir",
                logs,
                "-m",
                module,
                *arguments,
            ]
            run.run(run.parse_args(options))
    except SignalException as stopped:
        sys.exit(128 + stopped.sigval)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            sys.exit(
                f"error: process {rank} of {processes} was killed by signal {-failure.exitcode}, "
                "maybe for want of memory: start fewer processes, or look at the system's log."
            )
        sys.exit(failure.exitcode)


if __name__ == "__main__":
    main()
