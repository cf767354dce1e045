"""Unfinished training: killed at any moment it goes on to the same bytes, and no other run ever
takes its state up.
"""

import json
import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import time
import types
from unittest import mock

import numpy as np
import pytest
import torch

from reid.runtime.errors import InputError
from reid.training import checkpoint
from reid.training.checkpoint import Keeper, ResumeSettings
from tests.conftest import ROOT, longer, run_stage

KILLS = 6  # of each of two rows


def train(data, out, loss, params, root):
    """Run the stage in this process, with its state under `root`; what it says on stderr is left
    out.
    """
    os.environ["DVC_ROOT"] = str(root)
    return run_stage(
        "train", data, out, "--dataset", "synthetic", "--loss", loss, "--params", params
    )


def bytes_of(folder):
    return {name: (folder / name).read_bytes() for name in ("model.safetensors", "history.csv")}


@pytest.fixture(scope="module")
def processes():
    """Processes that start in a moment: the server has imported what they need."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["reid.training.loop", "stages.train", "tests.conftest"])
    return context


@pytest.mark.parametrize("loss", ["ls", "mutual"])
def test_killed_again_and_again_it_ends_with_the_bytes_of_an_unbroken_run(
    loss, finished, params, tmp_path, processes
):
    rng = np.random.default_rng()
    settings = longer(params, 0.0, tmp_path / "params.yaml")  # saved after each step
    arguments = (finished / "data", tmp_path / "broken", loss, settings, tmp_path)
    for _ in range(KILLS):
        before = saved_at(tmp_path)
        child = processes.Process(target=train, args=arguments)
        child.start()
        while child.is_alive() and saved_at(tmp_path) == before:  # it goes on by a step at least
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.1))  # in a step, or while it writes its state, or the model
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        assert child.exitcode == -signal.SIGKILL
        assert not (tmp_path / "broken").exists()
    ran_to_its_end(processes, *arguments)
    ran_to_its_end(processes, finished / "data", tmp_path / "unbroken", loss, settings, tmp_path)
    assert bytes_of(tmp_path / "broken") == bytes_of(tmp_path / "unbroken")
    assert json.loads((tmp_path / "broken/training.json").read_text())["resumed"] == KILLS
    assert json.loads((tmp_path / "unbroken/training.json").read_text())["resumed"] == 0
    assert list((tmp_path / "unfinished").iterdir()) == []  # drafts of the killed among them


def ran_to_its_end(processes, *arguments):
    child = processes.Process(target=train, args=arguments)
    child.start()
    child.join()
    assert child.exitcode == 0


def saved_at(root):
    return [file.stat().st_mtime_ns for file in (root / "unfinished").glob("*.pt")]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_the_state_and_the_same_command_goes_on(
    number, code, finished, params, tmp_path
):
    settings = longer(params, 60.0, tmp_path / "params.yaml")  # nothing is saved but at the signal
    cell = ("--dataset", "synthetic", "--loss", "ls", "--params", str(settings))
    command = [
        sys.executable,
        "-m",
        "stages.train",
        str(finished / "data"),
        str(tmp_path / "out"),
        *cell,
    ]
    environment = {**os.environ, "DVC_ROOT": str(tmp_path), "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    said = ""
    while "loss" not in said:  # in the bar, after the first epoch
        said += child.stderr.read(1)
    child.send_signal(number)
    said += child.communicate()[1]
    assert child.returncode == code
    assert f"{number.name}: the state is saved, the same command goes on from there" in said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()
    assert len(saved_at(tmp_path)) == 1
    done = subprocess.run(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
    assert "training ls, resumed" in done.stderr
    assert json.loads((tmp_path / "out/training.json").read_text())["resumed"] == 1
    assert saved_at(tmp_path) == []


def test_other_settings_data_or_code_have_another_place(monkeypatch, tmp_path):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    identity = {"train": {"seed": 0}, "data": "a", "code": "b"}
    place = checkpoint.place(identity)
    assert place.parent == tmp_path / "unfinished"
    assert checkpoint.place({"code": "b", "data": "a", "train": {"seed": 0}}) == place
    for other in (
        {**identity, "train": {"seed": 1}},
        {**identity, "data": "c"},
        {**identity, "code": "c"},
    ):
        assert checkpoint.place(other) != place


def test_the_code_is_every_module_of_the_project_that_is_imported(tmp_path, monkeypatch):
    before = checkpoint.code_digest()
    assert before == checkpoint.code_digest()
    (tmp_path / "extra.py").write_text("changed = True")
    module = types.ModuleType("reid.extra")
    module.__file__ = str(tmp_path / "extra.py")
    monkeypatch.setitem(sys.modules, "reid.extra", module)
    assert checkpoint.code_digest() != before


def test_other_machines_have_another_place(monkeypatch):
    cpu = torch.device("cpu")
    one = checkpoint.machine(cpu, 1)
    assert one == checkpoint.machine(cpu, 1)
    assert one != checkpoint.machine(cpu, 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    assert one != checkpoint.machine(cpu, 1)


def test_other_weights_under_the_same_name_have_another_place(tmp_path):
    assert checkpoint.weights_digest("IMAGENET1K_V1") is None
    digests = set()
    for content in (b"a", b"b"):
        (tmp_path / "weights.pth").write_bytes(content)
        digests.add(checkpoint.weights_digest(str(tmp_path / "weights.pth")))
    assert len(digests) == 2


def test_other_unfinished_runs_are_found(tmp_path):
    one = keeper(tmp_path)
    one.save({})
    assert checkpoint.others(one.file) == []
    (one.file.parent / "another.pt").touch()
    assert checkpoint.others(one.file) == [one.file.parent / "another.pt"]


def keeper(folder, minutes=0.0, writes=True):
    return Keeper(folder / "unfinished/run.pt", ResumeSettings(minutes), writes)


def test_a_state_comes_back_as_it_was(tmp_path):
    one = keeper(tmp_path)
    assert one.load() is None
    state = {
        "tensor": torch.arange(6.0).view(2, 3),
        "history": [{"epoch": 1, "loss": 0.1}],
        "none": None,
    }
    one.after_step(lambda: state)
    found = keeper(tmp_path).load()
    assert torch.equal(found.pop("tensor"), state.pop("tensor"))
    assert found == state
    one.remove()
    assert list((tmp_path / "unfinished").iterdir()) == []
    one.remove()  # nothing there: nothing to do


def test_nothing_is_saved_before_its_time_nor_by_other_processes(tmp_path):
    keeper(tmp_path, minutes=5.0).after_step(lambda: pytest.fail("asked for the state"))
    keeper(tmp_path, writes=False).after_step(lambda: pytest.fail("asked for the state"))


def test_a_broken_state_is_put_aside(tmp_path):
    one = keeper(tmp_path)
    one.save({"epoch": 3, "weights": torch.zeros(1000)})
    whole = one.file.read_bytes()
    for broken in (b"", b"no state", whole[: len(whole) // 2]):
        one.file.write_bytes(broken)
        with pytest.warns(
            UserWarning, match="is broken .*: it is now .*run.broken, training starts anew"
        ):
            assert one.load() is None
        assert not one.file.exists()
        assert one.file.with_suffix(".broken").read_bytes() == broken


def test_a_state_that_is_there_and_cannot_be_read_stays(tmp_path):
    one = keeper(tmp_path)
    one.save({"epoch": 3})
    with (
        pytest.raises(InputError, match=r"cannot be read: .*stale"),
        mock.patch("torch.load", side_effect=OSError("stale file handle")),
    ):
        one.load()
    assert one.load() == {"epoch": 3}


def test_without_room_for_the_state_training_goes_on_and_the_last_one_stays(tmp_path):
    one = keeper(tmp_path)
    one.save({"epoch": 1})
    with mock.patch("os.replace", side_effect=OSError("full")):
        with pytest.warns(UserWarning, match=r"cannot be saved to .*: full"):
            one.after_step(lambda: {"epoch": 2})
        one.signal = signal.SIGTERM
        with pytest.raises(InputError, match=r"cannot be saved to .*: full"):
            one.after_step(lambda: {"epoch": 2})
    assert one.load() == {"epoch": 1}
    assert len(list((tmp_path / "unfinished").iterdir())) == 1


def test_drafts_of_dead_processes_go_and_those_of_living_ones_stay(tmp_path):
    one = keeper(tmp_path)
    one.save({"epoch": 1})
    dead = subprocess.Popen(["true"])
    dead.wait()
    for process in (dead.pid, os.getppid()):
        (one.file.parent / f".run.{platform.node()}.{process}.partial").touch()
    one.remove()
    assert [file.suffixes[-2] for file in one.file.parent.iterdir()] == [f".{os.getppid()}"]


@pytest.mark.parametrize("minutes", [-1.0, float("nan"), float("inf")])
def test_minutes_out_of_range_are_refused(minutes):
    with pytest.raises(InputError, match=r"resume\.minutes in params"):
        ResumeSettings(minutes)
