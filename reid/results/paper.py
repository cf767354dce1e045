"""The published ablation numbers, rank-1/mAP in percent, which the tables set beside ours.

Source: the results in the README of github.com/michuanhaohao/AlignedReID, whose paper is
AlignedReID++ (Luo et al., Pattern Recognition 94, 2019). Departs from an earlier edition of it in
the MSMT17 block, see NOTES. They stand beside a run only where it has what they hold for.
"""

from dataclasses import dataclass
from typing import Any

from reid.results.cell import Run, value_at

SOURCE = "the README of github.com/michuanhaohao/AlignedReID"
MODEL = "Resnet50"

# By reader, where it needs one: a remark that goes below the table.
NOTES = {
    "msmt17": (
        "An earlier edition of the published MSMT17 table left cells empty and held cells of "
        "other tables (Alignedreid(LS): Global from CUHK03, Local from DukeMTMCReID). The numbers "
        "here are those of a later edition (commit fca9620), which gives the Local of Alignedreid "
        "as rank-1 only and has no re-ranked column."
    )
}

COLUMNS = ("global", "local", "dmli", "global_dmli", "global_dmli_rk")

# By reader and protocol, by loss: the cells of COLUMNS, as many as were published.
_TEXT = {
    ("market1501", "full"): {
        "alignedreid": "89.2/75.9 90.7/75.5 91.1/77.4 91.0/77.6 92.0/88.5",
        "ls": "90.6/77.7 91.4/76.7 91.9/78.8 91.8/79.1 92.8/89.4",
    },
    ("dukemtmcreid", "full"): {
        "alignedreid": "79.3/65.6 80.9/66.9 81.0/67.7 80.7/68.0 85.2/81.2",
        "ls": "81.2/67.4 81.5/68.4 81.8/69.4 82.1/69.7 86.2/82.8",
    },
    ("cuhk03", "full"): {
        "alignedreid": "60.7/58.4 60.2/58.2 60.9/59.6 60.9/59.7 67.6/70.7",
        "ls": "59.7/58.1 59.9/57.2 61.1/59.4 61.5/59.6 67.9/70.7",
    },
    ("msmt17", "full"): {
        "alignedreid": "63.4/38.4 63.8/- 66.3/40.2 66.3/40.6",
        "ls": "67.6/41.8 67.3/38.4 69.6/43.3 69.8/43.7",
    },
    ("market1501", "partial"): {
        "softmax": "59.0/46.4 56.5/43.7 63.3/50.0",
        "softmax_trihard": "62.4/49.7 51.8/37.6 68.0/52.7",
        "alignedreid": "65.9/53.5 52.8/38.1 70.1/55.3",
    },
    ("dukemtmcreid", "partial"): {
        "softmax": "45.9/34.7 48.6/36.1 53.6/40.6",
        "softmax_trihard": "47.8/36.4 43.3/31.5 53.7/40.5",
        "alignedreid": "49.8/38.2 44.8/33.3 55.3/42.8",
    },
}


@dataclass(frozen=True)
class Condition:
    """What published numbers hold for: keys of the source, people and images of train, images of
    query and gallery.
    """

    source: dict[str, Any]
    people: int
    train: int
    queries: int
    gallery: int


# By reader; `split` of CUHK03 does not matter to its new protocol.
_CONDITIONS = {
    "market1501": Condition({"distractors_500k": False}, 751, 12_936, 3_368, 15_913),
    "dukemtmcreid": Condition({}, 702, 16_522, 2_228, 17_661),
    "cuhk03": Condition({"boxes": "detected", "protocol": "new"}, 767, 7_365, 1_400, 5_332),
    "msmt17": Condition({"with_val": False}, 1_041, 30_248, 11_659, 82_161),
}
METRIC, TRUNK = "market1501", "resnet50"
_NETWORK = {"last_stride": 2, "bnneck": False}
# By loss: label smoothing, TriHard on global features and on stripes.
_ROWS = {
    "softmax": (0.0, False, False),
    "softmax_trihard": (0.0, True, False),
    "alignedreid": (0.0, True, True),
    "ls": (0.1, True, True),
}


def reader(run: Run) -> str | None:
    """Return the reader of a run's gallery, None where the run does not say."""
    return value_at(run, "provenance.prepare.gallery.settings.source.reader")


def protocol(run: Run) -> str | None:
    """Return the protocol of a source that has several, such as CUHK03's `classic`."""
    return value_at(run, "provenance.prepare.gallery.settings.source.protocol")


def columns(run: Run, protocol: str) -> dict[str, dict[str, float]]:
    """Return the published {column: {"rank1", "mAP"}} of a run's cell, in percent.

    It holds only what was published, maybe nothing, and nothing where `mismatch` says why.
    """
    if mismatch(run, protocol):
        return {}
    cells = _TEXT.get((reader(run), protocol), {}).get(run["loss"], "").split()
    return {column: _numbers(cell) for column, cell in zip(COLUMNS, cells, strict=False)}


def mismatch(run: Run, protocol: str) -> str | None:
    """Say why published numbers cannot stand beside a run's, None where they can."""
    name = reader(run)
    if name is None:
        return "the run does not say which dataset its features are of"
    if name not in _CONDITIONS:
        return f"nothing is published for the reader {name}"
    for key, wanted in _conditions(run, _CONDITIONS[name], protocol).items():
        got = value_at(run, key)
        if got != wanted:
            return f"they hold for {key.rpartition('.')[2]} {wanted} ({key}), here it is {got}"
    if run["loss"] not in _TEXT.get((name, protocol), {}):
        return f"nothing is published for {name} with {protocol} queries and the row {run['loss']}"
    return None


def _conditions(run: Run, condition: Condition, protocol: str) -> dict[str, Any]:
    """Return the values that a run must have, by dotted name; a converted model tells no more."""
    source = "provenance.prepare.gallery.settings.source"
    wanted = {
        **{f"{source}.{key}": value for key, value in condition.source.items()},
        "metric": METRIC,
        "trunk": TRUNK,
        f"counts.{protocol}.queries": condition.queries,
        f"counts.{protocol}.gallery": condition.gallery,
    }
    if value_at(run, "provenance.training.converted_from") is None:
        wanted["provenance.train.settings.model.last_layer"] = ""
        wanted["provenance.training.data.images"] = condition.train
    return wanted | _conditions_where_told(run, condition)


def _conditions_where_told(run: Run, condition: Condition) -> dict[str, Any]:
    """Return further values that a run must have where it has any: not every run tells them."""
    settings = "provenance.train.settings"
    terms = ("label_smoothing", "trihard_global", "trihard_local")
    row = dict(zip(terms, _ROWS.get(run["loss"], ()), strict=False))
    wanted = {
        **{f"{settings}.model.{key}": value for key, value in _NETWORK.items()},
        **{f"{settings}.loss.{key}": value for key, value in row.items()},
        "provenance.training.data.people": condition.people,
        "provenance.convert_checkpoint.settings.people": condition.people,
    }
    return {key: value for key, value in wanted.items() if value_at(run, key) is not None}


def _numbers(cell: str) -> dict[str, float]:
    numbers = zip(("rank1", "mAP"), cell.split("/"), strict=True)
    return {metric: float(number) for metric, number in numbers if number != "-"}
