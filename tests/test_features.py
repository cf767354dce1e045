"""The arrays between extraction and everything after."""

import mmap
from pathlib import Path

import numpy as np
import pytest

from reid.arrays import features
from reid.runtime.errors import InputError


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    written = features.create(
        tmp_path / "query", np.array([1, 2, 3]), np.array([1, 1, 2]), 5, (8, 4)
    )
    written.global_features[:] = rng.random((3, 5))
    written.stripes[:] = rng.random((3, 8, 4))
    return tmp_path / "query"


def damage(folder, name, index, value):
    array = np.load(folder / f"{name}.npy")
    array[index] = value
    np.save(folder / f"{name}.npy", array)


def test_what_was_written_is_read(folder):
    read = features.read(folder)
    assert len(read) == 3
    assert read.global_features.shape == (3, 5)
    assert read.stripes.shape == (3, 8, 4)
    assert read.global_features.dtype == read.stripes.dtype == np.float32
    assert read.pids.tolist() == [1, 2, 3]
    assert features.read_identities(folder).camids.tolist() == [1, 1, 2]


def resident():
    """This process's memory in bytes, mapped files included."""
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * mmap.PAGESIZE


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
def test_mapped_features_are_read_again_after_their_memory_was_given_back(tmp_path):
    rng = np.random.default_rng(0)
    written = features.create(tmp_path / "gallery", np.arange(200), np.arange(200), 8, (8, 4096))
    written.global_features[:], written.stripes[:] = (
        rng.random((200, 8)),
        rng.random((200, 8, 4096)),
    )
    before = np.array(written.stripes)
    del written
    read = features.read(tmp_path / "gallery")
    held = resident()
    total = float(read.stripes.sum())
    assert resident() > held + 20e6  # 26 MB, mapped
    read.release()
    assert resident() < held + 5e6
    assert float(read.stripes.sum()) == total
    assert np.array_equal(read.stripes, before)


@pytest.mark.parametrize("name", ["global_features", "stripes"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -1e25])
def test_nan_and_infinity_are_named(folder, name, value):
    damage(folder, name, 1, value)
    with pytest.raises(
        InputError, match=rf"{name}\.npy holds NaN, infinity or more than 1e\+15, first for image 1"
    ):
        features.read(folder)


def test_constant_features_are_refused(folder):
    damage(folder, "global_features", slice(None), 0.5)
    with pytest.raises(InputError, match="constant: all 3 images"):
        features.read(folder)


def test_a_feature_without_direction_is_refused(folder):
    damage(folder, "stripes", (2, 3), 0)
    with pytest.raises(InputError, match="length 0, first for image 2"):
        features.read(folder)


@pytest.mark.parametrize("name", ["global_features", "stripes"])
def test_a_length_too_small_for_float32_is_named(name, folder):
    at = {"global_features": 1, "stripes": (1, 3)}[name]
    length = np.linalg.norm(np.load(folder / f"{name}.npy")[at])
    damage(folder, name, at, np.load(folder / f"{name}.npy")[at] * (2e-15 / length))
    features.read(folder)
    damage(folder, name, at, np.load(folder / f"{name}.npy")[at] / 4)
    with pytest.raises(
        InputError,
        match=rf"{name}\.npy holds a feature of length 5e-16, first for image 1 .*wanted 1e-15 or",
    ):
        features.read(folder)
    damage(folder, name, at, 1e-30)
    with pytest.raises(InputError, match=r"of length \d\.?\d*e-30, first for image 1"):
        features.read(folder)


def test_new_features_are_nan_until_they_are_filled(tmp_path):
    written = features.create(tmp_path / "new", np.array([1, 2]), np.array([1, 1]), 5, (8, 4))
    assert np.isnan(written.global_features).all()
    assert np.isnan(written.stripes).all()
    written.global_features[:] = np.random.default_rng(0).random((2, 5))
    written.stripes[0] = 1
    with pytest.raises(InputError, match=r"stripes\.npy holds NaN.* first for image 1 .*ended"):
        features.read(tmp_path / "new")


def test_pids_beyond_int64_are_refused(folder):
    np.save(folder / "pids.npy", np.array([1, 2, 2**63], np.uint64))
    with pytest.raises(InputError, match=r"pids\.npy holds 9223372036854775808, wanted numbers"):
        features.read(folder)


def test_one_image_is_not_constant(tmp_path):
    written = features.create(tmp_path / "one", np.array([1]), np.array([1]), 5, (8, 4))
    written.global_features[:], written.stripes[:] = 1, 1
    assert len(features.read(tmp_path / "one")) == 1


def test_missing_broken_and_disagreeing_files_are_named(folder):
    np.save(folder / "pids.npy", np.array([1, 2]))
    with pytest.raises(InputError, match=r"global_features\.npy has shape \[3, 5\]"):
        features.read(folder)
    (folder / "stripes.npy").write_bytes(b"no array")
    with pytest.raises(InputError, match=r"stripes\.npy cannot be read"):
        features.read(folder)
    (folder / "stripes.npy").unlink()
    with pytest.raises(InputError, match=r"stripes\.npy is missing"):
        features.read(folder)


def test_no_images_at_all_are_refused(tmp_path):
    features.create(tmp_path / "none", np.array([]), np.array([]), 5, (8, 4))
    with pytest.raises(InputError, match="at least one"):
        features.read(tmp_path / "none")


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("pids", np.array(["1", "2", "3"]), "wanted one array of whole numbers"),
        ("camids", np.ones(3), "wanted one array of whole numbers"),
        ("pids", np.ones((3, 1), int), r"shape \[3, 1\], wanted one number an image"),
        ("pids", np.array(7), "wanted one number an image"),
        ("stripes", np.ones((3, 8, 4), np.float16), "holds float16, wanted one array of float32"),
        ("global_features", np.ones((3, 5)), "holds float64, wanted one array of float32"),
        ("global_features", np.array(["a", "b", "c"]), "wanted one array of float32"),
    ],
)
def test_other_types_are_named(folder, name, values, message):
    np.save(folder / f"{name}.npy", values)
    with pytest.raises(InputError, match=message):
        features.read(folder)


def test_an_archive_under_an_arrays_name_is_named(folder):
    np.savez(folder / "a.npz", x=np.ones(3))
    (folder / "a.npz").rename(folder / "stripes.npy")
    with pytest.raises(InputError, match="several arrays"):
        features.read(folder)


def test_small_whole_numbers_become_int64(folder):
    np.save(folder / "pids.npy", np.array([1, 2, 3], np.uint8))
    assert features.read_identities(folder).pids.dtype == np.int64


def test_protocols_are_read_with_the_queries_that_there_are(folder, tmp_path):
    (tmp_path / "gallery").symlink_to(folder)
    gallery, queries = features.read_protocols(tmp_path)
    assert (len(gallery), list(queries)) == (3, ["full"])
    (tmp_path / "query_partial").symlink_to(folder)
    assert list(features.read_protocols(tmp_path)[1]) == ["full", "partial"]


def test_queries_and_gallery_of_different_models_are_named(folder, tmp_path):
    written = features.create(tmp_path / "gallery", np.array([1]), np.array([1]), 6, (8, 4))
    written.global_features[:], written.stripes[:] = 1, 1
    with pytest.raises(InputError, match=r"shape \[5\] an image, those of the gallery \[6\]"):
        features.check_alike(features.read(folder), features.read(tmp_path / "gallery"), tmp_path)
