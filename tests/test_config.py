"""One params.yaml section into a dataclass: what is unknown, missing or of another type is
named.
"""

from dataclasses import dataclass

import pytest

from reid.runtime import config
from reid.runtime.errors import InputError


@dataclass(frozen=True)
class Settings:
    epochs: int
    rate: float
    name: str
    fast: bool
    parts: tuple[str, ...]


VALUES = {"epochs": 3, "rate": 0.1, "name": "x", "fast": True, "parts": ["a", "b"]}
PARAMS = {
    "train": VALUES,
    "datasets": {"small": {"train": {"epochs": 1}}, "plain": {"train": {}}, "bare": None},
}


def test_a_section_becomes_its_dataclass():
    assert config.settings(Settings, VALUES, "train") == Settings(3, 0.1, "x", True, ("a", "b"))


def test_floats_that_yaml_reads_as_text_are_floats():
    assert config.settings(Settings, {**VALUES, "rate": "1e-4"}, "train").rate == 1e-4
    assert config.settings(Settings, {**VALUES, "rate": 1}, "train").rate == 1.0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"epoch": 3}, "unknown: epoch; its keys are exactly epochs, rate, name, fast, parts"),
        (
            {"epochs": "three"},
            r"`train\.epochs` in params\.yaml: got 'three', wanted a whole number",
        ),
        ({"epochs": 1.5}, "got 1.5, wanted a whole number"),
        ({"epochs": True}, "got True, wanted a whole number"),
        ({"rate": "fast"}, "got 'fast', wanted a number"),
        ({"rate": False}, "got False, wanted a number"),
        ({"fast": 1}, "got 1, wanted true or false"),
        ({"name": None}, "got None, wanted text"),
        ({"parts": "ab"}, "got 'ab', wanted a list"),
    ],
)
def test_bad_values_are_named(change, told):
    with pytest.raises(InputError, match=told):
        config.settings(Settings, {**VALUES, **change}, "train")


def test_missing_keys_are_named():
    with pytest.raises(InputError, match="missing: fast, name"):
        config.settings(
            Settings, {key: VALUES[key] for key in ("epochs", "rate", "parts")}, "train"
        )


def test_a_dataset_overrides_a_section():
    assert config.section(PARAMS, "train", "small")["epochs"] == 1
    assert (
        config.section(PARAMS, "train", "plain")
        == config.section(PARAMS, "train", "bare")
        == VALUES
    )
    assert PARAMS["train"]["epochs"] == 3


def test_unknown_overrides_sections_and_entries_are_named_with_the_choices():
    bad = {**PARAMS, "datasets": {"small": {"train": {"epoch": 1}}}}
    with pytest.raises(
        InputError, match=r"unknown key in datasets\.small\.train .*: epoch; the choices are epochs"
    ):
        config.section(bad, "train", "small")
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
        ({"small": {"train": 3}}, r"`datasets\.small\.train`: got 3, wanted a mapping"),
        (
            {"small": {"train": {1: 2}}},
            r"unknown key in datasets\.small\.train of params\.yaml: 1;",
        ),
        ({"small": 3}, r"`datasets\.small`: got 3, wanted a mapping"),
        (["small"], r"`datasets`: got \['small'\], wanted a mapping"),
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
    for file in (tmp_path / "params.yaml", tmp_path):
        with pytest.raises(InputError, match="is not valid YAML"):
            config.read(file)


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
        (
            {"train": {"epoch": 1}},
            r"unknown key in losses\.strong\.train of params\.yaml: epoch; the choices are epochs",
        ),
        ({"train": 3}, r"`losses\.strong\.train`: got 3, wanted a mapping"),
        (3, r"`losses\.strong`: got 3, wanted a mapping"),
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
