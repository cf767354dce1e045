"""Which differences between the columns of a row are within noise: the tables' footnote."""

from typing import Any

from reid.results import uncertainty
from reid.results.cell import MEASURES, Run

MEASURE_TITLES = {"rank1": "rank-1", "mAP": "mAP"}

WithinNoise = dict[str, dict[str, int]]


def of_cell(runs: list[Run], protocol: str) -> WithinNoise:
    """A cell's runs -> {"first-second": {measure: in how many of the seeds the test cannot tell
    the two columns apart}}, for those of `uncertainty.COMPARISONS` where it is so in any.
    """
    found: WithinNoise = {}
    for name in map("-".join, uncertainty.COMPARISONS):
        for measure in MEASURES:
            ps = [run["differences"][protocol][name][measure]["p"] for run in runs]
            if times := sum(p >= uncertainty.NOISE for p in ps):
                found.setdefault(name, {})[measure] = times
    return found


def sentence(rows: list[dict[str, Any]], titles: dict[str, str]) -> str:
    """Rows of ours of `reid.results.tables.rows` and the columns' titles -> the footnote."""
    pairs = [[titles[column] for column in columns] for columns in uncertainty.COMPARISONS]
    tested = ", ".join(f"{second} to {first}" for first, second in pairs)
    found = "; ".join(text for row in rows if (text := _of_row(row, titles)))
    training = ": that is the deviation" if any("seeds" in row for row in rows) else ""
    return (
        f"Within noise (p of {uncertainty.NOISE} or more, paired by test people): "
        f"{found or 'nothing'}. Tested in each row: {tested}. Rows against each other: `python -m "
        "reid.tools.compare`. The tests say what other test people would show, not what another "
        f"training would give{training}."
    )


def _of_row(row: dict[str, Any], titles: dict[str, str]) -> str:
    """<loss>: <column> to <column> by rank-1 and mAP, ...; nothing where all can be told apart."""
    texts = []
    for name, measures in row["within_noise"].items():
        first, second = (titles[column] for column in name.split("-"))
        texts.append(f"{second} to {first} by {' and '.join(_times(row, measures))}")
    return f"{row['loss']}: {', '.join(texts)}" if texts else ""


def _times(row: dict[str, Any], measures: dict[str, int]) -> list[str]:
    """The measures' names, with in how many of several seeds."""
    of = f" of {len(row['seeds'])} seeds)" if "seeds" in row else ""
    return [
        f"{MEASURE_TITLES[measure]}{f' ({times}{of}' if of else ''}"
        for measure, times in measures.items()
    ]
