"""Sweeps over the settings of re-ranking: the scores of the stages, and how they stop on bad
input.
"""

import csv
import json

import numpy as np
import pytest
import yaml

from reid.arrays.features import Identities
from reid.reranking import rerank as reranking
from reid.reranking.rerank import RerankSettings, rerank
from reid.results.metrics import evaluate
from reid.runtime import resources
from reid.tools import sweep_reranking
from tests.conftest import run_module, run_stage
from tests.test_reranking import Pairs, clustered, neighbours_of


def run(*arguments):
    return run_module("reid.tools.sweep_reranking", *arguments)


@pytest.mark.parametrize("protocol", ["full", "partial"])
def test_scores_are_those_of_the_stages(protocol, copied, params_file, tmp_path, capsys):
    folders = copied / "features", copied / "distances"
    grid = ("--k1", 20, 3, "--k2", 6, 1, "--lambda-value", 0.3, 0.75, 0.3, "--protocol", protocol)
    assert run(*folders, *grid, "--out", tmp_path / "out.csv", "--params", params_file) == 0
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    assert [(row["k1"], row["k2"], row["lambda_value"]) for row in rows] == [
        (k1, k2, share) for k1 in ("20", "3") for k2 in ("6", "1") for share in ("0.3", "0.75")
    ]
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 2 + len(rows)
    for row in rows[0], rows[-1]:
        settings = {
            "k1": int(row["k1"]),
            "k2": int(row["k2"]),
            "lambda_value": float(row["lambda_value"]),
        }
        params = {**yaml.safe_load(params_file.read_text()), "rerank": settings}
        changed = copied / "params.yaml"
        changed.write_text(yaml.safe_dump(params))
        reranked, scores = copied / f"reranked{row['k1']}", copied / f"run{row['k1']}.json"
        assert run_stage("rerank", *folders, reranked, "--params", changed) == 0
        assert run_stage("evaluate", *folders, reranked, scores, "--params", changed) == 0
        columns = json.loads(scores.read_text())[protocol]
        for name in ("global_rk", "dmli_rk", "global_dmli_rk"):
            for metric in ("rank1", "mAP"):
                assert float(row[f"{name}_{metric}"]) == columns[name][metric]


def test_what_combinations_share_is_computed_once(monkeypatch):
    distances = clustered(90, people=9, seed=0)
    nearest = neighbours_of(distances)
    grid = [
        RerankSettings(k1, k2, share) for share in (0.1, 0.9) for k1 in (5, 20) for k2 in (1, 6)
    ]
    calls = []
    for name in ("encode", "mean_of_nearest"):
        function = getattr(reranking, name)

        def counted(*arguments, function=function, name=name):
            calls.append(name)
            return function(*arguments)

        monkeypatch.setattr(reranking, name, counted)
    scores = sweep_reranking.sweep(
        distances[:20, 20:], nearest, Pairs(distances), grid, lambda matrix: matrix[:]
    )
    assert (calls.count("encode"), calls.count("mean_of_nearest")) == (2, 4)
    for settings in grid:
        expected = rerank(distances[:20, 20:], nearest, Pairs(distances), settings)
        np.testing.assert_array_equal(scores[settings], expected)


def test_a_mixed_matrix_can_be_evaluated_row_by_row():
    distances = clustered(60, people=6, seed=1)
    nearest = neighbours_of(distances)
    sides = [
        Identities(np.arange(10) % 5, np.zeros(10, int)),
        Identities(np.arange(50) % 5, np.ones(50, int)),
    ]
    settings = RerankSettings(20, 6, 0.3)
    expected = rerank(distances[:10, 10:], nearest, Pairs(distances), settings)
    scores = sweep_reranking.sweep(
        distances[:10, 10:],
        nearest,
        Pairs(distances),
        [settings],
        lambda matrix: evaluate(matrix, *sides),
    )
    np.testing.assert_array_equal(
        scores[settings].average_precisions, evaluate(expected, *sides).average_precisions
    )


def test_settings_that_are_not_given_are_those_of_params(finished, params_file, capsys):
    assert run(finished / "features", finished / "distances", "--params", params_file) == 0
    settings = yaml.safe_load(params_file.read_text())["rerank"]
    row = [cell.strip() for cell in capsys.readouterr().out.splitlines()[2].strip("|").split("|")]
    assert (int(row[0]), int(row[1]), float(row[2])) == tuple(settings.values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--k1", 20, 500), "set distances.neighbours to "),
        (("--k1", 0), "options: `--k1`: got 0, wanted at least 1"),
        (("--k2", -1), "`--k2`: got -1"),
        (("--lambda-value", 0.3, 1.5), "`--lambda-value`: got 1.5, wanted at most 1"),
        (("--params", "none.yaml"), "none.yaml is missing"),
    ],
)
def test_mistakes_are_named_and_nothing_is_written(
    arguments, message, copied, params_file, tmp_path
):
    file = copied / "distances/full/neighbours.npz"
    short = {
        name: array[..., :30] if array.ndim > 1 else array for name, array in np.load(file).items()
    }
    np.savez(file, **short)
    code = run(
        copied / "features",
        copied / "distances",
        "--out",
        tmp_path / "o.csv",
        "--params",
        params_file,
        *arguments,
    )
    assert message in str(code)
    assert not (tmp_path / "o.csv").exists()


def test_missing_folders_are_named(copied, params_file):
    (copied / "distances/partial").rename(copied / "elsewhere")
    folders = copied / "features", copied / "distances"
    assert "has no distances of the protocol partial" in run(
        *folders, "--protocol", "partial", "--params", params_file
    )
    assert "holds neither `full` nor" in run(
        copied / "features", copied / "none", "--params", params_file
    )
    assert "is missing" in run(copied / "none", copied / "distances", "--params", params_file)


def test_unfinished_distances_and_a_matrix_too_large_for_memory_are_named(
    copied, params_file, monkeypatch
):
    arguments = copied / "features", copied / "distances", "--params", params_file
    monkeypatch.setattr(resources, "available_memory", lambda: 1000)
    assert "needs 0.0 GB of memory" in run(*arguments)
    monkeypatch.undo()
    file = copied / "distances/full/dmli.npy"
    matrix = np.load(file)
    matrix[3, 2:] = np.nan
    np.save(file, matrix)
    assert "distances/full/dmli.npy of query 3 hold NaN at gallery image 2" in run(*arguments)


def test_distances_of_other_features_are_refused_and_the_metric_is_the_datasets(
    copied, params_file, tmp_path
):
    params = yaml.safe_load(params_file.read_text())
    params["datasets"]["synthetic"]["evaluate"] = {"metric": "cuhk03", "draws": 10}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    folders, settings = (copied / "features", copied / "distances"), tmp_path / "params.yaml"
    rows = {}
    for name, more in (("usual", ()), ("own", ("--dataset", "synthetic"))):
        assert run(*folders, *more, "--out", tmp_path / name, "--params", settings) == 0
        rows[name] = (tmp_path / name).read_text()
    assert rows["usual"] != rows["own"]
    stripes = np.load(copied / "features/query/stripes.npy")
    np.save(copied / "features/query/stripes.npy", stripes[::-1])
    assert "was made of other features" in run(*folders, "--params", settings)
