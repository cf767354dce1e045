"""Files filled by rows and columns are what numpy would have saved; and what reading checks."""

import numpy as np
import pytest

from reid.arrays import npy
from reid.arrays.npy import ArrayFile
from reid.runtime.errors import InputError


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


@pytest.mark.parametrize(
    ("kind", "dtype", "is_of_kind"),
    [
        (np.float32, "f4", True),
        (np.float32, ">f4", False),  # which compiled code cannot read
        (np.float32, "f8", False),
        (np.floating, "f8", True),
        (np.floating, "i8", False),
        (np.integer, "u1", True),
        (np.integer, "f4", False),
        (np.integer, "U1", False),
    ],
)
def test_arrays_of_another_kind_are_refused(kind, dtype, is_of_kind, tmp_path):
    np.save(tmp_path / "array.npy", np.zeros(3, dtype))
    if is_of_kind:
        assert npy.read(tmp_path / "array.npy", kind, "three numbers").tolist() == [0, 0, 0]
    else:
        with pytest.raises(InputError, match=r"array\.npy holds .*, wanted one array of .*: three"):
            npy.read(tmp_path / "array.npy", kind, "three numbers")


def test_missing_broken_and_other_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.npy is missing: wanted three numbers\. Run the"):
        npy.read(tmp_path / "none.npy", np.floating, "three numbers")
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(InputError, match=r"broken\.npy cannot be read as an array"):
        npy.read(tmp_path / "broken.npy", np.floating, "three numbers")
    np.savez(tmp_path / "several.npz", x=np.zeros(3))
    (tmp_path / "several.npz").rename(tmp_path / "several.npy")
    with pytest.raises(InputError, match=r"several\.npy holds several arrays"):
        npy.read(tmp_path / "several.npy", np.floating, "three numbers")
