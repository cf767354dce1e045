"""Two runs, or two columns of one, against each other, from their folders."""

import shutil

import numpy as np
import pytest

from reid.results import cell, uncertainty
from reid.results.metrics import EvaluateSettings
from reid.runtime.errors import InputError
from reid.tools import compare
from tests.conftest import run_module

SETTINGS = EvaluateSettings("market1501", 100, 0)
RUN = "synthetic/ls/0"


@pytest.fixture
def root(finished, tmp_path):
    """The folders of the run synthetic/ls/0, and of a copy of it, ls/1."""
    for name in compare.FOLDERS:
        for seed in (0, 1):
            shutil.copytree(finished / name, tmp_path / name / f"synthetic/ls/{seed}")
    return tmp_path


def lines(root, *sides, protocol="full"):
    parsed = tuple(map(compare.parse, sides))
    return compare.compare(root, parsed, protocol, SETTINGS)


def test_two_columns_of_a_run_are_compared_as_in_its_json(root):
    folders = (root / name / RUN for name in compare.FOLDERS)
    expected = cell.evaluate(*folders, SETTINGS)
    for first, second in uncertainty.COMPARISONS:
        table = lines(root, f"{RUN}:{first}", f"{RUN}:{second}")
        test = expected["differences"]["full"][f"{first}-{second}"]
        assert [line.measure for line in table] == ["rank1", "mAP"]
        for line in table:
            assert (line.difference, line.p) == (
                test[line.measure]["difference"],
                test[line.measure]["p"],
            )
            assert line.a == round(expected["full"][first][line.measure], 2)
            assert line.b == round(expected["full"][second][line.measure], 2)


def test_two_runs_are_compared_in_every_column(root):
    table = lines(root, RUN, "synthetic/ls/1", protocol="partial")
    assert len(table) == 2 * 7
    assert all(line.a == line.b and line.difference == 0 and line.p == 1 for line in table)


def test_a_better_run_is_seen(root):
    """Run 1 has every match at distance 0: found before all others."""
    pids = [np.load(root / f"features/{RUN}/{name}/pids.npy") for name in ("query", "gallery")]
    same_person = pids[0][:, None] == pids[1]
    np.save(root / "distances/synthetic/ls/1/full/dmli.npy", np.float32(~same_person))
    rank1, precision = lines(root, "synthetic/ls/1:dmli", f"{RUN}:dmli")
    assert rank1.a == precision.a == 100
    assert precision.difference == pytest.approx(100 - precision.b, abs=0.01)
    assert precision.difference > 0


def test_runs_of_other_images_are_refused(root):
    camids = root / "features/synthetic/ls/1/query/camids.npy"
    np.save(camids, np.load(camids) + 1)
    with pytest.raises(InputError, match="not tested on the same images"):
        lines(root, RUN, "synthetic/ls/1")


@pytest.mark.parametrize("text", ["ls", "synthetic/ls", "synthetic//0", f"{RUN}:wrong", ""])
def test_what_names_no_run_is_refused(text):
    with pytest.raises(InputError, match=r"<dataset>/<loss>/<seed>.*global_dmli_rk"):
        compare.parse(text)


def test_command(root, params_file, capsys, monkeypatch):
    settings = ("--root", root, "--params", params_file)
    assert run_module("reid.tools.compare", f"{RUN}:dmli", f"{RUN}:local", *settings) == 0
    assert "| synthetic/ls/0:dmli | synthetic/ls/0:local | mAP" in capsys.readouterr().out
    message = run_module("reid.tools.compare", f"{RUN}:dmli", "synthetic/ls/1", *settings)
    assert "name a column of both, or of neither" in message
    message = run_module("reid.tools.compare", RUN, "synthetic/ls/7", *settings)
    assert "synthetic/ls/7" in message
