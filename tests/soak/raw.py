"""Raw folders with a CSV and a few pictures, and the prepare stage on them."""

import numpy as np
import yaml
from PIL import Image

from reid import prepared
from tests.soak.outcomes import attempt

ROWS = (
    ("train/a.png", 1, 1, "train"),
    ("train/b.png", 1, 2, "train"),
    ("query/c.png", 2, 1, "query"),
    ("gallery/d.png", 2, 2, "gallery"),
    ("gallery/e.png", 0, 3, "gallery"),
)
SPLITS = ("train", "query", "gallery")


def gradient(width, height, seed=0):
    """A smooth picture [H, W, 3] uint8, so that lossy formats and resizing keep it; brightness
    rises downwards and red to the right. Those of seeds 0 to 29 all differ.
    """
    down = np.linspace(0, 1, height)[:, None] * np.ones(width)
    right = np.linspace(0, 1, width)[None] * np.ones((height, 1))
    channels = (40 + 90 * down + 90 * right, 50 + 150 * down, 60 + 120 * down)
    return (np.stack(channels, -1) + seed % 30).astype(np.uint8)


def write_pictures(folder, rows=ROWS):
    """One small picture for each row, no two alike."""
    for number, (image, *_) in enumerate(rows, 1):
        file = folder / image
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(gradient(9, 17, seed=number)).save(file)


def csv_text(rows=ROWS):
    return "".join(f"{','.join(map(str, row))}\n" for row in [("image,pid,camid,split",), *rows])


def prepare(folder, file="images.csv"):
    """The prepare stage on the CSV `folder`/raw/mine/`file` -> its Outcome, and `folder`/out."""
    settings = {
        "prepare": {
            "raw": str(folder / "raw"),
            "download": False,
            "partial_seed": 0,
            "allow_incomplete": False,
        },
        "datasets": {"mine": {"source": {"reader": "csv", "file": f"mine/{file}"}}},
    }
    params = folder / "params.yaml"
    params.write_text(yaml.safe_dump(settings), encoding="utf-8")
    arguments = ("mine", folder / "out", "--params", params)
    return attempt("stages.prepare", *arguments, watched=folder)


def packed_rows(out):
    """{(name, pid, camid, split): the packed bytes} of a prepared dataset."""
    rows = {}
    for name in SPLITS:
        split = prepared.read(out / name)
        for index, key in enumerate(zip(split.names, split.pids, split.camids, strict=True)):
            rows[(key[0], int(key[1]), int(key[2]), name)] = split.content(index)
    return rows
