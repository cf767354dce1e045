"""What the page shows, on matrices that a reader can solve in the head and against slow twins."""

import json

import numpy as np
import pytest
import torch
from markupsafe import Markup

from reid.alignment import pair_costs, shortest_path, straight
from reid.arrays.features import Identities
from reid.arrays.names import COLUMNS
from reid.page import charts, choose, pairs, rankings, render
from reid.page.charts import Axis, Line
from reid.page.choose import HEADLINE, Group, PageSettings
from reid.page.rankings import Sides
from reid.results import metrics
from tests.conftest import make_settings
from tests.test_paths import CASES, close, stripes
from tests.twins import slow_costs, slow_path


@pytest.mark.parametrize(("a", "b", "path", "diagonal"), CASES)
def test_the_path_that_is_drawn_is_the_cheapest(a, b, path, diagonal):
    costs = pairs.stripe_costs(stripes(a)[0], stripes(b)[0])
    cells = pairs.cheapest_path(costs)
    assert sum(costs[cell] for cell in cells) == close(path)
    assert np.trace(costs) == close(diagonal)


def test_the_cells_of_a_path_beside_the_diagonal():
    costs = np.array([[5, 1, 9, 9], [9, 5, 1, 9], [9, 9, 5, 1], [9, 9, 9, 5]])
    cells = [(0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (2, 3), (3, 3)]
    assert pairs.cheapest_path(costs) == cells
    assert pairs.cheapest_path(costs.T) == [cell[::-1] for cell in cells]
    assert pairs.cheapest_path(np.ones((2, 2))) == [(0, 0), (0, 1), (1, 1)]  # the last from above


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_costs_and_path_agree_with_training(count):
    generator = np.random.default_rng(count)
    a, b = generator.normal(size=(2, count, 6)).astype(np.float32)
    unit = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in (a, b)]
    costs = pairs.stripe_costs(3 * a, b)
    assert costs == pytest.approx(slow_costs(*unit), abs=1e-6)
    by_torch = pair_costs(*(torch.from_numpy(side)[None] for side in unit))
    cells = pairs.cheapest_path(costs)
    assert len(cells) == 2 * count - 1
    steps = np.diff(cells, axis=0).tolist()
    assert all(step in ([0, 1], [1, 0]) for step in steps)
    assert sum(costs[cell] for cell in cells) == pytest.approx(shortest_path(by_torch).item(), 1e-5)
    assert sum(costs[cell] for cell in cells) == pytest.approx(slow_path(costs), 1e-12)
    assert np.trace(costs) == pytest.approx(straight(by_torch).item(), 1e-5)


# query 0 is person 1 under camera 1: 0 is junk, 2 and 4 match; query 1 is person 2: 3 matches
SIDES = Sides(
    Identities(np.array([1, 2]), np.array([1, 2])),
    Identities(np.array([1, 2, 1, 2, 1]), np.array([1, 2, 2, 1, 3])),
)
ROWS = np.array([[0.1, 0.2, 0.3, 0.4, 0.5], [0.1, 0.2, 0.3, 0.3, 0.5]], np.float32)


def test_nearest_leaves_junk_out_and_puts_matches_last_among_equals():
    assert rankings.nearest(ROWS[0], 0, SIDES, 10) == [1, 2, 3, 4]
    assert rankings.nearest(ROWS[0], 0, SIDES, 2) == [1, 2]
    assert rankings.nearest(ROWS[1], 1, SIDES, 10) == [0, 2, 3, 4]
    assert rankings.nearest(ROWS[1], 1, SIDES, 2) == [0, 2]


def test_nearest_where_all_is_junk():
    sides = Sides(
        Identities(np.array([1]), np.array([1])), Identities(np.array([1, 1]), np.array([1, 1]))
    )
    assert rankings.nearest(np.array([0.1, 0.2]), 0, sides, 10) == []
    assert np.isnan(rankings.average_precision(np.array([0.1, 0.2]), 0, sides))


def test_first_ranks_and_average_precision():
    assert rankings.first_ranks(ROWS, SIDES).tolist() == [2, 3]
    assert rankings.average_precision(ROWS[0], 0, SIDES) == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert rankings.average_precision(ROWS[1], 1, SIDES) == pytest.approx(1 / 3)


def test_mean_by_cameras():
    """Query 0 in camera 2: images 1 and 2, rank 2; in camera 3: rank 1. Query 1 in camera 1: images
    0 and 3, rank 2.
    """
    queries, gallery, means = rankings.mean_by_cameras(ROWS, SIDES)
    assert (queries, gallery) == ([1, 2], [1, 2, 3])
    wanted = [[np.nan, 1 / 2, 1], [1 / 2, np.nan, np.nan]]
    assert means == pytest.approx(np.array(wanted), nan_ok=True)


def random_sides(generator, queries, gallery):
    return Sides(
        *(
            Identities(generator.integers(0, 6, count), generator.integers(1, 4, count))
            for count in (queries, gallery)
        )
    )


def test_agrees_with_evaluation_on_random_distances_with_ties():
    generator = np.random.default_rng(0)
    sides = random_sides(generator, 40, 50)
    matrix = generator.integers(0, 30, (40, 50)).astype(np.float32)
    scores = metrics.evaluate(matrix, sides.queries, sides.gallery)
    curve = metrics.cmc(rankings.first_ranks(matrix, sides), 50)
    assert curve.tolist() == scores.cmc.tolist()
    precisions = [rankings.average_precision(row, n, sides) for n, row in enumerate(matrix)]
    assert precisions == pytest.approx(scores.average_precisions, nan_ok=True)


def test_ranked_lists_are_those_of_a_slow_twin():
    generator = np.random.default_rng(1)
    sides = random_sides(generator, 20, 30)
    for query, row in enumerate(generator.integers(0, 9, (20, 30)).astype(np.float32)):
        pid, camid = sides.queries.pids[query], sides.queries.camids[query]
        slow = []
        for image in range(30):
            same = bool(sides.gallery.pids[image] == pid)
            if not (same and sides.gallery.camids[image] == camid):
                slow.append((row[image], same, image))
        slow = [image for *_, image in sorted(slow)][:10]
        assert rankings.nearest(row, query, sides, 10) == slow


def test_histograms_count_matches_and_others_without_junk():
    edges, shares = rankings.histograms(ROWS, SIDES, np.array([0]))
    assert edges[[0, -1]] == pytest.approx([0.1, 0.5])
    matches, others = shares["matches"], shares["others"]
    assert matches[np.flatnonzero(matches)].tolist() == [50, 50]
    assert np.flatnonzero(matches).tolist() == [30, 59]  # 0.3 in the middle, 0.5 at the end
    assert others[np.flatnonzero(others)].tolist() == [50, 50]
    assert others[0] == 0  # the junk at 0.1


def precisions(**columns):
    found = {column: np.array([0.5, 0.5, 0.5, 0.5, np.nan]) for column in COLUMNS}
    return found | {name: np.array([*values, np.nan]) for name, values in columns.items()}


def test_groups_hold_the_worst_the_largest_gains_and_losses_and_some_at_random():
    values = precisions(
        local=[0.1, 0.9, 0.5, 0.6],
        dmli=[0.8, 0.2, 0.5, 0.7],
        **{HEADLINE: [0.3, 0.4, 0.1, 0.2]},
    )
    settings = [make_settings(PageSettings, "page", 2, seed) for seed in range(3)]
    found = choose.groups(values, settings[0])
    by_title = {group.title: group.queries for group in found}
    assert by_title["Largest gains, Local → DMLI"] == [0, 3]
    assert by_title["Largest losses, Local → DMLI"] == [1]
    assert by_title["Largest gains, Global → Global+DMLI"] == []
    assert by_title["Worst by Global+DMLI(RK)"] == [2, 3]
    drawn = by_title["At random"]
    assert len(set(drawn)) == 2
    assert 4 not in drawn  # it has no match
    assert found == choose.groups(values, settings[0])
    others = [choose.groups(values, of_page) for of_page in settings[1:]]
    assert any(other[-1] != found[-1] for other in others)


def test_queries_come_in_turn_each_once():
    chosen = [Group("a", [1, 2, 3]), Group("b", [2]), Group("c", [4, 1])]
    assert choose.in_turn(chosen) == [1, 2, 4, 3]


@pytest.mark.parametrize(
    ("axis", "ticks"),
    [
        (Axis("", 0, 100), [0, 50, 100]),
        (Axis("", 0, 60), [0, 20, 40, 60]),
        (Axis("", 1, 50, True), [1, 2, 5, 10, 20, 50]),
        (Axis("", 0.01, 100, True), [0.01, 0.1, 1, 10, 100]),
    ],
)
def test_ticks_are_round(axis, ticks):
    assert axis.ticks() == pytest.approx(ticks)


def test_an_axis_ends_past_the_largest_value():
    assert charts.limits([0.3, 7.2], "") == Axis("", 0, 8)
    assert charts.limits([], "").high >= 0


def test_charts_escape_names_and_skip_what_is_no_number():
    line = Line('<a> & "b"', 9, [0, 1, 2], [0, float("nan"), 1])
    text = charts.lines([line], Axis("<x>", 0, 2), Axis("y", 0, 1), '"label"')
    assert isinstance(text, Markup)
    assert "<a>" not in text
    assert "<x>" not in text
    assert "nan" not in text
    assert "&lt;a&gt; &amp; &#34;b&#34;" in text


def test_json_in_a_script_element_cannot_end_it():
    value = {"</script>": ["<!-- ]]>", "a & b", "\u2028\u2029", "Ångström 人", "\\u003c"]}
    text = render.script_json(value)
    assert not set(text) & set("<>&\u2028\u2029")
    assert json.loads(text) == value
