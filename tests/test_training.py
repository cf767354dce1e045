"""The epoch loop on tiny images: the same bytes twice, every row, and bad data refused early."""

import math
import shutil
import signal
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from reid.losses import LossSettings, loss_terms
from reid.model import Network
from reid.runtime import settings as section_settings
from reid.runtime.errors import InputError
from reid.training import checks, loop
from reid.training.batches import TrainingSet, labels_of
from reid.training.checkpoint import CheckpointFile, Checkpoints, ResumeSettings
from reid.training.run import Run
from reid.training.settings import CellSettings, TrainSettings
from reid.training.stop_requests import Stopped, StopRequests
from reid.trunk.settings import ModelSettings

MODEL = ModelSettings(
    trunk="shufflenet_v2_x0_5", last_layer="", height=32, width=32, stripes=8, weights="none",
    weights_sha256="", last_stride=2, bnneck=False,
)  # fmt: skip
SETTINGS = TrainSettings(
    epochs=2, people=2, images_each=2, learning_rate=1e-3, weight_decay=5e-4, warmup_epochs=0,
    decay_epochs=1, decay_factor=0.1, margin=0.3, crop="enlarge", erasing=0.0, held_out=0,
    evaluate_epochs=0, keep="last", precision="fp32", compile=False, seed=0, device="cpu",
)  # fmt: skip
SOFTMAX = LossSettings(0.0, False, False, 0.0, False)
ALIGNED = LossSettings(0.1, True, True, 0.0, False)
CENTRE = LossSettings(0.1, True, True, 0.0005, False)
MUTUAL = LossSettings(0.0, True, True, 0.0, True)


def cell(loss, model=MODEL, **changes):
    """The settings of a training with changes of `train`."""
    return CellSettings(model, replace(SETTINGS, **changes), loss)


def training_set(people=10, seed=0):
    """Three images of each person, who are of one colour each."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(people), 3)
    plain = (
        rng.integers(256, size=(people, 1, 1, 3)).repeat(3, 0) * 0.8
        + rng.random((3 * people, 32, 32, 3)) * 50
    )
    enlarged = np.pad(plain, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")
    return TrainingSet(
        plain.astype(np.uint8), enlarged.astype(np.uint8), labels, np.tile([1, 2, 3], people)
    )


def weights(run):
    return {name: tensor.numpy().tobytes() for name, tensor in run.networks[0].state_dict().items()}


def test_the_same_seed_gives_the_same_bytes_and_another_does_not():
    first = loop.train(training_set(), cell(ALIGNED))
    again = loop.train(training_set(), cell(ALIGNED))
    other_seed = loop.train(training_set(), cell(ALIGNED, seed=1))
    assert weights(first) == weights(again)
    assert weights(first)["classifier.weight"] != weights(other_seed)["classifier.weight"]
    assert first.progress.history == again.progress.history


def test_the_papers_batch_on_two_threads_gives_the_same_bytes():
    """A hardest image is drawn on by several anchors; their gradients must be added up in one
    order.
    """
    settings = cell(ALIGNED, epochs=1, people=8, images_each=4)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        convolutions = {
            weights(loop.train(training_set(40), settings))["conv.weight"] for _ in range(4)
        }
    finally:
        torch.set_num_threads(threads)
    assert len(convolutions) == 1
    assert not torch.are_deterministic_algorithms_enabled()  # the caller's setting is given back


def test_history_holds_losses_images_and_the_schedule():
    rows = []
    progress = loop.train(
        training_set(), cell(ALIGNED), report=lambda progress: rows.append(progress.history[-1])
    ).progress
    assert rows == progress.history
    assert [row["epoch"] for row in rows] == [1, 2]
    assert [row["images"] for row in rows] == [20, 40]  # an epoch is people x images_each images
    assert [row["iterations"] for row in rows] == [5, 10]
    assert [row["learning_rate"] for row in rows] == pytest.approx([1e-3, 1e-4])
    for row in rows:
        assert row["loss"] == pytest.approx(
            row["classification"] + row["trihard_global"] + row["trihard_local"], rel=1e-5
        )
    assert progress.images_per_second() == pytest.approx(40 / progress.seconds)


def test_the_rate_warms_up_and_falls_in_steps():
    settings = replace(
        SETTINGS, learning_rate=0.8, warmup_epochs=4, decay_epochs=3, decay_factor=0.5
    )
    rates = [settings.learning_rate_at(epoch) for epoch in range(1, 8)]
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.4, 0.4, 0.4, 0.2])


@pytest.mark.parametrize(
    ("loss", "terms"),
    [
        (SOFTMAX, {"classification"}),
        (LossSettings(0.0, True, False, 0.0, False), {"classification", "trihard_global"}),
        (
            LossSettings(0.0, True, True, 0.0, False),
            {"classification", "trihard_global", "trihard_local"},
        ),
        (LossSettings(0.0, False, True, 0.0, False), {"classification", "trihard_local"}),
        (CENTRE, {"classification", "trihard_global", "trihard_local", "centre"}),
        (
            MUTUAL,
            {
                "classification",
                "trihard_global",
                "trihard_local",
                "mutual_classification",
                "mutual_distances",
            },
        ),
    ],
)
def test_every_composition_trains(loss, terms):
    run = loop.train(training_set(), cell(loss, epochs=1))
    assert (
        set(run.progress.history[0])
        == {"epoch", "loss", "accuracy", "learning_rate", "iterations", "images"} | terms
    )


def test_centres_move_towards_their_people_by_the_papers_rate():
    run = Run(2, cell(CENTRE))
    batch, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 0, 0, 1])
    before = [
        module.momentum for module in run.networks[0].modules() if hasattr(module, "momentum")
    ]
    assert before  # batch norms: the features of the step are those of its batch
    with torch.no_grad():
        features = run.networks[0](batch).global_features
    run.step(batch, labels)
    expected = torch.stack([0.5 * features[:3].sum(0) / 4, 0.5 * features[3] / 2])
    torch.testing.assert_close(run.centres[0], expected)


def test_two_networks_start_apart_and_both_learn():
    run = Run(2, cell(MUTUAL))
    before = [network.classifier.weight.detach().clone() for network in run.networks]
    assert not torch.equal(*before)
    run.step(torch.randn(4, 3, 32, 32), torch.tensor([0, 0, 1, 1]))
    for network, weight in zip(run.networks, before, strict=True):
        assert not torch.equal(network.classifier.weight, weight)


def test_the_strong_row_trains_with_everything_on():
    model = replace(
        MODEL, trunk="resnet18", last_layer="layer2", height=64, last_stride=1, bnneck=True
    )
    settings = cell(CENTRE, model, crop="pad", erasing=0.5, warmup_epochs=2)
    data = training_set()
    high = np.repeat(data.plain, 2, axis=1)
    run = loop.train(replace(data, plain=high, enlarged=None), settings)
    assert len(run.progress.history) == 2


def test_colours_are_learnt():
    settings = cell(
        SOFTMAX, epochs=15, decay_epochs=15, people=2, images_each=3, learning_rate=3e-3
    )
    history = loop.train(training_set(), settings).progress.history
    assert history[-1]["loss"] < 0.7 * history[0]["loss"]
    assert history[-1]["accuracy"] > history[0]["accuracy"]


def test_epochs_are_measured_on_held_out_people_and_the_best_is_kept():
    settings = cell(
        SOFTMAX,
        epochs=5,
        decay_epochs=5,
        held_out=4,
        evaluate_epochs=2,
        keep="best",
        learning_rate=3e-3,
    )
    run = loop.train(training_set(14), settings)
    rows = [row for row in run.progress.history if "held_out_mAP" in row]
    measured = {row["epoch"]: row["held_out_mAP"] for row in rows}
    assert list(measured) == [2, 4]
    assert run.people == 10
    last = weights(run)
    network, epoch = run.result()
    assert epoch == max(measured, key=measured.get)
    assert epoch < 5
    assert network.classifier.weight.detach().numpy().tobytes() != last["classifier.weight"]


def test_held_out_people_of_one_camera_cannot_measure():
    data = replace(training_set(14), camids=np.ones(42, np.int64))
    with pytest.raises(InputError, match="no held-out person has images of two cameras"):
        loop.train(data, cell(SOFTMAX, held_out=4, evaluate_epochs=1))


def checkpoints(folder, minutes=60.0):
    file = CheckpointFile(folder / f"{'ab' * 16}.pt")
    return Checkpoints(file, StopRequests(), ResumeSettings(minutes))


def stopped_checkpoints(folder, steps):
    """Checkpoints that stop after `steps` steps, the state saved as at a signal."""
    stopped = checkpoints(folder)
    after_step, states = stopped.after_step, []

    def count_steps(state):
        states.append(state)
        if len(states) == steps:
            stopped.stop_requests.signal = signal.SIGTERM
        after_step(state)

    stopped.after_step = count_steps
    return stopped


@pytest.mark.parametrize("steps", [7, 10])
def test_all_that_a_run_consists_of_is_saved(steps, tmp_path):
    """Layers dropped at random, centres, held-out people and the best epoch; stopped within and
    after an epoch.
    """
    model = replace(MODEL, trunk="efficientnet_b0", bnneck=True)
    settings = cell(
        CENTRE,
        model,
        epochs=3,
        held_out=4,
        evaluate_epochs=1,
        keep="best",
        erasing=0.5,
        warmup_epochs=2,
    )
    unbroken = loop.train(training_set(14), settings)
    with pytest.raises(Stopped):
        loop.train(training_set(14), settings, stopped_checkpoints(tmp_path, steps))
    torch.rand(3)  # whatever happens in between
    resumed = loop.train(training_set(14), settings, checkpoints(tmp_path))
    assert resumed.progress.resumed == 1
    assert resumed.progress.history == unbroken.progress.history
    assert weights(resumed) == weights(unbroken)
    best, expected = resumed.progress.best, unbroken.progress.best
    assert best["epoch"] == expected["epoch"]
    for name, tensor in expected["weights"].items():
        assert torch.equal(best["weights"][name], tensor)
    assert torch.equal(resumed.centres[0], unbroken.centres[0])


def test_a_run_that_diverged_leaves_no_state(tmp_path, monkeypatch):
    monkeypatch.setattr(TrainSettings, "learning_rate_at", lambda *_: 1e30)  # out of its range
    with pytest.raises(InputError, match="has diverged"):
        loop.train(training_set(), cell(ALIGNED), checkpoints(tmp_path, 0.0))
    assert list(tmp_path.iterdir()) == []


def test_measuring_changes_nothing():
    every, every_second = (
        loop.train(training_set(14), cell(SOFTMAX, held_out=4, evaluate_epochs=epochs))
        for epochs in (1, 2)
    )
    assert weights(every) == weights(every_second)


def test_bf16_is_near_fp32():
    shallow = replace(MODEL, trunk="resnet18", last_layer="layer1")
    batch, labels = torch.randn(16, 3, 32, 32), torch.arange(8).repeat_interleave(2)
    losses = [
        Run(8, cell(ALIGNED, shallow, precision=precision)).step(batch, labels)["loss"].item()
        for precision in ("fp32", "bf16")
    ]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_bf16_is_for_the_trunk_alone():
    shallow = replace(MODEL, trunk="resnet18", last_layer="layer1")
    run = Run(8, cell(ALIGNED, shallow, precision="bf16"))
    network, batch = run.networks[0].eval(), torch.randn(4, 3, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        feature_map = network.trunk(batch).float()
    outputs = run._outputs(network, batch)
    torch.testing.assert_close(
        outputs.logits, network.classifier(feature_map.mean((2, 3))), rtol=1e-6, atol=1e-6
    )
    assert {output.dtype for output in outputs} == {torch.float32}


@pytest.mark.skipif(
    shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on the CPU"
)
def test_a_compiled_network_makes_the_same_steps():
    shallow = replace(MODEL, trunk="resnet18", last_layer="maxpool")
    batch, labels = torch.randn(16, 3, 32, 32), torch.arange(8).repeat_interleave(2)
    plain, compiled = (Run(8, cell(SOFTMAX, shallow, compile=is_on)) for is_on in (False, True))
    for _ in range(3):
        expected, loss = plain.step(batch, labels)["loss"], compiled.step(batch, labels)["loss"]
        torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-4)
    assert plain.networks[0].state_dict().keys() == compiled.networks[0].state_dict().keys()


def test_a_step_is_adam_on_the_sum_of_the_terms():
    run = Run(2, cell(ALIGNED))
    network, twin = run.networks[0], Network(MODEL, 2).to(memory_format=torch.channels_last).train()
    twin.load_state_dict(network.state_dict())
    batch, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 0, 1, 1])
    terms = run.step(batch, labels)
    expected = loss_terms(twin(batch), labels, ALIGNED, 0.3)
    assert terms["loss"].item() == pytest.approx(sum(expected.values()).item(), rel=1e-6)
    sum(expected.values()).backward()
    for moved, still in zip(network.parameters(), twin.parameters(), strict=True):
        gradient = still.grad + 5e-4 * still
        step = 1e-3 * gradient / (gradient.abs() + 1e-8)  # Adam's first step
        torch.testing.assert_close(moved, still - step, rtol=1e-3, atol=1e-5)


def test_labels_count_from_zero_by_sorted_pid():
    assert labels_of(np.array([700, 2, 2, 15])).tolist() == [2, 0, 0, 1]


def test_a_batch_too_large_for_the_people_is_refused():
    with pytest.raises(InputError, match="leaves 3 steps an epoch of 10 training people"):
        loop.train(training_set(), cell(ALIGNED, people=3))


def test_no_image_at_all_is_refused():
    empty = TrainingSet(*(array[:0] for array in vars(training_set()).values()))
    with pytest.raises(InputError, match="holds no image"):
        loop.train(empty, cell(ALIGNED))


def test_divergence_stops_the_run(monkeypatch):
    monkeypatch.setattr(TrainSettings, "learning_rate_at", lambda *_: 1e30)  # out of its range
    with pytest.raises(InputError, match="has diverged"):
        loop.train(training_set(), cell(ALIGNED))


SYNTHETIC = ModelSettings("resnet18", "layer2", 64, 32, 8, "none", "", 2, False)
STRONG = ModelSettings("resnet50", "", 256, 128, 8, "none", "", 2, False)


def test_the_maps_that_a_step_keeps_are_those_that_torch_keeps():
    """Of a trunk of one convolution, a BatchNorm and a ReLU in place: its input, and twice a map of
    64 channels on half the sides.
    """
    shallow = replace(SYNTHETIC, last_layer="relu")
    kept = checks.kept_numbers(checks.empty_trunk(shallow), shallow)
    assert kept == pytest.approx(3 * 64 * 32 + 2 * 64 * 32 * 16, rel=0.01)


def test_an_estimate_counts_images_parameters_and_batches():
    settings = cell(ALIGNED, SYNTHETIC)
    estimated = checks.estimate(1000, settings)
    assert estimated.images == 1000 * 3 * (64 * 32 + 72 * 36)
    assert checks.estimate(1000, cell(ALIGNED, SYNTHETIC, crop="none")).images == 1000 * 3 * 64 * 32
    more, both = cell(ALIGNED, SYNTHETIC, images_each=4), cell(MUTUAL, SYNTHETIC)
    assert estimated.networks < checks.estimate(1000, more).networks < 2 * estimated.networks
    assert checks.estimate(1000, both).networks == 2 * estimated.networks
    papers = checks.estimate(12_936, cell(ALIGNED, STRONG, people=8, images_each=4))
    assert 1.5e9 < papers.networks < 3e9
    assert papers.images == 12_936 * 3 * (256 * 128 + 288 * 144)


@pytest.mark.parametrize(("images", "people"), [(100, 10_000), (10_000_000, 8)])
def test_more_memory_than_there_is_is_refused_at_once(images, people):
    largest = replace(STRONG, height=4096, width=4096)
    estimated = checks.estimate(images, cell(ALIGNED, largest, people=people))
    message = r"GB of memory for the decoded images and .* GB are available: lower `model\.height`"
    with pytest.raises(InputError, match=message):
        checks.check_memory(estimated, torch.device("cpu"))


def test_wrong_weights_are_refused_before_anything_is_decoded(tmp_path):
    (tmp_path / "weights.pth").write_bytes(b"")
    model = replace(SYNTHETIC, weights=str(tmp_path / "weights.pth"), weights_sha256="0" * 64)
    with pytest.raises(InputError, match=r"is not the file that params\.yaml means"):
        checks.check([], cell(ALIGNED, model), torch.device("cpu"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, r"`train\.epochs`: got 0, wanted at least 1"),
        ({"learning_rate": -1.0}, r"`train\.learning_rate`: got -1.0, wanted at least 0"),
        ({"weight_decay": math.nan}, r"`train\.weight_decay`: got nan, wanted a finite number"),
        ({"margin": math.inf}, r"`train\.margin`: got inf, wanted a finite number"),
        ({"images_each": 0}, r"`train\.images_each`: got 0, wanted at least 1"),
        ({"seed": -1}, r"`train\.seed`: got -1, wanted at least 0"),
        ({"seed": 2**32}, r"`train\.seed`: got 4294967296, wanted at most 4294967295"),
        ({"warmup_epochs": -1}, r"`train\.warmup_epochs`: got -1, wanted at least 0"),
        ({"precision": "fp8"}, r"`train\.precision`: got 'fp8', wanted one of 'fp32' or 'bf16'"),
        ({"keep": "first"}, r"`train\.keep`: got 'first', wanted one of 'last' or 'best'"),
        ({"keep": "best"}, "set both held_out"),
        ({"held_out": 3}, "set both held_out"),
        ({"held_out": 3, "evaluate_epochs": 3}, "wanted at most the 2 epochs"),
        ({"people": 1, "images_each": 1}, "a batch of one image"),
        ({"decay_factor": 1e300}, r"`train\.decay_factor`: got 1e\+300, wanted at most 1"),
        ({"erasing": 1.1}, r"`train\.erasing`: got 1.1, wanted at most 1"),
        ({"crop": "middle"}, r"`train\.crop`: got 'middle', wanted one of 'enlarge', 'pad' or"),
    ],
)
def test_settings_out_of_range_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        section_settings.make(TrainSettings, {**asdict(SETTINGS), **change}, "train")
