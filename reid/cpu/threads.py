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
    """Call `function` on each item, in as many threads as torch has, and `take` on each result, in
    the order of the items.
    """
    count = torch.get_num_threads()
    try:
        # a thread that sets torch's number sets it for all that have set none: it is restored below
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
