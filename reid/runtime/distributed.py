"""Several processes as one, started by torchrun or by REID_PROCESSES; without either, one.

Collectives here are of CPU tensors, by gloo, so that they are alike with and without GPUs.
"""

import atexit
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist

from reid.runtime import cli, outputs
from reid.runtime.errors import InputError, short

TIMEOUT = timedelta(days=2)  # of the slowest process; one that has ended is noticed
GRACE_SECONDS = 5  # until torchrun, once it learns that one has failed, stops the others
VISIBLE_SECONDS = 60  # until a network's file system shows every host a new file
NEEDED = ("RANK", "MASTER_ADDR", "MASTER_PORT")  # of several processes' environment
Item = TypeVar("Item")


def world_size() -> int:
    """Return how many processes work together: 1 without torchrun."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return this process's number among all, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def local_world_size() -> int:
    """Return how many of the processes share this machine's memory."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", world_size())) if dist.is_initialized() else 1


def run(main: Callable[[], None]) -> None:
    """Call the `main` of a stage that several processes share out, as `cli.run` does for one.

    It starts as REID_PROCESSES processes, if that is set, unless torchrun has started it.
    """
    with cli.exit_codes():
        _start_processes(main)
        cli.call(main, process_group())


def _start_processes(main: Callable[[], None]) -> None:
    """Become the stage's REID_PROCESSES processes, which share the cores; return if that is one."""
    wanted = os.environ.get("REID_PROCESSES") or "1"
    if not wanted.isdecimal() or int(wanted) < 1:
        raise InputError(
            f"REID_PROCESSES is {short(wanted)}: wanted a whole number of processes, 1 or more."
        )
    if int(wanted) == 1 or cli.under_torchrun():
        return
    threads = max((os.cpu_count() or 1) // int(wanted), 1)
    launch = [sys.executable, "-m", "reid.runtime.launch", wanted, cli.command_name(main)]
    cli.flush()
    os.execve(
        sys.executable,
        [*launch, *sys.argv[1:]],
        {"OMP_NUM_THREADS": str(threads), **os.environ},
    )


@contextmanager
def process_group() -> Iterator[None]:
    """Join torchrun's processes, if it started this one, until the block ends.

    What ends one process ends all: the first that fails reports why, the others leave in silence,
    by SystemExit, so that all of them clean up.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield
        return
    store = _join()
    threading.Thread(target=_end_with_the_launcher, args=(os.getppid(),), daemon=True).start()
    with _report_once(dist.PrefixStore("reported", store)):
        yield
    dist.destroy_process_group()


def _join() -> dist.Store:
    """Meet the other processes. Raises InputError where that fails."""
    missing = [name for name in NEEDED if name not in os.environ]
    if missing:
        raise cli.not_of_torchrun(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']} and {', '.join(missing)} is missing",
            "WORLD_SIZE",
        )
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        with _ending_at_once():
            store, number, processes = next(dist.rendezvous("env://"))
            dist.init_process_group(
                backend, store=store, rank=number, world_size=processes, timeout=TIMEOUT
            )
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise InputError(
            f"process {os.environ['RANK']} cannot meet the others at {where} (MASTER_ADDR, "
            f"MASTER_PORT): {str(error).splitlines()[0][:300]}. Start all by torchrun, with an "
            "address that every host reaches and a port that is free."
        ) from None
    return store


@contextmanager
def _ending_at_once() -> Iterator[None]:
    """Let signals end the process within the block: while torch waits for the others, which may
    have ended, no handler of Python's runs.
    """
    before = {number: signal.getsignal(number) for number in cli.SIGNALS}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def barrier() -> None:
    """Return when all processes have called this."""
    all_max(np.zeros(1))


def all_max(array: np.ndarray) -> np.ndarray:
    """Return the element-wise maximum over all processes' arrays of one shape, at each of them."""
    if world_size() == 1:
        return array
    maximum = torch.from_numpy(array.copy())
    dist.all_reduce(maximum, dist.ReduceOp.MAX)
    return maximum.numpy()


def gather(array: np.ndarray) -> list[np.ndarray]:
    """Return every process's array, all of one shape, by rank: at rank 0; at the others, none."""
    if world_size() == 1:
        return [array]
    sent = torch.from_numpy(np.ascontiguousarray(array))
    received = [torch.empty_like(sent) for _ in range(world_size())] if rank() == 0 else None
    dist.gather(sent, received)
    return [tensor.numpy() for tensor in received or []]


def shard(items: Sequence[Item]) -> Sequence[Item]:
    """Return this process's unbroken part of a sequence; parts differ in length by one at most."""
    count = world_size()
    return items[len(items) * rank() // count : len(items) * (rank() + 1) // count]


@contextmanager
def shared_output(output: str | Path) -> Iterator[Path]:
    """Yield one draft beside `output` to all processes; rank 0 moves it when all are done.

    Raises InputError as `outputs.atomic` does.
    """
    if world_size() == 1:
        with outputs.atomic(output) as draft:
            yield draft
        return
    path = outputs.resolve(output)
    stack = ExitStack()
    # at exit: a rank that misses its file must not report that before this one its error
    atexit.register(stack.close)
    draft = _start_draft(path, stack)
    with outputs.explained(path, draft):
        yield draft
        barrier()
        if rank() == 0:
            outputs.move(draft, path)
    atexit.unregister(stack.close)
    if rank() == 0:
        stack.close()


def _start_draft(path: Path, stack: ExitStack) -> Path:
    """Lock `path` on rank 0 until `stack` is closed, and return the draft that all write to, which
    closing it removes.
    """
    if rank() == 0:
        stack.enter_context(outputs.lock(path))
        draft = stack.enter_context(outputs.draft(path))
        outputs.check(path)
        broadcast(draft.name)
        return draft
    draft = path.with_name(broadcast(""))
    stack.callback(outputs.remove, draft)
    return draft


def broadcast(text: str) -> str:
    """Return rank 0's text at every rank."""
    if world_size() == 1:
        return text
    texts = [text]
    dist.broadcast_object_list(texts, src=0, device=torch.device("cpu"))
    return texts[0]


def create_shared_folder(folder: Path, create: Callable[[], object] | None = None) -> None:
    """Create `folder` on rank 0, by `create`, and return once every rank sees it.

    Raises InputError after 60 s: all hosts must share a file system.
    """
    if rank() == 0:
        (create or folder.mkdir)()
    if world_size() == 1:
        return
    token = int(all_max(np.array([secrets.randbits(62) * (rank() == 0)]))[0])
    sign = folder / f".{token}"
    if rank() == 0:
        sign.touch()
    barrier()
    deadline = time.monotonic() + VISIBLE_SECONDS
    while not _is_listed(sign):
        if time.monotonic() > deadline:
            raise InputError(
                f"process {rank()} on {socket.gethostname()} does not see {folder}, which process "
                "0 has made: all hosts must work in one folder that they share (NFS, Lustre, "
                "...). Put the project there."
            )
        time.sleep(0.1)
    barrier()
    if rank() == 0:
        sign.unlink()


def _is_listed(file: Path) -> bool:
    """Whether a file's folder lists it: network file systems answer for a file from memory."""
    try:
        return file.name in os.listdir(file.parent)
    except OSError:
        return False


def _end_with_the_launcher(launcher: int) -> None:
    """Stop this process, as by SIGTERM, when torchrun has been killed."""
    while os.getppid() == launcher:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _report_once(store: dist.Store) -> Iterator[None]:
    """Let the first process that fails raise its error, and the others SystemExit."""
    try:
        with _delay_runtime_errors():
            yield
    except (Exception, KeyboardInterrupt) as error:
        # SIGTERM follows the first process's end, maybe before its report
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            is_reported = store.add("reported", 1) > 1
        except RuntimeError:
            raise SystemExit(
                f"error: process {rank()} lost the others; one of them reports why."
            ) from None
        if is_reported:
            raise SystemExit(130 if isinstance(error, KeyboardInterrupt) else 1) from None
        raise


@contextmanager
def _delay_runtime_errors() -> Iterator[None]:
    """Wait after a RuntimeError, most often of another's end, after which torchrun stops all."""
    try:
        yield
    except RuntimeError:
        time.sleep(GRACE_SECONDS)
        raise
