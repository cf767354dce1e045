"""What must not matter does not: order, names, scale, far distractors, tiles, threads,
processes.
"""

import json

import numpy as np
from hypothesis import strategies as st

from reid.arrays.features import Identities
from reid.arrays.names import DISTANCES, RERANKED
from reid.results.metrics import evaluate
from tests.soak import folders
from tests.soak.kinds import IS_LONG, RIGHT, tries
from tests.soak.processes import job_of
from tests.soak.test_features import FLOATS, two_splits, write

SIZES = {
    "seed": st.integers(0, 2**32 - 1),
    "queries": st.integers(2, 12),
    "gallery": st.integers(3, 25),
    "stripes": st.integers(1, 9),
    "people": st.integers(1, 6),
}


def with_match(splits):
    """Give the first query a match under another camera."""
    splits[1]["pids"][0] = splits[0]["pids"][0]
    splits[1]["camids"][0] = splits[0]["camids"][0] + 1
    return splits


def run(folder, splits, **changes):
    """All stages on two splits -> the seven columns, and the scores of each."""
    write(folder, splits)
    params = folders.write_params(folder / "params.yaml", **changes)
    outcome = folders.run_stages(folder, params)
    assert not outcome.is_refused, outcome.text
    scores = json.loads((folder / "out.json").read_text(encoding="utf-8"))["full"]
    return folders.columns_of(folder), scores


def files_of(folder):
    """{path: bytes} of everything that the three stages wrote."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and str(file.relative_to(folder)).startswith("out")
    }


def results_of(folder):
    """{path: bytes} of the matrices, and the run's JSON without what made it."""
    files = {path: content for path, content in files_of(folder).items() if "made_by" not in path}
    run = json.loads(files.pop("out.json"))
    del run["provenance"]
    return files, run


def assert_close(columns, others, names=None):
    """Assert that matrices agree to the rounding of one product in fp32."""
    for name in names or columns:
        np.testing.assert_allclose(columns[name], others[name], rtol=0, atol=1e-5, err_msg=name)


def scores_of(matrix, queries, gallery):
    sides = [Identities(side["pids"], side["camids"]) for side in (queries, gallery)]
    scores = evaluate(matrix, *sides)
    return scores.mAP, scores.cmc[0], scores.average_precisions.tolist()


def reordered(arrays, order):
    return {name: array[order] for name, array in arrays.items()}


@tries("the order of queries and of gallery images", 2, 150, **SIZES)
def test_the_order_of_images_changes_no_distance(fresh, **sizes):
    rng = np.random.default_rng(sizes["seed"])
    splits = with_match(two_splits(**sizes))
    orders = [rng.permutation(len(arrays["pids"])) for arrays in splits]
    columns, _ = run(fresh(), splits)
    turned = [reordered(*pair) for pair in zip(splits, orders, strict=True)]
    others, _ = run(fresh(), turned)
    moved = {name: matrix[np.ix_(*orders)] for name, matrix in columns.items()}
    assert_close(moved, others, (*DISTANCES, "global_dmli"))
    for name, matrix in columns.items():  # the scores of equal numbers are equal
        mean, rank1, precisions = scores_of(matrix, *splits)
        again = scores_of(moved[name], *turned)
        np.testing.assert_allclose(again[:2], (mean, rank1), rtol=0, atol=1e-12)
        np.testing.assert_array_equal(again[2], np.array(precisions)[orders[0]])
    return RIGHT


@tries(
    "people and cameras by other numbers, in the same order or another",
    *(2, 150),
    **SIZES,
    high=st.sampled_from([100, 2**40]),
    is_sorted=st.booleans(),
)
def test_names_of_people_and_cameras_change_nothing(fresh, high, is_sorted, **sizes):
    rng = np.random.default_rng(sizes["seed"])
    splits = with_match(two_splits(**sizes))
    one, other = fresh(), fresh()
    run(one, splits)
    for key in ("pids", "camids"):
        numbers = high - rng.choice(100, size=20, replace=False)
        numbers = np.sort(numbers) if is_sorted else numbers
        for arrays in splits:
            arrays[key] = numbers[arrays[key]].astype(np.int64)
    run(other, splits)
    files, others = files_of(one), files_of(other)
    if not is_sorted:
        assert_same_but_draws(files.pop("out.json"), others.pop("out.json"))
    assert files == others
    return RIGHT


def assert_same_but_draws(content, other):
    """Assert that two runs' JSONs are the same but for what is drawn of people by their order: the
    ends of intervals, and p-values, of 10,000 draws.
    """
    documents = json.loads(content), json.loads(other)
    tests = [document.pop("differences")["full"] for document in documents]
    assert [document.pop("intervals").keys() for document in documents] == [{"full"}] * 2
    assert documents[0] == documents[1]
    for name, measures in tests[0].items():
        for measure, test in measures.items():
            again = tests[1][name][measure]
            assert abs(test["difference"] - again["difference"]) < 1e-3, (name, measure)
            assert abs(test["p"] - again["p"]) < 0.035, (name, measure, test, again)


@tries(
    "features scaled by powers of two",
    *(2, 150),
    **SIZES,
    exponents=st.tuples(st.integers(-5, 12), st.integers(-5, 12)),
    each=st.booleans(),
)
def test_the_length_of_features_changes_no_byte(fresh, exponents, each, **sizes):
    rng = np.random.default_rng(sizes["seed"])
    splits = with_match(two_splits(**sizes))
    one, other = fresh(), fresh()
    run(one, splits)
    for arrays in splits:
        for name, exponent in zip(FLOATS, exponents, strict=True):
            shape = (len(arrays[name]), *[1] * (arrays[name].ndim - 1))
            own = rng.integers(-4, 5, shape) if each else np.zeros(shape, int)
            arrays[name] = np.ldexp(arrays[name], exponent + own).astype(np.float32)
    run(other, splits)
    assert results_of(one) == results_of(other)
    return RIGHT


@tries("distractors that are far from all", 2, 150, **SIZES, count=st.integers(1, 20))
def test_far_distractors_change_no_rank(fresh, count, **sizes):
    splits = with_match(two_splits(**sizes))
    for arrays in splits:  # all in one half of space, and the distractors in the other
        for name in FLOATS:
            arrays[name] = np.abs(arrays[name]) + np.float32(0.01)
    columns, _ = run(fresh(), splits)
    far = reordered(splits[1], np.arange(count) % len(splits[1]["pids"]))
    far = {**far, **{name: -far[name] for name in FLOATS}, "pids": np.zeros(count, np.int64)}
    more = {name: np.concatenate([splits[1][name], far[name]]) for name in far}
    others, after = run(fresh(), [splits[0], more])
    near = slice(len(splits[1]["pids"]))
    for name in (*DISTANCES, "global_dmli"):
        assert others[name][:, near].max() < others[name][:, near.stop :].min(), name
        np.testing.assert_allclose(others[name][:, near], columns[name], rtol=0, atol=1e-5)
        cut = scores_of(others[name][:, near], *splits)
        whole = scores_of(others[name], splits[0], more)
        np.testing.assert_array_equal(whole[2], cut[2])
        assert abs(after[name]["mAP"] - 100 * cut[0]) < 1e-3
    return RIGHT


@tries(
    "tiles of any size",
    *(2, 150),
    **SIZES,
    tile=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_the_size_of_tiles_changes_nothing_but_rounding(fresh, tile, **sizes):
    splits = with_match(two_splits(**sizes))
    columns, _ = run(fresh(), splits)
    folder = fresh()
    run(folder, splits, distances={"tile_rows": tile[0], "tile_columns": tile[1]})
    assert_close(columns, folders.columns_of(folder), (*DISTANCES, "global_dmli"))
    matrices = folders.check_neighbours(folder, *splits)
    assert set(matrices) == set(RERANKED)
    return RIGHT


SHARED = ("extract", "distances", "train")
STAGES = ("rerank", "evaluate", *SHARED) if IS_LONG else ("rerank",)


@tries(
    "threads and processes",
    *(1, 25),
    is_shrunk=False,
    stage=st.sampled_from(STAGES),
    threads=st.sampled_from(["2", "3", "1", None]),
    processes=st.sampled_from([None, "2", "3"]),
)
def test_threads_and_processes_change_no_byte(fresh, finished, one_cell, stage, threads, processes):
    work = fresh()
    job, whole = (job_of(stage, finished, one_cell, work / name) for name in ("one", "other"))
    environment = {"OMP_NUM_THREADS": threads}
    if processes and stage in ("extract", "distances"):  # training's bytes differ by rounding
        environment["REID_PROCESSES"] = processes
    if stage == "train":
        environment = {"PYTHONHASHSEED": "7"}
    digests = []
    for one, given in ((job, {}), (whole, environment)):
        one.work.mkdir()
        code, spoken = one.run(**given)
        assert code == 0, spoken
        digests.append(one.digests())
    assert digests[0] == digests[1]
    assert digests[0]
    return RIGHT
