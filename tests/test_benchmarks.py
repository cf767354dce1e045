"""The benchmarks at a tiny size: what they compare gives the same results, and what they write."""

import json
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest

from benchmarks import clusters, page, precisions, search, steps, table, textbook, training
from benchmarks.__main__ import STEPS, write_params
from reid.arrays import features
from reid.arrays.features import Identities
from reid.distances.settings import DistanceSettings
from reid.reranking.rerank import RerankSettings, rerank
from reid.results.metrics import evaluate
from tests.test_reranking import Pairs, clustered, neighbours_of
from tests.test_tile import expected, random_stripes

TINY = clusters.Size(people=4, cameras=3, queries=8, gallery=40, distractors=8)


def test_textbook_distances_are_those_of_the_library():
    a, b = random_stripes(3, 1), random_stripes(5, 2)
    local, dmli = expected(a, b)
    a, b = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (a, b))
    np.testing.assert_allclose(textbook.unaligned(a, b), local, rtol=1e-4)
    np.testing.assert_allclose(textbook.dmli(a, b), dmli, rtol=1e-4)


@pytest.mark.parametrize("k2", [1, 6])
def test_textbook_re_ranking_is_that_of_the_library(k2):
    square = clustered(80, people=5, seed=3)
    settings = RerankSettings(20, k2, 0.3)
    found = rerank(square[:9, 9:], neighbours_of(square), Pairs(square), settings)
    np.testing.assert_allclose(textbook.rerank(square, 9, 20, k2, 0.3), found, atol=1e-5)


def test_textbook_evaluation_is_that_of_the_library():
    rng = np.random.default_rng(0)
    distances = rng.random((20, 60))
    labels = (
        rng.integers(1, 6, 20),
        rng.integers(0, 6, 60),
        rng.integers(1, 4, 20),
        rng.integers(1, 4, 60),
    )
    found = evaluate(distances, Identities(*labels[::2]), Identities(*labels[1::2]))
    for evaluated in (
        textbook.evaluate(distances, *labels),
        textbook.evaluate_loop(distances, *labels),
    ):
        assert evaluated == pytest.approx((found.cmc[0], found.mAP))


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """What every step finds at a tiny size, in this process."""
    folder = tmp_path_factory.mktemp("benchmark")
    write_params(folder, "fp32")
    options = {"size": asdict(clusters.SIZES["msmt17"].scaled(0.001)), "channels": 16, "repeats": 2}
    options |= {"textbook": 60, "compared": 40}
    before, found = sys.argv, {}
    for name, step in steps.STEPS.items():
        found[name] = step(folder, options) | {"peak": 10**9, "own": 10**8}
    sys.argv = before
    return found


def test_every_step_runs_and_says_of_what_share(measured):
    assert set(measured) == set(STEPS)
    shares = {name: step["share"] for name, step in measured.items() if "share" in step}
    assert all(0 < share <= 1 for share in shares.values())
    assert shares["textbook rerank"] == pytest.approx(60 / 94, abs=0.03)
    assert shares["textbook evaluate"] == 3 / 12
    assert shares["textbook evaluate loop"] == 1 / 12
    assert all(step["seconds"] > 0 for name, step in measured.items() if name != "precisions")


def test_the_table_has_a_row_for_each_comparison(measured):
    machine = {"threads": 1, "cpu": "a CPU"}
    size = {"queries": 12, "gallery": 82}
    result = {
        "command": "c",
        "steps": measured,
        "size": size,
        "machine": machine,
        "precision": "fp32",
        "channels": 16,
    }
    lines = table.markdown(result).splitlines()
    for name in ("rerank", "evaluate", "evaluate loop"):
        (row,) = [line for line in lines if line.startswith(f"| {table.WHAT[name]} |")]
        ratio = float(row.strip("| ").split("|")[-1].replace(",", ""))
        ours, plain = measured[name.removesuffix(" loop")], measured[f"textbook {name}"]
        assert ratio == pytest.approx(plain["seconds"] / ours["seconds"], abs=0.06)


@pytest.mark.parametrize(
    "size", [TINY, clusters.SIZES["msmt17"].scaled(0.001)]
)  # the latter has no distractors
def test_random_features_are_what_the_stages_read(size, tmp_path):
    clusters.write(tmp_path, size, channels=16)
    queries, gallery = (features.read(tmp_path / split) for split in ("query", "gallery"))
    assert (len(queries), len(gallery)) == (size.queries, size.gallery)
    assert (gallery.pids == 0).sum() == size.distractors
    assert set(queries.pids) == set(range(1, size.people + 1)) == set(gallery.pids) - {0}
    some = precisions.of_people(gallery, 2)
    assert set(some.pids) <= {0, 1, 2}
    settings = DistanceSettings(21, 16, 16, "fp32", "cpu")
    scores = precisions.scores(queries, gallery, settings, RerankSettings(3, 2, 0.3))
    assert len(scores) == 7
    assert all(0 < score["mAP"] <= 100 for score in scores.values())


def test_a_scaled_size_keeps_its_proportions_and_a_minimum():
    quarter = clusters.SIZES["market1501"].scaled(0.25)
    assert (quarter.people, quarter.cameras, quarter.queries, quarter.gallery) == (
        188,
        6,
        842,
        3978,
    )
    least = clusters.SIZES["market1501"].scaled(1e-6)
    assert (least.people, least.queries, least.gallery, least.distractors) == (2, 2, 4, 0)


def test_the_command_writes_a_table_and_its_numbers(tmp_path):
    small = [
        "--scale",
        "0.01",
        "--channels",
        "16",
        "--threads",
        "1",
        "--out",
        tmp_path,
        "--precision",
        "int8",
    ]
    command = [
        sys.executable,
        "-m",
        "benchmarks",
        *map(str, small),
        "--steps",
        "features",
        "products",
        "distances",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "market1501-0.01-int8.json").read_text())
    assert set(found["steps"]) == {"features", "products", "distances"}
    for step in found["steps"].values():
        assert step["seconds"] > 0
        assert step["peak"] > 1e7
    told = (tmp_path / "market1501-0.01-int8.md").read_text()
    assert "34 queries x 159 gallery images" in told
    assert "| distances" in told


def test_training_is_measured_against_the_bare_step(tmp_path, monkeypatch):
    arguments = [
        "--people",
        "45",
        "--steps",
        "2",
        "--turns",
        "3",
        "--device",
        "cpu",
        "--out",
        str(tmp_path),
    ]
    monkeypatch.setattr(sys, "argv", ["benchmarks.training", *arguments])
    training.main()
    (file,) = tmp_path.iterdir()
    found = json.loads(file.read_text())
    assert file.name == "training-synthetic-ls-fp32.json"
    assert (found["model"], found["batch"]) == ("resnet18 64x32", 32)
    assert 0.1 < found["loop_over_bare"] < 10
    assert found["loop_over_bare"] == pytest.approx(
        found["loop_images_per_second"] / found["bare_images_per_second"], rel=0.5
    )


def test_the_page_is_measured_on_made_up_folders(tmp_path, monkeypatch, capfd):
    size = ["--queries", "20", "--gallery", "60", "--channels", "8", "--work", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["benchmarks.page", *size])
    page.main()
    found = json.loads(capfd.readouterr().out)
    assert 0 < found["seconds"] < 60
    assert 0 < found["memory_gb"] < 2
    assert 0 < found["page_mb"] < 15
    assert list(tmp_path.iterdir()) == []


def test_description_and_search_are_measured(tmp_path):
    measured = search.describe("built-in", 8, tmp_path)
    assert measured["alone"] > 0
    assert measured["share"] == pytest.approx(measured["folder"] / measured["alone"], abs=2e-3)
    search.make_gallery(tmp_path / "gallery", 20, 16)
    assert search.search(tmp_path, 3).keys() == {"seconds", "memory_gb"}
