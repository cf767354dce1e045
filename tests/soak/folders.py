"""Feature folders of random images, the three stages that follow them, and their slow twins."""

import json

import numpy as np
import yaml

from reid.arrays.names import COLUMNS, DISTANCES, RERANKED
from reid.reranking.rerank import RerankSettings
from tests.soak.outcomes import attempt
from tests.test_reranking import textbook
from tests.twins import slow_path

ROUNDING = 2e-6  # of a square of unit stripes in fp32, some channels long
FILES = ("global_features", "stripes", "pids", "camids")
SETTINGS = {
    "distances": {
        "neighbours": 100,
        "tile_rows": 128,
        "tile_columns": 256,
        "precision": "fp32",
        "device": "cpu",
    },
    "rerank": {"k1": 4, "k2": 2, "lambda_value": 0.3},
    "evaluate": {"metric": "market1501", "draws": 5, "seed": 0},
}


def random_split(rng, images, stripes, people, channels=6, dimension=5):
    """Arrays of a split: clustered by person, as features are."""
    pids = rng.integers(1, people + 1, images)
    centres = np.random.default_rng(people)
    of_person = centres.normal(size=(people + 1, stripes, channels))
    of_global = centres.normal(size=(people + 1, dimension))
    local = of_person[pids] + 0.7 * rng.normal(size=(images, stripes, channels))
    return {
        "global_features": (of_global[pids] + 0.7 * rng.normal(size=(images, dimension))).astype(
            np.float32
        ),
        "stripes": local.astype(np.float32),
        "pids": pids.astype(np.int64),
        "camids": rng.integers(0, 3, images),
    }


def write_split(folder, arrays):
    """Save a split's arrays as other systems do, with numpy.save."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


def write_params(file, **changes):
    """SETTINGS with some sections' keys changed -> the file."""
    sections = {name: {**values, **changes.get(name, {})} for name, values in SETTINGS.items()}
    file.write_text(yaml.safe_dump(sections), encoding="utf-8")
    return file


def run_stages(folder, params, out="out"):
    """distances, rerank and evaluate on `folder`/features -> the first Outcome that is refused, or
    the last.
    """
    features, given = folder / "features", ("--params", params)
    places = [folder / f"{out}-{name}" for name in ("distances", "reranked")]
    for stage, arguments in (
        ("distances", [features, places[0]]),
        ("rerank", [features, *places]),
        ("evaluate", [features, *places, folder / f"{out}.json"]),
    ):
        outcome = attempt(f"stages.{stage}", *arguments, *given, watched=folder)
        if outcome.is_refused:
            break
    return outcome


def bounds(a, b, rounding=ROUNDING):
    """Arrays of N and M images -> {name: (lowest, highest)}, [N, M]: every distance with its
    squares moved by `rounding` up and down. Both grow with every cost.
    """
    f, g, s, t = (
        array.astype(np.float64) / np.linalg.norm(array.astype(np.float64), axis=-1, keepdims=True)
        for array in (a["global_features"], b["global_features"], a["stripes"], b["stripes"])
    )
    squares = ((f[:, None] - g[None]) ** 2).sum(-1)
    cells = 2 - 2 * np.einsum("nsc,mtc->stnm", s, t)
    sides = []
    for move in (-rounding, rounding):
        costs = np.tanh(np.sqrt(np.maximum(cells + move, 1e-12)) / 2)
        local, dmli = np.einsum("ssnm->nm", costs), slow_path(costs)
        sides.append({"global": squares + 3 * move, "local": local, "dmli": dmli})
    slack = 1e-6 * (1 + 2 * s.shape[1])
    return {name: (sides[0][name] - slack, sides[1][name] + slack) for name in DISTANCES}


def check_distances(folder, queries, gallery, out="out"):
    """Assert that the written distances lie within their bounds -> {name: [Q, G]}."""
    written = {
        name: np.load(folder / f"{out}-distances/full/{name}.npy").astype(np.float64)
        for name in DISTANCES
    }
    for name, (low, high) in bounds(queries, gallery).items():
        assert written[name].shape == low.shape
        off = np.maximum(low - written[name], written[name] - high).max()
        assert off <= 0, f"{name} is off by {off}"
    return written


def full_matrix(folder, name, out="out"):
    """All images' distances [N, N] float32, of a neighbours.npz that lists every image."""
    arrays = np.load(folder / f"{out}-distances/full/neighbours.npz")
    indices, distances = arrays[f"{name}_indices"], arrays[f"{name}_distances"]
    matrix = np.full((len(indices), len(indices)), np.nan, np.float32)
    np.put_along_axis(matrix, indices, distances, 1)
    assert not np.isnan(matrix).any(), "a list names an image twice"
    keys = list(zip(distances.ravel().tolist(), indices.ravel().tolist(), strict=True))
    rows = [keys[at : at + len(indices)] for at in range(0, len(keys), len(indices))]
    assert all(row == sorted(row) for row in rows), "a list is not in ascending order"
    np.testing.assert_array_equal(arrays[f"{name}_largest"], matrix.max(1))
    return matrix


def check_neighbours(folder, queries, gallery):
    """Assert that the lists of all images hold distances within their bounds -> {name: [N, N]}."""
    both = {name: np.concatenate([queries[name], gallery[name]]) for name in FILES}
    limits = bounds(both, both)
    limits["global_dmli"] = tuple(
        low + high for low, high in zip(limits["global"], limits["dmli"], strict=True)
    )
    matrices = {name: full_matrix(folder, name) for name in RERANKED}
    for name, matrix in matrices.items():
        low, high = limits[name]
        assert (matrix >= low).all(), f"{name} of the lists is too small"
        assert (matrix <= high).all(), f"{name} of the lists is too large"
    return matrices


def check_reranked(folder, matrices, queries, k1, k2, share):
    """Assert that re-ranked distances are the textbook's of the same distances."""
    settings = RerankSettings(k1, k2, share)
    for name, matrix in matrices.items():
        written = np.load(folder / f"out-reranked/full/{name}.npy")
        expected = textbook(matrix, queries, settings)
        np.testing.assert_allclose(written, expected, rtol=0, atol=1e-5, err_msg=name)


def slow_scores(distances, queries, gallery):
    """Straight from the definition: distances [Q, G] -> rank1 and mAP in percent, None where no
    query has a match. People of negative pids count for nothing, on either side.
    """
    first, precisions = [], []
    for row, pid, camid in zip(distances, queries["pids"], queries["camids"], strict=True):
        kept = [
            (distance, other == pid)
            for distance, other, camera in zip(row, gallery["pids"], gallery["camids"], strict=True)
            if other >= 0 and not (other == pid and camera == camid)
        ]
        kept.sort()  # False before True: of equal distances the match comes last
        ranks = [rank for rank, (_, is_match) in enumerate(kept, 1) if is_match]
        if ranks and pid >= 0:
            first.append(ranks[0] == 1)
            precisions.append(np.mean([hit / rank for hit, rank in enumerate(ranks, 1)]))
    if not precisions:
        return None
    return {"rank1": 100 * np.mean(first), "mAP": 100 * np.mean(precisions)}


def columns_of(folder, out="out"):
    """The seven columns as written, [Q, G] each, in float32."""
    read = {name: np.load(folder / f"{out}-distances/full/{name}.npy") for name in DISTANCES}
    read["global_dmli"] = read["global"] + read["dmli"]
    for name in RERANKED:
        read[f"{name}_rk"] = np.load(folder / f"{out}-reranked/full/{name}.npy")
    return read


def check_scores(folder, queries, gallery, out="out"):
    """Assert that the JSON says what a sort by hand of the written matrices says."""
    run = json.loads((folder / f"{out}.json").read_text(encoding="utf-8"))["full"]
    assert tuple(run) == COLUMNS
    for name, matrix in columns_of(folder, out).items():
        expected = slow_scores(matrix, queries, gallery)
        assert expected is not None, "scored without any match"
        for measure, value in expected.items():
            assert abs(run[name][measure] - value) < 1e-3, (name, measure, run[name], value)
