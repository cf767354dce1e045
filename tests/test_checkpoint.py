"""Unfinished training: killed at any moment it goes on to the same bytes, and no other run ever
takes its checkpoint up.
"""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from unittest import mock

import numpy as np
import pytest
import torch

from reid.runtime.errors import InputError
from reid.training import identity
from reid.training.checkpoint import CheckpointFile, Checkpoints, ResumeSettings
from reid.training.stop_requests import SIGNALS, Stopped, StopRequests
from tests.conftest import ROOT, longer, make_settings, run_stage

KILLS = 6  # of each of two rows


def train(data, out, loss, params, root):
    """Run the stage in this process, with its checkpoint under `root`."""
    os.environ["DVC_ROOT"] = str(root)
    cell = ("--dataset", "synthetic", "--loss", loss, "--seed", 0)
    return run_stage("train", data, out, *cell, "--params", params)


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
    arguments = (finished / "data/train", tmp_path / "broken", loss, settings, tmp_path)
    for _ in range(KILLS):
        before = saved_at(tmp_path)
        child = processes.Process(target=train, args=arguments)
        child.start()
        while child.is_alive() and saved_at(tmp_path) == before:  # one step at least
            time.sleep(0.001)
        time.sleep(
            rng.uniform(0, 0.1)
        )  # in a step, or while it writes its checkpoint, or the model
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        assert child.exitcode == -signal.SIGKILL
        assert not (tmp_path / "broken").exists()
    run_to_the_end(processes, *arguments)
    run_to_the_end(
        processes, finished / "data/train", tmp_path / "unbroken", loss, settings, tmp_path
    )
    assert bytes_of(tmp_path / "broken") == bytes_of(tmp_path / "unbroken")
    assert json.loads((tmp_path / "broken/training.json").read_text())["resumed"] == KILLS
    assert json.loads((tmp_path / "unbroken/training.json").read_text())["resumed"] == 0
    assert list((tmp_path / "unfinished").iterdir()) == []  # drafts of the killed among them


def run_to_the_end(processes, *arguments):
    child = processes.Process(target=train, args=arguments)
    child.start()
    child.join()
    assert child.exitcode == 0


def saved_at(root):
    return [file.stat().st_mtime_ns for file in (root / "unfinished").glob("*.pt")]


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)],
)
def test_a_signal_saves_the_checkpoint_and_the_same_command_goes_on(
    number, code, finished, params, tmp_path
):
    settings = longer(params, 60.0, tmp_path / "params.yaml")  # nothing is saved but at the signal
    cell = ("--dataset", "synthetic", "--loss", "ls", "--seed", "0", "--params", str(settings))
    folders = (str(finished / "data/train"), str(tmp_path / "out"))
    command = [sys.executable, "-m", "stages.train", *folders, *cell]
    environment = {**os.environ, "DVC_ROOT": str(tmp_path), "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    stderr = ""
    while "loss" not in stderr:  # in the bar, after the first epoch
        stderr += child.stderr.read(1)
    child.send_signal(number)
    stderr += child.communicate()[1]
    assert child.returncode == code
    assert f"{number.name}: checkpoint saved, the same command goes on from there" in stderr
    assert "Traceback" not in stderr
    assert not (tmp_path / "out").exists()
    assert len(saved_at(tmp_path)) == 1
    done = subprocess.run(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
    assert "training ls, resumed" in done.stderr
    assert json.loads((tmp_path / "out/training.json").read_text())["resumed"] == 1
    assert saved_at(tmp_path) == []


def test_other_settings_data_or_code_have_another_path(monkeypatch, tmp_path):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    determines = {"train": {"seed": 0}, "data": "a", "code": "b"}
    path = identity.checkpoint_path(determines)
    assert path.parent == tmp_path / "unfinished"
    assert identity.checkpoint_path({"code": "b", "data": "a", "train": {"seed": 0}}) == path
    for change in ({"train": {"seed": 1}}, {"data": "c"}, {"code": "c"}):
        assert identity.checkpoint_path({**determines, **change}) != path


def test_other_machines_have_another_identity(monkeypatch):
    cpu = torch.device("cpu")
    machine = identity.machine(cpu, 1)
    assert machine == identity.machine(cpu, 1)
    assert machine != identity.machine(cpu, 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    assert machine != identity.machine(cpu, 1)


def checkpoint_file(folder, is_writer=True):
    return CheckpointFile(folder / "unfinished/run.pt", is_writer)


def checkpoints(folder, minutes=0.0, is_writer=True):
    file = checkpoint_file(folder, is_writer)
    return Checkpoints(file, StopRequests(is_writer), ResumeSettings(minutes))


def test_checkpoints_of_other_runs_are_listed(tmp_path):
    file = checkpoint_file(tmp_path)
    file.save({})
    assert file.of_other_runs() == []
    (file.path.parent / "another.pt").touch()
    assert file.of_other_runs() == [file.path.parent / "another.pt"]


def test_a_state_comes_back_as_it_was(tmp_path):
    saving = checkpoints(tmp_path)
    assert saving.load() is None
    state = {
        "tensor": torch.arange(6.0).view(2, 3),
        "history": [{"epoch": 1, "loss": 0.1}],
        "none": None,
    }
    saving.after_step(lambda: state)
    loaded = checkpoints(tmp_path).load()
    assert torch.equal(loaded.pop("tensor"), state.pop("tensor"))
    assert loaded == state
    saving.remove()
    assert list((tmp_path / "unfinished").iterdir()) == []
    saving.remove()  # nothing there: nothing to do


def test_nothing_is_saved_before_its_time_nor_by_other_ranks(tmp_path):
    checkpoints(tmp_path, minutes=5.0).after_step(lambda: pytest.fail("asked for the state"))
    checkpoints(tmp_path, is_writer=False).after_step(lambda: pytest.fail("asked for the state"))


def test_a_stop_request_saves_at_once(tmp_path):
    saving = checkpoints(tmp_path, minutes=5.0)
    saving.stop_requests.signal = signal.SIGTERM
    with pytest.raises(Stopped, match="SIGTERM"):
        saving.after_step(lambda: {"epoch": 1})
    assert saving.load() == {"epoch": 1}


@pytest.fixture
def handlers():
    """Those of the signals, put back after the test."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield before
    for number, handler in before.items():
        signal.signal(number, handler)


def handlers_now():
    return {number: signal.getsignal(number) for number in SIGNALS}


def test_handlers_are_restored_where_no_signal_came(handlers):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    with StopRequests().listening():
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) != handlers[signal.SIGTERM]
    assert handlers_now() == {**handlers, signal.SIGHUP: signal.SIG_IGN}


def test_signals_are_remembered_and_do_not_stop_the_cleaning_up(handlers):
    requests = StopRequests()
    with requests.listening():
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.raise_signal(number)
            assert requests.signal == number
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert set(handlers_now().values()) == {signal.SIG_IGN}


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize(("is_first", "error"), [(True, RuntimeError), (False, SystemExit)])
def test_a_rank_that_has_lost_a_stopped_rank_0_exits_in_silence(is_first, error):
    with pytest.raises(error):
        lose_rank_0(StopRequests(is_first))


def lose_rank_0(requests):
    with requests.listening():
        signal.raise_signal(signal.SIGTERM)
        raise RuntimeError("connection closed by peer")


def test_a_broken_file_is_put_aside(tmp_path):
    file = checkpoint_file(tmp_path)
    file.save({"epoch": 3, "weights": torch.zeros(1000)})
    content = file.path.read_bytes()
    for broken in (b"", b"no state", content[: len(content) // 2]):
        file.path.write_bytes(broken)
        with pytest.warns(
            UserWarning, match="is broken .*: it is now .*run.broken, training starts anew"
        ):
            assert file.load() is None
        assert not file.path.exists()
        assert file.path.with_suffix(".broken").read_bytes() == broken


def test_a_file_that_is_there_and_cannot_be_read_stays(tmp_path):
    file = checkpoint_file(tmp_path)
    file.save({"epoch": 3})
    with (
        pytest.raises(InputError, match=r"cannot be read: .*stale"),
        mock.patch("torch.load", side_effect=OSError("stale file handle")),
    ):
        file.load()
    assert file.load() == {"epoch": 3}


def test_without_room_for_the_state_training_goes_on_and_the_last_one_stays(tmp_path):
    saving = checkpoints(tmp_path)
    saving.file.save({"epoch": 1})
    with mock.patch("os.replace", side_effect=OSError("full")):
        with pytest.warns(UserWarning, match=r"cannot be saved to .*: full"):
            saving.after_step(lambda: {"epoch": 2})
        saving.stop_requests.signal = signal.SIGTERM
        with pytest.raises(InputError, match=r"cannot be saved to .*: full"):
            saving.after_step(lambda: {"epoch": 2})
    assert saving.load() == {"epoch": 1}
    assert len(list((tmp_path / "unfinished").iterdir())) == 1


def test_the_draft_of_a_killed_process_goes_with_the_next_that_is_saved(tmp_path):
    file = checkpoint_file(tmp_path)
    file.save({"epoch": 1})
    (file.path.parent / ".run.pt.0123abcd.partial").touch()
    (file.path.parent / ".other.pt.0123abcd.partial").touch()
    file.save({"epoch": 2})
    assert names(file.path.parent) == [".other.pt.0123abcd.partial", "run.pt"]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_second_run_of_the_same_identity_waits_for_the_first(
    finished, params, tmp_path, processes
):
    settings = longer(params, 0.0, tmp_path / "params.yaml")
    started = []
    for name in ("first", "second"):
        arguments = (finished / "data/train", tmp_path / name, "ls", settings, tmp_path)
        started.append(processes.Process(target=train, args=arguments))
        started[-1].start()
        while name == "first" and not saved_at(tmp_path):
            time.sleep(0.001)
    while not any("second" in name for name in names(tmp_path)):
        time.sleep(0.001)
    while not (tmp_path / "first").exists():
        assert any(name.endswith(".pt.lock") for name in names(tmp_path / "unfinished"))
        assert not (tmp_path / "second").exists()
    for child in started:
        child.join()
        assert child.exitcode == 0
    assert bytes_of(tmp_path / "first") == bytes_of(tmp_path / "second")
    for name in ("first", "second"):  # neither took the other's state up
        assert json.loads((tmp_path / name / "training.json").read_text())["resumed"] == 0
    assert names(tmp_path / "unfinished") == []


@pytest.mark.parametrize("minutes", [-1.0, float("nan"), float("inf")])
def test_minutes_out_of_range_are_refused(minutes):
    with pytest.raises(InputError, match=r"`resume\.minutes`: got"):
        make_settings(ResumeSettings, "resume", minutes)
