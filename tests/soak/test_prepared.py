"""Prepared datasets with damaged files: the bytes that were packed, or a refusal."""

import io

from hypothesis import strategies as st
from PIL import Image

from reid import images, prepared
from tests.soak import raw
from tests.soak.kinds import REFUSED, RIGHT, tries
from tests.soak.outcomes import call
from tests.soak.test_features import damage_file

DAMAGES = ("flip", "flip", "flip", "cut", "text", "empty", "absent", "longer", "folder", "line")


def picture(number):
    out = io.BytesIO()
    Image.fromarray(raw.gradient(7, 12, number)).save(out, "PNG")
    return out.getvalue()


CONTENTS = {f"{number}.png": picture(number) for number in range(6)}
PIDS = dict(zip(CONTENTS, (1, 1, 2, 3, 0, 12), strict=True))


def write(folder):
    rows = [(name, PIDS[name], 1, content) for name, content in CONTENTS.items()]
    prepared.write(folder, {"gallery": rows})


@tries(
    "prepared datasets with damaged files",
    *(25, 3000),
    damage=st.sampled_from(DAMAGES),
    name=st.sampled_from(["images.zip", "manifest.csv"]),
    data=st.data(),
)
def test_a_damaged_dataset_gives_its_images_or_is_refused(fresh, damage, name, data):
    folder = fresh() / "mine"
    write(folder)
    file = folder / "gallery" / name
    before = file.read_bytes()
    if damage == "line":
        lines = before.split(b"\n")
        del lines[data.draw(st.integers(0, len(lines) - 2))]
        file.write_bytes(b"\n".join(lines))
    else:
        damage_file(file, damage, data)
    outcome = call(read_all, folder / "gallery")
    if outcome.is_refused:
        assert "mine" in outcome.text, outcome.text
        return REFUSED
    is_same = damage in ("flip", "longer") or (damage == "cut" and file.read_bytes() == before)
    is_same = is_same or file.read_bytes().rstrip() == before.rstrip()
    assert is_same, f"{name} with {damage} was accepted"
    names, pids, contents = outcome.value
    assert dict(zip(names, contents, strict=True)) == CONTENTS
    if name == "images.zip":  # a changed digit of the manifest cannot be known
        assert dict(zip(names, pids, strict=True)) == PIDS
    return RIGHT


def read_all(folder):
    """Everything that a later stage takes of a split."""
    split = prepared.read(folder)
    contents = [split.content(index) for index in range(len(split))]
    images.decode(split, 32, 16)
    return split.names, split.pids.tolist(), contents
