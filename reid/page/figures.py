"""The page's charts: CMC curves, distances of matches and others, and mAP by cameras."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from tqdm import tqdm

from reid.arrays import matrices
from reid.arrays.matrices import Matrix
from reid.arrays.names import COLUMNS
from reid.page import charts, rankings
from reid.page.charts import Axis, Line
from reid.page.rankings import Sides
from reid.page.run import View
from reid.results import metrics
from reid.results.metrics import EvaluateSettings
from reid.results.tables import TITLES

SAMPLE = 500  # queries that the histograms are of


@dataclass(frozen=True)
class Figure:
    """A chart and its title."""

    title: str
    chart: Markup


Curves = dict[str, dict[str, np.ndarray]]  # {protocol: {column: CMC [R]}}


def curves(found: dict[str, tuple[Sides, dict[str, Matrix]]], settings: EvaluateSettings) -> Curves:
    """A run's people and distances by protocol -> its CMC curves by protocol and column."""
    return {
        protocol: {
            column: _curve(matrix, sides, settings) for column, matrix in of_protocol.items()
        }
        for protocol, (sides, of_protocol) in found.items()
    }


def _curve(matrix: Matrix, sides: Sides, settings: EvaluateSettings) -> np.ndarray:
    """The CMC that evaluation has; by Market-1501's metric without average precisions."""
    if settings.metric == "market1501":
        ranks = rankings.first_ranks(matrix, sides)
        length = min(metrics.RANKS, len(sides.gallery.pids))
        curve = metrics.cmc(ranks, length) if len(ranks) else np.zeros(length)
    else:
        curve = metrics.score(matrix, sides.queries, sides.gallery, settings).cmc
    matrices.release(matrix)
    return curve


def cmc(of_losses: dict[str, Curves], protocol: str) -> list[Figure]:
    """{loss: its curves} -> a chart for each column, a line for each loss."""
    found = {name: by[protocol] for name, by in of_losses.items() if protocol in by}
    lowest = min((100 * curve[0] for by in found.values() for curve in by.values()), default=0)
    y = Axis("queries found (%)", 10 * math.floor(lowest / 10), 100)
    figures = []
    for column in COLUMNS:
        lines = [
            Line(name, number, list(range(1, len(by[column]) + 1)), (100 * by[column]).tolist())
            for number, (name, by) in enumerate(of_losses_with(found, of_losses))
        ]
        x = Axis("rank of the first match, up to", 1, max(len(line.x) for line in lines), True)
        label = f"CMC curves of {TITLES[column]}, {protocol} queries"
        figures.append(Figure(TITLES[column], charts.lines(lines, x, y, label)))
    return figures


def of_losses_with(found: dict[str, Any], of_losses: dict[str, Any]) -> list[tuple[str, Any]]:
    """The items of `found` in the order of `of_losses`."""
    return [(name, found[name]) for name in of_losses if name in found]


def distances(view: View, seed: int) -> list[Figure]:
    """A chart for each column: how far matches and other images are from their queries.

    Of at most 500 queries, drawn by `seed`.
    """
    generator = np.random.default_rng(seed)
    count = len(view.queries)
    sample = np.sort(generator.permutation(count)[:SAMPLE])
    figures = []
    for column, matrix in view.columns.items():
        edges, shares = rankings.histograms(matrix, view.sides, sample)
        series = [
            Line(name, number, edges.tolist(), shares[key].tolist())
            for number, (name, key) in enumerate((("matches", "matches"), ("others", "others")))
        ]
        x = Axis("distance", float(edges[0]), float(edges[-1]))
        y = charts.limits([value for line in series for value in line.y], "share of pairs (%)")
        label = f"Distances of matches and of others by {TITLES[column]}"
        figures.append(Figure(TITLES[column], charts.areas(series, x, y, label)))
        matrices.release(matrix)
    return figures


def cameras(view: View) -> list[dict[str, Any]]:
    """A table for each column: mAP in percent by the query's and the gallery's camera."""
    found = []
    for column, matrix in tqdm(
        view.columns.items(), desc="mAP by cameras", unit="column", delay=2, leave=False
    ):
        queries, gallery, means = rankings.mean_by_cameras(matrix, view.sides)
        values = [[None if math.isnan(value) else 100 * value for value in row] for row in means]
        rows = list(zip(queries, values, strict=True))
        found.append({"title": TITLES[column], "gallery": gallery, "rows": rows})
        matrices.release(matrix)
    return found
