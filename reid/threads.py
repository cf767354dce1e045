"""Work on all cores of the CPU: Python threads, in each of which torch itself is single-threaded.

A result then has the same bytes whatever the number of threads, and no core waits for another at the end of a product.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Item, Result = TypeVar("Item"), TypeVar("Result")
Map = Callable[[Callable[[Item], Result], Sequence[Item]], Iterator[Result]]


@contextmanager
def on_all_cores() -> Iterator[Map]:
    """A `map`, results in order, of as many threads as torch has; afterwards torch has them again."""
    count = torch.get_num_threads()
    try:
        # what a thread sets holds for itself, and also for what others have not set: hence the restoring
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as threads:
            yield threads.map
    finally:
        torch.set_num_threads(count)
