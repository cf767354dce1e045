"""The tables' footnote on what is within noise, worked out by hand."""

import pytest

from reid.results import noise, tables, uncertainty
from tests.test_tables import make_run, tables_settings


def runs_with(*ps, loss="alignedreid", name="dmli-local", measure="rank1"):
    """A cell with a run for each p-value, of one test by one measure; all others are 0.0005."""
    runs = [make_run(loss=loss, seed=seed) for seed in range(len(ps))]
    for run, p in zip(runs, ps, strict=True):
        tests = run["differences"]["full"]
        tests[name] = tests[name] | {measure: tests[name][measure] | {"p": p}}
    return runs


@pytest.mark.parametrize(("p", "found"), [(0.0499, {}), (0.05, {"dmli-local": {"rank1": 1}})])
def test_noise_begins_at_five_percent(p, found):
    assert noise.of_cell(runs_with(p), "full") == found
    assert noise.of_cell(runs_with(p), "partial") == {}


def test_seeds_are_counted():
    found = noise.of_cell(runs_with(0.3, 0.01, 0.05), "full")
    assert found == {"dmli-local": {"rank1": 2}}


def page(*cells, seeds=(0,)):
    settings = tables_settings(losses=[cell[0]["loss"] for cell in cells], seeds=seeds)
    return tables.markdown(
        tables.rows(list(cells), "full", settings), "synthetic", "full", settings
    )


def test_footnote_names_rows_columns_and_measures():
    both = runs_with(0.3, name="global_rk-global")
    both[0]["differences"]["full"]["dmli-local"]["mAP"]["p"] = 1.0
    text = page(runs_with(0.2, loss="softmax"), both, runs_with(0.01, loss="ls"))
    assert (
        "Within noise (p of 0.05 or more, paired by test people): Softmax: Local to DMLI by "
        "rank-1; Alignedreid: Local to DMLI by mAP, Global to Global(RK) by rank-1. Tested"
    ) in text
    assert "python -m reid.tools.compare" in text


def test_footnote_counts_seeds():
    text = page(runs_with(0.3, 0.01, 0.05), seeds=(0, 1, 2))
    assert "Alignedreid: Local to DMLI by rank-1 (2 of 3 seeds). Tested" in text
    assert "another training would give: that is the deviation." in text


def test_footnote_where_nothing_is():
    assert "paired by test people): nothing. Tested" in page(runs_with(0.01))


def test_every_comparison_is_of_columns_that_tables_title():
    assert {column for pair in uncertainty.COMPARISONS for column in pair} <= set(tables.TITLES)
