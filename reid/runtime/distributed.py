"""Several processes as one, started by torchrun or by REID_PROCESSES (`reid.runtime.cli`); without
either, one.

Collectives here are of CPU tensors, by gloo, so that they are alike with and without GPUs.
"""

import os
import secrets
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import distributed

from reid.runtime.errors import InputError

LONGEST_WAIT = timedelta(
    days=2
)  # for the slowest process; gloo notices one that has ended, else torchrun does
GRACE = 5  # seconds until torchrun, told that one process has failed, stops the others
SEEN_AFTER = 60  # seconds until a network's file system shows every host a new file
Item = TypeVar("Item")


def count() -> int:
    """How many processes work together: 1 without torchrun."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """This process's number among all, from 0; process 0 makes, merges and tells."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def on_this_host() -> int:
    """How many of the processes share this machine's memory."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", count())) if distributed.is_initialized() else 1


@contextmanager
def group() -> Iterator[None]:
    """Join torchrun's processes, if it started this one, until the block ends.

    What ends one process ends all: the first that fails tells why, the others leave in silence, by
    SystemExit, so that all of them clean up.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield
        return
    signal.signal(signal.SIGTERM, _stop)
    store, number, processes = next(distributed.rendezvous("env://"))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(
        backend, store=store, rank=number, world_size=processes, timeout=LONGEST_WAIT
    )
    with _told_once(distributed.PrefixStore("told", store)):
        yield
    distributed.destroy_process_group()


def wait() -> None:
    """Go on when all processes are here."""
    largest(np.zeros(1))


def largest(array: np.ndarray) -> np.ndarray:
    """The element-wise maximum over all processes of arrays of one shape, at each of them."""
    if count() == 1:
        return array
    found = torch.from_numpy(array.copy())
    distributed.all_reduce(found, distributed.ReduceOp.MAX)
    return found.numpy()


def gathered(array: np.ndarray) -> list[np.ndarray]:
    """Every process's array, all of one shape, in the order of the processes: at process 0; at the
    others, none.
    """
    if count() == 1:
        return [array]
    sent = torch.from_numpy(np.ascontiguousarray(array))
    found = [torch.empty_like(sent) for _ in range(count())] if rank() == 0 else None
    distributed.gather(sent, found)
    return [one.numpy() for one in found or []]


def share(items: Sequence[Item]) -> Sequence[Item]:
    """This process's part of a sequence: an unbroken run of it, as long as the others' or one
    shorter or longer.
    """
    return items[len(items) * rank() // count() : len(items) * (rank() + 1) // count()]


def made(folder: Path, make: Callable[[], object]) -> None:
    """Let process 0 make a folder. Raises InputError when another process does not see it: it is
    to be shared.
    """
    if rank() == 0:
        make()
    if count() == 1:
        return
    token = int(largest(np.array([secrets.randbits(62) * (rank() == 0)]))[0])
    sign = folder / f".{token}"
    if rank() == 0:
        sign.touch()
    wait()
    until = time.monotonic() + SEEN_AFTER
    while not _is_there(sign):
        if time.monotonic() > until:
            raise InputError(
                f"process {rank()} on {socket.gethostname()} does not see {folder}, which process "
                "0 has made: all hosts must work in one folder that they share (NFS, Lustre, "
                "...). Put the project there."
            )
        time.sleep(0.1)
    wait()
    if rank() == 0:
        sign.unlink()


def _is_there(file: Path) -> bool:
    """Listing the folder, unlike asking for a file, does not get a network's file system's old
    answer.
    """
    try:
        return file.name in os.listdir(file.parent)
    except OSError:
        return False


def _stop(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # cleaning up is not to be stopped too
    raise SystemExit(128 + signal.SIGTERM)


@contextmanager
def _told_once(store: distributed.Store) -> Iterator[None]:
    """Let the first process that fails raise its error, and the others SystemExit."""
    try:
        with _patient():
            yield
    except (Exception, KeyboardInterrupt) as error:
        signal.signal(
            signal.SIGTERM, signal.SIG_IGN
        )  # it follows the first process's end, maybe before the telling
        try:
            told = store.add("told", 1) > 1
        except RuntimeError:
            raise SystemExit(
                f"error: process {rank()} lost the others; one of them tells why."
            ) from None
        if told:
            raise SystemExit(130 if isinstance(error, KeyboardInterrupt) else 1) from None
        raise


@contextmanager
def _patient() -> Iterator[None]:
    """What torch calls a RuntimeError is most often another process's end: then torchrun will soon
    stop this one.
    """
    try:
        yield
    except RuntimeError:
        time.sleep(GRACE)
        raise
