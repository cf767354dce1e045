"""params.yaml as DVC reads it: by ruamel.yaml's safe reader, YAML 1.2, in which `020` is 20 and
`off` is text.

What DVC would rewrite or drop when it changes the file (anchors, merge keys, tags) is refused, and
so are keys that come twice or are no text.
"""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML, YAMLError
from ruamel.yaml.composer import Composer
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, StringMark
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode
from ruamel.yaml.reader import ReaderError

from reid.runtime.errors import InputError, paragraph, short
from reid.runtime.names import TEXT

LARGEST = 200_000  # characters of the file
DEEPEST = 30  # mappings and lists within each other


class _RefusedError(MarkedYAMLError):
    """Valid YAML that params.yaml must not hold: what was got and wanted, and where."""

    def __init__(self, mark: StringMark, got_and_wanted: str) -> None:
        super().__init__(problem=got_and_wanted, problem_mark=mark)


class _Composer(Composer):
    """Composes nodes without anchors, aliases and tags, and mappings of text keys, each once."""

    level = 0  # how deep the node being composed stands

    def compose_node(self, parent: Any, index: Any) -> Node:
        event = self.parser.peek_event()
        if getattr(event, "anchor", None):
            raise _RefusedError(
                event.start_mark,
                f"got the anchor or alias `{event.anchor}`, wanted the values written out: `dvc "
                "exp run -S` drops an override of an anchored map",
            )
        if getattr(event, "ctag", None):
            tag = str(event.ctag).replace("tag:yaml.org,2002:", "!!")
            raise _RefusedError(
                event.start_mark, f"got the tag `{tag}`, wanted the value without a tag"
            )
        if self.level == DEEPEST:
            raise _RefusedError(
                event.start_mark, f"got lists or mappings {DEEPEST} deep, wanted sections of keys"
            )
        self.level += 1
        node = super().compose_node(parent, index)
        self.level -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, ScalarNode):
                raise _RefusedError(key.start_mark, "got a list or mapping as a key, wanted text")
            if key.value == "<<" or key.value in seen:
                what = "a merge key" if key.value == "<<" else f"`{key.value}` twice"
                raise _RefusedError(
                    key.start_mark, f"got {what} in one mapping, wanted each key once, written out"
                )
            if str(key.ctag) != TEXT:
                raise _RefusedError(
                    key.start_mark,
                    f"got the key {short(key.value)}, which is no text in YAML, wanted text",
                )
            seen.add(key.value)
        return node


class _Constructor(SafeConstructor):
    """Constructs values, and names the line of those that look like a number or date but are not
    one.
    """

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, ArithmeticError, IndexError):
            raise _RefusedError(
                node.start_mark,
                f"got {short(node.value)}, which looks like a number or date and is none, wanted a "
                "right one, or quotes around text",
            ) from None


def read(path: str | Path) -> dict[str, Any]:
    """Read params.yaml. Raises InputError, with the line, when it is missing, invalid, no mapping,
    or holds what is refused.
    """
    text = _text(path)
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer, yaml.Constructor = _Composer, _Constructor
    try:
        params = yaml.load(text)
    except _RefusedError as error:
        line = error.problem_mark.line + 1
        raise InputError(f"line {line} of {path}: {error.problem}.") from None
    except YAMLError as error:
        raise _invalid(path, text, error) from None
    if not isinstance(params, dict):
        raise InputError(f"{path}: got {short(params)}, wanted a mapping such as `loss: ls`.")
    return params


def _text(path: str | Path) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(LARGEST + 1)
    except FileNotFoundError:
        raise InputError(
            f"{path} is missing: run from the project's folder, or name the file with --params."
        ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not valid YAML: byte {error.start + 1} is no UTF-8. Save it as UTF-8."
        ) from None
    if len(text) > LARGEST:
        raise InputError(f"{path} has more than {LARGEST:,} characters: wanted a file of settings.")
    return text


def _invalid(path: str | Path, text: str, error: YAMLError) -> InputError:
    """Return the error to raise for YAML that cannot be parsed, with its line where that is
    known.
    """
    if isinstance(error, ReaderError):
        line = text.count("\n", 0, error.position) + 1
        problem = f"the character #x{error.character:04x} is not allowed"
    else:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", str(error))
        line = text.count("\n") + 1 if mark is None else mark.line + 1
    return InputError(
        f"line {line} of {path} is not valid YAML: {paragraph(problem)}. Mend it there "
        "or shortly before."
    )
