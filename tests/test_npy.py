"""Files that are filled by rows and columns hold the array that numpy would have saved."""

import numpy as np
import pytest

from reid.arrays.npy import ArrayFile


@pytest.mark.parametrize("shape", [(7, 5), (1, 1), (6, 3, 4), (100, 1)])
def test_rows_in_any_order_make_the_file_that_numpy_saves(shape, tmp_path):
    array = np.random.default_rng(0).random(shape, np.float32)
    np.save(tmp_path / "saved.npy", array)
    np.lib.format.open_memmap(tmp_path / "filled.npy", "w+", np.float32, shape)
    filled = ArrayFile(tmp_path / "filled.npy", shape)
    for rows in (slice(shape[0] // 3, shape[0]), slice(0, shape[0] // 3)):
        filled[rows] = array[rows]
    assert (tmp_path / "filled.npy").read_bytes() == (tmp_path / "saved.npy").read_bytes()


def test_columns_of_rows(tmp_path):
    array = np.random.default_rng(0).random((9, 11), np.float32)
    np.save(tmp_path / "saved.npy", array)
    np.lib.format.open_memmap(tmp_path / "filled.npy", "w+", np.float32, array.shape)
    filled = ArrayFile(tmp_path / "filled.npy", array.shape)
    for rows in (slice(4, 9), slice(0, 4)):
        for columns in (slice(0, 3), slice(10, 11), slice(3, 10)):
            filled[rows, columns] = np.asfortranarray(array[rows, columns])
    assert (tmp_path / "filled.npy").read_bytes() == (tmp_path / "saved.npy").read_bytes()


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        ArrayFile(tmp_path / "none.npy", (2, 2))[slice(0, 1)] = np.zeros((1, 2), np.float32)
