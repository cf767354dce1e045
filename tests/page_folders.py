"""A finished run in a dataset's folders, as dvc.yaml has them, for the tests of the page."""

import shutil

import yaml

from reid import prepared
from tests.conftest import run_stage

FOLDERS = ("features", "distances", "reranked")
LOSS, SEED = "ls", "0"
ODD = "a \"b\" 'c' <i>d</i> & é 人"  # of images
TITLE = "a \"b\" 'c' & é 人"  # of the dataset: titles hold no < and >


def copy(finished, params, folder):
    """Copy a finished run into a dataset's folders; folder, dataset and images have odd names."""
    at = folder / "é \"q\" <b> & 's' 人"
    for name, source in {"models": "model", **{n: n for n in FOLDERS}}.items():
        shutil.copytree(finished / source, at / name / LOSS / SEED)
    shutil.copytree(finished / "data", at / "data")
    shutil.copytree(finished / "runs", at / "runs")
    rename_images(at / "data/gallery")
    few = {
        **params,
        "tables": {**params["tables"], "losses": [LOSS], "names": {"synthetic": TITLE}},
    }
    few["page"] = {"queries": 3, "seed": 0}
    (at / "params.yaml").write_text(yaml.safe_dump(few), encoding="utf-8")
    assert run_stage("tables", at / "runs", at / "tables", "--params", at / "params.yaml") == 0
    return at


def rename_images(folder):
    """Put the odd name before the name of each image of a split."""
    split = prepared.read(folder)
    renamed = [
        (f"{ODD} {name}", pid, camid, split.content(number))
        for number, (name, pid, camid) in enumerate(
            zip(split.names, split.pids, split.camids, strict=True)
        )
    ]
    prepared.write(folder / "renamed", {"gallery": renamed})
    for name in ("images.zip", "manifest.csv"):
        (folder / "renamed/gallery" / name).replace(folder / name)
    shutil.rmtree(folder / "renamed")


def make(at, out, *more):
    """Run the page stage on the folders of `copy` -> what `run_stage` does."""
    folders = [at / name for name in ("data", "models", *FOLDERS)]
    arguments = [*folders, at / "runs/synthetic", at / "tables", out]
    settings = ["--dataset", "synthetic", "--loss", LOSS, "--params", at / "params.yaml"]
    return run_stage("page", *arguments, *settings, *more)
