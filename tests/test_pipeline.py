"""The commands that the project serves, with real DVC on a clone of it and a tiny drawn
benchmark.
"""

import gzip
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
from PIL import Image

from reid.arrays.names import COLUMNS
from reid.results import cell
from tests.conftest import ROOT

modify_yaml = pytest.importorskip("dvc.utils.serialize", reason="needs dvc").modify_yaml


def update(written, params):
    """Make a mapping hold what `params` holds, key by key, so that comments and style stay."""
    for key in [key for key in written if key not in params]:
        del written[key]
    for key, value in params.items():
        if isinstance(value, dict) and isinstance(written.get(key), dict):
            update(written[key], value)
        elif written.get(key) != value:
            written[key] = value


class Clone:
    """A copy of the project in a git repository of its own, and its commands."""

    def __init__(self, folder, params):
        self.folder = folder
        files = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        for file in files:
            if (
                (ROOT / file).exists()
                and file != "dvc.lock"
                and not file.startswith(("metrics/", "tests/", "docs/"))
            ):
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / file, folder / file)
        with modify_yaml(folder / "params.yaml") as written:  # as `dvc exp run -S` writes it
            update(written, params)
        self("git", "init", "-q")
        self("git", "config", "user.name", "Test")
        self("git", "config", "user.email", "test@example.org")
        self.commit("start")

    def __call__(self, *command):
        """Run a command -> what it printed; with this interpreter's `python` and `dvc` first on
        the path.
        """
        done = self.start(*command)
        out, error = done.communicate()
        assert done.returncode == 0, f"{' '.join(command)}\n{out}\n{error}"
        return out

    def start(self, *command):
        """Start a command in a process group of its own."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(
            command, cwd=self.folder, env=environment, start_new_session=True, **pipes
        )

    def commit(self, message):
        self("git", "add", "-A")
        self("git", "commit", "-qm", message)

    def ran(self, *command):
        """Run a DVC command -> the stages that it executed."""
        return [
            line.split("'")[1]
            for line in self(*command).splitlines()
            if line.startswith("Running stage '")
        ]

    def report(self):
        return json.loads((self.folder / "metrics/report.json").read_text())

    def metrics(self):
        files = sorted(file for file in (self.folder / "metrics").rglob("*") if file.is_file())
        return {str(file.relative_to(self.folder)): file.read_bytes() for file in files}


CELL = ("train", "extract", "distances", "rerank", "evaluate")


@pytest.fixture(scope="module")
def clone(params, tmp_path_factory):
    """The clone after its first `dvc repro`, committed."""
    few = {**params, "tables": {**params["tables"], "losses": ["softmax", "ls"]}, "loss": "softmax"}
    few["resume"] = {"minutes": 0.0}
    clone = Clone(tmp_path_factory.mktemp("clone"), few)
    clone.first = clone.ran("dvc", "repro")
    clone.commit("first run")
    return clone


def test_repro_runs_every_cell_and_writes_the_tables(clone):
    cells = {f"{stage}@synthetic-{loss}-0" for stage in CELL for loss in ("softmax", "ls")}
    assert set(clone.first) == {"prepare@synthetic", "tables", "report", "page"} | cells
    names = {
        "metrics/report.json",
        *(f"metrics/runs/synthetic/{loss}/0.json" for loss in ("softmax", "ls")),
    }
    names |= {
        f"metrics/tables/synthetic{variant}.{kind}"
        for variant in ("", "_partial")
        for kind in ("md", "json")
    }
    names |= {f"metrics/tables/plots/{name}.csv" for name in ("training", "cmc")}
    assert set(clone.metrics()) == names
    assert clone.report()["loss"] == "softmax"
    tracked = clone("git", "ls-files").splitlines()
    assert names <= set(tracked)
    assert "dvc.lock" in tracked
    assert not [
        file
        for file in tracked
        if file.startswith(("data/", "models/", "features/", "distances/", "reranked/", "report/"))
    ]


def test_a_second_repro_does_nothing(clone):
    assert clone.ran("dvc", "repro") == []
    assert clone("git", "status", "--porcelain") == ""


def test_another_template_redraws_the_page_alone(clone):
    page = (clone.folder / "report/index.html").read_text(encoding="utf-8")
    style = clone.folder / "reid/page/templates/style.css"
    style.write_text(style.read_text(encoding="utf-8") + "/* changed */\n", encoding="utf-8")
    assert clone.ran("dvc", "repro") == ["page"]
    changed = (clone.folder / "report/index.html").read_text(encoding="utf-8")
    assert changed.replace("/* changed */\n", "", 1) == page
    clone("git", "checkout", "-q", ".")
    clone("dvc", "checkout", "-q")


TAKEN = ("seconds", "images_per_second", "peak_memory_gb")


def without_what_it_took(metrics, head):
    """The metrics' bytes less, of each cell, the time and memory that its training took and the
    commit, `head`.
    """
    left = dict(metrics)
    for name, content in metrics.items():
        if name.startswith("metrics/runs/"):
            run = json.loads(content)
            assert content.decode() == cell.text(run)  # so that nothing is lost by reading it
            training = run["provenance"]["training"]
            assert all(training.pop(key) > 0 for key in TAKEN)
            assert training["environment"]["code"].pop("revision") == head
            left[name] = json.dumps(run, indent=2).encode()
    return left


def test_from_scratch_again_the_metrics_are_the_same_bytes(clone):
    """Time and memory differ from run to run, and the commit is another one; all else is compared
    byte by byte.
    """
    before = without_what_it_took(clone.metrics(), clone("git", "rev-parse", "HEAD~1").strip())
    history = (clone.folder / "models/synthetic/ls/0/history.csv").read_bytes()
    assert len(clone.ran("dvc", "repro", "--force")) == 14
    assert (
        without_what_it_took(clone.metrics(), clone("git", "rev-parse", "HEAD").strip()) == before
    )
    assert (clone.folder / "models/synthetic/ls/0/history.csv").read_bytes() == history
    clone.commit("again")


def test_another_headline_runs_report_and_page_alone_and_diff_shows_it(clone):
    assert set(clone.ran("dvc", "exp", "run", "-S", "loss=ls")) == {"report", "page"}
    assert clone("git", "diff", "--numstat", "params.yaml").split() == ["1", "1", "params.yaml"]
    assert clone.report()["loss"] == "ls"
    difference = json.loads(clone("dvc", "metrics", "diff", "--all", "--json"))
    changes = (
        difference["diff"]["metrics/report.json"]
        if "diff" in difference
        else difference["metrics/report.json"]
    )
    protocols = ("full", "partial")
    numbers = {
        f"{p}.{column}.{metric}"
        for p in protocols
        for column in COLUMNS
        for metric in ("rank1", "mAP")
    }
    assert numbers <= set(changes)
    for number in numbers:
        assert changes[number]["new"] - changes[number]["old"] == pytest.approx(
            changes[number]["diff"], abs=1e-9
        )
    assert any(changes[number]["diff"] for number in numbers)
    assert "full.global_dmli_rk.mAP" in clone("dvc", "metrics", "diff", "--all")
    clone("git", "checkout", "-q", ".")
    clone("dvc", "checkout", "-q")


def test_an_experiment_on_the_report_trains_one_cell_only(clone):
    ran = clone.ran(
        "dvc",
        "exp",
        "run",
        "report",
        "-S",
        "loss=ls",
        "-S",
        "datasets.synthetic.train.learning_rate=0.01",
    )
    assert ran == [*(f"{stage}@synthetic-ls-0" for stage in CELL), "report"]
    run = json.loads((clone.folder / "metrics/runs/synthetic/ls/0.json").read_text())
    assert run["provenance"]["train"]["settings"]["train"]["learning_rate"] == 0.01
    clone("git", "checkout", "-q", ".")
    clone("dvc", "checkout", "-q")


def test_another_k1_reranks_and_evaluates_and_no_more(clone):
    ran = clone.ran("dvc", "exp", "run", "-S", "rerank.k1=10")
    cells = {
        f"{stage}@synthetic-{loss}-0"
        for stage in ("rerank", "evaluate")
        for loss in ("softmax", "ls")
    }
    assert set(ran) == cells | {"tables", "report", "page"}
    clone("git", "checkout", "-q", ".")
    clone("dvc", "checkout", "-q")


def test_another_seed_of_partial_queries_trains_nothing(clone):
    ran = clone.ran("dvc", "exp", "run", "report", "-S", "prepare.partial_seed=1")
    cells = [f"{stage}@synthetic-softmax-0" for stage in CELL if stage != "train"]
    assert ran == ["prepare@synthetic", *cells, "report"]
    clone("git", "checkout", "-q", ".")
    clone("dvc", "checkout", "-q")


def test_another_seed_trains_one_more_of_each_cell_and_the_tables_show_the_spread(clone):
    before = clone.report()
    ran = clone.ran("dvc", "exp", "run", "-S", "tables.seeds=[0,1]")
    cells = {f"{stage}@synthetic-{loss}-1" for stage in CELL for loss in ("softmax", "ls")}
    assert set(ran) == cells | {"tables", "report", "page"}
    runs = [
        json.loads((clone.folder / f"metrics/runs/synthetic/softmax/{seed}.json").read_text())
        for seed in (0, 1)
    ]
    both, report = [run["full"]["dmli"]["mAP"] for run in runs], clone.report()
    assert report["seeds"] == [0, 1]
    assert report["full"]["dmli"]["mAP"] == pytest.approx(sum(both) / 2, abs=1e-4)
    assert "Softmax, 2 seeds" in (clone.folder / "metrics/tables/synthetic.md").read_text()
    # the file of a seed that is no longer named stays, and counts for nothing
    clone.commit("two seeds")
    ran = clone.ran("dvc", "exp", "run", "-S", "tables.seeds=[0]")
    assert set(ran) == {"tables", "report", "page"}
    assert (clone.folder / "metrics/runs/synthetic/softmax/1.json").exists()
    assert clone.report() == before
    clone("git", "checkout", "-q", ".")
    clone("git", "reset", "-q", "--hard", "HEAD~1")
    clone("dvc", "checkout", "-q")


def test_a_queued_grid_of_headlines(clone):
    clone("dvc", "exp", "run", "-S", "loss=softmax,ls", "--queue")
    clone("dvc", "queue", "start")
    for _ in range(240):
        status = clone("dvc", "queue", "status")
        if "Queued" not in status and "Running" not in status:
            break
        time.sleep(1)
    assert status.count("Success") == 2, status
    names = {line.split()[1] for line in status.splitlines() if "Success" in line}
    refs = clone("git", "for-each-ref", "--format=%(refname)", "refs/exps").splitlines()
    reports = [
        json.loads(clone("git", "show", f"{ref}:metrics/report.json"))
        for ref in refs
        if ref.split("/")[-1] in names
    ]
    assert {report["loss"] for report in reports} == {"softmax", "ls"}
    for report in reports:
        run = json.loads(
            (clone.folder / f"metrics/runs/synthetic/{report['loss']}/0.json").read_text()
        )
        assert report["full"]["dmli"]["mAP"] == run["full"]["dmli"]["mAP"]


def killed_in_training(clone, *command):
    """Start a DVC command, and kill it and all that it started when training has saved its
    state.
    """
    unfinished = clone.folder / "unfinished"
    running = clone.start(*command)
    while running.poll() is None and not list(unfinished.glob("*.pt")):
        time.sleep(0.01)
    assert running.poll() is None, "it ended before it was killed"
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert list(unfinished.glob("*.pt"))


@pytest.mark.parametrize(
    "how",
    [
        ["repro", "report"],
        ["exp", "run", "report"],
        ["exp", "run", "--temp", "--name", "killed-once", "report"],
    ],
)
def test_killed_dvc_goes_on_with_training_when_it_is_run_again(clone, how, tmp_path):
    file, before = clone.folder / "params.yaml", (clone.folder / "params.yaml").read_text()
    params = yaml.safe_load(before)
    changed = {"epochs": 12, "weight_decay": len("".join(how)) / 1e5}  # in no cache
    params["datasets"]["synthetic"]["train"] |= changed
    file.write_text(yaml.safe_dump(params, sort_keys=False))
    killed_in_training(clone, "dvc", *how)
    clone("dvc", *how)
    assert list((clone.folder / "unfinished").iterdir()) == []
    if "--temp" in how:
        clone("dvc", "exp", "apply", "killed-once")
    model = clone.folder / "models/synthetic/softmax/0"
    assert json.loads((model / "training.json").read_text())["resumed"] == 1
    cell = ("--dataset", "synthetic", "--loss", "softmax", "--seed", "0")
    clone(
        sys.executable,
        "-m",
        "stages.train",
        "data/synthetic/train",
        str(tmp_path / "unbroken"),
        *cell,
    )
    for name in ("model.safetensors", "history.csv"):
        assert (model / name).read_bytes() == (tmp_path / "unbroken" / name).read_bytes()
    clone("git", "checkout", "-q", ".")
    clone("dvc", "checkout", "-q")


def write_market1501(folder):
    """A part of Market-1501 under its real names: 12 people to train, 6 to find, distractors and
    junk, in noise.
    """
    rng = np.random.default_rng(0)
    for split, people in (("train", 12), ("query", 6), ("test", 6)):
        with gzip.open(ROOT / f"reid/datasets/names/market1501_{split}.csv.gz", "rt") as file:
            names = [line.strip().split(",")[1] for line in file]
        pids = sorted({Path(name).name.split("_")[0] for name in names} - {"-1", "0000"})[:people]
        for pid in [*pids, "0000", "-1"]:
            of_person = [name for name in names if Path(name).name.startswith(f"{pid}_")]
            colour = rng.integers(256, size=3)
            for name in of_person if pid in pids else of_person[:5]:
                pixels = np.clip(colour + rng.normal(0, 40, (128, 64, 3)), 0, 255).astype(np.uint8)
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(folder / name)


def test_market1501_as_its_authors_distribute_it(clone, tmp_path, monkeypatch):
    write_market1501(tmp_path / "Market-1501-v15.09.15")
    monkeypatch.setenv("REID_DATA", str(tmp_path))
    settings = {
        "tables.datasets": "[synthetic,market1501]", "dataset": "market1501", "loss": "ls",
        "prepare.allow_incomplete": "true", "model.weights": "none", "model.trunk": "resnet18",
        "model.last_layer": "layer2", "model.height": "64", "model.width": "32",
        "train.epochs": "1", "train.people": "2",
    }  # fmt: skip
    ran = clone.ran(
        "dvc", "exp", "run", "report", *(f"-S{key}={value}" for key, value in settings.items())
    )
    assert ran == ["prepare@market1501", *(f"{stage}@market1501-ls-0" for stage in CELL), "report"]
    statistics = json.loads((clone.folder / "data/market1501/statistics.json").read_text())
    assert statistics["train"]["people"] == 12
    assert statistics["query"]["people"] == 6
    assert statistics["gallery"]["distractors"] == 5
    assert clone.report()["dataset"] == "market1501"
    clone("git", "checkout", "-q", ".")
    clone("dvc", "checkout", "-q")
