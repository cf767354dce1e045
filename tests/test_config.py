"""params.yaml read and made settings: every mistake by its full name, what was got and wanted."""

import ast
import importlib
import re
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, model_validator

from reid.runtime import config, settings
from reid.runtime.errors import InputError, short
from reid.runtime.settings import Count
from tests.conftest import ROOT


@settings.settings_class
class Settings:
    epochs: Count
    rate: Annotated[float, Field(ge=0, lt=1)]
    name: settings.Text
    fast: bool
    parts: settings.Names
    keep: Literal["last", "best"]
    device: settings.Device = "auto"

    @model_validator(mode="after")
    def _check(self) -> "Settings":
        if self.fast and self.epochs > 9:
            raise ValueError(f"got fast with {self.epochs} epochs, wanted at most 9")
        return self


VALUES = {
    "epochs": 3,
    "rate": 0.1,
    "name": "x",
    "fast": True,
    "parts": ["a", "b"],
    "keep": "last",
}
PARAMS = {
    "train": VALUES,
    "datasets": {"small": {"train": {"epochs": 1}}, "plain": {"train": {}}, "bare": None},
}


def test_a_section_becomes_its_settings():
    made = settings.make(Settings, VALUES, "train")
    assert made == Settings(3, 0.1, "x", True, ("a", "b"), "last")
    assert config.load(Settings, PARAMS, "train", "small") == Settings(
        1, 0.1, "x", True, ("a", "b"), "last"
    )


SCALARS = (
    *("020", "0o14", "0x1F", "0b11", "1_23", "1:30", "1:30.5", "08", "-0", "+1", "_1", "0o", "0b2"),
    *("off", "yes", "y", "on", "True", "true", "~", "null", "", "None", "2001-01-31", "2001-1-1"),
    *("2001-01-31 10:00:00", "1e-4", "5E-1", ".5", ".5e3", "1.", "1e999", ".inf", "-.inf", "1__2"),
    *(
        "'1'",
        '"1\\u0065"',
        "a#b",
        "a #b",
        "é",
        "{}",
        "[]",
        "[020, off]",
        "{a: 1e3}",
        "|\n  x",
        "a b",
    ),
)


def assert_read_as_dvc_does(file, scalar):
    """The same value and type as DVC's own reader, or refused where that fails too."""
    file.write_text(f"a: {scalar}\n", encoding="utf-8", newline="")
    dvc = pytest.importorskip("dvc.utils.serialize", reason="needs dvc")
    try:
        theirs = dvc.load_yaml(str(file))
    except (dvc.ParseError, ValueError):
        with pytest.raises(InputError, match="line 1 of "):
            config.read(file)
    else:
        assert repr(config.read(file)) == repr(theirs)


@pytest.mark.parametrize("scalar", SCALARS)
def test_scalars_are_what_dvc_reads(tmp_path, scalar):
    assert_read_as_dvc_does(tmp_path / "params.yaml", scalar)


@given(st.text("0123456789_+-.:eExXobTZfnay~= ", min_size=1, max_size=10))
def test_random_scalars_are_what_dvc_reads(scalar):
    with tempfile.TemporaryDirectory() as folder:
        assert_read_as_dvc_does(Path(folder) / "params.yaml", scalar)


def test_a_few_scalars(tmp_path):
    (tmp_path / "params.yaml").write_text("a: [020, 0o14, 1:30, off, 1e-4, 1_23]\n")
    assert config.read(tmp_path / "params.yaml") == {"a": [20, 12, "1:30", "off", 1e-4, 123]}


def test_the_keys_are_told_once():
    with pytest.raises(InputError) as error:
        settings.make(Settings, {**VALUES, "one": 1, "two": 2}, "train")
    assert "`train.one` is unknown; the keys of `train` are" in str(error.value)
    assert str(error.value).endswith("; `train.two` is unknown.")


def test_a_whole_number_is_a_number():
    assert isinstance(settings.make(Settings, {**VALUES, "rate": 0}, "train").rate, float)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"epoch": 3}, "`train.epoch` is unknown, maybe `epochs`; the keys of `train` are epochs,"),
        ({3: 3}, "`train.3` is unknown; the keys"),
        ({"__dataclass_self__": 3}, "`train.__dataclass_self__` is unknown; the keys"),
        ({"\ud800": 3}, "`train.\ud800` is unknown; the keys"),
        ({"device": "\ud800"}, r"`train.device`: got '\\ud800', wanted text of whole characters"),
        ({"epochs": "three"}, "`train.epochs`: got 'three', wanted a whole number"),
        ({"epochs": 33.0}, "`train.epochs`: got 33.0, wanted a whole number"),
        ({"epochs": True}, "`train.epochs`: got True, wanted a whole number"),
        ({"epochs": None}, "`train.epochs`: got None, wanted a whole number"),
        ({"epochs": 0}, "`train.epochs`: got 0, wanted at least 1"),
        ({"epochs": -3}, "`train.epochs`: got -3, wanted at least 1"),
        ({"rate": "fast"}, "`train.rate`: got 'fast', wanted a number"),
        ({"rate": "0.1"}, "`train.rate`: got '0.1', wanted a number"),
        ({"rate": False}, "`train.rate`: got False, wanted a number"),
        ({"rate": [0.1]}, r"`train.rate`: got \[0.1\], wanted a number"),
        ({"rate": float("nan")}, "`train.rate`: got nan, wanted a finite number"),
        ({"rate": float("inf")}, "`train.rate`: got inf, wanted a finite number"),
        ({"rate": "nan"}, "`train.rate`: got 'nan', wanted a number"),
        ({"rate": 10**5000}, "`train.rate`: got a number of thousands of digits, wanted"),
        ({"rate": 1}, "`train.rate`: got 1, wanted less than 1"),
        ({"epochs": 10**6}, "`train.epochs`: got 1000000, wanted at most 100000"),
        ({"epochs": 10**5000}, "`train.epochs`: got a number of thousands of digits, wanted"),
        ({"name": "a\0b"}, r"`train.name`: got 'a\\x00b', wanted one line of at most 1000 char"),
        ({"name": "\ud800"}, r"`train.name`: got '\\ud800', wanted one line of at most 1000"),
        (
            {"name": "x" * 300_000},
            r"`train.name`: got 'xxx.*xxx\.\.\.xxx.*', wanted one line of at",
        ),
        ({"x" * 300_000: 1}, r"`train\.xxx.*\.\.\..*xx` is unknown"),
        ({"device": "meta"}, "`train.device`: got 'meta', wanted auto, cpu, cuda or cuda:N"),
        ({"device": "cpu:0"}, "`train.device`: got 'cpu:0', wanted auto, cpu, cuda or cuda:N"),
        ({"device": "cuda\n"}, r"`train.device`: got 'cuda\\n', wanted auto, cpu, cuda or cuda:N"),
        ({"parts": ["a"] * 1001}, r"`train.parts`: got \['a', .*\], wanted at most 1000 of them"),
        (
            {"parts": ["off"]},
            r"`train.parts\[0\]`: got 'off', wanted a name that every YAML reader",
        ),
        ({"fast": 1}, "`train.fast`: got 1, wanted true or false"),
        ({"fast": "yes"}, "`train.fast`: got 'yes', wanted true or false"),
        ({"name": None}, "`train.name`: got None, wanted text"),
        ({"name": 3}, "`train.name`: got 3, wanted text"),
        ({"parts": "ab"}, "`train.parts`: got 'ab', wanted a list"),
        ({"parts": []}, r"`train.parts`: got \[\], wanted at least 1 of them"),
        ({"parts": ["a", "b c"]}, r"`train.parts\[1\]`: got 'b c', wanted letters, digits"),
        ({"parts": ["a;rm"]}, r"`train.parts\[0\]`: got 'a;rm', wanted letters, digits"),
        ({"parts": ["a\n"]}, r"`train.parts\[0\]`: got 'a\\n', wanted letters, digits"),
        ({"parts": ["a", 3]}, r"`train.parts\[1\]`: got 3, wanted text"),
        ({"keep": "first"}, "`train.keep`: got 'first', wanted one of 'last' or 'best'"),
        ({"epochs": 10}, "`train`: got fast with 10 epochs, wanted at most 9"),
    ],
)
def test_a_bad_value_is_named(change, expected):
    with pytest.raises(InputError, match=expected) as error:
        settings.make(Settings, {**VALUES, **change}, "train")
    assert len(str(error.value)) < 1000


def test_all_mistakes_of_a_section_are_reported_at_once():
    values = {"epochs": 0, "rate": "x", "nam": "y", "fast": True, "parts": [], "keep": "best"}
    with pytest.raises(InputError, match=r"5 mistakes in params\.yaml") as error:
        settings.make(Settings, values, "train")
    for part in ("train.epochs", "train.rate", "train.parts", "train.nam`", "`train.name` is miss"):
        assert part in str(error.value)


def settings_classes():
    """Every settings class of the project, by its module."""
    for file in sorted((ROOT / "reid").rglob("*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and "settings_class" in map(
                ast.unparse, node.decorator_list
            ):
                module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
                yield pytest.param(module, node.name, id=node.name)


HUGE = [10**400, 2**70, 1e300, float("nan"), "x" * 300_000, "a\0b", b"x", {1: [2]}, [[]] * 10_000]


@pytest.mark.parametrize(("module", "name"), list(settings_classes()))
def test_no_setting_takes_what_is_huge_or_of_another_kind(module, name):
    kind = getattr(importlib.import_module(module), name)
    for field in fields(kind):
        for value in HUGE:
            with pytest.raises(InputError) as error:
                settings.make(kind, {field.name: value}, "s")
            got = re.search(rf"`s\.{field.name}([.\[][^`]*)?`: got ", str(error.value))
            assert got, field.name
            assert len(str(error.value)) < 3000


def test_a_mistake_in_an_override_is_named_where_it_stands():
    bad = {**PARAMS, "datasets": {"small": {"train": {"epochs": 0, "epoch": 1}}}}
    with pytest.raises(InputError, match=r"`datasets\.small\.train\.epochs`: got 0") as error:
        config.load(Settings, bad, "train", "small")
    assert "`datasets.small.train.epoch` is unknown" in str(error.value)


def test_keys_of_the_command_line_join_a_section():
    section = {key: value for key, value in VALUES.items() if key != "epochs"}
    assert config.load(Settings, {"train": section}, "train", epochs=7).epochs == 7
    with pytest.raises(InputError, match=r"^a mistake in the command's options: `--epochs`: got 0"):
        config.load(Settings, {"train": section}, "train", epochs=0)
    section["name"] = 1
    with pytest.raises(
        InputError, match=r"^2 mistakes in params\.yaml and the command's options: "
    ):
        config.load(Settings, {"train": section}, "train", epochs=0)


def test_a_key_of_the_command_line_is_refused_in_params():
    with pytest.raises(InputError, match=r"`train\.epochs` in params.yaml would count for nothing"):
        config.load(Settings, {"train": VALUES}, "train", epochs=7)
    with pytest.raises(InputError, match=r"`datasets\.small\.train\.epochs` in params.yaml would"):
        config.load(Settings, PARAMS, "train", "small", epochs=7)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: &x 1\nb: *x\n", "line 1 of .*params.yaml: got the anchor or alias `x`"),
        ("a: &x {b: 1}\nc: {<<: *x}\n", "line 1 of .*: got the anchor"),
        ("a:\n  <<: {b: 1}\n", "line 2 of .*: got a merge key"),
        ("a: 1\nb: 2\na: 3\n", "line 3 of .*: got `a` twice in one mapping"),
        ("a:\n  b: 1\n  b: 1\n", "line 3 of .*: got `b` twice"),
        ("a: 1\nb: !!int 3\n", "line 2 of .*: got the tag `!!int`, wanted the value without a tag"),
        ("a: !!python/name:os.system ''\n", "line 1 of .*: got the tag `!!python/name:os.system`"),
        ("a: !!binary aGk=\n", "line 1 of .*: got the tag `!!binary`"),
        ("a: 1\n2: 1\n", "line 2 of .*: got the key '2', which is no text in YAML"),
        ("a: 1\n? {b: 1}\n: 1\n", "line 2 of .*: got a list or mapping as a key, wanted text"),
    ],
)
def test_what_dvc_would_read_otherwise_is_refused_by_name(tmp_path, text, expected):
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(InputError, match=expected):
        config.read(tmp_path / "params.yaml")


def test_the_same_key_in_two_mappings_is_no_duplicate(tmp_path):
    (tmp_path / "params.yaml").write_text("a: {b: 1}\nc: {b: 1}\n")
    assert config.read(tmp_path / "params.yaml") == {"a": {"b": 1}, "c": {"b": 1}}


def test_the_projects_params_have_block_style_and_lines_under_80_columns():
    text = (ROOT / "params.yaml").read_text()
    assert max(map(len, text.splitlines())) < 80
    flow = [event for event in yaml.parse(text) if getattr(event, "flow_style", False)]
    assert not flow


SECTIONS = ("prepare", "model", "train", "resume", "extract", "distances", "rerank", "evaluate")


def test_every_key_of_a_section_of_the_projects_params_has_a_comment():
    lines = (ROOT / "params.yaml").read_text().splitlines()
    for name in SECTIONS:
        start = lines.index(f"{name}:") + 1
        keys = yaml.safe_load("\n".join(lines))[name]
        assert [line for line in lines[start : start + len(keys)] if "  # " not in line] == []


def test_a_dataset_overrides_a_section():
    assert config.section(PARAMS, "train", "small")["epochs"] == 1
    assert (
        config.section(PARAMS, "train", "plain")
        == config.section(PARAMS, "train", "bare")
        == VALUES
    )
    assert PARAMS["train"]["epochs"] == 3


def test_unknown_overrides_sections_and_entries_are_named_with_the_choices():
    with pytest.raises(InputError, match="no section `model:`; it has train, datasets"):
        config.section(PARAMS, "model")
    with pytest.raises(
        InputError, match=r"unknown dataset 'big' in params\.yaml: choose one of bare, plain, small"
    ):
        config.section(PARAMS, "train", "big")
    with pytest.raises(InputError, match=r"unknown loss 'l1' .*\(none is defined\)"):
        config.entry(PARAMS, "losses", "l1")


@pytest.mark.parametrize(
    ("datasets", "told"),
    [
        (
            {"small": {"trian": {"epochs": 1}}},
            "unknown: trian; its keys are source, model, train",
        ),
        ({"small": {"rerank": {"k1": 3}}}, "unknown: rerank"),
        ({"small": {"train": 3}}, r"`datasets\.small\.train` in params.yaml: got 3, wanted a map"),
        ({"small": 3}, r"`datasets\.small` in params.yaml: got 3, wanted a mapping"),
        (["small"], r"`datasets` in params.yaml: got \['small'\], wanted a mapping"),
    ],
)
def test_a_misspelt_or_misshapen_dataset_is_named(datasets, told):
    with pytest.raises(InputError, match=told):
        config.section({**PARAMS, "datasets": datasets}, "train", "small")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"a: 1\nb: 2001-02-30\n", "line 2 of .*: got '2001-02-30', which looks like a number or"),
        (b"a: 2001-01-01T25:00:00Z\n", "line 1 of .*, wanted a right one, or quotes around text"),
        (b"a: " + b"9" * 4400, r"line 1 of .*: got '999.*999\.\.\.999.*999', which looks"),
        (b"a: 0b_\n", "line 1 of .*: got '0b_', which looks"),
        (b"a: 1\nb: \0\n", "line 2 of .* is not valid YAML: the character #x0000 is not allowed"),
        (b"a: [\n1,\n", "line 3 of .* is not valid YAML: "),
        (b"a: 1\nb: " + b"[" * 2000, "line 2 of .*: got lists or mappings 30 deep, wanted"),
        ("a: 1\n".encode("utf-16"), "byte 1 is no UTF-8. Save it as UTF-8"),
        (b"a: 1\n---\na: 2\n", "line 2 of .* found another document"),
        (b"a: " + b"x" * 200_000, "more than 200,000 characters"),
        (b"x" * 190_000, "got 'xxx.*', wanted a mapping"),
        (b"%" + b"x" * 190_000, "line 1 of .* is not valid YAML"),
        (b"a: *" + b"x" * 190_000, "line 1 of .*: got the anchor or alias `xxx"),
        (b"a: !" + b"x" * 190_000, "line 1 of .*: got the tag `!xxx"),
    ],
)
def test_a_bad_file_is_told_in_a_short_paragraph(tmp_path, content, told):
    (tmp_path / "params.yaml").write_bytes(content)
    with pytest.raises(InputError, match=told) as error:
        config.read(tmp_path / "params.yaml")
    assert len(str(error.value)) < 1000


def test_a_byte_order_mark_and_crlf_are_no_part_of_the_settings(tmp_path):
    (tmp_path / "params.yaml").write_bytes(b"\xef\xbb\xbfa: 1\r\nb: x\r\n")
    assert config.read(tmp_path / "params.yaml") == {"a": 1, "b": "x"}


def test_messages_cut_what_they_repeat():
    assert str(InputError("/a" * 1000 + " is missing: name another.")).endswith(
        "a/a is missing: name another."
    )
    assert len(str(InputError("/a" * 1000))) == 239
    assert len(str(InputError("a b " * 10_000))) == 3999
    deep = []
    for _ in range(100_000):
        deep = [deep]
    assert short(deep) == "[[[[...]]]]"
    assert len(short("x" * 300_000)) <= 120
    assert short("it's") == '"it\'s"'


def test_a_missing_broken_or_empty_file_is_named(tmp_path):
    with pytest.raises(InputError, match="is missing"):
        config.read(tmp_path / "params.yaml")
    for text, told in (
        ("a: [", "is not valid YAML"),
        ("", "wanted a mapping"),
        ("- a", "wanted a mapping"),
    ):
        (tmp_path / "params.yaml").write_text(text)
        with pytest.raises(InputError, match=told):
            config.read(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_bytes(b"a: \xff")
    with pytest.raises(InputError, match="is not valid YAML"):
        config.read(tmp_path / "params.yaml")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        config.read(tmp_path)


ROWS = {
    "plain": {"hinge": True},
    "strong": {"hinge": False, "train": {"epochs": 9, "name": "s"}, "model": {"trunk": "y"}},
}


def test_a_row_overrides_a_section_after_the_dataset():
    params = {**PARAMS, "model": {"trunk": "x", "stride": 2}, "losses": ROWS}
    assert config.section(params, "train", "small", "strong") == {
        **VALUES,
        "epochs": 9,
        "name": "s",
    }
    assert config.section(params, "train", None, "strong") == {**VALUES, "epochs": 9, "name": "s"}
    assert config.section(params, "train", "small", "plain") == {**VALUES, "epochs": 1}
    assert config.section(params, "model", "small", "strong") == {"trunk": "y", "stride": 2}
    assert params["train"]["epochs"] == 3
    both = {**params, "datasets": {"small": {"train": {"epochs": 1, "rate": 0.5}}}}
    assert config.section(both, "train", "small", "strong") == {
        **VALUES,
        "epochs": 9,
        "rate": 0.5,
        "name": "s",
    }


def test_a_row_without_what_it_overrides_is_its_loss():
    assert config.entry({"losses": ROWS}, "losses", "strong") == {"hinge": False}
    assert config.entry({"losses": ROWS}, "losses", "plain") == {"hinge": True}


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"train": 3}, r"`losses\.strong\.train` in params.yaml: got 3, wanted a mapping"),
        (3, r"`losses\.strong` in params.yaml: got 3, wanted a mapping"),
    ],
)
def test_a_misspelt_or_misshapen_override_of_a_row_is_named(row, told):
    with pytest.raises(InputError, match=told):
        config.section({**PARAMS, "losses": {"strong": row}}, "train", "small", "strong")


def test_an_unknown_row_is_named():
    with pytest.raises(
        InputError, match=r"unknown loss 'weak' in params\.yaml: choose one of plain, strong"
    ):
        config.section({**PARAMS, "losses": ROWS}, "train", "small", "weak")


def test_a_key_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "params.yaml").write_text("a: 1\n? [b, c]\n: 2\n")
    with pytest.raises(InputError, match=r"line 2 of .*: got a list or mapping as a key"):
        config.read(tmp_path / "params.yaml")
