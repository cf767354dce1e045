"""A process's own memory, without the files that it has mapped, which the system may drop at any
time.
"""

import threading
from pathlib import Path

STATUS = Path("/proc/self/status")


class OwnMemory(threading.Thread):
    """While entered, looks every 20 ms; `most` is the most bytes seen, or None where the system
    does not tell.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most: int | None = None
        self.done = threading.Event()

    def __enter__(self) -> "OwnMemory":
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.done.set()
        self.join()

    def run(self) -> None:
        """Look until done."""
        while STATUS.exists() and not self.done.is_set():
            status = dict(
                line.split(":", 1) for line in STATUS.read_text(encoding="utf-8").splitlines()
            )
            self.most = max(self.most or 0, int(status["RssAnon"].split()[0]) * 1024)
            self.done.wait(0.02)
