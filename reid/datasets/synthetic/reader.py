"""The built-in benchmark as a dataset: drawn into a folder by several processes, and read there."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from pathlib import Path

from tqdm import tqdm

from reid.datasets import filenames, market1501
from reid.datasets.records import Reader, Splits
from reid.datasets.synthetic.benchmark import FOLDERS, Shot, SyntheticSettings, list_shots
from reid.datasets.synthetic.people import dress
from reid.datasets.synthetic.picture import draw_shot
from reid.runtime.errors import InputError

CHUNK = 64  # images that a process draws at a time
Chunk = tuple[SyntheticSettings, Path, list[Shot]]


def read(folder: Path, settings: SyntheticSettings) -> Splits:
    """Records of train, query and gallery of the drawn benchmark, as Market-1501's are read."""
    return filenames.read_subfolders(folder, market1501.NAME_PATTERN, market1501.EXAMPLE)


def draw(settings: SyntheticSettings, folder: Path, workers: int | None = None) -> None:
    """Draw the benchmark into `folder`: bounding_box_train/, query/, bounding_box_test/ with
    Market-1501's names.

    `workers` processes (None: one a core) share the work; the bytes are the same for any number.
    Raises InputError when the folder already holds one of the three, there is no worker, or one is
    killed.
    """
    if workers is not None and workers < 1:
        raise InputError(f"workers: got {workers}, wanted at least 1 process.")
    _make_folders(folder)
    shots = list_shots(settings)
    chunks = [(settings, folder, shots[at : at + CHUNK]) for at in range(0, len(shots), CHUNK)]
    counts = map(_draw_chunk, chunks) if workers == 1 else _draw_by_processes(chunks, workers)
    with tqdm(total=len(shots), desc="drawing", unit="image") as bar:
        for count in counts:
            bar.update(count)


def _draw_by_processes(chunks: list[Chunk], workers: int | None) -> Iterator[int]:
    """Draw the chunks in `workers` processes, which end before this does; yield what each drew."""
    spawn = multiprocessing.get_context("spawn")
    with _blocking_interrupts():
        resource_tracker.ensure_running()  # a process of the pool's as well
    with ProcessPoolExecutor(workers, spawn, _end_with_the_parent) as pool:
        try:
            with _blocking_interrupts():  # which the processes inherit
                counts = pool.map(_draw_chunk, chunks)
            yield from counts
        except BrokenProcessPool:
            raise InputError(
                "a process that draws the benchmark was killed, maybe for want of memory: each "
                "needs about 110 MB, and there is one for each core. Look at the system's log, "
                "make room, and run the command again."
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _make_folders(folder: Path) -> None:
    for name in FOLDERS:
        if (folder / name).exists():
            raise InputError(
                f"{folder / name} exists already: draw into an empty folder, or remove it first."
            )
        (folder / name).mkdir(parents=True)


@contextmanager
def _blocking_interrupts() -> Iterator[None]:
    """Hold back the signals of a terminal, which come to every process, until the block's end."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGHUP))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_the_parent() -> None:
    """End this process when its parent has ended, however it did."""
    threading.Thread(target=_watch_the_parent, daemon=True).start()


def _watch_the_parent() -> None:
    wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _draw_chunk(chunk: Chunk) -> int:
    """Draw some shots, dressing each person once, and return how many."""
    settings, folder, shots = chunk
    pid, person = None, None
    for shot in shots:
        if shot.pid > 0 and shot.pid != pid:
            pid, person = shot.pid, dress(settings.seed, shot.pid, settings.lookalikes)
        draw_shot(settings, shot, person).save(folder / shot.path, quality=90)
    return len(shots)


READER = Reader(SyntheticSettings, read, (), draw=draw)
