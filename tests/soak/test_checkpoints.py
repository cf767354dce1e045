"""Published checkpoints and models: the features they had, or a refusal; never their code."""

import dataclasses
import hashlib
import io
import os
import pickle
import pickletools
import zipfile

import pytest
import torch
import yaml
from hypothesis import strategies as st
from safetensors.torch import save as save_safetensors

from reid import model
from reid.model import ModelSettings
from reid.trunk.torchvision_model import make_trunk
from tests.conftest import ROOT
from tests.soak.kinds import REFUSED, RIGHT, tries
from tests.soak.outcomes import attempt, call
from tests.test_convert_checkpoint import made, published

SMALL = ModelSettings("resnet18", "", 64, 32, 8, "none", "", 2, False)
CUT = dataclasses.replace(SMALL, last_layer="layer1")  # 0.6 MB
IMAGES = torch.randn(2, 3, 64, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def network():
    return made(SMALL)


@pytest.fixture(scope="module")
def small():
    return made(CUT)


@pytest.fixture(scope="module")
def params(tmp_path_factory):
    """params.yaml with SMALL as its model."""
    content = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    content["model"] = dataclasses.asdict(SMALL)
    file = tmp_path_factory.mktemp("params") / "params.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


def convert(folder, content, params):
    """The converter on these bytes -> Outcome; the model is `folder`/out/model.safetensors."""
    file = folder / "best.pth.tar"
    file.write_bytes(content)
    arguments = (file, folder / "out", "--params", params)
    outcome = attempt("reid.tools.convert_checkpoint", *arguments, watched=folder)
    assert not outcome.is_refused or "best.pth.tar" in outcome.text, outcome.text
    return outcome


def saved(content, **how):
    out = io.BytesIO()
    torch.save(content, out, **how)
    return out.getvalue()


def check_same(file, network):
    """Assert that a written model describes images as `network` does."""
    written = model.load(file).eval().describe(IMAGES)
    for ours, theirs in zip(written, network.describe(IMAGES), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def with_tensor(change):
    """A change of the first convolution of a published state."""

    def changed(content):
        state = dict(content["state_dict"])
        state["base.0.weight"] = change(state["base.0.weight"])
        return {**content, "state_dict": state}

    return changed


def renamed(prefix):
    def changed(content):
        state = {prefix + name: tensor for name, tensor in content["state_dict"].items()}
        return {**content, "state_dict": state}

    return changed


def without(content, name):
    return {key: value for key, value in content.items() if key != name}


def filled(tensor, value):
    return torch.full_like(tensor, value)


# what a file may hold instead of the published state, and whether it must be refused (None: either)
HOLDINGS = {
    "as published": (lambda content: content, False),
    "module.": (renamed("module."), False),
    "model.": (renamed("model."), None),
    "module.module.": (renamed("module.module."), None),
    "the state alone": (lambda content: content["state_dict"], None),
    "the state deeper": (lambda content: {"model": content}, None),
    "under model": (lambda content: {"model": content["state_dict"]}, None),
    "half precision": (with_tensor(torch.Tensor.half), None),
    "double precision": (with_tensor(torch.Tensor.double), False),
    "bfloat16": (with_tensor(torch.Tensor.bfloat16), None),
    "not contiguous": (with_tensor(lambda tensor: tensor.mT.contiguous().mT), False),
    "whole numbers": (with_tensor(lambda tensor: tensor.long()), True),
    "complex numbers": (with_tensor(lambda tensor: tensor.to(torch.complex64)), True),
    "a sparse tensor": (with_tensor(torch.Tensor.to_sparse), True),
    "a NaN": (with_tensor(lambda tensor: filled(tensor, float("nan"))), True),
    "an infinity": (with_tensor(lambda tensor: filled(tensor, float("inf"))), True),
    "another shape": (with_tensor(lambda tensor: tensor[:, :2].clone()), True),
    "a number for a tensor": (with_tensor(lambda tensor: 3), True),
    "no classifier": (
        lambda content: {"state_dict": without(content["state_dict"], "classifier.weight")},
        True,
    ),
    "a tensor more": (
        lambda content: {"state_dict": {**content["state_dict"], "more": torch.zeros(1)}},
        True,
    ),
    "a name that is no text": (
        lambda content: {"state_dict": {**content["state_dict"], 7: torch.zeros(1)}},
        True,
    ),
    "a list": (lambda content: [content], None),
    "nothing": (lambda content: {}, True),
    "None": (lambda content: None, True),
    "a long text": (lambda content: "x" * 300_000, True),
    "deep lists": (lambda content: nested(300), True),
    "an odd epoch": (lambda content: {**content, "epoch": [10**400], "rank1": "x"}, None),
    "a huge epoch": (lambda content: {**content, "epoch": 10**4000}, None),
}
COARSE = ("half precision", "bfloat16")


def nested(depth):
    content = []
    for _ in range(depth):
        content = [content]
    return content


@tries(
    "checkpoints of other contents",
    *(3, 120),
    is_shrunk=False,
    holding=st.sampled_from(sorted(HOLDINGS)),
    legacy=st.booleans(),
)
def test_a_checkpoint_keeps_its_features_or_is_refused(fresh, network, params, holding, legacy):
    folder, (change, is_wrong) = fresh(), HOLDINGS[holding]
    how = {"_use_new_zipfile_serialization": False} if legacy else {}
    content = saved(change(published(network)), **how)
    outcome = convert(folder, content, params)
    if outcome.is_refused:
        assert is_wrong is not False, f"{holding}: {outcome.text}"
        return REFUSED
    assert not is_wrong, f"{holding} was accepted"
    if holding not in COARSE:
        check_same(folder / "out" / "model.safetensors", network)
    return RIGHT


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@tries(
    "checkpoints with damaged bytes, and files that are none",
    *(3, 180),
    is_shrunk=False,
    damage=st.sampled_from(
        ["flip", "head", "cut", "html", "lfs", "empty", "evil", "pickle", "zip", "numpy"]
    ),
    legacy=st.booleans(),
    share=st.floats(0, 1),
    bit=st.integers(0, 7),
)
def test_a_damaged_checkpoint_is_refused_or_loads(
    fresh, network, params, damage, legacy, share, bit
):
    folder = fresh()
    how = {"_use_new_zipfile_serialization": False} if legacy else {}
    content = bytearray(saved(published(network), **how))
    if damage == "flip":
        content[min(int(share * len(content)), len(content) - 1)] ^= 1 << bit
    elif damage == "head":
        content[int(share * 9000)] ^= 1 << bit
    elif damage == "cut":
        del content[int(share * len(content)) :]
    else:
        content = other_file(damage, folder, how)
    outcome = convert(folder, bytes(content), params)
    assert not (folder / "ran").exists(), "the file's code was run"
    if outcome.is_refused:
        return REFUSED
    assert damage in ("flip", "head"), f"{damage} was accepted"
    described = model.load(folder / "out" / "model.safetensors").eval().describe(IMAGES)
    assert all(len(features) == len(IMAGES) for features in described)
    return RIGHT


def other_file(kind, folder, how):
    """The bytes of a file that is no checkpoint."""
    evil = Evil(f"touch '{folder / 'ran'}'")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as opened:
        opened.writestr("a/data.pkl", pickle.dumps(evil))
        opened.writestr("a/version", "3")
    return {
        "html": b"<!DOCTYPE html><html>404</html>",
        "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "empty": b"",
        "evil": saved({"state_dict": evil}, **how),
        "pickle": pickletools.optimize(pickle.dumps({"state_dict": evil})),
        "zip": out.getvalue(),
        "numpy": b"\x93NUMPY\x01\x00",
    }[kind]


@tries(
    "a model.safetensors with damaged bytes",
    *(15, 1000),
    damage=st.sampled_from(["head", "head", "flip", "cut", "length", "html", "empty"]),
    share=st.floats(0, 1),
    bit=st.integers(0, 7),
)
def test_a_damaged_model_is_refused_or_loads(fresh, small, damage, share, bit):
    file = fresh() / "model.safetensors"
    model.save(small, file)
    content = bytearray(file.read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    at = int(share * (header if damage == "head" else len(content)))
    if damage in ("head", "flip"):
        content[min(at, len(content) - 1)] ^= 1 << bit
    elif damage == "cut":
        del content[min(at, len(content) - 1) :]
    elif damage == "length":
        content[:8] = int(share * 2**63).to_bytes(8, "little")
    else:
        content = b"<html></html>" if damage == "html" else b""
    file.write_bytes(content)
    outcome = call(model.load, file)
    if outcome.is_refused:
        assert "model.safetensors" in outcome.text, outcome.text
        return REFUSED
    assert damage in ("head", "flip") or len(content) == header, f"{damage} was accepted"
    if damage == "flip" and at >= header:  # a changed weight cannot be known, but all others can
        states = outcome.value.state_dict(), small.state_dict()
        same = [torch.equal(one, states[1][name]) for name, one in states[0].items()]
        assert same.count(False) <= 1
    return RIGHT


@tries(
    "files of first weights that changed after params.yaml named their digest",
    *(6, 300),
    damage=st.sampled_from(["none", "flip", "cut", "longer", "other", "empty", "absent", "digest"]),
    suffix=st.sampled_from([".pth", ".safetensors"]),
    share=st.floats(0, 1),
    bit=st.integers(0, 7),
)
def test_weights_of_another_digest_are_refused(fresh, small, damage, suffix, share, bit):
    file, state = fresh() / f"weights{suffix}", small.trunk.state_dict()
    content = save_safetensors(state) if suffix == ".safetensors" else saved(state)
    digest = hashlib.sha256(content).hexdigest()
    at = min(int(share * len(content)), len(content) - 1)
    damaged = {
        "flip": content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :],
        "cut": content[:at],
        "longer": content + b"\0",
        "other": saved({**state, "bn1.bias": state["bn1.bias"] + 1}),
        "empty": b"",
    }
    if damage != "absent":
        file.write_bytes(damaged.get(damage, content))
    named = "0" * 64 if damage == "digest" else digest
    settings = dataclasses.replace(CUT, weights=str(file), weights_sha256=named)
    outcome = call(make_trunk, settings)
    assert outcome.is_refused == (damage != "none"), f"{damage}: {outcome.text}"
    if outcome.is_refused:
        assert file.name in outcome.text, outcome.text
        return REFUSED
    made_state = outcome.value.state_dict()
    assert all(torch.equal(made_state[name], tensor) for name, tensor in state.items())
    return RIGHT
