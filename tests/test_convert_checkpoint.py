"""Published checkpoints: the same features after conversion, old files, broken and hostile ones,
and the graph.
"""

import copy
import hashlib
import io
import json
import os
import pickle
import shutil
import sys
import types
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from reid import model
from reid.model import Network
from reid.results import provenance
from reid.runtime import made_by
from reid.runtime.errors import InputError
from reid.tools import convert_checkpoint, published_checkpoint
from reid.trunk.settings import ModelSettings
from tests.test_pipeline import Clone

SMALL = ModelSettings("resnet18", "", 64, 32, 8, "none", "", 2, False)
CHILDREN = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
LEGACY = {"_use_new_zipfile_serialization": False}


def made(settings=SMALL, people=5):
    torch.manual_seed(0)
    network = Network(settings, people)
    network(
        torch.randn(4, 3, settings.height, settings.width)
    )  # moves the running means of BatchNorm
    return network.eval()


RANK1 = np.float32(0.918)


def published(network, prefix="", rank1=RANK1):
    """A network of ours as the published code saves it, under the names of its children."""
    state = {}
    for name, tensor in network.state_dict().items():
        for index, child in enumerate(CHILDREN):
            name = name.replace(f"trunk.{child}.", f"base.{index}.", 1)
        state[
            prefix + (name.replace("conv.", "conv1.", 1) if name.startswith("conv.") else name)
        ] = tensor
    return {"state_dict": state, "rank1": rank1, "epoch": 299}  # counted from 0


class Python2Pickler(pickle._Pickler):
    """Writes text and bytes alike, in opcode SHORT_BINSTRING, and ordered dicts as lists, as
    Python 2 does.
    """

    def save_string(self, text):
        content = text.encode("latin1") if isinstance(text, str) else text
        self.write(pickle.SHORT_BINSTRING + bytes([len(content)]) + content)
        self.memoize(text)

    def reducer_override(self, obj):
        if type(obj) is not OrderedDict:
            return NotImplemented
        return OrderedDict, ([[name, value] for name, value in obj.items()],), {"_metadata": {}}

    dispatch = pickle._Pickler.dispatch | {str: save_string, bytes: save_string}


def save_as_python2(content, file):
    """A file as Python 2, torch 0.4 and an old NumPy wrote it on a GPU."""

    def dump(obj, opened, protocol):
        Python2Pickler(opened, protocol).dump(obj)

    python2 = types.SimpleNamespace(__name__="pickle2", Pickler=Python2Pickler, dump=dump)
    opened = io.BytesIO()
    torch.save(content, opened, pickle_module=python2, pickle_protocol=2, **LEGACY)
    written = opened.getvalue()
    for new, old in (
        (b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"),
        (b"ctorch\nFloatStorage\n", b"ctorch.cuda\nFloatStorage\n"),
        (b"U\x03cpu", b"U\x06cuda:0"),
    ):
        assert new in written
        written = written.replace(new, old)
    file.write_bytes(written)


def convert(file, settings=SMALL):
    return convert_checkpoint.to_network(convert_checkpoint.read(file), settings, file)[0]


def assert_same_features(one, other):
    images = torch.randn(3, 3, 64, 32, generator=torch.Generator().manual_seed(1))
    for ours, theirs in zip(
        one.eval().describe(images), other.eval().describe(images), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    torch.testing.assert_close(one(images).stripes, other(images).stripes, rtol=0, atol=1e-5)
    torch.testing.assert_close(one(images).logits, other(images).logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("trunk", ["resnet18", "resnet50"])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("kind", [{}, LEGACY], ids=["zip", "legacy"])
def test_features_are_the_same_after_conversion(tmp_path, trunk, prefix, kind):
    settings = ModelSettings(trunk, "", 64, 32, 8, "none", "", 2, False)
    network = made(settings)
    torch.save(published(network, prefix), tmp_path / "best.pth.tar", **kind)
    converted = convert(tmp_path / "best.pth.tar", settings)
    assert converted.people == 5
    assert_same_features(converted, network)


def test_a_published_network_has_none_of_the_later_tricks(tmp_path):
    """It was trained without, so `model.last_stride` and `model.bnneck` do not apply to it."""
    network = made()
    torch.save(published(network), tmp_path / "best.pth.tar")
    converted = convert(
        tmp_path / "best.pth.tar", ModelSettings("resnet18", "", 64, 32, 8, "none", "", 1, True)
    )
    assert converted.settings == SMALL
    assert_same_features(converted, network)


@pytest.mark.parametrize("rank1", [np.float32(0.918), np.float64(0.918)])
def test_a_file_of_python_2_from_a_gpu(tmp_path, rank1):
    network = made()
    content = published(network, "module.", rank1=rank1)
    state = content["state_dict"]
    content["state_dict"] = OrderedDict(
        (name, state[name]) for name in state if "num_batches" not in name
    )
    save_as_python2(content, tmp_path / "old.pth.tar")
    checkpoint = convert_checkpoint.read(tmp_path / "old.pth.tar")
    assert checkpoint.epoch == 300
    assert checkpoint.rank1 == pytest.approx(0.918)
    assert_same_features(convert_checkpoint.to_network(checkpoint, SMALL)[0], network)


@pytest.mark.parametrize("rank1", [np.float32(0.5), np.float64(0.5), 0.5])
@pytest.mark.parametrize("kind", [{}, LEGACY], ids=["zip", "legacy"])
def test_rank1_may_be_any_float(tmp_path, rank1, kind):
    torch.save(
        {"state_dict": {"x": torch.zeros(1)}, "rank1": rank1, "epoch": 6}, tmp_path / "a", **kind
    )
    assert convert_checkpoint.read(tmp_path / "a")[1:] == (7, 0.5)


@pytest.mark.parametrize(
    ("epoch", "wanted"), [(0, 1), (299, 300), (-1, None), (True, None), (2.0, None), (10**40, None)]
)
def test_epochs_count_from_0_in_the_file_and_from_1_here(tmp_path, epoch, wanted):
    torch.save({"state_dict": {"x": torch.zeros(1)}, "epoch": epoch}, tmp_path / "a")
    assert convert_checkpoint.read(tmp_path / "a").epoch == wanted


@pytest.mark.parametrize("rank1", [np.int64(3), float("nan"), float("inf"), -0.1, 91.8])
def test_epoch_and_rank1_may_be_missing_or_strange(tmp_path, rank1):
    torch.save({"state_dict": {"x": torch.zeros(1)}, "rank1": rank1}, tmp_path / "a")
    assert convert_checkpoint.read(tmp_path / "a")[1:] == (None, None)


class Harm:
    """Pickles to a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("kind", [{}, LEGACY], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    ("function", "name"),
    [(os.mkdir, r"posix\.mkdir"), (exec, "exec"), (np.load, "numpy.load"), (print, "print")],
)
def test_code_in_a_file_is_refused_and_not_run(tmp_path, monkeypatch, capsys, kind, function, name):
    monkeypatch.chdir(tmp_path)
    argument = "import os; os.mkdir('harm')" if function is exec else "harm"
    torch.save({**published(made()), "rank1": Harm(function, argument)}, "evil.pth.tar", **kind)
    with pytest.raises(
        InputError,
        match=rf"evil\.pth\.tar was refused.*nothing.*asks for the Python object {name},",
    ):
        convert_checkpoint.read("evil.pth.tar")
    assert not Path("harm").exists()
    assert capsys.readouterr().out == ""


def test_what_is_allowed_while_reading_is_not_allowed_afterwards(tmp_path):
    torch.save({"state_dict": {"x": torch.zeros(1)}, "rank1": np.float64(0.5)}, tmp_path / "a")
    before = set(torch.serialization.get_safe_globals())
    convert_checkpoint.read(tmp_path / "a")
    assert set(torch.serialization.get_safe_globals()) == before


def test_a_plain_pickle_is_refused(tmp_path):
    (tmp_path / "evil.pth.tar").write_bytes(
        pickle.dumps(Harm(os.mkdir, str(tmp_path / "harm")), protocol=2)
    )
    with pytest.raises(InputError, match="was refused"):
        convert_checkpoint.read(tmp_path / "evil.pth.tar")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("kind", [{}, LEGACY], ids=["zip", "legacy"])
@pytest.mark.parametrize("left", [0, 1, 100, 3_000, 0.5, 0.999])
def test_a_file_cut_short_is_named(tmp_path, kind, left):
    torch.save(published(made()), tmp_path / "cut.pth.tar", **kind)
    content = (tmp_path / "cut.pth.tar").read_bytes()
    (tmp_path / "cut.pth.tar").write_bytes(
        content[: left if left >= 1 or left == 0 else int(left * len(content))]
    )
    with pytest.raises(
        InputError, match=r"cut\.pth\.tar holds no weights .*download the file again"
    ):
        convert_checkpoint.read(tmp_path / "cut.pth.tar")


def test_files_of_another_kind_are_named(tmp_path):
    (tmp_path / "page.pth.tar").write_text("<html>Please log in</html>")
    with pytest.raises(InputError, match=r"page\.pth\.tar holds no weights .*: it is a web page"):
        convert_checkpoint.read(tmp_path / "page.pth.tar")
    with pytest.raises(InputError, match=r"cannot read .*none\.pth\.tar: No such file"):
        convert_checkpoint.read(tmp_path / "none.pth.tar")
    with pytest.raises(InputError, match=r"cannot read .*: Is a directory"):
        convert_checkpoint.read(tmp_path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([1, 2], "holds a list, wanted tensors by name, or a dict with `state_dict`"),
        ({"model": 1, "epoch": 2}, "holds a dict with the keys model, epoch, wanted"),
        ({"state_dict": {}}, "holds a dict with the keys state_dict, wanted"),
        ({"state_dict": {"x": 3, "y": torch.zeros(1)}}, "holds 'x': int, wanted tensors"),
        ({"state_dict": {3: torch.zeros(1)}}, "holds 3: Tensor, wanted tensors"),
    ],
)
def test_other_contents_are_named(tmp_path, content, told):
    torch.save(content, tmp_path / "other.pth.tar")
    with pytest.raises(InputError, match=told):
        convert_checkpoint.read(tmp_path / "other.pth.tar")


@pytest.mark.parametrize(
    ("trained", "settings", "told"),
    [
        (
            "resnet18",
            "resnet50",
            r"tensor base\.4\.0\.conv1\.weight .*got \[64, 64, 3, 3\], wanted \[64, 64, 1, 1\]",
        ),
        (
            "resnet18",
            "resnet34",
            r"tensor base\.4\.2\.conv1\.weight .*got none, wanted \[64, 64, 3, 3\]",
        ),
        (
            "resnet34",
            "resnet18",
            r"tensor base\.4\.2\.conv1\.weight .*got \[64, 64, 3, 3\], wanted none",
        ),
        (
            "resnet18",
            "convnext_tiny",
            r"tensor base\.0\.0\.0\.weight .*got none, wanted \[96, 3, 4, 4\]",
        ),
    ],
)
def test_the_first_tensor_of_another_trunk_is_named(trained, settings, told):
    content = published(made(ModelSettings(trained, "", 64, 32, 8, "none", "", 2, False)))
    wanted = ModelSettings(settings, "", 64, 32, 8, "none", "", 2, False)
    with pytest.raises(InputError, match=f"does not fit the trunk {settings} .*{told}"):
        published_checkpoint.to_network(content["state_dict"], wanted)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.to_sparse(), "a sparse tensor"),
        (lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8), "a quantised tensor"),
        (lambda t: t * torch.nan, "NaN or infinite"),
        (lambda t: t.to(torch.complex64), "complex numbers"),
        (lambda t: t.int(), "the type int32"),
        (lambda t: t.to("meta"), "a tensor without numbers"),
        (lambda t: torch.zeros(1).expand(t.shape), "a view that repeats"),
    ],
)
def test_tensors_that_are_no_weights_are_named(tmp_path, change, message):
    content = published(made())
    content["state_dict"]["base.0.weight"] = change(content["state_dict"]["base.0.weight"])
    torch.save(content, tmp_path / "best.pth.tar")
    with pytest.raises(InputError, match=rf"tensor base\.0\.weight in .*best.*: got {message}"):
        convert(tmp_path / "best.pth.tar")


def test_other_precisions_are_cast(tmp_path):
    network, content = made(), published(made())
    state = content["state_dict"]
    content["state_dict"] = {
        n: t.double() if t.is_floating_point() else t for n, t in state.items()
    }
    torch.save(content, tmp_path / "best.pth.tar")
    assert_same_features(convert(tmp_path / "best.pth.tar"), network)


def test_an_absurd_classifier_is_named():
    state = published(made())["state_dict"]
    state["classifier.weight"] = torch.zeros(1).expand(10**12, 512)
    with pytest.raises(InputError, match=r"tensor classifier\.(weight|bias)"):
        published_checkpoint.to_network(state, SMALL)


@pytest.mark.parametrize(
    "name", ["base.0.weight", "base.7.1.bn2.running_var", "bn.bias", "conv1.weight"]
)
def test_a_missing_tensor_is_named(name):
    state = published(made())["state_dict"]
    state.pop(name)
    with pytest.raises(
        InputError, match=rf"tensor {name} is the first to differ, got none, wanted \["
    ):
        published_checkpoint.to_network(state, SMALL)


def test_a_network_without_classifier_is_named():
    state = published(made())["state_dict"]
    for broken in (
        {},
        {"classifier.weight": torch.zeros(512)},
        {"classifier.weight": torch.zeros(0, 512)},
    ):
        state.pop("classifier.weight", None)
        with pytest.raises(InputError, match=r"the checkpoint has no tensor classifier\.weight"):
            published_checkpoint.to_network({**state, **broken}, SMALL)


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["reid.tools.convert_checkpoint", *map(str, arguments)])
    convert_checkpoint.main()


def test_the_command_writes_what_the_train_stage_writes(tmp_path, params_file, monkeypatch, capsys):
    params = yaml.safe_load(params_file.read_text())
    params["datasets"]["synthetic"]["model"]["last_layer"] = ""
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    network = made()
    torch.save(published(network), tmp_path / "best.pth.tar")
    command = (
        tmp_path / "best.pth.tar",
        tmp_path / "models/synthetic/ls/0",
        "--dataset",
        "synthetic",
    )
    run(monkeypatch, *command, "--params", tmp_path / "params.yaml")
    out = tmp_path / "models/synthetic/ls/0"
    assert sorted(file.name for file in out.iterdir()) == [
        "history.csv",
        "made_by.json",
        "model.safetensors",
        "training.json",
    ]
    document = json.loads((out / "made_by.json").read_text())
    assert document["settings"]["people"] == network.people
    assert document["content"] == made_by.file_digest(out / "model.safetensors")
    assert pd.read_csv(out / "history.csv").to_dict("records") == [{"epoch": 300}]
    assert_same_features(model.load(out / "model.safetensors"), network)
    told = provenance.read(out / "training.json")
    checksum = hashlib.sha256((tmp_path / "best.pth.tar").read_bytes()).hexdigest()
    assert (told["converted_from"], told["sha256"], told["epoch"]) == (
        "best.pth.tar",
        checksum,
        300,
    )
    assert (
        "resnet18 of epoch 300, trained on 5 people, with a rank-1 of 91.8%"
        in capsys.readouterr().out
    )
    with pytest.raises(InputError, match="is not empty"):
        run(monkeypatch, *command, "--params", tmp_path / "params.yaml")


def test_the_command_writes_nothing_for_a_file_that_does_not_fit(
    tmp_path, params_file, monkeypatch
):
    torch.save(published(made()), tmp_path / "best.pth.tar")
    with pytest.raises(
        InputError, match="does not fit the trunk resnet50"
    ):  # the paper's, with no dataset named
        run(monkeypatch, tmp_path / "best.pth.tar", tmp_path / "out", "--params", params_file)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(
    shutil.which("dvc", path=str(Path(sys.executable).parent)) is None, reason="needs dvc"
)
def test_dvc_runs_everything_but_training_on_a_converted_checkpoint(params, tmp_path):
    settings = copy.deepcopy(params)
    settings["loss"], settings["tables"]["losses"] = "ls", ["ls"]
    clone = Clone(tmp_path, settings)
    network = made(ModelSettings(**settings["model"] | settings["datasets"]["synthetic"]["model"]))
    torch.save(published(network, "module."), clone.folder / "best.pth.tar", **LEGACY)
    assert clone.ran("dvc", "repro", "prepare@synthetic") == ["prepare@synthetic"]
    clone(
        "python",
        "-m",
        "reid.tools.convert_checkpoint",
        "best.pth.tar",
        "models/synthetic/ls/0",
        "--dataset",
        "synthetic",
    )
    clone("dvc", "commit", "--force", "train@synthetic-ls-0")
    cell = [f"{stage}@synthetic-ls-0" for stage in ("extract", "distances", "rerank", "evaluate")]
    assert set(clone.ran("dvc", "repro")) == {*cell, "tables", "report", "page"}
    assert_same_features(
        model.load(clone.folder / "models/synthetic/ls/0/model.safetensors"), network
    )
    made_with = json.loads((clone.folder / "metrics/runs/synthetic/ls/0.json").read_text())[
        "provenance"
    ]
    assert "train" not in made_with
    assert made_with["convert_checkpoint"]["settings"]["model"]["trunk"] == "resnet18"
    assert made_with["training"]["converted_from"] == "best.pth.tar"
