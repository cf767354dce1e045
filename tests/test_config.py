"""params.yaml read and made settings: every mistake by its full name, what was got and wanted."""

from typing import Annotated, Literal

import pytest
import yaml
from pydantic import Field, model_validator

from reid.runtime import config, settings
from reid.runtime.errors import InputError
from reid.runtime.settings import Count, Number
from tests.conftest import ROOT


@settings.settings_class
class Settings:
    epochs: Count
    rate: Annotated[Number, Field(ge=0, lt=1)]
    name: str
    fast: bool
    parts: settings.Names
    keep: Literal["last", "best"]

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


@pytest.mark.parametrize(
    ("text", "number"), [("1e-4", 1e-4), ("5E-1", 0.5), (".5", 0.5), ("0", 0.0), ("+1e-2", 0.01)]
)
def test_numbers_that_yaml_reads_as_text_are_numbers(text, number):
    values = {**VALUES, "rate": yaml.safe_load(text)}
    assert settings.make(Settings, values, "train").rate == number


def test_a_whole_number_is_a_number():
    assert isinstance(settings.make(Settings, {**VALUES, "rate": 0}, "train").rate, float)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"epoch": 3}, "`train.epoch` is unknown, maybe `epochs`; the keys of `train` are epochs,"),
        ({3: 3}, "`train.3` is unknown; the keys"),
        ({"epochs": "three"}, "`train.epochs`: got 'three', wanted a whole number"),
        ({"epochs": 33.0}, "`train.epochs`: got 33.0, wanted a whole number"),
        ({"epochs": True}, "`train.epochs`: got True, wanted a whole number"),
        ({"epochs": None}, "`train.epochs`: got None, wanted a whole number"),
        ({"epochs": 0}, "`train.epochs`: got 0, wanted at least 1"),
        ({"epochs": -3}, "`train.epochs`: got -3, wanted at least 1"),
        ({"rate": "fast"}, "`train.rate`: got 'fast', wanted a number"),
        ({"rate": "1e"}, "`train.rate`: got '1e', wanted a number"),
        ({"rate": False}, "`train.rate`: got False, wanted a number"),
        ({"rate": [0.1]}, r"`train.rate`: got \[0.1\], wanted a number"),
        ({"rate": float("nan")}, "`train.rate`: got nan, wanted a finite number"),
        ({"rate": float("inf")}, "`train.rate`: got inf, wanted a finite number"),
        ({"rate": "nan"}, "`train.rate`: got 'nan', wanted a number"),
        ({"rate": "1e999"}, "`train.rate`: got inf, wanted a finite number"),
        ({"rate": 1}, "`train.rate`: got 1, wanted less than 1"),
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
    with pytest.raises(InputError, match=expected):
        settings.make(Settings, {**VALUES, **change}, "train")


def test_all_mistakes_of_a_section_are_reported_at_once():
    values = {"epochs": 0, "rate": "x", "nam": "y", "fast": True, "parts": [], "keep": "best"}
    with pytest.raises(InputError, match=r"5 mistakes in params\.yaml") as error:
        settings.make(Settings, values, "train")
    for part in ("train.epochs", "train.rate", "train.parts", "train.nam`", "`train.name` is miss"):
        assert part in str(error.value)


def test_a_mistake_in_an_override_is_named_where_it_stands():
    bad = {**PARAMS, "datasets": {"small": {"train": {"epochs": 0, "epoch": 1}}}}
    with pytest.raises(InputError, match=r"`datasets\.small\.train\.epochs`: got 0") as error:
        config.load(Settings, bad, "train", "small")
    assert "`datasets.small.train.epoch` is unknown" in str(error.value)


def test_keys_of_the_command_line_join_a_section():
    section = {key: value for key, value in VALUES.items() if key != "epochs"}
    assert config.load(Settings, {"train": section}, "train", epochs=7).epochs == 7


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: &x 1\nb: *x\n", "line 1 of .*params.yaml: got the anchor or alias `x`"),
        ("a: &x {b: 1}\nc: {<<: *x}\n", "line 1 of .*: got the anchor"),
        ("a:\n  <<: {b: 1}\n", "line 2 of .*: got a merge key"),
        ("a: 1\nb: 2\na: 3\n", "line 3 of .*: got `a` twice in one mapping"),
        ("a:\n  b: 1\n  b: 1\n", "line 3 of .*: got `b` twice"),
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
