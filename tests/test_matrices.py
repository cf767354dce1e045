"""Distance matrices on disk."""

import numpy as np
import pytest

from reid.arrays import matrices
from reid.arrays.names import COLUMNS
from reid.runtime.errors import InputError


@pytest.fixture
def folder(tmp_path):
    written = matrices.create(tmp_path / "full", ("global", "local", "dmli"), (2, 3))
    for number, name in enumerate(written):
        written[name][:] = number + np.arange(6).reshape(2, 3)
    return tmp_path / "full"


def test_all_distances_of_a_protocol_and_their_sum(folder):
    columns = matrices.read_all(folder, (2, 3))
    assert list(columns) == ["global", "local", "dmli", "global_dmli"]
    total = columns["global_dmli"]
    assert total[:].tolist() == [[2, 4, 6], [8, 10, 12]]
    assert (total[1].tolist(), total.shape, total.ndim, len(total)) == ([8, 10, 12], (2, 3), 2, 2)


def test_files_filled_by_rows_in_any_order(tmp_path):
    expected = np.random.default_rng(0).random((7, 3)).astype(np.float32)
    written = matrices.create(tmp_path / "full", ("dmli", "global"), (7, 3))
    turned = np.asfortranarray(expected, np.float64)
    for rows in slice(4, 7), slice(0, 1), slice(1, 4):
        written["dmli"][rows] = turned[rows]
    np.testing.assert_array_equal(matrices.read(tmp_path / "full/dmli.npy", (7, 3)), expected)
    assert np.isnan(matrices.read(tmp_path / "full/global.npy", (7, 3))).all()


def test_columns_are_in_the_tables_order(folder, tmp_path):
    matrices.create(tmp_path / "reranked", ("global", "dmli", "global_dmli"), (2, 3))
    columns = matrices.read_columns(folder, tmp_path / "reranked", (2, 3))
    assert tuple(columns) == COLUMNS
    assert list(columns) == [
        "global",
        "local",
        "dmli",
        "global_dmli",
        "global_rk",
        "dmli_rk",
        "global_dmli_rk",
    ]


def test_protocols_are_those_that_are_there(folder, tmp_path):
    assert matrices.protocols_in(tmp_path) == ["full"]
    with pytest.raises(InputError, match="holds neither `full` nor `partial`"):
        matrices.protocols_in(folder)


def test_missing_broken_and_other_files_are_named(folder):
    with pytest.raises(InputError, match=r"none\.npy is missing"):
        matrices.read(folder / "none.npy", (2, 3))
    with pytest.raises(InputError, match=r"global\.npy has shape \(2, 3\), wanted \(3, 3\)"):
        matrices.read(folder / "global.npy", (3, 3))
    np.save(folder / "local.npy", np.full((2, 3), "near"))
    with pytest.raises(
        InputError, match=r"local\.npy holds <U4, wanted one array of real numbers: distances"
    ):
        matrices.read_all(folder, (2, 3))
    np.save(folder / "local.npy", np.zeros((2, 3), np.float32))
    (folder / "dmli.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(InputError, match=r"dmli\.npy cannot be read"):
        matrices.read_all(folder, (2, 3))


def test_nan_is_named_by_its_file_query_and_gallery_image(tmp_path):
    written = matrices.create(tmp_path / "full", ("global", "local", "dmli"), (5, 4))
    for name in written:
        written[name][0:3] = np.ones((3, 4))
    written["dmli"][3:5, 0:2] = np.ones((2, 2))
    columns = matrices.read_all(tmp_path / "full", (5, 4))
    assert (matrices.rows_without_nan(columns["dmli"], slice(0, 3)) == 1).all()
    with pytest.raises(
        InputError, match=r"in \S+full/dmli\.npy of query 3 hold NaN at gallery image 2: wanted"
    ):
        matrices.rows_without_nan(columns["dmli"], slice(2, 5))
    with pytest.raises(InputError, match=r"global\.npy and \S+dmli\.npy of query 4 hold NaN"):
        matrices.rows_without_nan(columns["global_dmli"], 4)
    with pytest.raises(InputError, match=r"the distances of query 0 hold NaN at gallery image 1"):
        matrices.rows_without_nan(np.array([[0, np.nan]]), 0)


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinity_is_no_distance(value):
    matrix = np.array([[0, 1], [value, np.nan]], np.float32)
    assert (matrices.rows_without_nan(matrix, 0) == [0, 1]).all()
    with pytest.raises(InputError, match="of query 1 hold infinity at gallery image 0: wanted"):
        matrices.rows_without_nan(matrix, slice(0, 2))
