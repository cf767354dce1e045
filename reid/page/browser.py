"""The browser's data: chosen queries with the ten nearest images by every column, and each such
pair stripe by stripe.
"""

from itertools import pairwise
from typing import Any

import numpy as np
from tqdm import tqdm

from reid.arrays.names import COLUMNS
from reid.page import pairs, rankings
from reid.page.choose import Group, in_turn
from reid.page.run import View
from reid.page.thumbnails import Thumbnails
from reid.results.tables import TITLES

SHOWN = 10  # images of a ranked list
SCALE = 10_000  # of costs, which are stored as whole numbers
MOST = 11_000_000  # characters of all thumbnails; queries past that are left out

Document = dict[str, Any]


def document(views: dict[str, View], groups: list[Group]) -> Document:
    """A run by protocol and groups of queries -> what the page's script reads, plain values.

    `queries` holds them in turn from each group. Of each and each protocol: the query's image,
    average precisions and ranked lists by column, and pairs: distances by column, costs in
    1 / SCALE, and the moves of the path, d for down and r for right.
    """
    thumbnails, gallery, queries = Thumbnails(), {}, []
    views = _of_same_queries(views)
    for query in tqdm(in_turn(groups), desc="drawing queries", unit="query", delay=2):
        if thumbnails.size > MOST:
            break
        entries = {name: _entry(view, query, thumbnails) for name, view in views.items()}
        titles = [number for number, group in enumerate(groups) if query in group.queries]
        first = views["full"] if "full" in views else next(iter(views.values()))
        for entry in entries.values():
            for image in map(int, entry["pairs"]):
                gallery.setdefault(str(image), _gallery_image(first, image, thumbnails))
        queries.append({"groups": titles, **_identity(first, query), "protocols": entries})
    return {
        "columns": [{"key": column, "title": TITLES[column]} for column in COLUMNS],
        "groups": [group.title for group in groups],
        "gallery": gallery,
        "queries": queries,
        "stripes": next(iter(views.values())).gallery.stripes.shape[1],
        "scale": SCALE,
        "images": thumbnails.texts,
    }


def _of_same_queries(views: dict[str, View]) -> dict[str, View]:
    """The views whose queries are of the same people and cameras, in the same order, as the
    first's.
    """
    first = next(iter(views.values())).queries
    return {
        name: view
        for name, view in views.items()
        if view.queries.pids.tolist() == first.pids.tolist()
        and view.queries.camids.tolist() == first.camids.tolist()
    }


def _identity(view: View, query: int) -> Document:
    images = view.query_images
    return {
        "name": images.names[query],
        "pid": int(images.pids[query]),
        "camid": int(images.camids[query]),
    }


def _gallery_image(view: View, image: int, thumbnails: Thumbnails) -> list[Any]:
    """[name, pid, camid, number of the thumbnail]."""
    images = view.gallery_images
    pid, camid = int(images.pids[image]), int(images.camids[image])
    return [images.names[image], pid, camid, thumbnails.number(images, image)]


def _entry(view: View, query: int, thumbnails: Thumbnails) -> Document:
    """One query by one protocol."""
    sides, rows = view.sides, [np.asarray(view.columns[column][query]) for column in COLUMNS]
    lists = [rankings.nearest(row, query, sides, SHOWN) for row in rows]
    precisions = [rankings.average_precision(row, query, sides) for row in rows]
    images = sorted({image for ranked in lists for image in ranked})
    return {
        "image": thumbnails.number(view.query_images, query),
        "matches": len(sides.matches(query)),
        "junk": int((~sides.same_person(query)[1]).sum()),
        "precisions": [None if np.isnan(value) else round(value, 4) for value in precisions],
        "lists": lists,
        "pairs": {str(image): _pair(view, rows, query, image) for image in images},
    }


def _pair(view: View, rows: list[np.ndarray], query: int, image: int) -> Document:
    """A query and a gallery image: distances by column, costs in 1 / SCALE, the path's moves."""
    costs = pairs.stripe_costs(view.queries.stripes[query], view.gallery.stripes[image])
    path = pairs.cheapest_path(costs)
    moves = ["d" if after[0] > before[0] else "r" for before, after in pairwise(path)]
    return {
        "distances": [round(float(row[image]), 6) for row in rows],
        "costs": np.rint(SCALE * costs).astype(int).ravel().tolist(),
        "path": "".join(moves),
    }
