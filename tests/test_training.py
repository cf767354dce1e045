"""The epoch loop on tiny images: the same twice, every row, and bad data said early."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from reid import training
from reid.errors import InputError
from reid.losses import LossSettings
from reid.model import ModelSettings
from reid.training import TrainingSet, TrainSettings

MODEL = ModelSettings("shufflenet_v2_x0_5", "", 32, 32, 8, "none", 2, False)
SETTINGS = TrainSettings(
    epochs=2, people=2, images_each=2, learning_rate=1e-3, weight_decay=5e-4, decay_epochs=1, decay_factor=0.1,
    margin=0.3, seed=0, device="cpu", crop="enlarge", jitter=0.0, erasing=0.0, warmup_epochs=0,
)  # fmt: skip
ALIGNED = LossSettings(0.1, True, True, 0.0, False)


def training_set(people=10, seed=0):
    """Three images of each person, who are of one colour each."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(people), 3)
    plain = rng.integers(256, size=(people, 1, 1, 3)).repeat(3, 0) * 0.8 + rng.random((3 * people, 32, 32, 3)) * 50
    enlarged = np.pad(plain, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")
    return TrainingSet(plain.astype(np.uint8), enlarged.astype(np.uint8), labels)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not():
    one, history = training.train(training_set(), MODEL, ALIGNED, SETTINGS)
    two, again = training.train(training_set(), MODEL, ALIGNED, SETTINGS)
    other, _ = training.train(training_set(), MODEL, ALIGNED, replace(SETTINGS, seed=1))
    for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(one.classifier.weight, other.classifier.weight)
    assert [row["loss"] for row in history] == [row["loss"] for row in again]


def test_the_papers_batch_on_two_threads_gives_the_same_bytes():
    """A hardest image is drawn on by several anchors; their gradients must be added up in one order."""
    settings = replace(SETTINGS, epochs=1, people=8, images_each=4)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        weights = {
            training.train(training_set(40), MODEL, ALIGNED, settings)[0].conv.weight.detach().numpy().tobytes()
            for _ in range(4)
        }
    finally:
        torch.set_num_threads(threads)
    assert len(weights) == 1
    assert not torch.are_deterministic_algorithms_enabled()  # the caller's setting is given back


def test_history_tells_losses_images_speed_and_the_schedule():
    rows = []
    _, history = training.train(training_set(), MODEL, ALIGNED, SETTINGS, rows.append)
    assert rows == history
    assert [row["epoch"] for row in history] == [1, 2]
    assert [row["images"] for row in history] == [20, 40]  # an epoch is people x images_each images
    assert [row["iterations"] for row in history] == [5, 10]
    assert [row["learning_rate"] for row in history] == pytest.approx([1e-3, 1e-4])
    for row in history:
        assert row["images_per_second"] > 0
        assert row["loss"] == pytest.approx(
            row["classification"] + row["trihard_global"] + row["trihard_local"], rel=1e-5
        )


@pytest.mark.parametrize(
    ("loss", "terms"),
    [
        (LossSettings(0.0, False, False, 0.0, False), {"classification"}),
        (LossSettings(0.0, True, False, 0.0, False), {"classification", "trihard_global"}),
        (LossSettings(0.0, True, True, 0.0, False), {"classification", "trihard_global", "trihard_local"}),
        (LossSettings(0.0, False, True, 0.0, False), {"classification", "trihard_local"}),
    ],
)
def test_every_composition_trains(loss, terms):
    _, history = training.train(training_set(), MODEL, loss, replace(SETTINGS, epochs=1))
    columns = {"epoch", "loss", "accuracy", "learning_rate", "iterations", "images", "images_per_second"}
    assert set(history[0]) == columns | terms


def test_colours_are_learnt():
    settings = replace(SETTINGS, epochs=15, decay_epochs=15, people=2, images_each=3, learning_rate=3e-3)
    _, history = training.train(training_set(), MODEL, LossSettings(0.0, False, False, 0.0, False), settings)
    assert history[-1]["loss"] < 0.7 * history[0]["loss"]
    assert history[-1]["accuracy"] > history[0]["accuracy"]


def test_a_step_is_adam_on_the_sum_of_the_terms():
    torch.manual_seed(0)
    network = training.Network(MODEL, 2).train()
    twin = training.Network(MODEL, 2).train()
    twin.load_state_dict(network.state_dict())
    batch, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 0, 1, 1])
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=5e-4)
    terms = training.step(network, optimiser, batch, labels, ALIGNED, 0.3)
    outputs = twin(batch)
    expected = training.parts(outputs, labels, ALIGNED, 0.3)
    assert terms["loss"].item() == pytest.approx(sum(expected.values()).item(), rel=1e-6)
    sum(expected.values()).backward()
    for moved, still in zip(network.parameters(), twin.parameters(), strict=True):
        gradient = still.grad + 5e-4 * still
        step = 1e-3 * gradient / (gradient.abs() + 1e-8)  # Adam's first step
        torch.testing.assert_close(moved, still - step, rtol=1e-3, atol=1e-5)


def test_labels_count_from_zero_by_sorted_pid():
    assert training.labels_of(np.array([700, 2, 2, 15])).tolist() == [2, 0, 0, 1]


def test_a_batch_too_large_for_the_people_is_refused():
    with pytest.raises(InputError, match="leaves 3 steps an epoch of 10 training people"):
        training.train(training_set(), MODEL, ALIGNED, replace(SETTINGS, people=3))


def test_no_image_at_all_is_refused():
    none = TrainingSet(*(array[:0] for array in vars(training_set()).values()))
    with pytest.raises(InputError, match="holds no image"):
        training.train(none, MODEL, ALIGNED, SETTINGS)


def test_divergence_stops_the_run():
    with pytest.raises(InputError, match="has diverged"):
        training.train(training_set(), MODEL, ALIGNED, replace(SETTINGS, learning_rate=1e30))


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"learning_rate": -1.0},
        {"weight_decay": math.nan},
        {"margin": math.inf},
        {"images_each": 0},
        {"seed": -1},
    ],
)
def test_settings_out_of_range_are_refused(change):
    with pytest.raises(InputError, match="must be at least 1"):
        replace(SETTINGS, **change)


def test_a_device_that_is_not_there_is_named():
    with pytest.raises(InputError, match="device 'quantum' cannot be used"):
        training.choose_device("quantum")
    assert training.choose_device("cpu").type == "cpu"
