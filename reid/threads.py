"""Work on all cores of the CPU: Python threads, in each of which torch itself is single-threaded.

A result then has the same bytes whatever the number of threads, and no core waits for another at
the end of a product.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item, Result = TypeVar("Item"), TypeVar("Result")


def on_all_cores(
    function: Callable[[Item], Result], items: Sequence[Item], take: Callable[[Result], object]
) -> None:
    """Hand each item's result to `take`, in their order; as many threads call `function` as torch
    has.
    """
    count = torch.get_num_threads()
    try:
        # a thread's own number is also what all those get that have set none: hence the restoring
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as threads:
            for result in threads.map(function, items):
                take(result)
    finally:
        torch.set_num_threads(count)


def one_by_one(
    function: Callable[[Item], Result], items: Sequence[Item], take: Callable[[Result], object]
) -> None:
    """The same without threads: a GPU takes its work in order."""
    for item in items:
        take(function(item))
