"""Files filled by rows and columns are what numpy would have saved; and what reading checks."""

import os

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


def header(shape, descr="'<f4'", is_by_columns=False):
    """A header of any content."""
    text = f"{{'descr': {descr}, 'fortran_order': {is_by_columns}, 'shape': {shape}, }}\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize("is_mapped", [True, False])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00",
        b"\x93NUMPY\x09\x00" + bytes(100),
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff{",
        header("(10**15,)"),
        header("(1000000000000000,)") + bytes(12),
        header("(99999999999999999999999999, 0)"),
        header("(0, " + "9" * 30 + ")"),
        header("(-3,)") + bytes(12),
        header("(4,)") + bytes(12),  # cut short
        header("(2,)") + bytes(12),  # longer than it says
        header("(2, 3)", is_by_columns=True) + bytes(24),
        header("(2, 1, 3)", is_by_columns=True) + bytes(24),  # one stripe
        header("(" * 300 + ")" * 300),
        header("(3,)", "'<f4', 'x': (") + bytes(12),
        header("(1,)", "[('a', '<f4')]") + bytes(4),
        header("(1,)", "'|O'") + bytes(8),
        b"version https://git-lfs.github.com/spec/v1\n",
    ],
)
def test_damaged_files_are_refused_before_memory_is_taken(content, is_mapped, tmp_path):
    (tmp_path / "broken.npy").write_bytes(content)
    with pytest.raises(InputError, match=r"broken\.npy (cannot be read as an|holds)") as error:
        npy.read(tmp_path / "broken.npy", np.floating, "three numbers", is_mapped)
    assert len(str(error.value)) < 600


def test_what_is_no_plain_file_is_refused_and_never_waited_for(tmp_path):
    (tmp_path / "folder.npy").mkdir()
    os.mkfifo(tmp_path / "pipe.npy")
    (tmp_path / "nowhere.npy").symlink_to(tmp_path / "none")
    for name in ("folder", "pipe"):
        with pytest.raises(InputError, match=r"cannot be read as an array: it is not a plain file"):
            npy.read(tmp_path / f"{name}.npy", np.floating, "three numbers")
    with pytest.raises(InputError, match=r"nowhere\.npy is missing"):
        npy.read(tmp_path / "nowhere.npy", np.floating, "three numbers")
    with pytest.raises(InputError, match="cannot be read as an array"):
        npy.read(tmp_path / ("n" * 300), np.floating, "three numbers")


@pytest.mark.parametrize("shape", [(0,), (0, 5), (3, 0)])
@pytest.mark.parametrize("is_mapped", [True, False])
def test_an_array_of_nothing_is_read(shape, is_mapped, tmp_path):
    np.save(tmp_path / "none.npy", np.zeros(shape, np.float32))
    assert npy.read(tmp_path / "none.npy", np.float32, "numbers", is_mapped).shape == shape


def test_one_column_is_neither_by_rows_nor_by_columns(tmp_path):
    (tmp_path / "column.npy").write_bytes(header("(3, 1)", is_by_columns=True) + bytes(12))
    assert npy.read(tmp_path / "column.npy", np.float32, "numbers").tolist() == [[0]] * 3


@pytest.mark.parametrize("at_once", [1, 7, 1000])
@pytest.mark.parametrize("shape", [(7, 5), (2, 3, 4), (0, 5)])
def test_a_new_file_is_nan_until_it_is_filled(shape, at_once, tmp_path, monkeypatch):
    monkeypatch.setattr(npy, "NUMBERS_AT_ONCE", at_once)
    np.save(tmp_path / "saved.npy", np.full(shape, np.nan, np.float32))
    npy.create(tmp_path / "new.npy", shape)
    assert (tmp_path / "new.npy").read_bytes() == (tmp_path / "saved.npy").read_bytes()
    with pytest.raises(FileExistsError):
        npy.create(tmp_path / "new.npy", shape)
