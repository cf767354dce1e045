"""made_by.json: what it says, that it triggers nothing by itself, and that folders which were not
made of each other are refused.
"""

import json
import shutil

import numpy as np
import pytest
import yaml

from reid.runtime import made_by
from reid.runtime.errors import InputError
from tests.conftest import run_stage

CELL = ("--dataset", "synthetic", "--loss", "ls", "--seed", 0)


def documents(folder):
    return {
        str(file.parent.relative_to(folder)): json.loads(file.read_text())
        for file in sorted(folder.rglob("made_by.json"))
    }


def test_documents_hold_those_of_their_inputs(finished):
    said = documents(finished)
    assert said["features"]["inputs"] == {
        "model": said["model"],
        **{split: said[f"data/{split}"] for split in ("query", "query_partial", "gallery")},
    }
    assert said["model"]["inputs"] == {"data": said["data/train"]}
    assert said["distances"]["inputs"] == {"features": said["features"]}
    assert said["reranked"]["inputs"] == {
        "features": said["features"],
        "distances": said["distances"],
    }
    assert said["reranked"]["settings"] == {"k1": 20, "k2": 6, "lambda_value": 0.3}
    assert said["data/gallery"]["settings"]["source"]["reader"] == "synthetic"
    assert "partial_seed" in said["data/query_partial"]["settings"]
    assert "partial_seed" not in said["data/query"]["settings"]
    assert set(said["features"]["versions"]) == {
        *("python", "numpy", "Pillow", "torch", "torchvision"),
    }
    assert "torch" not in said["reranked"]["versions"]  # though this process has imported it


def test_the_same_again_writes_the_same_bytes(finished, params_file, tmp_path):
    out = tmp_path / "reranked"
    folders = (finished / "features", finished / "distances", out)
    assert run_stage("rerank", *folders, "--params", params_file) == 0
    assert (out / "made_by.json").read_bytes() == (finished / "reranked/made_by.json").read_bytes()


def evaluate(folder, params_file):
    folders = (folder / "features", folder / "distances", folder / "reranked")
    arguments = (*CELL, "--training", folder / "model/training.json", "--params", params_file)
    return run_stage("evaluate", *folders, folder / "run.json", *arguments)


def test_a_run_says_what_made_its_numbers_and_not_what_params_say_now(
    copied, params_file, tmp_path
):
    params = yaml.safe_load(params_file.read_text())
    params["rerank"]["k1"] = 3
    params["datasets"]["synthetic"]["train"]["epochs"] = 99
    (tmp_path / "changed.yaml").write_text(yaml.safe_dump(params))
    assert evaluate(copied, tmp_path / "changed.yaml") == 0
    provenance = json.loads((copied / "run.json").read_text())["provenance"]
    assert provenance["rerank"]["settings"]["k1"] == 20
    assert provenance["train"]["settings"]["train"]["epochs"] == 1
    assert set(provenance["prepare"]) == {"train", "query", "query_partial", "gallery"}
    assert "unknown" not in provenance


@pytest.mark.parametrize(
    ("folder", "key", "told"),
    [
        ("features", "versions", "was made of other features"),
        ("distances", "settings", "was made of other distances"),
        ("model", "code", "was made of other model"),
    ],
)
def test_folders_of_different_runs_are_refused(copied, params_file, folder, key, told):
    file = copied / folder / "made_by.json"
    content = json.loads(file.read_text())
    content[key] = {"new": "other"} if isinstance(content[key], dict) else "other"
    file.write_text(json.dumps(content))
    answer = evaluate(copied, params_file)
    assert told in answer
    assert f"`{key}" in answer
    assert not (copied / "run.json").exists()


def test_reranking_refuses_distances_of_other_features(copied, params_file):
    file = copied / "features/made_by.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"machine": "another"}))
    shutil.rmtree(copied / "reranked")
    folders = (copied / "features", copied / "distances", copied / "reranked")
    told = run_stage("rerank", *folders, "--params", params_file)
    assert "distances was made of other features" in told
    assert "`machine` is" in told
    assert not (copied / "reranked").exists()


def test_folders_of_other_systems_may_say_nothing(copied, params_file):
    for folder in ("features", "distances", "reranked"):
        (copied / folder / "made_by.json").unlink()
    assert evaluate(copied, params_file) == 0
    run = json.loads((copied / "run.json").read_text())
    assert run["provenance"]["unknown"] == ["features", "distances", "reranked"]
    assert run["trunk"] == "unknown"


@pytest.mark.parametrize(
    "text",
    ["", "[]", "3", "{", '{"stage": 3}', '{"stage": "a", "settings": {}}', "[" * 100_000],
)
def test_a_broken_document_is_named(tmp_path, text):
    (tmp_path / "made_by.json").write_text(text)
    with pytest.raises(InputError, match=r"made_by\.json does not say what made the folder"):
        made_by.read(tmp_path)


def test_the_code_is_the_module_and_all_that_it_imports(tmp_path, monkeypatch):
    monkeypatch.setattr(made_by, "ROOT", tmp_path)
    (tmp_path / "reid").mkdir()
    files = {"main": "import json\nfrom reid import a", "a": "from reid.b import x", "b": "x = 1"}
    for name, text in (files | {"other": "y = 1"}).items():
        (tmp_path / "reid" / f"{name}.py").write_text(text)
    before = made_by.code_digest("reid.main")
    (tmp_path / "reid/other.py").write_text("y = 2")
    assert made_by.code_digest("reid.main") == before
    for name, text in files.items():
        (tmp_path / "reid" / f"{name}.py").write_text(text + "\n# changed")
        assert made_by.code_digest("reid.main") != before
        (tmp_path / "reid" / f"{name}.py").write_text(text)
    assert made_by.code_digest("reid.main") == before


def test_first_difference_names_it():
    told = made_by.first_difference({"a": {"b": 1}, "c": 2}, {"a": {"b": 3}, "c": 2})
    assert told == "`a.b` is '1' in one and '3' in the other"


def test_of_several_processes_the_first_writes(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    made_by.write(tmp_path, {"stage": "a"})
    assert list(tmp_path.iterdir()) == []


def test_features_without_a_document_are_told_apart_by_their_content(copied, params_file, tmp_path):
    features, settings = copied / "features", ("--params", params_file)
    (features / "made_by.json").unlink()
    assert run_stage("distances", features, tmp_path / "distances", *settings) == 0
    reranked = (features, tmp_path / "distances", tmp_path / "reranked")
    assert run_stage("rerank", *reranked, *settings) == 0
    assert run_stage("evaluate", *reranked, tmp_path / "run.json", *settings) == 0
    provenance = json.loads((tmp_path / "run.json").read_text())["provenance"]
    assert provenance["unknown"] == ["features"]
    stripes = np.load(features / "query/stripes.npy")
    np.save(features / "query/stripes.npy", stripes[::-1])
    told = run_stage("rerank", *reranked[:2], tmp_path / "again", *settings)
    assert "distances was made of other features" in told
    assert "`content` is" in told
    told = run_stage("evaluate", *reranked, tmp_path / "again.json", *settings)
    assert "distances was made of other features" in told
    assert not (tmp_path / "again.json").exists()


def test_another_file_of_weights_is_not_taken_for_the_one_that_is_described(
    copied, params_file, tmp_path
):
    file = copied / "model/model.safetensors"
    file.write_bytes(file.read_bytes()[:-4] + b"\0\0\0\1")
    extract = ("extract", copied / "data", file, tmp_path / "features", "--params", params_file)
    assert "it was changed or replaced" in run_stage(*extract)
    assert not (tmp_path / "features").exists()
    assert "was made of other model" in evaluate(copied, params_file)
    (copied / "model/made_by.json").unlink()
    assert run_stage(*extract) == 0


def test_a_document_holds_no_nan(tmp_path):
    (tmp_path / "made_by.json").write_text('{"stage": "a", "settings": {"k1": NaN}, "inputs": {}}')
    with pytest.raises(InputError, match="does not say what made"):
        made_by.read(tmp_path)
