"""Running nearest lists against a full sort, and their file."""

import os
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from reid.arrays import neighbours
from reid.arrays.names import RERANKED
from reid.arrays.neighbours import Neighbours
from reid.distances import nearest as nearest_lists
from reid.distances.nearest import NearestLists
from reid.runtime.errors import InputError


def slow_neighbours(distances, nearest):
    """Distances [N, N] -> the K nearest of each row by (distance, index), by sorting everything."""
    order = np.stack([np.lexsort((np.arange(len(row)), row)) for row in distances])[:, :nearest]
    return Neighbours(order, np.take_along_axis(distances, order, 1), distances.max(1))


def assert_equal(found, expected):
    for field, array in vars(expected).items():
        np.testing.assert_array_equal(getattr(found, field), array)


@pytest.mark.parametrize("at_once", [1024, 2])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("nearest", [1, 3, 12, 40])
@pytest.mark.parametrize("values", [1000, 3, 1])  # of 3 or 1 values many are equal
def test_blocks_in_any_order_make_the_full_sorts_lists(
    nearest, values, order, at_once, monkeypatch
):
    monkeypatch.setattr(nearest_lists, "COLUMNS_AT_ONCE", at_once)
    distances = (
        np.random.default_rng(values)
        .integers(values, size=(12, 12))
        .astype(np.float32, order=order)
        / 7
    )
    lists = NearestLists(12, nearest)
    for rows in (slice(5, 12), slice(0, 5)):
        for first, stop in ((7, 12), (0, 4), (4, 7)):
            lists.add(rows, distances[rows, first:stop], first)
    assert_equal(lists.neighbours(), slow_neighbours(distances, min(nearest, 12)))


def test_lists_of_a_gallery_go_on_behind_queries():
    distances = np.random.default_rng(0).random((9, 9)).astype(np.float32)
    within = NearestLists(6, 4)
    within.add(slice(0, 6), distances[3:, 3:], 0)
    lists = within.shifted(3, 9)
    lists.add(slice(0, 3), distances[:3], 0)
    lists.add(slice(3, 9), distances[3:, :3], 0)
    assert_equal(lists.neighbours(), slow_neighbours(distances, 4))
    assert_equal(within.neighbours(), slow_neighbours(distances[3:, 3:], 4))


def some_neighbours():
    rng = np.random.default_rng(0)
    return {name: slow_neighbours(rng.random((5, 5)).astype(np.float32), 3) for name in RERANKED}


@pytest.mark.parametrize(
    ("field", "change", "message"),
    [
        ("indices", lambda array: array + 3, "name images that are not there"),
        ("indices", lambda array: array - 1, "name images that are not there"),
        ("indices", lambda array: array[0], r"indices int64 \(3,\)"),
        ("indices", lambda array: array.astype(float), "indices float64"),
        ("distances", lambda array: array * np.nan, "distances that are no numbers"),
        ("largest", lambda array: array * np.nan, "are not all numbers"),
        ("largest", lambda array: array[:4], r"largest float32 \(4,\)"),
    ],
)
def test_numbers_that_cannot_be_are_named(field, change, message, tmp_path):
    written = some_neighbours()
    written["dmli"] = replace(written["dmli"], **{field: change(getattr(written["dmli"], field))})
    neighbours.write(tmp_path / "neighbours.npz", written)
    with pytest.raises(InputError, match=message):
        neighbours.read(tmp_path / "neighbours.npz")


def test_the_file_holds_what_was_written(tmp_path):
    written = some_neighbours()
    neighbours.write(tmp_path / "neighbours.npz", written)
    read = neighbours.read(tmp_path / "neighbours.npz")
    assert list(read) == list(written)
    for name, nearest in written.items():
        assert_equal(read[name], nearest)


def test_a_missing_or_broken_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.npz holds no neighbours"):
        neighbours.read(tmp_path / "none.npz")
    (tmp_path / "broken.npz").write_bytes(b"PK no zip")
    with pytest.raises(InputError, match=r"broken\.npz holds no neighbours"):
        neighbours.read(tmp_path / "broken.npz")
    neighbours.write(tmp_path / "whole.npz", some_neighbours())
    content = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"cut\.npz holds no neighbours"):
        neighbours.read(tmp_path / "cut.npz")
    (tmp_path / "flipped.npz").write_bytes(
        content[:300] + bytes([content[300] ^ 255]) + content[301:]
    )
    with pytest.raises(InputError, match=r"flipped\.npz"):
        neighbours.read(tmp_path / "flipped.npz")
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    with pytest.raises(InputError, match=r"array\.npz holds no neighbours"):
        neighbours.read(tmp_path / "array.npz")
    np.savez(tmp_path / "other.npz", indices=np.zeros(3))
    with pytest.raises(InputError, match=r"other\.npz holds no neighbours"):
        neighbours.read(tmp_path / "other.npz")


def test_arrays_that_are_not_what_their_header_says_are_refused(tmp_path):
    neighbours.write(tmp_path / "whole.npz", some_neighbours())
    with np.load(tmp_path / "whole.npz") as arrays:
        contents = dict(arrays)
    np.savez_compressed(tmp_path / "packed.npz", **contents)
    with pytest.raises(InputError, match=r"packed\.npz holds no neighbours: it is compressed"):
        neighbours.read(tmp_path / "packed.npz")
    huge = b"{'descr': '<i8', 'fortran_order': False, 'shape': (100000000000, 3), }\n"
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as file:
        for name in contents:
            file.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00" + bytes([len(huge), 0]) + huge)
    with pytest.raises(InputError, match=r"huge\.npz holds no .*its header says 2400000000\d\d\d"):
        neighbours.read(tmp_path / "huge.npz")
    np.savez(tmp_path / "objects.npz", **{name: np.array([None]) for name in contents})
    with pytest.raises(InputError, match=r"objects\.npz holds no neighbours"):
        neighbours.read(tmp_path / "objects.npz")
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(InputError, match=r"pipe\.npz holds no neighbours: it is not a plain file"):
        neighbours.read(tmp_path / "pipe.npz")


def test_lists_that_were_never_filled_are_refused(tmp_path):
    empty = NearestLists(5, 3).neighbours()
    neighbours.write(tmp_path / "unfinished.npz", dict.fromkeys(RERANKED, empty))
    with pytest.raises(InputError, match=r"unfinished\.npz name images that are not there"):
        neighbours.read(tmp_path / "unfinished.npz")
