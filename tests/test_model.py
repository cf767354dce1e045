"""The network: heads against the published code, any trunk, and its file."""

import hashlib
import io
import json
import os
import zipfile

import numpy as np
import pytest
import torch
import torchvision
from safetensors import safe_open
from safetensors.torch import save, save_file
from torch import nn

from reid import model
from reid.model import Network
from reid.runtime.errors import InputError
from reid.trunk.settings import ModelSettings
from reid.trunk.torchvision_model import make_trunk
from tests.conftest import make_settings

SMALL = ModelSettings("shufflenet_v2_x0_5", "", 64, 32, 8, "none", "", 2, False)


@pytest.fixture
def golden():
    arrays = np.load("tests/data/head.npz")
    return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def test_training_head_agrees_with_the_published_code(golden):
    bn, conv = nn.BatchNorm2d(32), nn.Conv2d(32, 12, 1)
    state = {"weight": golden["bn_weight"], "bias": golden["bn_bias"]}
    bn.load_state_dict(state, strict=False)
    conv.load_state_dict({"weight": golden["conv_weight"], "bias": golden["conv_bias"]})
    with torch.no_grad():
        stripes = model.training_stripes(golden["feature_map"], bn.train(), conv, 8)
    np.testing.assert_allclose(stripes.transpose(1, 2), golden["train_local"], rtol=1e-5, atol=1e-6)


def test_test_head_agrees_with_the_published_code(golden):
    stripes = model.test_stripes(golden["feature_map"], 8)
    np.testing.assert_allclose(stripes.transpose(1, 2), golden["test_local"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        golden["feature_map"].mean((2, 3)), golden["global_feature"], rtol=1e-5, atol=1e-6
    )


def test_maps_of_any_height_have_eight_stripes():
    rows = torch.arange(1.0, 17)[None, None, :, None] * torch.tensor([1.0, 0.5])
    both = torch.cat(
        [rows, torch.ones(1, 1, 16, 2)], dim=1
    )  # a second channel, to see which row was taken
    high = model.test_stripes(both, 8)
    assert (high[0, :, 0] / high[0, :, 1]).round().tolist() == [
        2,
        4,
        6,
        8,
        10,
        12,
        14,
        16,
    ]  # the larger of two rows
    low = model.test_stripes(both[:, :, :4], 8)
    assert (low[0, :, 0] / low[0, :, 1]).round().tolist() == [
        1,
        1,
        2,
        2,
        3,
        3,
        4,
        4,
    ]  # each row twice


@pytest.mark.parametrize(
    ("trunk", "channels"),
    [
        ("resnet18", 512),
        ("resnet50", 2048),
        ("resnet101", 2048),
        ("densenet121", 1024),
        ("shufflenet_v2_x1_0", 1024),
        ("mobilenet_v3_large", 960),
        ("convnext_tiny", 768),
    ],
)
def test_any_trunk_gives_features_and_stripes(trunk, channels):
    network = Network(ModelSettings(trunk, "", 64, 32, 8, "none", "", 2, False), people=5).eval()
    images = torch.randn(2, 3, 64, 32, generator=torch.Generator().manual_seed(0))
    outputs = network(images)
    assert outputs.logits.shape == (2, 5)
    assert outputs.global_features.shape == (2, channels)
    assert outputs.stripes.shape == (2, 8, 128)
    global_features, stripes = network.describe(images)
    assert torch.equal(global_features, outputs.global_features)
    assert stripes.shape == (2, 8, channels)
    torch.testing.assert_close(stripes.norm(dim=-1), torch.ones(2, 8))


def test_the_papers_trunk_has_an_eight_by_four_map():
    network = Network(
        ModelSettings("resnet50", "", 256, 128, 8, "none", "", 2, False), people=2
    ).eval()
    with torch.no_grad():
        assert network.trunk(torch.zeros(1, 3, 256, 128)).shape == (1, 2048, 8, 4)


@pytest.mark.parametrize(
    "trunk", ["resnet18", "densenet121", "mobilenet_v3_large", "shufflenet_v2_x1_0"]
)
def test_a_trunks_map_is_torchvisions_own(trunk):
    """Through the layers that torchvision puts behind the trunk, the logits are torchvision's."""
    settings = ModelSettings(trunk, "", 64, 64, 8, "none", "", 2, False)
    torch.manual_seed(0)
    network = torchvision.models.get_model(trunk, weights=None).eval()
    torch.manual_seed(0)
    pooled = make_trunk(settings).eval()(torch.ones(1, 3, 64, 64)).mean((2, 3))
    head = network.fc if hasattr(network, "fc") else network.classifier
    torch.testing.assert_close(head(pooled), network(torch.ones(1, 3, 64, 64)))


def from_file(file, trunk="shufflenet_v2_x0_5", sha256=None):
    """The trunk with the weights of a file, whose SHA-256 is given by default."""
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest() if sha256 is None else sha256
    return make_trunk(ModelSettings(trunk, "", 64, 32, 8, str(file), sha256, 2, False))


def small_state():
    return torchvision.models.shufflenet_v2_x0_5(weights=None).state_dict()


def test_densenet_weights_by_their_old_names(tmp_path):
    network = torchvision.models.densenet121(weights=None)
    published_names = {
        key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): value
        for key, value in network.state_dict().items()
    }
    torch.save(published_names, tmp_path / "weights.pth")
    trunk = from_file(tmp_path / "weights.pth", "densenet121")
    assert torch.equal(trunk.features.conv0.weight, network.features.conv0.weight)


@pytest.mark.parametrize(
    ("nest", "prefix"),
    [
        *((None, ""), (None, "module."), ("state_dict", "base."), ("model", "")),
        *(("net", "backbone."), ("state_dict", "module.backbone.")),
    ],
)
def test_nested_and_prefixed_weights_are_loaded(tmp_path, nest, prefix):
    state = small_state()
    named = {prefix + name: tensor for name, tensor in state.items()}
    named |= {"bottleneck.weight": torch.zeros(3)}  # of another part than the trunk
    content = {nest: named, "epoch": 3, "rank1": np.float64(0.5)} if nest else named
    torch.save(content, tmp_path / "weights.pth.tar")
    trunk = from_file(tmp_path / "weights.pth.tar")
    assert torch.equal(trunk.conv5[0].weight, state["conv5.0.weight"])
    assert torch.equal(trunk.conv1[1].running_var, state["conv1.1.running_var"])


def test_safetensors_and_files_without_a_classifier_are_loaded(tmp_path):
    state = {name: t for name, t in small_state().items() if not name.startswith("fc")}
    save_file(state, tmp_path / "model.safetensors")
    trunk = from_file(tmp_path / "model.safetensors")
    assert torch.equal(trunk.conv1[0].weight, state["conv1.0.weight"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_cast(tmp_path, dtype):
    state = {n: t.to(dtype) if t.is_floating_point() else t for n, t in small_state().items()}
    torch.save(state, tmp_path / "weights.pt")
    weight = from_file(tmp_path / "weights.pt").conv1[0].weight
    assert weight.dtype == torch.float32
    assert torch.equal(weight, state["conv1.0.weight"].float())


def test_files_that_fit_two_ways_or_another_network_are_refused(tmp_path):
    state, file = small_state(), tmp_path / "weights.pth"
    twice = {f"{part}.{name}": t for name, t in state.items() for part in ("teacher", "student")}
    larger = {**state, "stage2.4.branch2.0.weight": torch.zeros(24, 24, 1, 1)}
    bare = {name.removeprefix("conv1."): tensor for name, tensor in state.items()}
    for content, message in (
        (twice, r"holds 2 networks, with the prefixes 'teacher\.', 'student\.'"),
        ({"model": state, "net": state}, "holds weights under each of model, net"),
        (
            larger,
            r"is of another network than torchvision's shufflenet_v2_x0_5, .*stage2\.4\.branch2",
        ),
        (
            bare,
            r"no tensor conv1\.0\.weight \[24, 3, 3, 3\]; .* dict with the keys 0\.weight \[",
        ),
        ({"epoch": 3}, "holds a dict with the keys epoch, wanted tensors by name"),
        ({}, "holds a dict with no key"),
        ([1], "holds a list"),
        ({**state, "extra": 3}, "holds 'extra': int, wanted tensors"),
    ):
        torch.save(content, file)
        with pytest.raises(InputError, match=message):
            from_file(file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.to_sparse(), r"a sparse tensor \(sparse_coo\)"),
        (lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8), "a quantised tensor"),
        (lambda t: t * torch.nan, "NaN or infinite"),
        (lambda t: t.double() * 1e300, "NaN or infinite"),
        (lambda t: t.to(torch.complex64), "complex numbers"),
        (lambda t: t.to(torch.int32), "the type int32"),
        (lambda t: t.to("meta"), "a tensor without numbers"),
        (lambda t: torch.zeros(1).expand(t.shape), "a view that repeats"),
        (lambda t: t[:16], r"the shape \[16, 24, 1, 1\]"),
    ],
)
def test_tensors_that_are_no_weights_are_named(tmp_path, change, message):
    name = "stage2.1.branch2.0.weight"
    state = small_state()
    torch.save({**state, name: change(state[name])}, tmp_path / "weights.pth")
    wanted = r"wanted float32 \[24, 24, 1, 1\], dense and finite"
    with pytest.raises(InputError, match=rf"tensor {name} in .*: got {message}.*{wanted}"):
        from_file(tmp_path / "weights.pth")


def cut(content):
    return content[: len(content) // 2]


def saved(content):
    opened = io.BytesIO()
    torch.save(content, opened)
    return opened.getvalue()


def zipped():
    opened = io.BytesIO()
    with zipfile.ZipFile(opened, "w") as archive:
        archive.writestr("readme.txt", "hello")
    return opened.getvalue()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "empty"),
        (b"weights are at https://example.org", "text that begins with 'weights are at"),
        (b"<!DOCTYPE html><html>Sign in</html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer: .*git lfs pull"),
        (zipped(), r"a zip archive with readme\.txt: unpack it"),
        (b"\x08\x08\x12\x07pytorch\x1a\x052.1.0", "an ONNX model"),
        (b"\x93NUMPY\x01\x00", "a NumPy array"),
        (cut(saved({"x": torch.zeros(1000)})), "a zip archive, as torch writes .* cut short"),
        (cut(save({"x": torch.zeros(1000)})), "a damaged safetensors file"),
        (bytes(range(256)), "damaged, cut short or of another kind"),
    ],
    ids=["empty", "text", "html", "lfs", "zip", "onnx", "npy", "cut", "cut2", "bytes"],
)
def test_files_that_are_no_weights_are_named_by_kind(tmp_path, content, kind):
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(InputError, match=rf"weights\.pth holds no weights .*: it is {kind}"):
        from_file(tmp_path / "weights.pth")


def test_a_pipe_is_no_file_of_weights(tmp_path):
    os.mkfifo(tmp_path / "weights.pth")
    with pytest.raises(InputError, match=r"cannot read .*weights\.pth: it is no plain file"):
        from_file(tmp_path / "weights.pth", sha256="")


def test_code_in_weights_is_refused(tmp_path):
    torch.save(torchvision.models.shufflenet_v2_x0_5(weights=None), tmp_path / "weights.pth")
    with pytest.raises(InputError, match=r"refused, .*Python object torchvision\.models\.shuff"):
        from_file(tmp_path / "weights.pth")


def test_the_file_must_be_the_one_that_params_name(tmp_path):
    file = tmp_path / "weights.pth"
    torch.save(small_state(), file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    with pytest.raises(InputError, match=f"weights_sha256` is empty: write its SHA-256 .*{digest}"):
        from_file(file, sha256="")
    with pytest.raises(InputError, match=f"its SHA-256 is {digest}, and .* is {'0' * 64}"):
        from_file(file, sha256="0" * 64)


@pytest.mark.parametrize(
    ("weights", "sha256", "message"),
    [
        ("IMAGENET1K_V1", "0" * 64, "weights_sha256 is set, but weights is IMAGENET1K_V1"),
        ("none", "0" * 64, "weights_sha256 is set, but weights is none"),
        ("a.pth", "0" * 63, "64 digits from 0 to f"),
        ("a.pth", "G" * 64, "64 digits from 0 to f"),
    ],
)
def test_a_digest_that_cannot_be_meant_is_refused(weights, sha256, message):
    with pytest.raises(InputError, match=message):
        make_settings(ModelSettings, "model", "resnet18", "", 64, 32, 8, weights, sha256, 2, False)


def test_a_download_that_has_changed_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/resnet18-f37072fd.pth").write_bytes(saved(small_state()))
    with pytest.raises(InputError, match="that in its name begins with f37072fd"):
        make_trunk(ModelSettings("resnet18", "", 64, 32, 8, "IMAGENET1K_V1", "", 2, False))


def test_weights_that_cannot_be_had_say_where_to_put_the_file(tmp_path, monkeypatch):
    import urllib.error

    def offline(*args, **kwargs):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", offline)
    monkeypatch.setattr("torch.hub.urlopen", offline)
    with pytest.raises(
        InputError, match=rf"Put that file at {tmp_path}/checkpoints/resnet18-\w+\.pth"
    ):
        make_trunk(ModelSettings("resnet18", "", 64, 32, 8, "IMAGENET1K_V1", "", 2, False))


@pytest.mark.parametrize(
    ("trunk", "weights", "message"),
    [
        ("resnet51", "none", "unknown trunk 'resnet51'.*near it: .*resnet50"),
        ("vit_b_16", "none", "unknown trunk 'vit_b_16'"),
        (
            "resnet18",
            "IMAGENET",
            "unknown weights 'IMAGENET'.*choose one of IMAGENET1K_V1, DEFAULT, none, or",
        ),
        ("resnet18", "missing.pth", "cannot read missing.pth: No such file"),
    ],
)
def test_unknown_trunks_and_weights_are_named_with_the_choices(trunk, weights, message):
    with pytest.raises(InputError, match=message):
        make_trunk(ModelSettings(trunk, "", 64, 32, 8, weights, "", 2, False))


def test_a_trunk_may_end_at_an_earlier_layer():
    network = Network(
        ModelSettings("resnet18", "layer2", 64, 32, 8, "none", "", 2, False), people=2
    ).eval()
    assert list(network.trunk._modules)[-1] == "layer2"
    with torch.no_grad():
        assert network.trunk(torch.zeros(1, 3, 64, 32)).shape == (1, 128, 8, 4)
    with pytest.raises(
        InputError,
        match=r"unknown layer 'layer9'.*: choose one of conv1, bn1, relu, maxpool, layer1",
    ):
        make_trunk(ModelSettings("resnet18", "layer9", 64, 32, 8, "none", "", 2, False))


def test_sizes_too_small_are_refused():
    with pytest.raises(InputError, match=r"model\.height`: got 16, wanted at least 32"):
        make_settings(ModelSettings, "model", "resnet18", "", 16, 64, 8, "none", "", 2, False)


def test_a_saved_network_is_the_same_network(tmp_path):
    network = Network(SMALL, people=3)
    network(torch.randn(4, 3, 64, 32))  # moves the running means of BatchNorm
    model.save(network, tmp_path / "model.safetensors")
    read = model.load(tmp_path / "model.safetensors")
    assert (read.settings, read.people) == (SMALL, 3)
    images = torch.ones(2, 3, 64, 32)
    for written, features in zip(
        network.eval().describe(images), read.eval().describe(images), strict=True
    ):
        assert torch.equal(written, features)


def test_a_missing_cut_or_foreign_model_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.safetensors is no model"):
        model.load(tmp_path / "none.safetensors")
    model.save(Network(SMALL, people=3), tmp_path / "model.safetensors")
    content = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"cut\.safetensors is no model"):
        model.load(tmp_path / "cut.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(InputError, match=r"foreign\.safetensors is no model"):
        model.load(tmp_path / "foreign.safetensors")


def damaged(tmp_path, **changes):
    """Our own file of a network with other tensors."""
    file = tmp_path / "model.safetensors"
    model.save(Network(SMALL, people=3), file)
    with safe_open(file, framework="pt") as opened:
        header, state = opened.metadata(), {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    name = "classifier.weight"
    state |= {change: function(state[name]) for change, function in changes.items()}
    save_file(state, file, metadata=header)
    return file


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"bn.bias": lambda t: t.clone()},
            r"tensor bn\.bias .*the shape \[3, 1024\], wanted float32",
        ),
        ({"more": lambda t: t.clone()}, "its tensor more is absent or superfluous"),
        ({"classifier.weight": lambda t: t / 0}, r"classifier\.weight .*NaN or infinite"),
        ({"classifier.weight": lambda t: t.int()}, "the type int32, wanted float32"),
    ],
)
def test_a_model_with_other_tensors_is_named(tmp_path, changes, message):
    file = damaged(tmp_path, **changes)
    with pytest.raises(InputError, match=f"is no model of this project: .*{message}.* Run its"):
        model.load(file)


@pytest.mark.parametrize(
    "header",
    ["[]", "{", "1", '{"settings": [], "people": 3}', '{"settings": {}, "people": 3}', '"x"'],
)
def test_a_model_with_another_header_is_named(tmp_path, header):
    save_file({"x": torch.zeros(1)}, tmp_path / "m.safetensors", metadata={"network": header})
    with pytest.raises(InputError, match="is no model of this project"):
        model.load(tmp_path / "m.safetensors")


@pytest.mark.parametrize("people", [10**15, 10**30, -1, None, "x", [2]])
def test_a_model_of_an_absurd_number_of_people_is_named(tmp_path, people):
    file = damaged(tmp_path)
    with safe_open(file, framework="pt") as opened:
        about = json.loads(opened.metadata()["network"])
        state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    header = {"network": json.dumps({**about, "people": people})}
    save_file(state, file, metadata=header)
    with pytest.raises(InputError, match="is no model of this project"):
        model.load(file)


@pytest.mark.parametrize(
    ("trunk", "last_layer", "wanted"),
    [
        ("resnet18", "", (512, 4, 2)),
        ("resnet50", "", (2048, 4, 2)),
        ("resnext50_32x4d", "", (2048, 4, 2)),
        ("resnet18", "layer2", (128, 16, 8)),
        ("resnet18", "maxpool", (64, 32, 16)),
        ("shufflenet_v2_x0_5", "stage4", (192, 4, 2)),
    ],
)
def test_a_last_stride_of_one_doubles_the_map_and_keeps_the_weights(trunk, last_layer, wanted):
    maps, states = [], []
    for last_stride in (2, 1):
        torch.manual_seed(0)
        trunk_module = make_trunk(
            ModelSettings(trunk, last_layer, 64, 32, 8, "none", "", last_stride, False)
        ).eval()
        states.append(trunk_module.state_dict())
        with torch.no_grad():
            images = torch.randn(1, 3, 64, 32, generator=torch.Generator().manual_seed(1))
            maps.append(trunk_module(images))
    assert maps[0].shape == (1, wanted[0], wanted[1] // 2, wanted[2] // 2)
    assert maps[1].shape == (1, *wanted)
    assert list(states[0]) == list(states[1])
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_strong_trunk_has_a_sixteen_by_eight_map():
    network = Network(
        ModelSettings("resnet50", "", 256, 128, 8, "none", "", 1, True), people=2
    ).eval()
    with torch.no_grad():
        assert network.trunk(torch.zeros(1, 3, 256, 128)).shape == (1, 2048, 16, 8)


@pytest.mark.parametrize(
    ("trunk", "last_layer", "message"),
    [
        (
            "resnet18",
            "layer1",
            "`layer1`, does not halve the map once: it would be 16 x 8 instead of 16 x 8",
        ),
        ("shufflenet_v2_x0_5", "", "`conv5`, does not halve"),
        (
            "mobilenet_v3_small",
            "",
            "`features`, does not halve the map once: it would be 64 x 32 instead of 2 x 1",
        ),
    ],
)
def test_a_last_layer_that_does_not_halve_the_map_is_named(trunk, last_layer, message):
    with pytest.raises(InputError, match=message):
        make_trunk(ModelSettings(trunk, last_layer, 64, 32, 8, "none", "", 1, False))


@pytest.mark.parametrize("last_stride", [0, 3])
def test_a_last_stride_that_is_not_one_or_two_is_refused(last_stride):
    with pytest.raises(InputError, match=r"model\.last_stride.* wanted one of 1 or 2"):
        make_settings(
            ModelSettings, "model", "resnet18", "", 64, 32, 8, "none", "", last_stride, False
        )


def test_bnneck_stands_between_the_global_feature_and_a_classifier_without_bias():
    torch.manual_seed(0)
    network = Network(
        ModelSettings("resnet18", "layer1", 64, 32, 8, "none", "", 2, True), people=3
    ).train()
    images = torch.randn(6, 3, 64, 32)
    outputs = network(images)
    features = outputs.global_features
    normal = (features - features.mean(0)) / (
        features.var(0, correction=0) + 1e-5
    ).sqrt()  # scale 1, bias 0
    torch.testing.assert_close(
        outputs.logits, normal @ network.classifier.weight.T, rtol=1e-4, atol=1e-5
    )
    assert network.classifier.bias is None
    outputs.logits.square().sum().backward()
    assert network.neck.bias.grad is None
    assert network.neck.weight.grad is not None
    mean, var = network.neck.running_mean, network.neck.running_var
    global_features, stripes = network.eval().describe(images)
    with torch.no_grad():
        before = network(images).global_features
    torch.testing.assert_close(global_features, (before - mean) / (var + 1e-5).sqrt())
    assert not torch.allclose(global_features, before)
    assert stripes.shape == (6, 8, 64)


def test_without_bnneck_the_classifier_sees_the_global_feature():
    network = Network(SMALL, people=3).eval()
    outputs = network(torch.randn(2, 3, 64, 32))
    torch.testing.assert_close(outputs.logits, network.classifier(outputs.global_features))
    assert not any(name.startswith("neck") for name in network.state_dict())


def test_a_strong_network_is_the_same_from_its_file(tmp_path):
    network = Network(ModelSettings("resnet18", "layer2", 64, 32, 8, "none", "", 1, True), people=3)
    network(torch.randn(4, 3, 64, 32))
    model.save(network, tmp_path / "model.safetensors")
    read = model.load(tmp_path / "model.safetensors")
    images = torch.ones(2, 3, 64, 32)
    for written, features in zip(
        network.eval().describe(images), read.eval().describe(images), strict=True
    ):
        assert torch.equal(written, features)


def test_the_same_network_makes_the_same_bytes(tmp_path):
    network = Network(SMALL, people=3)
    for number in range(8):
        model.save(network, tmp_path / f"{number}.safetensors")
    assert len({file.read_bytes() for file in tmp_path.iterdir()}) == 1


def test_a_file_whose_header_lacks_a_key_is_named(tmp_path):
    file = tmp_path / "model.safetensors"
    model.save(Network(SMALL, people=3), file)
    with safe_open(file, framework="pt") as opened:
        header, state = opened.metadata(), {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    about = json.loads(header["network"])
    del about["settings"]["bnneck"]
    save_file(state, file, metadata={"network": json.dumps(about)})
    with pytest.raises(
        InputError, match=r"is no model of this project: .*bnneck.* Run its train stage anew"
    ):
        model.load(file)
