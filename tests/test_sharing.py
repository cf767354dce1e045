"""Training shared out over two CPU processes: the loss, gradients and model of one process."""

import json
import os
import subprocess
import sys

import pandas as pd
import pytest
import torch

from reid.losses import LossSettings
from reid.model import ModelSettings
from reid.runtime.errors import InputError
from reid.training import data_parallel
from reid.training.run import Run, TrainSettings
from tests.conftest import ROOT, longer

PEOPLE = 6
MODEL = ModelSettings(
    trunk="resnet18",
    last_layer="layer2",
    height=64,
    width=32,
    stripes=8,
    weights="none",
    last_stride=2,
    bnneck=True,
)
SETTINGS = TrainSettings(
    epochs=1, people=4, images_each=3, learning_rate=1e-4, weight_decay=5e-4, warmup_epochs=0, decay_epochs=1,
    decay_factor=0.1, margin=0.3, crop="enlarge", jitter=0.0, erasing=0.0, held_out=0, evaluate_epochs=0, keep="last",
    precision="fp32", compile=False, seed=0, device="cpu",
)  # fmt: skip
LOSSES = {
    "ls": LossSettings(0.1, True, True, 0.0005, False),
    "mutual": LossSettings(0.0, True, True, 0.0, True),
}


def five_steps(loss, batch, labels):
    """Of five steps: the terms of each, the gradients of the first, and all tensors of the
    networks after them.
    """
    run = Run(PEOPLE, MODEL, LOSSES[loss], SETTINGS)
    before = tensors_of(run)
    terms = [run.step(batch, labels)]
    gradients = {
        f"{i}.{name}": p.grad
        for i, one in enumerate(run.networks)
        for name, p in one.named_parameters()
    }
    terms += [run.step(batch, labels) for _ in range(4)]
    return {"terms": terms, "gradients": gradients, "before": before, "tensors": tensors_of(run)}


def tensors_of(run):
    return {
        f"{i}.{name}": t.clone()
        for i, one in enumerate(run.networks)
        for name, t in one.state_dict().items()
    }


def flat(tensors):
    return torch.cat(
        [tensors[name].flatten().double() for name in sorted(tensors) if "num_batches" not in name]
    )


def torchrun(*arguments):
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        *arguments,
    ]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """What two processes find in five steps on one batch."""
    folder = tmp_path_factory.mktemp("shared")
    generator = torch.Generator().manual_seed(0)
    batch = torch.randn(12, 3, 64, 32, generator=generator).to(memory_format=torch.channels_last)
    torch.save((batch, torch.tensor([4, 1, 0, 5]).repeat_interleave(3)), folder / "batch.pt")
    done = torchrun("-m", "tests.shared_step", str(folder / "batch.pt"), str(folder / "found.pt"))
    assert done.returncode == 0, done.stderr
    return torch.load(folder / "batch.pt"), torch.load(folder / "found.pt")


@pytest.fixture(scope="module", params=LOSSES)
def both(request, shared):
    """What one process finds, and what two do."""
    batch, found = shared
    return five_steps(request.param, *batch), found[request.param]


def test_the_loss_of_two_processes_is_that_of_one(both):
    expected, found = both[0]["terms"][0], both[1]["terms"][0]
    assert expected.keys() == found.keys()
    for term in expected:
        torch.testing.assert_close(found[term], expected[term], rtol=1e-5, atol=1e-5)


def test_the_gradients_of_two_processes_are_those_of_one(both):
    expected, found = both[0]["gradients"], both[1]["gradients"]
    assert expected.keys() == found.keys()
    for name, gradient in expected.items():
        assert (gradient is None) == (found[name] is None)
        if gradient is not None:
            torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-5)


def test_after_some_steps_the_model_is_the_same(both):
    """To 1e-4 of what it learnt: where a gradient is nothing but rounding, Adam still makes a
    step, of any sign.
    """
    expected, found, before = (
        flat(tensors) for tensors in (both[0]["tensors"], both[1]["tensors"], both[0]["before"])
    )
    learnt = (expected - before).norm()
    assert learnt > 1e-3 * before.norm()
    assert (found - expected).norm() < 1e-4 * learnt


def test_people_are_shared_out_in_whole():
    assert [data_parallel.share(6, rank, 3, 4) for rank in range(3)] == [
        slice(0, 8),
        slice(8, 16),
        slice(16, 24),
    ]
    with pytest.raises(InputError, match="people = 6 cannot be shared out evenly over 4 processes"):
        data_parallel.share(6, 0, 4, 4)


def stage(processes, data, out, params, root):
    """The train stage as so many processes of one thread each, not waited for."""
    command = [
        sys.executable,
        "-m",
        "stages.train",
        str(data),
        str(out),
        "--dataset",
        "synthetic",
        "--loss",
        "ls",
    ]
    environment = {
        **os.environ,
        "REID_PROCESSES": str(processes),
        "OMP_NUM_THREADS": "1",
        "DVC_ROOT": str(root),
    }
    return subprocess.Popen(
        [*command, "--params", str(params)],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_stage_stops_and_goes_on_as_two_processes(finished, params, tmp_path):
    settings = longer(params, 60.0, tmp_path / "params.yaml")
    broken = stage(2, finished / "data", tmp_path / "out", settings, tmp_path)
    said = ""
    while "loss" not in said:  # in the bar, after the first epoch
        said += broken.stderr.read(1)
    broken.terminate()
    said += broken.communicate()[1]
    assert broken.returncode == 143
    assert "SIGTERM: the state is saved" in said
    assert "Traceback" not in said
    for out in ("out", "unbroken"):
        done = stage(2, finished / "data", tmp_path / out, settings, tmp_path)
        said = done.communicate()[1]
        assert done.returncode == 0, said
    for name in ("model.safetensors", "history.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "unbroken" / name).read_bytes()
    course = json.loads((tmp_path / "out/training.json").read_text())
    assert (course["processes"], course["resumed"]) == (2, 1)
    assert not list((tmp_path / "unfinished").iterdir())
    history, of_one = (
        pd.read_csv(folder / "history.csv") for folder in (tmp_path / "out", finished / "model")
    )
    assert len(history) == 12
    pd.testing.assert_frame_equal(
        history[:1], of_one, rtol=1e-4
    )  # later epochs drift apart, by rounding
