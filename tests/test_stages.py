"""Every stage on real files: what it writes, and how it stops on bad input."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from reid.arrays.names import COLUMNS
from reid.losses import LossSettings
from reid.results.metrics import EvaluateSettings
from reid.runtime import config, outputs
from reid.runtime.errors import InputError
from reid.runtime.settings import make
from tests.conftest import ROOT, run_stage

STAGES = (
    *("prepare", "train", "extract", "distances", "rerank", "evaluate"),
    *("tables", "report", "page"),
)


def test_every_stage_writes_its_files(finished):
    names = {str(file.relative_to(finished)) for file in finished.rglob("*") if file.is_file()}
    splits = ("query", "query_partial", "gallery")
    expected = {
        f"data/{split}/{name}"
        for split in ("train", *splits)
        for name in ("images.zip", "manifest.csv")
    }
    expected.add("data/statistics.json")
    expected |= {f"model/{name}" for name in ("model.safetensors", "history.csv", "training.json")}
    folders = ("model", "features", "distances", "reranked", *(f"data/{split}" for split in splits))
    expected |= {f"{folder}/made_by.json" for folder in (*folders, "data/train")}
    expected.add("runs/synthetic/ls/0.json")
    arrays = ("global_features", "stripes", "pids", "camids")
    expected |= {f"features/{split}/{name}.npy" for split in splits for name in arrays}
    for protocol in ("full", "partial"):
        expected |= {f"distances/{protocol}/{name}.npy" for name in ("global", "local", "dmli")}
        expected |= {
            f"reranked/{protocol}/{name}.npy" for name in ("global", "dmli", "global_dmli")
        }
        expected.add(f"distances/{protocol}/neighbours.npz")
    assert names == expected


def test_a_run_has_every_column_of_both_protocols(finished):
    run = json.loads((finished / "runs/synthetic/ls/0.json").read_text())
    assert [run[key] for key in ("dataset", "loss", "seed", "trunk")] == [
        "synthetic",
        "ls",
        0,
        "resnet18",
    ]
    for protocol in ("full", "partial"):
        assert tuple(run[protocol]) == COLUMNS
        for scores in run[protocol].values():
            assert set(scores) == {"rank1", "rank5", "rank10", "rank20", "mAP", "mINP"}
            assert 0 <= scores["rank1"] <= scores["rank5"] <= scores["rank20"] <= 100
            assert 0 < scores["mINP"] <= scores["mAP"] <= 100
    trained_by = run["provenance"]["train"]["settings"]
    assert trained_by["train"]["epochs"] == 1
    assert trained_by["loss"]["label_smoothing"] == 0.1


def test_history_is_a_table_of_epochs(finished):
    rows = list(csv.DictReader((finished / "model/history.csv").open()))
    assert [row["epoch"] for row in rows] == ["1"]
    assert {"loss", "trihard_local", "images", "learning_rate"} <= set(rows[0])


def test_gallery_neighbours_are_the_same_in_both_protocols_but_for_the_queries(
    finished, params_file, tmp_path
):
    queries = len(np.load(finished / "features/query/pids.npy"))
    params = changed(params_file, tmp_path, lambda p: p["distances"].update(neighbours=10))
    assert (
        run_stage("distances", finished / "features", tmp_path / "distances", "--params", params)
        == 0
    )
    full, partial = (
        np.load(tmp_path / f"distances/{p}/neighbours.npz") for p in ("full", "partial")
    )
    differ = 0
    for one, other in zip(
        full["dmli_indices"][queries:], partial["dmli_indices"][queries:], strict=True
    ):
        nearest = [[image for image in row if image >= queries] for row in (one, other)]
        common = min(
            map(len, nearest)
        )  # how many of the ten are gallery images depends on the queries between them
        assert nearest[0][:common] == nearest[1][:common]
        differ += not np.array_equal(one, other)
    assert differ


@pytest.mark.parametrize("stage", STAGES)
def test_help_tells_what_a_stage_reads_and_writes(stage, capsys):
    assert run_stage(stage, "--help") == 0
    told = capsys.readouterr().out
    assert f"python -m stages.{stage}" in told
    assert "write" in told


def test_a_mistake_gives_one_paragraph_exit_code_one_and_no_traceback(tmp_path, params_file):
    command = [
        sys.executable,
        "-m",
        "stages.train",
        tmp_path / "none",
        tmp_path / "out",
        "--params",
        params_file,
    ]
    done = subprocess.run(
        [*command, "--dataset", "synthetic", "--loss", "ls", "--seed", "0"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "none" in done.stderr
    assert not (tmp_path / "out").exists()


def changed(params_file, tmp_path, change):
    params = yaml.safe_load(params_file.read_text())
    change(params)
    (tmp_path / "changed.yaml").write_text(yaml.safe_dump(params))
    return tmp_path / "changed.yaml"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda p: p["train"].update(epoch=3), "`train.epoch` is unknown"),
        (lambda p: p["train"].pop("margin"), "`train.margin` is missing"),
        (
            lambda p: p["datasets"]["synthetic"]["train"].update(step=3),
            "`datasets.synthetic.train.step` is unknown",
        ),
        (
            lambda p: p["losses"]["ls"].update(center=True),
            "`losses.ls.center` is unknown, maybe `centre`",
        ),
        (
            lambda p: p["losses"].pop("ls"),
            "unknown loss 'ls' in params.yaml: choose one of alignedreid, mutual, softmax",
        ),
        (lambda p: p["datasets"].pop("synthetic"), "unknown dataset 'synthetic'"),
        (
            lambda p: p["datasets"]["synthetic"]["model"].update(trunk="resnet19"),
            "unknown trunk 'resnet19'",
        ),
        (
            lambda p: p["datasets"]["synthetic"]["train"].update(people=8),
            "leaves 1 steps an epoch of 10",
        ),
        (
            lambda p: p["train"].update(device="tpu9"),
            "got 'tpu9', wanted auto, cpu",
        ),
        (lambda p: p["datasets"]["synthetic"]["train"].update(learning_rate=1e30), "at most 10"),
    ],
)
def test_train_names_what_is_wrong_in_params(change, told, finished, params_file, tmp_path):
    params = changed(params_file, tmp_path, change)
    code = run_stage(
        "train",
        finished / "data/train",
        tmp_path / "out",
        "--dataset",
        "synthetic",
        "--loss",
        "ls",
        "--seed",
        0,
        "--params",
        params,
    )
    assert told in code
    assert sorted(path.name for path in tmp_path.iterdir()) == ["changed.yaml"]


def test_extract_names_a_corrupt_image(copied, params_file):
    pack = bytearray((copied / "data/gallery/images.zip").read_bytes())
    start = pack.find(b"\xff\xd8\xff")
    pack[start + 300 : start + 400] = bytes(100)
    (copied / "data/gallery/images.zip").write_bytes(pack)
    model = copied / "model/model.safetensors"
    code = run_stage("extract", copied / "data", model, copied / "out", "--params", params_file)
    assert ".jpg" in code
    assert "gallery" in code
    assert not (copied / "out").exists()


def test_extract_needs_a_model(copied, params_file):
    code = run_stage(
        "extract", copied / "data", copied / "none", copied / "out", "--params", params_file
    )
    assert "is no model of this project" in code


@pytest.mark.parametrize(
    ("value", "told"),
    [(np.nan, "holds NaN"), (1.0, "is constant"), (0.0, "length 0"), (None, "is missing")],
)
def test_distances_name_bad_features(value, told, copied, params_file):
    file = copied / "features/gallery/global_features.npy"
    array = np.load(file)
    array[:] = 0 if value is None else value
    np.save(file, array)
    if value is None:
        file.unlink()
    code = run_stage("distances", copied / "features", copied / "out", "--params", params_file)
    assert told in code
    assert "global_features.npy" in code
    assert not (copied / "out").exists()


def test_rerank_says_how_many_neighbours_it_needs(copied, params_file, tmp_path):
    params = changed(params_file, tmp_path, lambda p: p["distances"].update(neighbours=10))
    shutil.rmtree(copied / "distances")
    assert (
        run_stage("distances", copied / "features", copied / "distances", "--params", params) == 0
    )
    folders = (copied / "features", copied / "distances", copied / "out")
    code = run_stage("rerank", *folders, "--params", params_file)
    assert "set distances.neighbours to 21 or more" in code
    assert not (copied / "out").exists()


def test_evaluate_refuses_a_query_set_without_a_match(copied, params_file):
    for split in ("query", "gallery"):
        file = copied / f"features/{split}/camids.npy"
        np.save(file, np.ones_like(np.load(file)))
    folders = (copied / "features", copied / "distances", copied / "reranked", copied / "out.json")
    code = run_stage("evaluate", *folders, "--params", params_file)
    assert "camera" in code
    assert not (copied / "out.json").exists()


def test_evaluate_refuses_distances_of_other_features(copied, params_file):
    for name in ("pids", "camids"):
        file = copied / f"features/gallery/{name}.npy"
        np.save(file, np.load(file)[:-1])
    folders = (copied / "features", copied / "distances", copied / "reranked", copied / "out.json")
    code = run_stage("evaluate", *folders, "--params", params_file)
    assert "belong to different runs" in code


def test_evaluate_without_a_cell_is_for_features_of_other_systems(finished, params_file, tmp_path):
    folders = (
        finished / "features",
        finished / "distances",
        finished / "reranked",
        tmp_path / "out.json",
    )
    assert run_stage("evaluate", *folders, "--params", params_file) == 0
    run = json.loads((tmp_path / "out.json").read_text())
    details = {"intervals", "differences", "cmc", "verification"}
    assert set(run) == {"provenance", "metric", "counts", "full", "partial", *details}
    assert run["full"] == json.loads((finished / "runs/synthetic/ls/0.json").read_text())["full"]


def test_distances_refuse_queries_of_another_model(copied, params_file):
    file = copied / "features/query/stripes.npy"
    np.save(file, np.load(file)[:, :, :-1].copy())
    code = run_stage("distances", copied / "features", copied / "out", "--params", params_file)
    assert "they come from different models" in code
    assert not (copied / "out").exists()


def test_features_without_partial_queries_give_the_full_protocol(copied, params_file):
    shutil.rmtree(copied / "features/query_partial")
    shutil.rmtree(copied / "distances")
    assert (
        run_stage("distances", copied / "features", copied / "distances", "--params", params_file)
        == 0
    )
    made = {path.name for path in (copied / "distances").iterdir()}
    assert made == {"full", "made_by.json"}


def test_the_metric_is_the_datasets_and_not_a_losss(params):
    params = yaml.safe_load(yaml.safe_dump(params))
    settings = config.load(EvaluateSettings, params, "evaluate", "cuhk03_classic")
    assert (settings.metric, settings.draws) == ("cuhk03", 100)
    assert config.load(EvaluateSettings, params, "evaluate", "cuhk03").metric == "market1501"
    entry = config.entry(params, "losses", "ls") | {"evaluate": {"metric": "cuhk03"}}
    with pytest.raises(InputError, match=r"losses\.ls\.evaluate"):
        make(LossSettings, entry, "losses.ls")


def test_a_second_run_of_a_stage_on_one_output_is_refused(finished, params_file, tmp_path):
    folders = (finished / "features", finished / "distances", tmp_path / "out")
    with outputs.lock(tmp_path / "out"):
        code = run_stage("rerank", *folders, "--params", params_file)
    assert f"out is being written by process {os.getpid()} on " in code
    assert run_stage("rerank", *folders, "--params", params_file) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_outputs_that_cannot_be_are_refused_before_the_work(finished, params_file, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "away").symlink_to(tmp_path / "unmounted" / "disk")
    folders = (finished / "features", finished / "distances")
    for name, told in (("file", "a folder is to be written"), ("away/out", "Mount its disk")):
        code = run_stage("rerank", *folders, tmp_path / name, "--params", params_file)
        assert told in code
    folders = (*folders, finished / "reranked", "/dev/full", "--params", params_file)
    assert "neither a file nor a folder" in run_stage("evaluate", *folders)
    assert Path("/dev/full").is_char_device()


def drawn(folder):
    """The pictures below a folder, none where folders go while it is listed."""
    try:
        return set(folder.rglob("*.jpg"))
    except FileNotFoundError:
        return set()


def test_prepare_leaves_nothing_after_a_signal_and_the_next_run_clears_up_after_a_kill(tmp_path):
    command = [sys.executable, "-m", "stages.prepare", "synthetic", tmp_path / "out"]
    for number, left in ((signal.SIGKILL, 2), (signal.SIGTERM, 0)):
        before = drawn(tmp_path)
        running = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        while not drawn(tmp_path) - before:
            time.sleep(0.01)
        running.send_signal(number)
        stderr = running.communicate()[1]
        assert len(list(tmp_path.iterdir())) == left  # the lock's file, and what was drawn
    assert running.returncode == 143
    assert stderr.splitlines()[-1] == "SIGTERM: nothing was written"
    assert "Traceback" not in stderr


def test_make_says_what_a_download_without_git_lacks(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    command = ["make", "-C", tmp_path, "repository"]
    outside = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}
    done = subprocess.run(command, capture_output=True, text=True, env=outside)
    assert done.returncode == 2
    assert "Type 'git init && git add . && git commit -m start'" in done.stderr
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    assert subprocess.run(command, capture_output=True, env=outside).returncode == 0
