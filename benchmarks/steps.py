"""The measured steps, each run in a process of its own: `python -m benchmarks.steps STEP FOLDER
OPTIONS` prints JSON.

A step's `seconds` leave out the start of Python and imports. `peak` is the most memory the process
ever held (as the system counts it, with the files it has mapped), `own` the most without those
files, looked at every 20 ms. The `cpu_seconds` of a step, all threads together, tell on a busy
machine what `seconds` would be on a quiet one.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

import stages.distances
import stages.evaluate
import stages.rerank
from benchmarks import clusters, precisions, textbook
from benchmarks.memory import OwnMemory
from reid.arrays import features, matrices
from reid.arrays.features import Features
from reid.distances.all_pairs import pairs_to_compute
from reid.distances.compare import global_squares
from reid.distances.settings import DistanceSettings
from reid.distances.tile import PRODUCTS, operand
from reid.reranking.rerank import RerankSettings
from reid.runtime import cli, config

CPU = torch.device("cpu")
PARAMS = "params.yaml"
Found = dict[str, Any]


def write_features(folder: Path, options: Found) -> Found:
    """Write the random features that all other steps read."""
    return _timed(
        lambda: clusters.write(
            folder / "features", clusters.Size(**options["size"]), options["channels"]
        )
    )


def distances_stage(folder: Path, options: Found) -> Found:
    """The distances stage, from feature files to distance files."""
    return _stage(stages.distances, folder, "features", "distances")


def rerank_stage(folder: Path, options: Found) -> Found:
    """The rerank stage: three distances."""
    return _stage(stages.rerank, folder, "features", "distances", "reranked")


def evaluate_stage(folder: Path, options: Found) -> Found:
    """The evaluate stage: seven columns; and their scores."""
    found = _stage(stages.evaluate, folder, "features", "distances", "reranked", "run.json")
    return {
        **found,
        "scores": json.loads((folder / "run.json").read_text(encoding="utf-8"))["full"],
    }


def bare_products(folder: Path, options: Found) -> Found:
    """The matrix products alone, of some tiles, times the number of tiles: what nothing can be
    faster than.
    """
    settings, (queries, gallery) = _settings(folder), _features(folder)
    sides = [
        operand(gallery.stripes[:count], settings.precision, CPU)
        for count in (settings.tile_rows, settings.tile_columns)
    ]
    a, b = (side.stripes.flatten(0, 1) for side in sides)
    cells = torch.empty(len(a), len(b), dtype=PRODUCTS[settings.precision])
    product = torch._int_mm if cells.dtype == torch.int32 else torch.mm
    left, right = (torch.tensor(gallery.global_features[: len(side)]) for side in sides)
    squares = torch.empty(len(left), len(right))
    product(a, b.T, out=cells)  # the first call prepares

    def some() -> None:
        for _ in range(options["repeats"]):
            product(a, b.T, out=cells)
            torch.mm(left, right.T, out=squares)

    pairs_in_all = pairs_to_compute(len(gallery), [len(queries)], settings)
    share = options["repeats"] * len(left) * len(right) / pairs_in_all
    return {
        "seconds": _timed(some)["seconds"] / share,
        "share": min(share, 1),
        "pairs": pairs_in_all,
    }


def textbook_distances(folder: Path, options: Found) -> Found:
    """Both passes on some pairs; times the pairs: DMLI of query-gallery, query-query,
    gallery-gallery, local of one.
    """
    queries, gallery = _features(folder)
    a, b = (
        torch.nn.functional.normalize(torch.tensor(x.stripes[:128]), dim=-1).numpy()
        for x in (queries, gallery)
    )
    between = len(queries) * len(gallery)
    both = (
        _timed(lambda: textbook.dmli(a, b))["seconds"],
        _timed(lambda: textbook.unaligned(a, b))["seconds"],
    )
    done = len(a) * len(b)
    seconds = (
        both[0] * (between + len(queries) ** 2 + len(gallery) ** 2) / done
        + both[1] * between / done
    )
    return {"seconds": seconds, "share": done / between}


def textbook_rerank(folder: Path, options: Found) -> Found:
    """Dense re-ranking of the global distance of some images, times the square of their share;
    three times of that.
    """
    queries, gallery = _features(folder)
    images = len(queries) + len(gallery)
    share = min(1, options["textbook"] / images)
    some = [
        torch.tensor(x.global_features[: max(2, int(share * len(x)))]) for x in (queries, gallery)
    ]
    unit = torch.nn.functional.normalize(torch.cat(some), dim=-1)
    square = global_squares(unit, unit).numpy()
    settings = _rerank(folder)
    found = _timed(
        lambda: textbook.rerank(
            square, len(some[0]), settings.k1, settings.k2, settings.lambda_value
        )
    )
    return {"seconds": 3 * found["seconds"] / share**2, "share": share}


def textbook_evaluate(folder: Path, options: Found) -> Found:
    """Evaluation by sorting of some queries, times their share; of seven matrices."""
    return _textbook_evaluation(textbook.evaluate, folder, options["textbook"] // 20)


def textbook_evaluate_loop(folder: Path, options: Found) -> Found:
    """The same in plain Python, of fewer queries."""
    return _textbook_evaluation(textbook.evaluate_loop, folder, options["textbook"] // 200)


def _textbook_evaluation(evaluate: Callable, folder: Path, most: int) -> Found:
    queries, gallery = (
        features.read_identities(folder / "features" / split) for split in ("query", "gallery")
    )
    matrix = matrices.read(
        folder / "distances/full/global.npy", (len(queries.pids), len(gallery.pids))
    )
    some = slice(0, max(most, 1))
    labels = queries.pids[some], gallery.pids, queries.camids[some], gallery.camids
    rows = np.array(matrix[some])
    found = _timed(lambda: evaluate(rows, *labels))
    share = len(rows) / len(matrix)
    return {"seconds": 7 * found["seconds"] / share, "share": share}


def compare_precisions(folder: Path, options: Found) -> Found:
    """Rank-1 and mAP of every column in every precision, on some of the people."""
    queries, gallery = _features(folder)
    people = max(
        2,
        round(
            options["size"]["people"] * min(1, options["compared"] / (len(queries) + len(gallery)))
        ),
    )
    queries, gallery = precisions.of_people(queries, people), precisions.of_people(gallery, people)
    found = {
        precision: precisions.scores(
            queries, gallery, replace(_settings(folder), precision=precision), _rerank(folder)
        )
        for precision in PRODUCTS
    }
    return {"seconds": 0.0, "queries": len(queries), "gallery": len(gallery), "scores": found}


STEPS: dict[str, Callable[[Path, Found], Found]] = {
    "features": write_features,
    "distances": distances_stage,
    "rerank": rerank_stage,
    "evaluate": evaluate_stage,
    "products": bare_products,
    "textbook distances": textbook_distances,
    "textbook rerank": textbook_rerank,
    "textbook evaluate": textbook_evaluate,
    "textbook evaluate loop": textbook_evaluate_loop,
    "precisions": compare_precisions,
}


def _stage(stage: ModuleType, folder: Path, *paths: str) -> Found:
    """Run a stage as its command does, on paths in the folder."""
    sys.argv = [
        stage.__name__,
        *(str(folder / path) for path in paths),
        "--params",
        str(folder / PARAMS),
    ]
    return _timed(lambda: cli.run(stage.main))


def _timed(step: Callable[[], None]) -> Found:
    start, cpu = time.perf_counter(), time.process_time()
    step()
    return {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}


def _features(folder: Path) -> tuple[Features, Features]:
    return tuple(features.read(folder / "features" / split) for split in ("query", "gallery"))


def _settings(folder: Path) -> DistanceSettings:
    return config.load(DistanceSettings, config.read(folder / PARAMS), "distances")


def _rerank(folder: Path) -> RerankSettings:
    return config.load(RerankSettings, config.read(folder / PARAMS), "rerank")


def main() -> None:
    """Run the step that the command line names and print what it found, as JSON."""
    name, folder, options = sys.argv[1:]
    memory = OwnMemory()
    with memory:
        found = STEPS[name](Path(folder), json.loads(options))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        json.dumps({**found, "peak": peak, "own": memory.most, "threads": torch.get_num_threads()})
    )


if __name__ == "__main__":
    main()
