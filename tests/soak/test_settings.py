"""Settings and params.yaml: what is read is what DVC reads, within bounds, or refused by name."""

import math

import pytest
import yaml
from hypothesis import strategies as st

from reid.datasets.sources import PrepareSettings
from reid.distances.settings import DistanceSettings
from reid.extraction import ExtractSettings
from reid.losses import LossSettings
from reid.model import ModelSettings
from reid.reranking.rerank import RerankSettings
from reid.results.metrics import EvaluateSettings
from reid.results.tables import TablesSettings
from reid.runtime import config, settings
from reid.training.checkpoint import ResumeSettings
from reid.training.settings import TrainSettings
from tests.conftest import ROOT
from tests.soak.kinds import REFUSED, RIGHT, tries
from tests.soak.outcomes import call

PARAMS = ROOT / "params.yaml"
TEXT = PARAMS.read_text(encoding="utf-8")
SECTIONS = {
    "prepare": PrepareSettings,
    "model": ModelSettings,
    "train": TrainSettings,
    "resume": ResumeSettings,
    "extract": ExtractSettings,
    "distances": DistanceSettings,
    "rerank": RerankSettings,
    "evaluate": EvaluateSettings,
}
DEVICES = ("auto", "cpu", "cuda")

# What an accepted value may be at most: the type and bounds without which the run cannot end well.
WHOLES = {
    **dict.fromkeys(["model.height", "model.width"], (32, 10**5)),
    "model.stripes": (1, 10**4),
    **dict.fromkeys(["train.people", "train.images_each", "extract.batch"], (1, 10**6)),
    **dict.fromkeys(["distances.tile_rows", "distances.tile_columns"], (1, 10**6)),
    **dict.fromkeys(["rerank.k1", "rerank.k2", "distances.neighbours"], (1, 10**12)),
    **dict.fromkeys(["train.epochs", "train.decay_epochs"], (1, 10**12)),
    **dict.fromkeys(["train.warmup_epochs", "train.held_out"], (0, 10**12)),
    "train.evaluate_epochs": (0, 10**12),
    "evaluate.draws": (1, 10**7),
    **dict.fromkeys(["evaluate.seed", "prepare.partial_seed"], (0, 2**64)),
}
NUMBERS = {
    **dict.fromkeys(["rerank.lambda_value", "train.erasing"], (0, 1)),
    "train.decay_factor": (0, 10),
    **dict.fromkeys(["train.learning_rate", "train.weight_decay"], (0, 1e38)),
    **dict.fromkeys(["train.margin", "resume.minutes"], (0, 1e38)),
}
CHOICES = {
    "model.last_stride": (1, 2),
    "train.crop": ("enlarge", "pad", "none"),
    "train.keep": ("last", "best"),
    "train.precision": ("fp32", "bf16"),
    "distances.precision": ("fp32", "bf16", "int8"),
    "evaluate.metric": ("market1501", "cuhk03"),
    **dict.fromkeys(["train.device", "extract.device", "distances.device"], DEVICES),
}
FLAGS = ("prepare.download", "prepare.allow_incomplete", "model.bnneck", "train.compile")
KEYS = sorted(
    f"{name}.{key}" for name in SECTIONS for key in yaml.safe_load(TEXT)[name] if key != "raw"
)

ODD = """020 0o20 0x1F 1:30 1_000 +5 1e-4 1E5 .5 5. .inf -.inf .nan ~ null yes no on off y n Yes
TRUE true false 2020-02-30 2020-02-29 2001-12-14t21:59:43.10-05:00 0b11 -0 1e300 1e999 = meta cuda:0
cuda:99 mps xla cpu auto none pad resnet50 '' "" [] {} [1] {a:1} !!int !!python/object:os.system 2 1
0 -1 32 31 64 1000000000000 99999999999999999999 0.3 1.5 | > & * ! @ ` % # - ? : ,"""
SCALARS = st.one_of(
    st.sampled_from(ODD.split()),
    st.sampled_from(["!!int x", "!!float x", "!!bool x", "!!timestamp x", "!!binary x", "!!set a"]),
    st.sampled_from(["7" * 4400, "[" * 3000, "{a: " * 500, "x" * 300_000, "\0", "\x07", "\ud800"]),
    st.integers().map(str),
    st.floats().map(str),
    st.text(max_size=12).map(lambda text: text.replace("\n", " ")),
)


def replaced(key, text):
    """params.yaml with the value of `section.key` spelled as `text`."""
    section, name = key.split(".")
    lines, inside = TEXT.split("\n"), False
    for number, line in enumerate(lines):
        if line[:1].strip():
            inside = line.startswith(f"{section}:")
        if inside and line.startswith(f"  {name}:"):
            lines[number] = f"  {name}: {text}"
            return "\n".join(lines)
    raise KeyError(key)


def dvc_reads(content):
    """What DVC makes of a file's bytes; None where it raises."""
    parse_yaml = pytest.importorskip("dvc.utils.serialize").parse_yaml
    try:
        return parse_yaml(content.decode("utf-8"), "params.yaml")
    except Exception:
        return None


def difference(ours, theirs, place="params"):
    """Where two readings differ, '' where they do not; text that spells a number is that number,
    see `Number`.
    """
    kinds = type(ours), type(theirs)
    if kinds == (dict, dict) and list(ours) == list(theirs):
        found = (difference(ours[key], theirs[key], f"{place}.{key}") for key in ours)
        return next(filter(None, found), "")
    if kinds == (list, list) and len(ours) == len(theirs):
        found = (difference(*pair, f"{place}[]") for pair in zip(ours, theirs, strict=True))
        return next(filter(None, found), "")
    if kinds[1] is float and kinds[0] in (str, float):
        is_same = str(ours) == str(theirs) or is_number(ours, theirs)
    else:
        is_same = kinds[0] is kinds[1] and ours == theirs
    return "" if is_same else f"{place}: we read {str(ours)[:60]!r}, DVC {str(theirs)[:60]!r}"


def is_number(text, number):
    try:
        return float(text) == number
    except ValueError:
        return False


def check_bounds(key, value):
    """Assert that an accepted setting is of its type and within its bounds."""
    if key in WHOLES:
        low, high = WHOLES[key]
        assert type(value) is int, f"{key}: {value!r}"
        assert low <= value <= high, f"{key} = {value} was accepted"
    elif key in NUMBERS:
        low, high = NUMBERS[key]
        assert type(value) is float, f"{key}: {value!r}"
        assert math.isfinite(value), f"{key} = {value} was accepted"
        assert low <= value <= high, f"{key} = {value} was accepted"
    elif key in CHOICES:
        is_gpu = key.endswith(".device") and str(value).startswith("cuda")
        assert value in CHOICES[key] or is_gpu, f"{key} = {value!r} was accepted"
    elif key in FLAGS:
        assert type(value) is bool, f"{key}: {value!r}"
    else:
        assert type(value) is str, f"{key}: {value!r}"


def read_as_written(content, folder):
    """Write and read a params.yaml -> Outcome; what is read must be what DVC reads."""
    file = folder / "params.yaml"
    file.write_bytes(content)
    outcome = call(config.read, file)
    if not outcome.is_refused:
        theirs = dvc_reads(content)
        assert theirs is not None, "DVC cannot read what was accepted"
        where = difference(outcome.value, theirs)
        assert not where, where
    return outcome


def load_section(params, name):
    seed = {"seed": 0} if name == "train" else {}
    return call(lambda: config.load(SECTIONS[name], params, name, **seed))


@tries("one value of params.yaml, spelled oddly", 60, 4000, key=st.sampled_from(KEYS), text=SCALARS)
def test_a_value_is_read_as_dvc_reads_it_or_refused(fresh, key, text):
    content = replaced(key, text).encode("utf-8", "surrogatepass")
    outcome = read_as_written(content, fresh())
    if outcome.is_refused:
        return REFUSED
    section, name = key.split(".")
    written = outcome.value.get(section)
    made = load_section(outcome.value, section)
    if made.is_refused:
        assert section in made.text, made.text
        return REFUSED
    value = getattr(made.value, name)
    check_bounds(key, value)
    given = written[name]
    assert float(given) == value if type(value) is float else given == value
    return RIGHT


def plain_value(key):
    """Values that must be accepted, as YAML writes them."""
    if key in WHOLES:
        low = WHOLES[key][0]
        return st.integers(max(low, 2), low + 30)
    if key in NUMBERS:
        return st.floats(0, 1)
    if key in CHOICES:
        return st.sampled_from([choice for choice in CHOICES[key] if choice != "cuda"])
    if key == "model.weights_sha256":
        return st.just("")
    return st.booleans() if key in FLAGS else st.just("x")


PLAIN = st.sampled_from([key for key in KEYS if key not in ("train.evaluate_epochs", "train.keep")])


@tries("one plain value of params.yaml", 20, 500, key=PLAIN, data=st.data())
def test_a_plain_value_is_accepted(fresh, key, data):
    if key == "train.held_out":
        key = "train.epochs"
    given = data.draw(plain_value(key))
    text = yaml.safe_dump(given).split("\n")[0]
    outcome = read_as_written(replaced(key, text).encode(), fresh())
    assert not outcome.is_refused, outcome.text
    section, name = key.split(".")
    made = load_section(outcome.value, section)
    assert not made.is_refused, made.text
    assert getattr(made.value, name) == given
    return RIGHT


ACCIDENTS = ("flip", "delete", "repeat", "swap", "cut", "insert", "indent")


@st.composite
def damaged(draw):
    """The bytes of params.yaml after a few accidents."""
    content = bytearray(TEXT.encode())
    for _ in range(draw(st.integers(1, 3))):
        lines, at = content.split(b"\n"), draw(st.integers(0, max(len(content) - 1, 0)))
        line = draw(st.integers(0, len(lines) - 1))
        accident = draw(st.sampled_from(ACCIDENTS))
        if accident == "flip" and content:
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif accident == "cut":
            del content[at:]
        elif accident == "insert":
            content[at:at] = draw(st.binary(max_size=4) | st.sampled_from([b"&a ", b"*a", b"<<: "]))
        else:
            other = draw(st.integers(0, len(lines) - 1))
            changed = {
                "delete": lines[:line] + lines[line + 1 :],
                "repeat": [*lines[:line], lines[line], *lines[line:]],
                "swap": [*lines[:line], lines[other], *lines[line + 1 :]],
                "indent": [*lines[:line], b"  " + lines[line], *lines[line + 1 :]],
            }
            content = bytearray(b"\n".join(changed.get(accident, lines)))
    encoding = draw(st.sampled_from(["", "", "", "utf-8-sig", "utf-16", "utf-32", "cp500", "crlf"]))
    if encoding == "crlf":
        return bytes(content.replace(b"\n", b"\r\n"))
    return content.decode("latin-1").encode(encoding, "replace") if encoding else bytes(content)


@tries("params.yaml with damaged bytes", 30, 1500, content=damaged())
def test_a_damaged_file_is_read_as_dvc_reads_it_or_refused(fresh, content):
    outcome = read_as_written(content, fresh())
    if outcome.is_refused:
        return REFUSED
    params = outcome.value
    loads = {name: load_section(params, name) for name in SECTIONS}
    for name, made in loads.items():
        for key in vars(made.value) if made.value else ():
            if f"{name}.{key}" in KEYS:
                check_bounds(f"{name}.{key}", getattr(made.value, key))
    others = [call(lambda: config.load(TablesSettings, params, "tables"))]
    losses = params.get("losses") if isinstance(params.get("losses"), dict) else {}
    others += [call(load_row, params, name) for name in losses]
    return REFUSED if any(made.is_refused for made in [*loads.values(), *others]) else RIGHT


def load_row(params, name):
    """All settings of a row, as the train stage makes them."""
    for section, kind in (("model", ModelSettings), ("train", TrainSettings)):
        seed = {"seed": 0} if section == "train" else {}
        config.load(kind, params, section, None, name, **seed)
    return settings.make(LossSettings, config.entry(params, "losses", name), f"losses.{name}")
