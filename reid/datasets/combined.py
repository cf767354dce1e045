"""Several datasets as one: train on the union of some, test on another.

Train pids and cameras are shifted past those of the test set and of each other, so that none is
ever taken for another.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from reid.datasets.records import Record, SourceSettings, Splits
from reid.runtime.errors import InputError, short
from reid.runtime.names import check_value
from reid.runtime.settings import settings_class

EXAMPLE = "train: {dukemtmcreid: {reader: dukemtmcreid}}, test: {reader: msmt17, with_val: false}"


@settings_class
class CombinedSettings(SourceSettings):
    """train: a name and a source for each training set. test: one source.

    Sources stand here in full, not by the name of another entry, so that DVC, which watches this
    entry for this dataset, sees every setting that matters to it.
    """

    train: dict[str, Any]
    test: dict[str, Any]


def check_source(source: Mapping[str, Any], where: str) -> None:
    """Raise InputError when params.yaml's `where` combines anything but sources, or something
    itself combined.
    """
    train, test = source.get("train"), source.get("test")
    if not isinstance(train, dict) or not train or not isinstance(test, dict):
        raise InputError(
            f"`{where}` in params.yaml: got train: {short(train)}, test: {short(test)}, wanted "
            f"sources in full, such as {EXAMPLE}: the name of another entry would hide its "
            "settings from DVC."
        )
    for name, part in [*train.items(), ("test", test)]:
        check_value(name, f"{where}.train.{name}")
        if isinstance(part, dict) and part.get("reader") == "combined":
            raise InputError(
                f"`{where}` in params.yaml: {name} is itself combined: list all training sets "
                "under one `train`."
            )


def combine(train: Mapping[str, list[Record]], test: Splits) -> Splits:
    """The train records of each name -> one train split, named `<name>/...`; query and gallery are
    those of `test`.

    In the order of the names. Test images keep their names, so that their partial variants are
    those of their dataset alone.
    """
    union = []
    for name, records in sorted(train.items()):
        first_pid, first_camid = _first_free([*test["query"], *test["gallery"], *union])
        union += [
            replace(
                record,
                name=f"{name}/{record.name}",
                pid=first_pid + record.pid,
                camid=first_camid + record.camid,
            )
            for record in records
        ]
    return {"train": union, "query": test["query"], "gallery": test["gallery"]}


def _first_free(records: list[Record]) -> tuple[int, int]:
    """The first pid and the first camera that are above those of all records."""
    pid = max((record.pid for record in records), default=0)
    camid = max((record.camid for record in records), default=0)
    return pid + 1, camid + 1
