"""Which queries the page shows: those that a step helps or harms most, the worst, and some at
random.
"""

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from reid.results.tables import TITLES
from reid.runtime.settings import Count, Whole, settings_class

HEADLINE = "global_dmli_rk"  # the column that the worst are the worst of
STEPS = (("local", "dmli"), ("global", "global_dmli"), ("global_dmli", "global_dmli_rk"))


@settings_class
class PageSettings:
    """How many queries each group has at most, and the seed that draws some and orders equals."""

    queries: Count
    seed: Whole


@dataclass(frozen=True)
class Group:
    """A title and some queries, the most telling first."""

    title: str
    queries: list[int]


def groups(precisions: dict[str, ndarray], settings: PageSettings) -> list[Group]:
    """{column: average precisions [Q]}, NaN for queries without a match -> groups of queries."""
    generator = np.random.default_rng(settings.seed)
    has_match = np.flatnonzero(~np.isnan(precisions[HEADLINE]))
    shuffled = generator.permutation(has_match)

    def lowest(values: ndarray, limit: float = np.inf) -> list[int]:
        order = shuffled[np.argsort(values[shuffled], kind="stable")]
        return [int(query) for query in order[: settings.queries] if values[query] < limit]

    chosen = []
    for before, after in STEPS:
        gains, step = precisions[after] - precisions[before], f"{TITLES[before]} → {TITLES[after]}"
        chosen.append(Group(f"Largest gains, {step}", lowest(-gains, 0.0)))
        chosen.append(Group(f"Largest losses, {step}", lowest(gains, 0.0)))
    chosen.append(Group(f"Worst by {TITLES[HEADLINE]}", lowest(precisions[HEADLINE])))
    drawn = generator.permutation(has_match)[: settings.queries]
    return [*chosen, Group("At random", drawn.tolist())]


def in_turn(chosen: list[Group]) -> list[int]:
    """The queries of all groups, each once: the first of every group, then the second, and on."""
    longest = max(len(group.queries) for group in chosen)
    turns = [
        group.queries[turn]
        for turn in range(longest)
        for group in chosen
        if turn < len(group.queries)
    ]
    return list(dict.fromkeys(turns))
