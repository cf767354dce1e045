"""Kept machine code: taken where it is the very code that is wanted, else compiled anew."""

import importlib.util
import os

import numba
import numpy as np
import pytest

from reid.cpu import code_cache, jit

SOURCE = """
import numpy as np

def squares(numbers):
    total = np.float32(0)
    for j in range(len(numbers)):
        total += numbers[j] * numbers[j]
    return total
"""
NUMBERS = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
SUM = float((NUMBERS.astype(np.float64) ** 2).sum())


@pytest.fixture
def file(tmp_path):
    (tmp_path / "squares.py").write_text(SOURCE, encoding="utf-8")
    return tmp_path / "squares.py"


def fresh(file, **options):
    """The function compiled as in a new process."""
    spec = importlib.util.spec_from_file_location("squares", file)
    module = importlib.util.module_from_spec(spec)
    code_cache._digest_of_file.cache_clear()
    spec.loader.exec_module(module)
    return jit.compiled(module.squares, **options)


def is_taken(function):
    """Whether a first call takes kept code."""
    assert function(NUMBERS) == pytest.approx(SUM, rel=1e-5)
    return sum(function._cache_hits.values()) == 1


def kept(file):
    return sorted((file.parent / "__pycache__").glob("*.nbc"))


def test_code_is_kept_beside_the_source(file):
    assert not is_taken(fresh(file))
    assert len(kept(file)) == 1
    assert is_taken(fresh(file))


def test_other_flags_are_other_code(file):
    """In order, and in the sums of a vector: their last bits differ."""
    in_order, regrouped = (
        fresh(file, liberties=frozenset(liberties))(NUMBERS) for liberties in ((), ("reassoc",))
    )
    assert in_order != regrouped
    assert fresh(file, liberties=frozenset())(NUMBERS) == in_order


def test_other_versions_and_switches_are_other_code(file, monkeypatch):
    is_taken(fresh(file))
    monkeypatch.setattr(code_cache, "VERSIONS", ("0.1",))
    assert not is_taken(fresh(file))
    monkeypatch.setattr(numba.config, "OPT", 0)
    assert not is_taken(fresh(file))
    assert is_taken(fresh(file))


def test_another_source_is_other_code_whatever_its_age(file):
    is_taken(fresh(file))
    before = file.stat()
    file.write_text(SOURCE.replace("+=", "-="), encoding="utf-8")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    for left in (file.parent / "__pycache__").glob("*.pyc"):
        left.unlink()
    assert fresh(file)(NUMBERS) == pytest.approx(-SUM, rel=1e-5)


@pytest.mark.parametrize("left", [0, 1, 40, 1000, -1])
def test_a_file_cut_short_is_dropped(left, file):
    is_taken(fresh(file))
    code = kept(file)[0].read_bytes()
    kept(file)[0].write_bytes(code[:left])
    assert not is_taken(fresh(file))
    assert len(kept(file)[0].read_bytes()) > 1000
    assert is_taken(fresh(file))


def test_a_flipped_byte_is_noticed(file):
    is_taken(fresh(file))
    code = bytearray(kept(file)[0].read_bytes())
    code[len(code) // 2] ^= 1
    kept(file)[0].write_bytes(code)
    assert not is_taken(fresh(file))


def test_where_files_cannot_be_written_code_is_compiled_without(file, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(code_cache.os, "replace", full)
    assert not is_taken(fresh(file))
    assert not is_taken(fresh(file))
    assert not [*(file.parent / "__pycache__").glob("*.partial")]


def test_a_folder_in_the_place_of_a_file(file):
    is_taken(fresh(file))
    name = kept(file)[0]
    name.unlink()
    name.mkdir()
    assert not is_taken(fresh(file))
