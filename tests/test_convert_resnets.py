"""Checkpoints of torchreid and fast-reid: ResNets give the features of torchvision's with the same
tensors, and what ours cannot be is told by its first tensor.
"""

import json
import sys

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
import yaml
from torch.nn import functional

from reid import model
from reid.images import MEAN, STD
from reid.runtime.errors import InputError
from reid.tools import convert_checkpoint, resnet_checkpoint
from reid.trunk.settings import ModelSettings
from tests.conftest import run_module

SMALL = ModelSettings("resnet18", "", 64, 32, 8, "none", "", 2, False)
RESNET50 = ModelSettings("resnet50", "", 64, 32, 8, "none", "", 2, False)


def theirs(name="resnet18"):
    """A ResNet of torchvision with random weights and moved running means."""
    torch.manual_seed(0)
    network = torchvision.models.get_model(name, weights=None)
    network(torch.randn(8, 3, 64, 32))
    return network.eval()


def trunk_state(network, prefix=""):
    return {
        prefix + name: tensor
        for name, tensor in network.state_dict().items()
        if not name.startswith("fc.")
    }


def of_torchreid(network, prefix="", people=5):
    """As torchreid saves a ResNet, with the states of its optimizer and of its schedule."""
    channels = network.fc.in_features
    state = trunk_state(network)
    state["classifier.weight"] = torch.randn(people, channels)
    state["classifier.bias"] = torch.randn(people)
    optimizer = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [20, 40])
    return {
        "state_dict": {prefix + name: tensor for name, tensor in state.items()},
        "epoch": 60,
        "rank1": np.float64(0.85),
        "optimizer": optimizer.state_dict(),
        "scheduler": schedule.state_dict(),
    }


def of_fast_reid(network, neck="heads.bottleneck.0.", classifier="heads.weight", people=7):
    """As fast-reid saves a bag of tricks with BNNeck; '' leaves neck or classifier out."""
    channels = network.fc.in_features
    state = trunk_state(network, "backbone.")
    if neck:
        norm = torch.nn.BatchNorm2d(channels)
        norm(2 + 3 * torch.randn(8, channels, 1, 1))
        state |= {neck + name: tensor for name, tensor in norm.state_dict().items()}
    if classifier:
        state[classifier] = torch.randn(people, channels)
    state["pixel_mean"] = 255 * torch.tensor(MEAN).view(1, 3, 1, 1)
    state["pixel_std"] = 255 * torch.tensor(STD).view(1, 3, 1, 1)
    return {"model": state, "epoch": 59, "iteration": 1000}


def convert(content, file, settings=SMALL, last_stride=None):
    torch.save(content, file)
    return convert_checkpoint.to_network(
        convert_checkpoint.read(file), settings, file, last_stride
    )[0]


def feature_map(network, images, last_stride):
    """The map before torchvision's pooling, by its own layers."""
    if last_stride == 1:
        block = network.layer4[0]
        strided = block.conv2 if hasattr(block, "conv3") else block.conv1
        strided.stride = block.downsample[0].stride = (1, 1)
    maps = []
    handle = network.layer4.register_forward_hook(lambda *call: maps.append(call[2]))
    with torch.no_grad():
        network(images)
    handle.remove()
    return maps[0]


def unit_maxima(feature_map, stripes=8):
    """Stripes [N, S, C] by their definition."""
    height = feature_map.shape[2]
    bins = [(s * height // stripes, -(-(s + 1) * height // stripes)) for s in range(stripes)]
    rows = [feature_map[:, :, a:b].flatten(2).max(2).values for a, b in bins]
    return functional.normalize(torch.stack(rows, 1), dim=2)


def images():
    return torch.randn(3, 3, 64, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("settings", [SMALL, RESNET50], ids=lambda value: value.trunk)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_resnet_of_torchreid_gives_torchvisions_features(tmp_path, settings, prefix):
    network = theirs(settings.trunk)
    content = of_torchreid(network, prefix)
    converted = convert(content, tmp_path / "model.pth.tar-60", settings).eval()
    assert (converted.people, converted.settings) == (5, settings)
    global_features, stripes = converted.describe(images())
    expected = feature_map(network, images(), 2)
    torch.testing.assert_close(global_features, expected.mean((2, 3)), rtol=0, atol=1e-5)
    torch.testing.assert_close(stripes, unit_maxima(expected), rtol=0, atol=1e-5)
    state = content["state_dict"]
    wanted = functional.linear(
        expected.mean((2, 3)),
        state[f"{prefix}classifier.weight"],
        state[f"{prefix}classifier.bias"],
    )
    torch.testing.assert_close(converted(images()).logits, wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("settings", [SMALL, RESNET50], ids=lambda value: value.trunk)
@pytest.mark.parametrize(
    ("neck", "classifier"),
    [
        ("heads.bottleneck.0.", "heads.weight"),
        ("heads.bnneck.", "heads.classifier.weight"),
        ("", "heads.weight"),
        ("heads.bottleneck.0.", ""),
    ],
)
def test_a_resnet_of_fast_reid_gives_features_after_its_bnneck(
    tmp_path, settings, neck, classifier
):
    network = theirs(settings.trunk)
    content = of_fast_reid(network, neck, classifier)
    converted = convert(content, tmp_path / "model_best.pth", settings).eval()
    assert converted.people == (7 if classifier else 1)
    assert (converted.settings.last_stride, converted.settings.bnneck) == (1, bool(neck))
    global_features, stripes = converted.describe(images())
    expected = feature_map(network, images(), 1)
    state, wanted = content["model"], expected.mean((2, 3))
    if neck:
        mean, deviation = state[f"{neck}running_mean"], (state[f"{neck}running_var"] + 1e-5).sqrt()
        wanted = (wanted - mean) / deviation * state[f"{neck}weight"] + state[f"{neck}bias"]
    torch.testing.assert_close(global_features, wanted, rtol=0, atol=2e-5)
    torch.testing.assert_close(stripes, unit_maxima(expected), rtol=0, atol=1e-5)
    if classifier:
        logits = functional.linear(wanted, state[classifier])
        torch.testing.assert_close(converted(images()).logits, logits, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("layout", "other"), [(of_torchreid, 1), (of_fast_reid, 2)])
def test_the_last_stride_may_be_set(tmp_path, layout, other):
    network = theirs()
    converted = convert(layout(network), tmp_path / "best.pth", last_stride=other).eval()
    assert converted.settings.last_stride == other
    expected = unit_maxima(feature_map(network, images(), other))
    torch.testing.assert_close(converted.describe(images())[1], expected, rtol=0, atol=1e-5)


def test_what_the_file_lacks_is_the_same_each_time_and_random_numbers_stay():
    state = of_fast_reid(theirs())["model"]
    torch.manual_seed(3)
    one = resnet_checkpoint.to_network(state, SMALL, "a", None)
    torch.manual_seed(4)
    before = torch.get_rng_state()
    other = resnet_checkpoint.to_network(state, SMALL, "a", None)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.conv.weight, other.conv.weight)


@pytest.mark.parametrize(("layout", "epoch"), [(of_torchreid, 60), (of_fast_reid, 60)])
def test_epochs_count_from_1_in_torchreid_and_from_0_in_fast_reid(tmp_path, layout, epoch):
    torch.save(layout(theirs()), tmp_path / "best.pth")
    assert convert_checkpoint.read(tmp_path / "best.pth").epoch == epoch


TORCHREID, FAST_REID = "torchreid", "fast-reid"


@pytest.mark.parametrize(
    ("layout", "name", "shape", "what"),
    [
        (TORCHREID, "layer1.0.bn1.IN.weight", (32,), r"instance normalisation \(IBN\)"),
        (FAST_REID, "backbone.layer1.0.bn1.IN.weight", (32,), r"instance normalisation \(IBN\)"),
        (FAST_REID, "backbone.NL_2.0.theta.weight", (256, 512, 1, 1), "non-local blocks"),
        (FAST_REID, "backbone.layer1.0.se.fc.0.weight", (4, 64), "squeeze-and-excitation"),
        (TORCHREID, "conv1.conv.weight", (64, 3, 7, 7), "an OSNet"),
        (FAST_REID, "backbone.conv1.conv.weight", (64, 3, 7, 7), "an OSNet"),
        (TORCHREID, "conv2.0.conv2b.0.conv1.weight", (64, 64, 1, 1), "an OSNet"),
        (FAST_REID, "backbone.cls_token", (1, 1, 768), "a vision transformer"),
        (TORCHREID, "base.cls_token", (1, 1, 768), "a vision transformer"),
        (TORCHREID, "blocks.0.attn.qkv.weight", (2304, 768), "a vision transformer"),
        (FAST_REID, "heads.pool_layer.p", (1,), r"generalised means \(GeM\)"),
        (FAST_REID, "heads.bottleneck.0.weight", (512, 512, 1, 1), "a further convolution behind"),
        (TORCHREID, "fc.0.weight", (512, 512), "a further layer behind the pooling"),
        (TORCHREID, "fc.weight", (1000, 512), r"a classifier of pictures.*`model\.weights`"),
        (TORCHREID, "classifier.0.weight", (5, 256), "several parts"),
        (FAST_REID, "b1_head.weight", (5, 256), "several parts"),
        (TORCHREID, "base.conv1.weight", (64, 3, 7, 7), "may lack its first ReLU"),
    ],
)
def test_another_network_is_told_by_its_first_tensor(tmp_path, layout, name, shape, what):
    content = of_torchreid(theirs()) if layout == TORCHREID else of_fast_reid(theirs())
    content["state_dict" if layout == TORCHREID else "model"][name] = torch.zeros(shape)
    text = ", ".join(map(str, shape))
    with pytest.raises(
        InputError, match=rf"best\.pth gives no model: its tensor {name} \[{text}\] is of .*{what}"
    ):
        convert(content, tmp_path / "best.pth")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"layer4.2.conv1.weight": torch.zeros(512, 512, 3, 3)},
            "got .512, 512, 3, 3., wanted none",
        ),
        (
            {"layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1)},
            "got .64, 64, 1, 1., wanted .64, 64",
        ),
        ({"layer3.1.bn2.running_var": None}, "got none, wanted .256."),
        ({"attention.weight": torch.zeros(3)}, "tensor attention.weight .*wanted none"),
        ({"classifier.weight": torch.zeros(5, 256)}, "got .5, 256., wanted .5, 512."),
    ],
)
def test_the_first_tensor_that_differs_is_named(tmp_path, change, message):
    content = of_torchreid(theirs())
    state = {**content["state_dict"], **change}
    content["state_dict"] = {name: value for name, value in state.items() if value is not None}
    with pytest.raises(InputError, match=f"does not fit the trunk resnet18 .*{message}"):
        convert(content, tmp_path / "best.pth")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("classifier.weight", lambda t: t[0], r"got \[512\], wanted \[people, channels\]"),
        ("classifier.weight", lambda t: t[:0], r"got \[0, 512\], wanted \[people, channels\]"),
        ("classifier.weight", lambda t: t.to_sparse(), "a sparse tensor"),
        ("classifier.weight", lambda t: t[:1, :1].expand(10**12, 512), "(repeats|wanted)"),
        ("conv1.weight", lambda t: t * torch.nan, "NaN or infinite"),
        ("conv1.weight", lambda t: t.int(), "the type int32"),
    ],
)
def test_tensors_that_are_no_weights_are_named(name, change, message):
    state = of_torchreid(theirs())["state_dict"]
    state[name] = change(state[name])
    with pytest.raises(InputError, match=message):
        resnet_checkpoint.to_network(state, SMALL, "best.pth", None)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.tensor([128.0, 128, 128]), r"its pixel_mean is \[128.0, 128.0, 128.0\], wanted"),
        (torch.zeros(1), r"pixel_mean in a: got the shape \[1\]"),
        (torch.zeros(3).to_sparse(), "pixel_mean in a: got a sparse tensor"),
    ],
)
def test_images_in_other_numbers_are_refused(tensor, message):
    state = of_fast_reid(theirs())["model"]
    with pytest.raises(InputError, match=message):
        resnet_checkpoint.to_network({**state, "pixel_mean": tensor}, SMALL, "a", None)


def test_files_without_batches_tracked_and_in_half_precision_are_taken(tmp_path):
    content = of_torchreid(theirs())
    content["state_dict"] = {
        name: tensor.half()
        for name, tensor in content["state_dict"].items()
        if not name.endswith("num_batches_tracked")
    }
    assert convert(content, tmp_path / "best.pth").people == 5


def command(tmp_path, params_file, content, *options):
    """Convert `content` by the command -> its exit code or error, and the folder to be."""
    params = yaml.safe_load(params_file.read_text())
    params["datasets"]["synthetic"]["model"]["last_layer"] = ""
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    torch.save(content, tmp_path / "best.pth")
    settings = ("--dataset", "synthetic", "--params", tmp_path / "params.yaml")
    out = tmp_path / "out"
    run = ("reid.tools.convert_checkpoint", tmp_path / "best.pth", out, *settings, *options)
    return run_module(*run), out


def test_the_command_writes_a_model_and_tells_what_the_file_could_not(
    tmp_path, params_file, capsys
):
    code, out = command(tmp_path, params_file, of_fast_reid(theirs()))
    assert code == 0
    loaded = model.load(out / "model.safetensors")
    assert (loaded.settings.last_stride, loaded.settings.bnneck, loaded.people) == (1, True, 7)
    assert pd.read_csv(out / "history.csv").to_dict("records") == [{"epoch": 60}]
    assert json.loads((out / "training.json").read_text())["converted_from"] == "best.pth"
    assert json.loads((out / "made_by.json").read_text())["settings"]["model"]["last_stride"] == 1
    told = capsys.readouterr().out
    assert "resnet18 of epoch 60, trained on 7 people: " in told
    assert "fast-reid's: it has no local branch, which only training needs." in told
    assert "The last stride is 1 by default: no tensor tells it" in told


def test_the_command_takes_a_last_stride(tmp_path, params_file, capsys):
    code, out = command(tmp_path, params_file, of_torchreid(theirs()), "--last-stride", "1")
    assert code == 0
    assert model.load(out / "model.safetensors").settings.last_stride == 1
    assert "with a rank-1 of 85.0%" in capsys.readouterr().out


def test_the_command_writes_nothing_where_there_is_no_model(tmp_path, params_file):
    content = of_fast_reid(theirs())
    content["model"]["backbone.NL_2.0.g.weight"] = torch.zeros(1)
    error, out = command(tmp_path, params_file, content)
    assert "gives no model: its tensor backbone.NL_2.0.g.weight" in error
    assert not out.exists()


def test_a_published_file_takes_no_last_stride(tmp_path, params_file):
    content = {"state_dict": {"base.0.weight": torch.zeros(1)}}
    error, _ = command(tmp_path, params_file, content, "--last-stride", "1")
    assert "--last-stride 1" in error
    assert "is of the published code" in error


def test_help_fits_a_screen(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["convert", "--help"])
    with pytest.raises(SystemExit):
        convert_checkpoint.main()
    assert len(capsys.readouterr().out.splitlines()) <= 30
