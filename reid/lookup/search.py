"""Who in a folder is on a picture: the pictures nearest to queries, and whether they are near
enough.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy import ndarray

from reid.lookup import project
from reid.lookup.files import pictures_in, shown
from reid.lookup.model import Model
from reid.runtime.errors import InputError

COLUMN, TOP, FAR = "global_dmli", 10, 1e-3


class Result(NamedTuple):
    """A picture of the gallery, its distance, and whether that is within the threshold (None where
    no threshold is known).
    """

    picture: Path
    distance: float
    is_within: bool | None


@dataclass(frozen=True)
class Answer:
    """A query and the pictures nearest to it, nearest first.

    `is_in_gallery` is whether any is within the threshold, None where none is known.
    """

    query: Path
    results: list[Result]
    is_in_gallery: bool | None


@dataclass(frozen=True)
class Search:
    """The answers to all queries, in their order, and what they rest on.

    `far` is the share of false accepts at `threshold`; where that is None, `reason` says why.
    `left_out` says which pictures of the gallery could not be described, and why.
    """

    answers: list[Answer]
    model: Path
    gallery: Path
    pictures: int
    column: str
    far: float
    threshold: float | None
    reason: str
    left_out: dict[Path, str]


def search(
    queries: str | Path | Iterable[str | Path],
    gallery: str | Path,
    model: Model | str | Path | None = None,
    *,
    column: str = COLUMN,
    top: int = TOP,
    far: float = FAR,
) -> Search:
    """Find the `top` pictures in the folder `gallery` that are nearest to each query by a column.

    `column` is one of the tables', those that end in _rk re-ranked; `model` is that of the
    project's headline by default; `far` is a false-accept rate at which its run has a threshold.
    Features are kept in the user's cache folder. Raises InputError for what cannot be searched,
    and for a query that is no picture.
    """
    # here, because they take a second to import
    from reid.lookup import ranking, store

    model = model if isinstance(model, Model) else Model.load(model)
    is_one = isinstance(queries, str | Path)
    paths = [Path(query) for query in ([queries] if is_one else queries)]
    check_queries(paths)
    gallery, threshold = Path(gallery), project.threshold(model.path, column, far)
    described = store.describe(pictures_in(gallery), model, gallery.absolute())
    of_queries = store.describe(paths, model, "\n".join(str(path.absolute()) for path in paths))
    for path, reason in of_queries.left_out.items():
        raise InputError(f"the query {shown(path)} cannot be described: {reason}.")
    matrix = ranking.distances(of_queries.features, described.features, column)
    rows = {path.absolute(): row for row, path in enumerate(of_queries.paths)}
    answers = [
        answer(path, matrix[rows[path.absolute()]], described.paths, top, threshold[0])
        for path in paths
    ]
    return Search(
        answers, model.path, gallery, len(described), column, far, *threshold, described.left_out
    )


def check_queries(paths: list[Path]) -> None:
    """Raise InputError unless there are queries, and each is a file."""
    if not paths:
        raise InputError("there is no query: name at least one picture.")
    for path in paths:
        if not path.is_file():
            what = "it is a folder" if path.is_dir() else "it is not there"
            raise InputError(f"the query {shown(path)} is no picture: {what}. Name a file.")


def answer(
    query: Path, row: ndarray, pictures: list[Path], top: int, threshold: float | None
) -> Answer:
    """A query's distances [G] -> its `top` nearest pictures; at equal distances the first."""
    nearest = np.argsort(row, kind="stable")[:top]
    results = [
        Result(
            pictures[image],
            float(row[image]),
            None if threshold is None else bool(row[image] <= threshold),
        )
        for image in nearest
    ]
    is_in_gallery = None if threshold is None else any(result.is_within for result in results)
    return Answer(query, results, is_in_gallery)
