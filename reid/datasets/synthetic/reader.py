"""The built-in benchmark as a dataset: drawn into a folder by several processes, and read there."""

import multiprocessing
import signal
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tqdm import tqdm

from reid.datasets import filenames, market1501
from reid.datasets.records import Reader, Splits
from reid.datasets.synthetic.benchmark import FOLDERS, Shot, SyntheticSettings, list_shots
from reid.datasets.synthetic.people import dress
from reid.datasets.synthetic.picture import draw_shot
from reid.runtime.errors import InputError

CHUNK = 64  # images that a process draws at a time


def read(folder: Path, settings: SyntheticSettings) -> Splits:
    """Records of train, query and gallery of the drawn benchmark, as Market-1501's are read."""
    return filenames.read_subfolders(folder, market1501.NAME_PATTERN, market1501.EXAMPLE)


def draw(settings: SyntheticSettings, folder: Path, workers: int | None = None) -> None:
    """Draw the benchmark into `folder`: bounding_box_train/, query/, bounding_box_test/ with
    Market-1501's names.

    `workers` processes (None: one a core) share the work; the bytes are the same for any number.
    Raises InputError when the folder already holds one of the three, or there is no worker.
    """
    if workers is not None and workers < 1:
        raise InputError(f"workers: got {workers}, wanted at least 1 process.")
    _make_folders(folder)
    shots = list_shots(settings)
    chunks = [(settings, folder, shots[at : at + CHUNK]) for at in range(0, len(shots), CHUNK)]
    with tqdm(total=len(shots), desc="drawing", unit="image") as bar:
        if workers == 1:
            for chunk in chunks:
                bar.update(_draw_chunk(chunk))
            return
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, spawn, _leave_interrupts_to_the_parent) as pool:
            try:
                for count in pool.map(_draw_chunk, chunks):
                    bar.update(count)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _make_folders(folder: Path) -> None:
    for name in FOLDERS:
        if (folder / name).exists():
            raise InputError(
                f"{folder / name} exists already: draw into an empty folder, or remove it first."
            )
        (folder / name).mkdir(parents=True)


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _draw_chunk(chunk: tuple[SyntheticSettings, Path, list[Shot]]) -> int:
    """Draw some shots, dressing each person once, and return how many."""
    settings, folder, shots = chunk
    pid, person = None, None
    for shot in shots:
        if shot.pid > 0 and shot.pid != pid:
            pid, person = shot.pid, dress(settings.seed, shot.pid, settings.lookalikes)
        draw_shot(settings, shot, person).save(folder / shot.path, quality=90)
    return len(shots)


READER = Reader(SyntheticSettings, read, (), draw=draw)
