"""Data-parallel training in two CPU processes: the loss, gradients and model of one process."""

import json
import os
import subprocess
import sys

import pandas as pd
import pytest
import torch

from reid.losses import LossSettings
from reid.runtime.errors import InputError
from reid.training import data_parallel
from reid.training.run import Run
from reid.training.settings import CellSettings, TrainSettings
from reid.trunk.settings import ModelSettings
from tests.conftest import ROOT, longer

PEOPLE = 6
MODEL = ModelSettings(
    trunk="resnet18",
    last_layer="layer2",
    height=64,
    width=32,
    stripes=8,
    weights="none",
    weights_sha256="",
    last_stride=2,
    bnneck=True,
)
SETTINGS = TrainSettings(
    epochs=1, people=4, images_each=3, learning_rate=1e-4, weight_decay=5e-4, warmup_epochs=0,
    decay_epochs=1, decay_factor=0.1, margin=0.3, crop="enlarge", erasing=0.0, held_out=0,
    evaluate_epochs=0, keep="last", precision="fp32", compile=False, seed=0, device="cpu",
)  # fmt: skip
LOSSES = {
    "ls": LossSettings(0.1, True, True, 0.0005, False),
    "mutual": LossSettings(0.0, True, True, 0.0, True),
}


def five_steps(loss, batch, labels):
    """Take five steps -> the terms of each, the gradients of the first, and all tensors of the
    networks before and after them.
    """
    run = Run(PEOPLE, CellSettings(MODEL, SETTINGS, LOSSES[loss]))
    before = tensors_of(run)
    terms = [run.step(batch, labels)]
    gradients = {
        f"{i}.{name}": p.grad
        for i, network in enumerate(run.networks)
        for name, p in network.named_parameters()
    }
    terms += [run.step(batch, labels) for _ in range(4)]
    return {"terms": terms, "gradients": gradients, "before": before, "tensors": tensors_of(run)}


def tensors_of(run):
    return {
        f"{i}.{name}": t.clone()
        for i, network in enumerate(run.networks)
        for name, t in network.state_dict().items()
    }


def flat(tensors):
    return torch.cat(
        [tensors[name].flatten().double() for name in sorted(tensors) if "num_batches" not in name]
    )


def torchrun(*arguments):
    options = ("--standalone", "--nproc-per-node", "2")
    command = [sys.executable, "-m", "torch.distributed.run", *options, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    """A batch with its labels, and the results of five steps on it by two processes."""
    folder = tmp_path_factory.mktemp("two_ranks")
    generator = torch.Generator().manual_seed(0)
    batch = torch.randn(12, 3, 64, 32, generator=generator).to(memory_format=torch.channels_last)
    torch.save((batch, torch.tensor([4, 1, 0, 5]).repeat_interleave(3)), folder / "batch.pt")
    done = torchrun("-m", "tests.shared_step", str(folder / "batch.pt"), str(folder / "results.pt"))
    assert done.returncode == 0, done.stderr
    return torch.load(folder / "batch.pt"), torch.load(folder / "results.pt")


@pytest.fixture(scope="module", params=LOSSES)
def results(request, two_ranks):
    """The results of one process, and those of two."""
    batch, of_two = two_ranks
    return five_steps(request.param, *batch), of_two[request.param]


def test_the_loss_of_two_processes_is_that_of_one(results):
    expected, actual = (result["terms"][0] for result in results)
    assert expected.keys() == actual.keys()
    for term in expected:
        torch.testing.assert_close(actual[term], expected[term], rtol=1e-5, atol=1e-5)


def test_the_gradients_of_two_processes_are_those_of_one(results):
    expected, actual = (result["gradients"] for result in results)
    assert expected.keys() == actual.keys()
    for name, gradient in expected.items():
        assert (gradient is None) == (actual[name] is None)
        if gradient is not None:
            torch.testing.assert_close(actual[name], gradient, rtol=1e-5, atol=1e-5)


def test_after_some_steps_the_model_is_the_same(results):
    """To 1e-4 of what it learnt: where a gradient is nothing but rounding, Adam still makes a
    step, of any sign.
    """
    before = flat(results[0]["before"])
    expected, actual = (flat(result["tensors"]) for result in results)
    learnt = (expected - before).norm()
    assert learnt > 1e-3 * before.norm()
    assert (actual - expected).norm() < 1e-4 * learnt


def test_shards_hold_all_images_of_their_people():
    shards = [data_parallel.rows_of_rank(6, 4, rank, 3) for rank in range(3)]
    assert shards == [slice(0, 8), slice(8, 16), slice(16, 24)]
    with pytest.raises(InputError, match="people = 6 cannot be shared out evenly over 4 processes"):
        data_parallel.rows_of_rank(6, 4, 0, 4)


def stage(processes, data, out, params, root):
    """Start the train stage as `processes` processes of one thread each."""
    cell = ("--dataset", "synthetic", "--loss", "ls", "--seed", "0", "--params", str(params))
    environment = {
        **os.environ,
        "REID_PROCESSES": str(processes),
        "OMP_NUM_THREADS": "1",
        "DVC_ROOT": str(root),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "stages.train", str(data), str(out), *cell],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_stage_stops_and_goes_on_as_two_processes(finished, params, tmp_path):
    settings = longer(params, 60.0, tmp_path / "params.yaml")
    stopped = stage(2, finished / "data/train", tmp_path / "out", settings, tmp_path)
    stderr = ""
    while "loss" not in stderr:  # in the bar, after the first epoch
        stderr += stopped.stderr.read(1)
    stopped.terminate()
    stderr += stopped.communicate()[1]
    assert stopped.returncode == 143
    assert "SIGTERM: checkpoint saved" in stderr
    assert "Traceback" not in stderr
    for out in ("out", "unbroken"):
        done = stage(2, finished / "data/train", tmp_path / out, settings, tmp_path)
        stderr = done.communicate()[1]
        assert done.returncode == 0, stderr
    for name in ("model.safetensors", "history.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "unbroken" / name).read_bytes()
    training = json.loads((tmp_path / "out/training.json").read_text())
    assert (training["processes"], training["resumed"]) == (2, 1)
    assert not list((tmp_path / "unfinished").iterdir())
    of_two, of_one = (
        pd.read_csv(folder / "history.csv") for folder in (tmp_path / "out", finished / "model")
    )
    assert len(of_two) == 12
    # later epochs drift apart, by rounding
    pd.testing.assert_frame_equal(of_two[:1], of_one, rtol=1e-4)
