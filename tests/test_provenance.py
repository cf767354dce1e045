"""What a model was made with: written by the train stage, read by evaluate, and refused when it is
something else.
"""

import copy
import hashlib
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from reid import prepared
from reid.results import provenance as training_json
from reid.runtime.errors import InputError
from reid.training import provenance
from reid.training.provenance import Summary
from tests.conftest import ROOT, run_stage

CPU = torch.device("cpu")
IMAGES = [("a.jpg", 1, 1, b"first"), ("b.jpg", 1, 2, b"second"), ("c.jpg", 7, 2, b"third")]
SUMMARY = Summary(seconds=12.34, images_per_second=56.78, processes=2, resumed=1, kept_epoch=3)


def split_of(folder, images=IMAGES, name="train"):
    prepared.write(folder, {name: images})
    return prepared.read(folder / name)


def test_fingerprint_is_the_sha256_of_one_line_an_image(tmp_path):
    lines = [
        f'["{name}", {pid}, {camid}, "{hashlib.sha256(content).hexdigest()}"]\n'
        for name, pid, camid, content in IMAGES
    ]
    expected = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert provenance.fingerprint(split_of(tmp_path)) == expected


@pytest.mark.parametrize(
    "images",
    [
        [("A.jpg", 1, 1, b"first"), *IMAGES[1:]],
        [("a.jpg", 2, 1, b"first"), *IMAGES[1:]],
        [("a.jpg", 1, 2, b"first"), *IMAGES[1:]],
        [("a.jpg", 1, 1, b"First"), *IMAGES[1:]],
        IMAGES[1:],
        [*IMAGES[1:], IMAGES[0]],
        [],
    ],
    ids=["name", "pid", "camid", "content", "one less", "another order", "none"],
)
def test_fingerprint_differs_with_whatever_differs(tmp_path, images):
    split, changed = split_of(tmp_path / "split"), split_of(tmp_path / "changed", images)
    assert provenance.fingerprint(split) != provenance.fingerprint(changed)


def test_fingerprint_is_of_the_images_and_not_of_the_split(tmp_path):
    train, gallery = split_of(tmp_path / "a"), split_of(tmp_path / "b", name="gallery")
    assert provenance.fingerprint(train) == provenance.fingerprint(gallery)


def test_fingerprint_reads_no_image(tmp_path):
    split = split_of(tmp_path)
    split.archive.close()
    assert len(provenance.fingerprint(split)) == 64


def test_environment_on_a_cpu(tmp_path):
    environment = provenance.environment(CPU)
    assert environment["python"] == sys.version.split()[0]
    assert 1 <= environment["cores"] <= os.cpu_count()
    assert environment["threads"] == torch.get_num_threads()
    assert environment["gpu"] is None
    assert environment["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert environment["versions"]["numpy"] == np.__version__
    assert all(isinstance(environment[key], str) and environment[key] for key in ("system", "cpu"))


def test_environment_on_a_gpu(monkeypatch):
    """There is none here: torch and nvidia-smi are stood in for."""
    properties = SimpleNamespace(name="NVIDIA H200", total_memory=150_754_820_096)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 2_345_678_901)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(
        provenance,
        "_output_of",
        lambda *command: "580.1\n580.1" if command[0] == "nvidia-smi" else None,
    )
    gpu = provenance.environment(torch.device("cuda"))["gpu"]
    assert gpu == {"name": "NVIDIA H200", "memory_gb": 150.8, "driver": "580.1", "cuda": "13.0"}
    assert provenance.peak_gpu_memory_gb(torch.device("cuda")) == 2.346
    assert provenance.peak_gpu_memory_gb(CPU) is None


def test_peak_memory_is_that_of_the_process_and_not_of_its_parent():
    code = (
        "from reid.training import provenance; import numpy; {}; print(provenance.peak_memory_gb())"
    )
    commands = [
        [sys.executable, "-c", code.format(statement)]
        for statement in ("pass", "numpy.ones(4 * 10**7)")
    ]
    held = np.ones(10**8)  # 0.8 GB of this process, which `getrusage` would have them inherit
    runs = [
        subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        for command in commands
    ]
    del held
    without, with_ = (float(done.stdout) for done in runs)
    assert without < 0.8
    assert with_ - without == pytest.approx(0.32, abs=0.05)


@pytest.fixture
def project(tmp_path):
    """A repository with the project's folders, its commit's number, and a function that runs git
    in it.
    """

    def git(*arguments):
        settings = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
        return subprocess.run(
            ["git", *settings, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout

    (tmp_path / "reid").mkdir()
    for file in ("reid/__init__.py", "params.yaml"):
        (tmp_path / file).write_text("")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "start")
    return SimpleNamespace(folder=tmp_path, git=git, head=git("rev-parse", "HEAD").strip())


def test_revision_is_the_commit(project):
    assert provenance.revision(project.folder) == {"revision": project.head, "dirty": False}


@pytest.mark.parametrize("file", ["params.yaml", "reid/new.py", "metrics.json"])
def test_settings_results_and_new_files_make_no_revision_dirty(project, file):
    (project.folder / file).write_text("changed")
    assert provenance.revision(project.folder) == {"revision": project.head, "dirty": False}


@pytest.mark.parametrize("staged", [False, True])
def test_changed_code_makes_it_dirty(project, staged):
    (project.folder / "reid/__init__.py").write_text("changed")
    if staged:
        project.git("add", "-A")
    assert provenance.revision(project.folder) == {"revision": project.head, "dirty": True}
    project.git("commit", "-qam", "changed")
    assert provenance.revision(project.folder)["dirty"] is False
    assert provenance.revision(project.folder)["revision"] != project.head


def test_a_copy_inside_another_repository_has_no_revision(project):
    (project.folder / "copy/reid").mkdir(parents=True)
    (project.folder / "copy/reid/__init__.py").write_text("")
    assert provenance.revision(project.folder / "copy") == {"revision": None, "dirty": None}


def test_without_git_a_repository_or_a_commit_there_is_no_revision(
    project, tmp_path_factory, monkeypatch
):
    none = {"revision": None, "dirty": None}
    assert provenance.revision(tmp_path_factory.mktemp("outside")) == none
    project.git("update-ref", "-d", "HEAD")
    assert provenance.revision(project.folder) == none
    monkeypatch.setenv("PATH", str(project.folder))
    assert provenance.revision(project.folder) == none


def test_a_training_comes_back_from_its_file(tmp_path):
    content = provenance.training(split_of(tmp_path / "data"), 5, CPU, SUMMARY)
    provenance.write(tmp_path / "training.json", content)
    assert training_json.read(tmp_path / "training.json") == content
    assert content["data"] == {
        "fingerprint": provenance.fingerprint(prepared.read(tmp_path / "data/train")),
        "people": 2,
        "images": 3,
    }
    assert [content[key] for key in ("seed", "seconds", "images_per_second")] == [5, 12.3, 56.8]
    assert [content[key] for key in ("processes", "resumed", "kept_epoch")] == [2, 1, 3]
    assert content["peak_memory_gb"] > 0
    assert content["peak_gpu_memory_gb"] is None


@pytest.mark.parametrize("epoch", [300, None])
def test_a_conversion_comes_back_from_its_file(tmp_path, epoch):
    (tmp_path / "best.pth.tar").write_bytes(b"weights")
    content = provenance.converted(tmp_path / "best.pth.tar", epoch)
    provenance.write(tmp_path / "training.json", content)
    assert training_json.read(tmp_path / "training.json") == content
    assert content["converted_from"] == "best.pth.tar"
    assert content["sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert content["epoch"] == epoch


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    """What is written of a trained and of a converted model."""
    folder = tmp_path_factory.mktemp("contents")
    trained = provenance.training(split_of(folder / "data"), 5, CPU, SUMMARY)
    return {
        "trained": trained,
        "converted": provenance.converted(folder / "data/train/images.zip", 1),
    }


CHANGES = [
    ("trained", path, value)
    for path in training_json.TRAINED
    for value in ({}, None, True, -1, float("nan") if path == "seconds" else [], "f" * 63)
    if not (path.endswith(".torch") and isinstance(value, str))
]
CHANGES += [
    ("converted", "sha256", "ab"),
    ("converted", "converted_from", ""),
    ("converted", "environment", None),
]


@pytest.mark.parametrize(("kind", "path", "value"), CHANGES)
def test_what_is_wrong_in_the_file_is_named(contents, kind, path, value, tmp_path):
    content = copy.deepcopy(contents[kind])
    inner = content
    for key in path.split(".")[:-1]:
        inner = inner[key]
    inner[path.split(".")[-1]] = value
    (tmp_path / "training.json").write_text(json.dumps(content))
    with pytest.raises(
        InputError, match=rf"training\.json is no training\.json: `{path}.*wanted .*train stage"
    ):
        training_json.read(tmp_path / "training.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[]", "is missing"),
        ("3", "is missing"),
        ("{}", "is missing"),
    ],
)
def test_other_files_are_named(tmp_path, text, message):
    (tmp_path / "training.json").write_text(text)
    with pytest.raises(InputError, match=rf"training\.json .*{message}"):
        training_json.read(tmp_path / "training.json")
    with pytest.raises(InputError, match=r"cannot read .*none\.json: No such file"):
        training_json.read(tmp_path / "none.json")


def test_the_train_stage_writes_it_and_the_cell_holds_it(finished):
    written = training_json.read(finished / "model/training.json")
    run = json.loads((finished / "runs/synthetic/ls/0.json").read_text())
    assert run["provenance"]["training"] == written
    assert written["seed"] == run["seed"]
    assert written["data"]["fingerprint"] == provenance.fingerprint(
        prepared.read(finished / "data/train")
    )


def test_evaluate_wants_all_of_a_cell_or_nothing(finished, params_file, tmp_path, capsys):
    folders = (
        finished / "features",
        finished / "distances",
        finished / "reranked",
        tmp_path / "out.json",
    )
    arguments = ("--dataset", "synthetic", "--loss", "ls", "--params", params_file)
    assert run_stage("evaluate", *folders, *arguments) == 2
    assert "--dataset, --loss, --seed and --training go together" in capsys.readouterr().err
    training = ("--seed", 0, "--training", tmp_path / "none.json")
    assert "none.json" in run_stage("evaluate", *folders, *arguments, *training)
    assert list(tmp_path.iterdir()) == []


def test_the_classic_protocol_with_another_metric_is_warned_of(recwarn):
    source = {"reader": "cuhk03", "protocol": "classic"}
    classic = {"prepare": {"gallery": {"settings": {"source": source}}}}
    for made, metric in ((classic, "cuhk03"), ({"prepare": {}}, "market1501")):
        training_json.warn_of_metric(made, metric)
    assert not list(recwarn)
    with pytest.warns(UserWarning, match="classic protocol, and the metric is market1501"):
        training_json.warn_of_metric(classic, "market1501")
