"""The JSON of one run: evaluated, described, written, read again, and refused when it is something
else.
"""

import json
import math
import sys
from importlib.metadata import version

import numpy as np
import pytest
import yaml

from reid.arrays.names import COLUMNS
from reid.results import cell, provenance
from reid.runtime.errors import InputError
from stages import evaluate as stage
from tests.conftest import ROOT
from tests.test_tables import make_run

PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())
DIGEST = "ab" * 32
ENVIRONMENT = {"versions": {"torch": version("torch")}}
TRAINED = {
    "environment": ENVIRONMENT,
    "data": {"fingerprint": DIGEST, "people": 2, "images": 8},
    "seed": 3,
    "seconds": 1.0,
    "images_per_second": 8.0,
    "processes": 1,
    "resumed": 0,
    "kept_epoch": 1,
    "peak_memory_gb": 0.5,
}
CONVERTED = {"environment": ENVIRONMENT, "converted_from": "best.pth.tar", "sha256": DIGEST}


@pytest.mark.parametrize("seed", [0, 4, -1])
def test_another_seed_than_that_of_the_training_is_refused(files, seed):
    with pytest.raises(
        InputError, match=rf"synthetic-ls-{seed} .* seed 3.*dvc repro train@synthetic-ls-{seed}"
    ):
        provenance.of_run(
            ("synthetic", "ls", seed), files / "training.json", files / "features", {}
        )


def test_a_converted_model_has_the_seed_that_is_asked_for(files):
    (files / "training.json").write_text(json.dumps(CONVERTED))
    of_run = ("synthetic", "ls", 5)
    assert provenance.of_run(of_run, files / "training.json", files / "features", {})["seed"] == 5
    with pytest.raises(InputError, match="0 or more"):
        provenance.of_run(("synthetic", "ls", -1), files / "training.json", files / "features", {})


@pytest.fixture
def files(tmp_path):
    """Features' identities, distances and re-ranked distances of 2 queries and 3 gallery images:
    the first query's match is nearest, the second's is behind one other image.
    """
    identities = {"query": ([1, 2], [0, 0]), "gallery": ([1, 2, 3], [1, 1, 1])}
    for split, arrays in identities.items():
        (tmp_path / "features" / split).mkdir(parents=True)
        for name, values in zip(("pids", "camids"), arrays, strict=True):
            np.save(tmp_path / "features" / split / f"{name}.npy", np.array(values))
    distances = np.array([[0.1, 0.2, 0.3], [0.1, 0.2, 0.3]], np.float32)
    for folder, names in {
        "distances": ("global", "local", "dmli"),
        "reranked": ("global", "dmli", "global_dmli"),
    }.items():
        (tmp_path / folder / "full").mkdir(parents=True)
        for name in names:
            np.save(tmp_path / folder / "full" / f"{name}.npy", distances)
    (tmp_path / "training.json").write_text(json.dumps(TRAINED))
    (tmp_path / "history.csv").write_text(
        "epoch,loss,rate,accuracy\n1,2.5,0.1,0.25\n2,1.5,0.1,0.5\n"
    )
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    return tmp_path


def evaluate(folder, monkeypatch, *arguments):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(
        sys, "argv", ["evaluate", "features", "distances", "reranked", "3.json", *arguments]
    )
    stage.main()
    return json.loads((folder / "3.json").read_text())


RUN_ARGUMENTS = {
    "--dataset": "synthetic",
    "--loss": "ls",
    "--seed": "3",
    "--training": "training.json",
}


def test_stage_scores_every_column(files, monkeypatch):
    run = evaluate(files, monkeypatch)
    details = ["intervals", "differences", "cmc", "verification"]
    assert list(run) == ["provenance", "metric", "counts", "full", *details]
    assert run["provenance"]["unknown"] == ["features", "distances", "reranked"]
    assert run["provenance"]["evaluate"]["settings"] == PARAMS["evaluate"]
    assert run["counts"] == {"full": {"queries": 2, "queries_without_match": 0, "gallery": 3}}
    assert tuple(run["full"]) == COLUMNS
    for numbers in run["full"].values():
        ranks = {"rank1": 50, "rank5": 100, "rank10": 100, "rank20": 100}
        assert numbers == {**ranks, "mAP": 75, "mINP": (100 / 1 + 100 / 2) / 2}


def test_stage_joins_the_run_that_it_is_told(files, monkeypatch):
    arguments = [text for pair in RUN_ARGUMENTS.items() for text in pair]
    run = evaluate(files, monkeypatch, *arguments)
    assert [run[key] for key in ("dataset", "loss", "seed")] == ["synthetic", "ls", 3]
    assert run["trunk"] == "unknown"
    assert run["provenance"]["training"] == TRAINED
    assert run["full"]["dmli"]["mAP"] == 75
    assert run["history"] == {"epoch": [1, 2], "loss": [2.5, 1.5], "accuracy": [0.25, 0.5]}


def test_what_a_run_holds_beside_its_scores(files, monkeypatch):
    run = evaluate(files, monkeypatch)
    details = {name: run[name]["full"] for name in ("intervals", "differences", "cmc")}
    assert details["cmc"]["local"] == [50, 100, 100]
    # of two people, one found at once and one not: of four equally likely draws, one is all right
    assert details["intervals"]["dmli"] == {"rank1": [0, 100], "mAP": [50, 100]}
    same = {"difference": 0, "interval": [0, 0], "p": 1}
    assert details["differences"]["dmli-local"] == {"rank1": same, "mAP": same}
    verification = run["verification"]["full"]
    assert verification["pairs"] == {"matches": 2, "non_matches": 4}
    assert len(verification["false_accept_rates"]) == len(
        verification["columns"]["dmli_rk"]["curve"]
    )


def test_intervals_repeat_from_the_seed(files, monkeypatch):
    first = (evaluate(files, monkeypatch), (files / "3.json").read_bytes())
    assert (evaluate(files, monkeypatch), (files / "3.json").read_bytes()) == first


def test_lists_of_numbers_are_on_one_line():
    run = {"a": [1, 2.5, -1e-05], "b": [], "c": ["[1,\n2]", "x"], "d": {"e": [[1, 2], [3]]}}
    text = cell.text(run)
    assert '"a": [1, 2.5, -1e-05],' in text
    assert json.loads(text) == run


@pytest.mark.parametrize("broken", ["differences", "cmc"])
def test_run_of_an_older_version_is_refused(broken):
    run = make_run()
    del run[broken]["partial"]
    with pytest.raises(InputError, match=r"older version.*evaluate@synthetic-alignedreid-0`"):
        cell.parse_run(json.dumps(run), "here.json")


@pytest.mark.parametrize("p", [None, "0", 1.5, math.nan])
def test_p_value_that_is_no_share_is_refused(p):
    run = make_run()
    run["differences"]["full"]["dmli-local"]["mAP"]["p"] = p
    with pytest.raises(InputError, match="older version"):
        cell.parse_run(json.dumps(run), "here.json")


@pytest.mark.parametrize("missing", RUN_ARGUMENTS)
def test_stage_wants_all_of_a_run_or_nothing(files, monkeypatch, capsys, missing):
    arguments = [text for pair in RUN_ARGUMENTS.items() if pair[0] != missing for text in pair]
    with pytest.raises(SystemExit):
        evaluate(files, monkeypatch, *arguments)
    assert "--dataset, --loss, --seed and --training go together" in capsys.readouterr().err
    assert not (files / "3.json").exists()


@pytest.fixture
def folder(tmp_path):
    """The runs of the seeds 0, 3 and 10 of a cell."""
    at = tmp_path / "synthetic" / "alignedreid"
    at.mkdir(parents=True)
    for seed in (0, 3, 10):
        cell.write(at / f"{seed}.json", make_run(seed=seed))
    return at


def test_a_cell_is_read_in_the_order_of_the_seeds_asked_for(folder, monkeypatch):
    assert cell.read_cell(folder, (10, 0)) == [make_run(seed=10), make_run(seed=0)]
    monkeypatch.chdir(folder)
    assert cell.read_cell(".", (3,)) == [make_run(seed=3)]


def test_missing_run_is_named_with_its_command(folder):
    with pytest.raises(
        InputError, match=r"alignedreid/7\.json.*`dvc repro evaluate@synthetic-alignedreid-7`"
    ):
        cell.read_cell(folder, (0, 7))


@pytest.mark.parametrize("changed", [{"seed": 10}, {"loss": "ls"}, {"dataset": "market1501"}])
def test_file_of_another_run_is_refused(folder, changed):
    run = make_run(seed=3) | changed
    cell.write(folder / "3.json", run)
    with pytest.raises(
        InputError, match=f"holds the run {cell.run_name(run)}, wanted synthetic-alignedreid-3"
    ):
        cell.read_cell(folder, (3,))


@pytest.mark.parametrize("seed", [None, "0", -1, 0.0, True])
def test_run_without_a_whole_seed_is_refused(seed):
    with pytest.raises(InputError, match=r"here\.json .*`seed` is .*wanted a whole number"):
        cell.parse_run(json.dumps(make_run() | {"seed": seed}), "here.json")


def test_provenance_that_is_no_mapping_is_refused():
    with pytest.raises(InputError, match=r"here\.json: `provenance` is no mapping"):
        cell.parse_run(json.dumps(make_run() | {"provenance": "mine"}), "here.json")


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1, 100.1, "90", None, True])
def test_metric_that_is_no_percentage_is_refused_by_name(value):
    run = make_run()
    run["partial"]["dmli_rk"]["mAP"] = value
    with pytest.raises(
        InputError, match=r"here\.json: `partial\.dmli_rk\.mAP`.*evaluate@synthetic-alignedreid-0"
    ):
        cell.parse_run(json.dumps(run), "here.json")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"3",
        b"null",
        b"\xff\xfe\xfa",
        b'{"dataset": "a", "loss": "b", "seed": 0, "trunk": 3}',
    ],
)
def test_text_that_is_no_run_is_refused(text):
    with pytest.raises(InputError, match=r"here\.json"):
        cell.parse_run(text, "here.json")


@pytest.mark.parametrize("path", [("full",), ("partial", "local"), ("full", "global_rk", "rank1")])
def test_missing_part_of_a_run_is_named(path):
    run = make_run()
    inner = run
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    with pytest.raises(InputError, match=r"\.".join(path) + ".*missing"):
        cell.parse_run(json.dumps(run), "here.json")
