"""Pictures that are in a dataset twice where that makes its numbers wrong.

They are in train and in the test set, in query and gallery under another person or camera, or in
one split under two people. A query that is in the gallery under its own camera is junk there and
harms nothing.
"""

import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

from reid.datasets.records import Record, Splits, first_few
from reid.runtime.errors import InputError

Found = dict[str, dict[tuple[int, int], Record]]  # split -> (pid, camid) -> the first such record


def check(splits: Splits, checksums: Mapping[str, Sequence[bytes]]) -> None:
    """Compare the images by their checksums, b"" for none.

    Raises InputError naming both lines where the user's own list has a picture twice; published
    lists are what they are: warns how many they have twice.
    """
    pairs = list(_pairs(splits, checksums))
    own = [pair for pair in pairs if any(record.line for _, record in pair)]
    if own:
        raise InputError(
            f"{len(own):,} images are the same picture as another one: {_describe(own)}. A picture "
            "in train and in the test set, in query and gallery under another pid or camid, or "
            "under two pids makes the numbers wrong: leave one of the two out."
        )
    if pairs:
        warnings.warn(
            f"{len(pairs):,} images of the dataset as published are the same picture as another "
            f"one, in another split or of another person: {_describe(pairs)}.",
            stacklevel=2,
        )


def _pairs(
    splits: Splits, checksums: Mapping[str, Sequence[bytes]]
) -> Iterator[tuple[tuple[str, Record], tuple[str, Record]]]:
    """Yield each record that should not show the picture of an earlier one, with that one."""
    count = Counter(chain.from_iterable(checksums.values()))
    by_picture: dict[bytes, Found] = defaultdict(lambda: defaultdict(dict))
    for split, records in splits.items():
        for record, checksum in zip(records, checksums[split], strict=True):
            if not checksum or count[checksum] == 1:
                continue
            found = by_picture[checksum]
            earlier = _conflict(split, record, found)
            if earlier is not None:
                yield earlier, (split, record)
            found[split].setdefault((record.pid, record.camid), record)


def _conflict(split: str, record: Record, found: Found) -> tuple[str, Record] | None:
    """The first record of the same picture that makes `record` of `split` wrong, with its split."""
    for other_split, records in found.items():
        for (pid, camid), other in records.items():
            if other_split == split:
                is_wrong = pid != record.pid
            elif "train" in (split, other_split):
                is_wrong = True
            else:
                is_wrong = (pid, camid) != (record.pid, record.camid)
            if is_wrong:
                return other_split, other
    return None


def _describe(pairs: Sequence[tuple[tuple[str, Record], tuple[str, Record]]]) -> str:
    """The first pairs, each record with its split, pid and camera."""
    return first_few(
        [
            " and ".join(
                f"{record} in {split} as pid {record.pid}, camera {record.camid}"
                for split, record in pair
            )
            for pair in pairs
        ],
        2,
    )
