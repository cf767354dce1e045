"""ONNX files: the same features by another runtime, and a clear word where there can be none."""

import json
import re
import sys

import numpy as np
import pytest
import torch
from torch import nn

from reid import images, model
from reid.model import Network
from reid.runtime.errors import InputError
from reid.tools import export, onnx_network
from reid.trunk.settings import ModelSettings
from tests.conftest import run_module

BUILT_IN = ("resnet18", "layer2", 64, 32, 8, "none", "", 2, False)


@pytest.fixture
def runtime():
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnx")
    return pytest.importorskip("onnxruntime")


def made(*values):
    """A network of random weights whose features are of ordinary size and differ between images."""
    torch.manual_seed(0)
    network = Network(ModelSettings(*values), people=3)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d):
            layer.momentum = None  # the mean over all batches: the one below
    height, width = network.settings.height, network.settings.width
    network(torch.randn(32, 3, height, width), with_stripes=False)
    return network.eval()


def features(runtime, file, batch):
    session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return session.run(["global_features", "stripes"], {"images": batch})


@pytest.mark.parametrize(
    ("settings", "rows"),
    [
        (BUILT_IN, 8),
        (("resnet50", "", 96, 64, 8, "none", "", 1, True), 6),  # fewer rows than stripes
        (("mobilenet_v2", "", 160, 64, 3, "none", "", 2, False), 5),
        (("densenet121", "", 96, 64, 2, "none", "", 2, True), 3),
        (("shufflenet_v2_x1_0", "stage3", 96, 32, 4, "none", "", 2, True), 6),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_onnxruntime_agrees_with_torch(tmp_path, runtime, settings, rows):
    network, file = made(*settings), tmp_path / "model.onnx"
    assert export.export(network, file) <= 1e-4
    height, width = network.settings.height, network.settings.width
    random = np.random.default_rng(1)
    for count in (1, 2, 5, 7):
        batch = random.integers(0, 256, (count, height, width, 3), np.uint8)
        normalised = images.normalise(torch.from_numpy(batch))
        assert network.trunk(normalised).shape[2] == rows
        wanted = network.describe(normalised)
        for got, expected in zip(features(runtime, file, batch), wanted, strict=True):
            assert got.shape == expected.shape
            largest = float(expected.abs().max())
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4 * largest)
            assert float(expected.std()) > 0.01 * largest  # 1e-4 means something


@pytest.mark.parametrize("stripes", [1, 2, 3, 5, 8, 13, 256])
@pytest.mark.parametrize("height", [1, 2, 3, 6, 7, 8, 12, 16, 25])
def test_stripes_of_constant_bins_are_those_of_adaptive_pooling(height, stripes):
    feature_map = torch.randn(2, 3, height, 4)
    wanted = model.test_stripes(feature_map, stripes)
    got = onnx_network.constant_stripes(feature_map, stripes)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-6)


def test_the_command_writes_one_file_that_says_how_to_prepare_images(tmp_path, runtime, capsys):
    network = made(*BUILT_IN)
    model.save(network, tmp_path / "model.safetensors")
    arguments = (tmp_path / "model.safetensors", tmp_path / "out/model.onnx")
    assert run_module("reid.tools.export", *arguments) == 0
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["model.onnx"]
    session = runtime.InferenceSession(str(tmp_path / "out/model.onnx"))
    (taken,) = session.get_inputs()
    assert (taken.name, taken.type, taken.shape) == (
        "images",
        "tensor(uint8)",
        ["batch", 64, 32, 3],
    )
    assert [output.name for output in session.get_outputs()] == ["global_features", "stripes"]
    about = session.get_modelmeta().custom_metadata_map
    assert about["images"] == "RGB, resized to 64 x 32 by Pillow's bilinear filter"
    assert ModelSettings(**json.loads(about["network"])) == network.settings
    content = (tmp_path / "out/model.onnx").read_bytes()
    assert b"site-packages" not in content
    assert b".py" not in content
    assert re.search(
        r"resnet18: images, uint8 RGB \[N, 64, 32, 3\] -> global_features \[N, 128\], stripes "
        r"\[N, 8, 128\]; onnxruntime differs from torch by at most \d\.\de-0[5-9]: ",
        capsys.readouterr().out,
    )


def test_nothing_is_written_where_the_features_differ(tmp_path, runtime, monkeypatch):
    model.save(made(*BUILT_IN), tmp_path / "model.safetensors")
    right = onnx_network.constant_stripes
    monkeypatch.setattr(onnx_network, "constant_stripes", lambda *args: 1.001 * right(*args))
    out = tmp_path / "model.onnx"
    error = run_module("reid.tools.export", tmp_path / "model.safetensors", out)
    assert "features of resnet18 differ from torch's by 1.0e-03 of the largest number" in error
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


class Peeking(nn.Module):
    """Decides by the numbers of a batch, which no graph can hold."""

    def forward(self, batch):
        return batch if batch.sum() > 0 else -batch


@pytest.mark.usefixtures("runtime")
def test_a_trunk_that_cannot_be_exported_is_named_with_the_reason(tmp_path):
    network = made(*BUILT_IN)
    network.trunk.add_module("peeking", Peeking())
    with pytest.raises(
        InputError, match=r"trunk resnet18 cannot be exported to ONNX: .*data-dependent"
    ):
        export.export(network, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_weights_beyond_what_a_file_holds_are_named(tmp_path, runtime, monkeypatch):
    monkeypatch.setattr(onnx_network, "MOST_BYTES", 10**6)
    with pytest.raises(InputError, match=r"resnet18 has 0\.0 GB of weights.*at most 2 GB"):
        export.export(made(*BUILT_IN), tmp_path / "model.onnx")


@pytest.mark.parametrize("package", onnx_network.PACKAGES)
def test_without_the_extra_the_error_says_what_to_type(tmp_path, monkeypatch, package):
    model.save(made(*BUILT_IN), tmp_path / "model.safetensors")
    if package != "onnx":
        monkeypatch.setattr(onnx_network, "PACKAGES", (package,))
    monkeypatch.setitem(sys.modules, package, None)
    out = tmp_path / "model.onnx"
    error = run_module("reid.tools.export", tmp_path / "model.safetensors", out)
    assert f"{package} cannot be imported" in error
    assert "pip install --constraint constraints.txt --editable '.[onnx]'" in error
    assert not out.exists()


def test_a_file_that_is_no_model_is_named(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"text")
    error = run_module("reid.tools.export", tmp_path / "model.safetensors", tmp_path / "model.onnx")
    assert "model.safetensors is no model of this project" in error
    assert not (tmp_path / "model.onnx").exists()


def test_drawn_images_are_people_and_differ():
    drawn = export.drawn_images(5, 64, 32)
    assert (drawn.shape, drawn.dtype) == ((5, 64, 32, 3), np.uint8)
    assert len({picture.tobytes() for picture in drawn}) == 5
    assert all(picture.std() > 10 for picture in drawn)
