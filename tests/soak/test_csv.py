"""Own CSVs: the rows as they are written, or a refusal that says what to change."""

import re
from typing import NamedTuple

from hypothesis import strategies as st

from tests.soak import raw
from tests.soak.kinds import REFUSED, RIGHT, tries

NAMES = st.from_regex(r"[a-z][a-z0-9_ ]{0,8}[a-z0-9]", fullmatch=True) | st.sampled_from(
    ["é", "日本", "a b", "NA", "1e5", "o'k", "x;y", "#1", "-1", "nan", "a'b", "tab", "Ünï"]
)


class Row(NamedTuple):
    """A line of the CSV."""

    image: str
    pid: int
    camid: int
    split: str


@st.composite
def tables(draw):
    """Rows of a dataset that can be evaluated on, its first query with a match."""
    names = draw(st.lists(NAMES, min_size=5, max_size=12, unique_by=str.lower))
    rows = [Row(f"{names[0]}.png", 1, 1, "train"), Row(f"{names[1]}.png", 7, 1, "query")]
    rows.append(Row(f"sub/{names[2]}.png", 7, 2, "gallery"))
    for name in names[3:]:
        split = draw(st.sampled_from(raw.SPLITS))
        lowest = {"train": 1, "query": 1, "gallery": -1}[split]
        pid, camid = draw(st.integers(lowest, 9) | st.just(2**40)), draw(st.integers(0, 5))
        rows.append(Row(f"{name}.png", pid, camid, split))
    return draw(st.permutations(rows))


def quoted(text, separator):
    special = any(character in text for character in f'{separator}"\n')
    return f'"{text}"' if special else text


def table_text(rows, separator=",", end="\n", columns=Row._fields):
    lines = [columns, *[[str(getattr(row, column)) for column in columns] for row in rows]]
    return end.join(separator.join(quoted(cell, separator) for cell in line) for line in lines)


def write(folder, rows, content):
    mine = folder / "raw" / "mine"
    raw.write_pictures(mine, rows)
    (mine / "images.csv").write_bytes(content)


def expected(rows, with_cameras=True):
    """{(name, pid, camid, split)} that prepare must pack."""
    return {
        row._replace(camid=row.camid if with_cameras else int(row.split == "gallery"))
        for row in rows
        if row.pid >= 0
    }


@tries(
    "CSVs as programs write them",
    *(12, 1200),
    rows=tables(),
    columns=st.permutations(Row._fields),
    end=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig"]),
    cameras=st.booleans(),
    last=st.booleans(),
)
def test_a_csv_gives_its_rows(fresh, rows, columns, end, encoding, cameras, last):
    folder = fresh()
    columns = [column for column in columns if cameras or column != "camid"]
    text = table_text(rows, end=end, columns=columns) + end * last
    write(folder, rows, text.encode(encoding))
    outcome = raw.prepare(folder)
    assert not outcome.is_refused, outcome.text
    packed = raw.packed_rows(folder / "out")
    assert set(packed) == set(map(tuple, expected(rows, cameras)))
    for (name, *_), content in packed.items():
        assert content == (folder / "raw" / "mine" / name).read_bytes()
    return RIGHT


# how a spreadsheet or another system writes it -> words of the next step
FORMS = {
    "utf-16": "utf-8",
    "latin-1": "utf-8",
    "cp500": "",
    ";": "comma",
    "\t": "comma",
    "|": "comma",
    "backslashes": "/",
    "header": "image",
    "nothing": "",
    "NUL": "",
    "cut": "",
}


@tries(
    "CSVs of another encoding, separator or style of paths",
    *(11, 600),
    rows=tables(),
    form=st.sampled_from(sorted(FORMS)),
)
def test_another_form_is_right_or_refused_with_the_next_step(fresh, rows, form):
    folder = fresh()
    rows = [row._replace(image=f"é{row.image}") if "/" not in row.image else row for row in rows]
    text = table_text(rows, separator=form if len(form) == 1 else ",")
    if form == "backslashes":
        text = text.replace("sub/", "sub\\")
    text = {"header": text.replace("image", "file", 1), "nothing": "", "NUL": text + "\0,\0"}.get(
        form, text[: -len(text) // 3] if form == "cut" else text
    )
    encoding = form if form in ("utf-16", "latin-1", "cp500") else "utf-8"
    write(folder, rows, text.encode(encoding, "replace"))
    outcome = raw.prepare(folder)
    if outcome.is_refused:
        assert FORMS[form] in outcome.text.lower(), f"{form}: {outcome.text}"
        assert "images.csv" in outcome.text or "datasets.mine" in outcome.text, outcome.text
        return REFUSED
    packed = set(raw.packed_rows(folder / "out"))
    wanted = set(map(tuple, expected(rows)))
    assert packed <= wanted if form == "cut" else packed == wanted, f"{form} was read otherwise"
    return RIGHT


ODD = ("1_23", "12_3", " 7", "7 ", "+7", "007", "7.0", "7e0", "\u0667", "\uff17", "²", "-0", "")
NUMBERS = st.one_of(
    st.sampled_from(ODD),
    st.sampled_from([str(2**62), str(2**63 - 1), str(2**63), str(2**64), "9" * 30, "9" * 5000]),
    st.integers(-5, 2**66).map(str),
    st.text(max_size=4).filter(lambda text: not set(text) & set('",\r\n\0')),
)


@tries(
    "numbers in a CSV, spelled oddly",
    *(15, 1500),
    text=NUMBERS,
    column=st.sampled_from(["pid", "camid"]),
    split=st.sampled_from(raw.SPLITS),
)
def test_a_number_is_what_it_says_or_refused(fresh, text, column, split):
    folder = fresh()
    rows = [Row(*row) for row in raw.ROWS]
    extra = Row("extra/x.png", 5, 4, split)
    write(folder, [*rows, extra], b"")
    lines = table_text([*rows, extra]).split("\n")
    lines[-1] = ",".join(
        text if name == column else str(value) for name, value in extra._asdict().items()
    )
    (folder / "raw" / "mine" / "images.csv").write_text("\n".join(lines), encoding="utf-8")
    outcome = raw.prepare(folder)
    plain = re.fullmatch(r"\s*[-+]?[0-9]+\s*", text, re.ASCII)
    if outcome.is_refused:
        is_fine = re.fullmatch(r"[1-9][0-9]{0,8}", text, re.ASCII)
        assert not is_fine, f"{column} {text!r}: {outcome.text}"
        assert column in outcome.text, outcome.text
        return REFUSED
    assert plain, f"{column} {text!r} was accepted"
    assert -1 <= int(text) < 2**63, f"{column} {text!r} was accepted"
    packed = [key for key in raw.packed_rows(folder / "out") if key[0] == extra.image]
    wanted = extra._replace(**{column: int(text)})
    assert packed == ([tuple(wanted)] if wanted.pid >= 0 else [])
    return RIGHT


PAIRS = [("train", "query"), ("train", "gallery"), ("query", "gallery"), ("gallery", "gallery")]


@tries(
    "the same picture twice in a CSV",
    *(6, 300),
    splits=st.sampled_from(PAIRS),
    by=st.sampled_from(["path", "bytes", "spelling"]),
    pid=st.integers(1, 3),
    camid=st.integers(1, 4),
)
def test_the_same_picture_twice_is_told(fresh, splits, by, pid, camid):
    folder = fresh()
    first = Row("twice/x.png", 3, 1, splits[0])
    paths = {"path": first.image, "bytes": "twice/y.png", "spelling": "twice/./x.png"}
    second = Row(paths[by], pid, camid, splits[1])
    rows = [*[Row(*row) for row in raw.ROWS], first, second]
    write(folder, rows, table_text(rows).encode())
    (folder / "raw" / "mine" / second.image).write_bytes(
        (folder / "raw" / "mine" / first.image).read_bytes()
    )
    outcome = raw.prepare(folder)
    is_junk = splits == ("query", "gallery") and (pid, camid) == (3, 1)
    if outcome.is_refused:
        assert not is_junk, f"a query that is its own junk is usual: {outcome.text}"
        assert "twice/" in outcome.text, outcome.text
        return REFUSED
    is_told = "warning" in outcome.text and "twice/" in outcome.text
    assert is_junk or splits == ("gallery", "gallery") or is_told, "passed unnoticed"
    return RIGHT
