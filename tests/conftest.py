"""A tiny drawn benchmark and its settings, for the tests that run stages."""

import dataclasses
import importlib
import os
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from reid.runtime import cli, settings

# two tests run at a time: one thread each, and none that keeps a core busy while it waits
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

ROOT = Path(__file__).parents[1]


def pytest_collection_modifyitems(items):
    """Run the longest file first, so that no worker is left alone with it."""
    items.sort(key=lambda item: item.path.name != "test_pipeline.py")


def tiny(params):
    """The project's params with the drawn benchmark cut down to seconds."""
    synthetic = params["datasets"]["synthetic"]
    synthetic["source"] |= {
        "train_people": 10,
        "test_people": 6,
        "images_per_camera": 1.5,
        "distractors": 4,
        "junk": 2,
    }
    synthetic["model"] = {
        "trunk": "resnet18",
        "last_layer": "layer2",
        "height": 64,
        "width": 32,
        "weights": "none",
    }
    synthetic["train"] = {"epochs": 1, "people": 2, "learning_rate": 1e-4}
    return params


@pytest.fixture(scope="session")
def params():
    return tiny(yaml.safe_load((ROOT / "params.yaml").read_text()))


@pytest.fixture(scope="session")
def params_file(params, tmp_path_factory):
    file = tmp_path_factory.mktemp("settings") / "params.yaml"
    file.write_text(yaml.safe_dump(params, sort_keys=False))
    return file


def longer(params, minutes, file):
    """The tiny benchmark's settings with some seconds of training."""
    synthetic = params["datasets"]["synthetic"]
    datasets = {
        **params["datasets"],
        "synthetic": {**synthetic, "train": {**synthetic["train"], "epochs": 12}},
    }
    file.write_text(
        yaml.safe_dump(
            {**params, "datasets": datasets, "resume": {"minutes": minutes}}, sort_keys=False
        )
    )
    return file


def make_settings(kind, where, *values):
    """Settings of a section whose values are in the order of the class's keys."""
    keys = [field.name for field in dataclasses.fields(kind)]
    return settings.make(kind, dict(zip(keys, values, strict=True)), where)


def run_module(name, *arguments):
    """Run a module as its command does -> the exit code, or the error that goes with exit code
    1.
    """
    module = importlib.import_module(name)
    before, sys.argv = sys.argv, [name, *map(str, arguments)]
    try:
        cli.run(module.main)
    except SystemExit as stopped:
        return stopped.code
    finally:
        sys.argv = before
    return 0


def run_stage(name, *arguments):
    """The same for a stage."""
    return run_module(f"stages.{name}", *arguments)


@pytest.fixture(scope="session")
def finished(params_file, tmp_path_factory):
    """A folder in which every stage has run once on the tiny benchmark, for the loss `ls`."""
    at = tmp_path_factory.mktemp("finished")
    settings = ("--params", params_file)
    cell = ("--dataset", "synthetic", "--loss", "ls", "--seed", 0)
    assert run_stage("prepare", "synthetic", at / "data", *settings) == 0
    assert run_stage("train", at / "data/train", at / "model", *cell, *settings) == 0
    assert (
        run_stage(
            "extract", at / "data", at / "model/model.safetensors", at / "features", *settings
        )
        == 0
    )
    assert run_stage("distances", at / "features", at / "distances", *settings) == 0
    assert run_stage("rerank", at / "features", at / "distances", at / "reranked", *settings) == 0
    folders = (at / "features", at / "distances", at / "reranked")
    trained = ("--training", at / "model/training.json")
    assert (
        run_stage("evaluate", *folders, at / "runs/synthetic/ls/0.json", *cell, *trained, *settings)
        == 0
    )
    return at


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of `finished` to break."""
    shutil.copytree(finished, tmp_path / "copied")
    return tmp_path / "copied"
