"""Unfinished training: killed at any moment it goes on to the same bytes, and no other run ever takes its state up."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from reid import resuming
from reid.errors import InputError
from reid.resuming import Keeper, ResumeSettings, Stopped
from tests.conftest import run_stage

KILLS = 6  # of each of two rows


@pytest.fixture(scope="module")
def long_params(params, tmp_path_factory):
    """The tiny benchmark with some seconds of training, whose state is saved after each step."""
    synthetic = params["datasets"]["synthetic"]
    changed = {**params, "resume": {"minutes": 0.0}}
    longer = {**synthetic["train"], "epochs": 12, "held_out": 2, "evaluate_epochs": 3, "people": 1}
    longer |= {"people": 2, "held_out": 0, "evaluate_epochs": 0}
    changed["datasets"] = {**params["datasets"], "synthetic": {**synthetic, "train": longer}}
    file = tmp_path_factory.mktemp("long") / "params.yaml"
    file.write_text(yaml.safe_dump(changed, sort_keys=False))
    return file


def train(data, out, loss, params, root):
    """Run the stage in this process, with its state under `root`; what it says on stderr is left out."""
    os.environ["DVC_ROOT"] = str(root)
    return run_stage("train", data, out, "--dataset", "synthetic", "--loss", loss, "--params", params)


def bytes_of(folder):
    return {name: (folder / name).read_bytes() for name in ("model.safetensors", "history.csv")}


@pytest.fixture(scope="module")
def processes():
    """Processes that start in a moment: the server has imported what they need."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["reid.training", "stages.train", "tests.conftest"])
    return context


@pytest.mark.parametrize("loss", ["ls", "mutual"])
def test_killed_again_and_again_it_ends_with_the_bytes_of_an_unbroken_run(
    loss, finished, long_params, tmp_path, processes
):
    rng = np.random.default_rng()
    arguments = (finished / "data", tmp_path / "broken", loss, long_params, tmp_path)
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
    last = processes.Process(target=train, args=arguments)
    last.start()
    last.join()
    unbroken = processes.Process(
        target=train, args=(finished / "data", tmp_path / "unbroken", loss, long_params, tmp_path)
    )
    unbroken.start()
    unbroken.join()
    assert bytes_of(tmp_path / "broken") == bytes_of(tmp_path / "unbroken")
    assert yaml.safe_load((tmp_path / "broken/training.json").read_text())["resumed"] == KILLS
    assert yaml.safe_load((tmp_path / "unbroken/training.json").read_text())["resumed"] == 0
    assert list((tmp_path / "unfinished").iterdir()) == []  # drafts of the killed among them


def saved_at(root):
    return [file.stat().st_mtime_ns for file in (root / "unfinished").glob("*.pt")]
