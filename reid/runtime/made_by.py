"""made_by.json: what made the folder that it lies in, and what made that stage's inputs.

A stage writes it beside its arrays, with the documents of its inputs inside, and the next stage
checks and copies it. So the JSON of a run says what made its numbers, not what params.yaml says
now. Nothing in it changes from run to run by itself (no times, no commit). Folders from other
systems have none.
"""

import ast
import hashlib
import json
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from reid.runtime.errors import InputError

FILE = "made_by.json"
UNKNOWN = "unknown"  # the stage of what has no document
ROOT = Path(__file__).parents[2]  # of the project
# module: its package
PACKAGES = {
    "numba": "numba",
    "numpy": "numpy",
    "PIL": "Pillow",
    "scipy": "scipy",
    "torch": "torch",
    "torchvision": "torchvision",
}

Document = dict[str, Any]


def document(
    stage: str, settings: Any, inputs: Mapping[str, Document | None], machine: Any
) -> Document:
    """Describe what this process makes as `stage`, a module's name such as stages.extract.

    `settings` is a settings object or a mapping of plain values; `inputs` are the documents of what
    the stage reads, None for those of other systems; `machine` says what else its bytes depend on.
    """
    return {
        "stage": stage.rpartition(".")[2],
        "settings": asdict(settings) if is_dataclass(settings) else dict(settings),
        "code": code_digest(stage),
        "versions": versions(stage),
        "machine": machine,
        "inputs": dict(inputs),
    }


def write(folder: Path, content: Document) -> None:
    """Write a document into the folder that it is about; of several processes, the first does."""
    if os.environ.get("RANK", "0") == "0":
        text = json.dumps(content, indent=1, allow_nan=False) + "\n"
        (folder / FILE).write_text(text, encoding="utf-8")


def read(folder: str | Path) -> Document | None:
    """Read a folder's document, None where there is none. Raises InputError for a broken one."""
    file = Path(folder) / FILE
    try:
        content = json.loads(file.read_bytes())
        json.dumps(content, allow_nan=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}.") from None
    except (ValueError, RecursionError):
        content = None
    if not _is_document(content):
        raise InputError(
            f"{file} does not say what made the folder: wanted the JSON that a stage writes. Run "
            "that stage again, or remove the file if the folder is another system's."
        )
    return content


def _is_document(content: Any) -> bool:
    """Whether it has a stage, settings, and inputs that are such documents or None."""
    if not isinstance(content, dict) or not isinstance(content.get("stage"), str):
        return False
    settings, inputs = content.get("settings"), content.get("inputs")
    return (
        isinstance(settings, dict)
        and isinstance(inputs, dict)
        and all(value is None or _is_document(value) for value in inputs.values())
    )


def of_content(folder: str | Path, content: str) -> Document:
    """Return the document of a folder that holds `content`, a digest, now; of a folder without one,
    a document of the stage `unknown` that has the content alone.
    """
    made_by = read(folder) or {"stage": UNKNOWN, "settings": {}, "inputs": {}}
    return {**made_by, "content": content}


def of_file(file: str | Path) -> Document:
    """The same of a folder whose content is one file: a model's weights, a split's manifest."""
    return of_content(Path(file).parent, file_digest(file))


def check_content(file: str | Path) -> None:
    """Raise InputError where the document of a file's folder is of another content of it."""
    made_by = read(Path(file).parent)
    if made_by and made_by.get("content", file_digest(file)) != file_digest(file):
        raise InputError(
            f"{file} is not the file that the {FILE} beside it is about: it was changed or "
            f"replaced. Run the stage that writes both anew, or remove {FILE} if the file comes "
            "from elsewhere."
        )


def file_digest(file: str | Path) -> str:
    """Return a file's SHA-256. Raises InputError where it cannot be read."""
    try:
        with open(file, "rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}.") from None


def check_input(
    folder: str | Path,
    name: str,
    source: str | Path,
    document_of: Callable[[Path], Document | None] = read,
) -> None:
    """Raise InputError unless `folder` was made of its input `name` as `source` holds it now, which
    `document_of` tells.

    A folder without a document may be of anything.
    """
    made_by = read(folder)
    if made_by is None:
        return
    of_folder, of_source = made_by["inputs"].get(name), document_of(Path(source))
    if of_folder != of_source:
        key = first_difference(of_folder or {}, of_source or {})
        raise InputError(
            f"{folder} was made of other {name} than those in {source}: {key}. Run the stage that "
            f"writes {folder} anew on {source}, or name the {name} that it was made of."
        )


def first_difference(first: Document, second: Document) -> str:
    """Return the dotted name of the first value that differs, with both values."""
    values = dotted(first), dotted(second)
    for key in values[0] | values[1]:
        got = [side.get(key) for side in values]
        if got[0] != got[1]:
            return f"`{key}` is {str(got[0])[:80]!r} in one and {str(got[1])[:80]!r} in the other"
    return "they are described alike"


def dotted(values: Mapping[str, Any]) -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}; an empty mapping has no entry."""
    named = {}
    for key, value in values.items():
        inner = dotted(value) if isinstance(value, dict) else {"": value}
        named |= {f"{key}.{below}".rstrip("."): deeper for below, deeper in inner.items()}
    return named


def code_digest(module: str) -> str:
    """Return the SHA-256 of a module of the project and all of the project that it imports."""
    digest = hashlib.sha256()
    for file in sorted(_imports(module)[0]):
        content = hashlib.sha256((ROOT / file).read_bytes()).digest()
        digest.update(file.encode() + content)
    return digest.hexdigest()


def versions(module: str) -> dict[str, str]:
    """Return the versions of Python and of the packages that a module imports, however deep."""
    imported = {PACKAGES[name] for name in _imports(module)[1] & PACKAGES.keys()}
    found = {package: version(package) for package in sorted(imported)}
    return {"python": platform.python_version(), **found}


def _imports(module: str) -> tuple[set[str], set[str]]:
    """Return the project's files that a module imports, however deep, its own among them, and the
    first names of all else that is imported there.
    """
    files, others, waiting = set(), set(), [module]
    while waiting:
        name = waiting.pop()
        file = name.replace(".", "/") + ".py"
        if not (ROOT / file).is_file():
            others.add(name.partition(".")[0])
        elif file not in files:
            files.add(file)
            waiting += _imported_names(ROOT / file)
    return files, others


def _imported_names(file: Path) -> list[str]:
    """Return the dotted names in a file's imports."""
    names = []
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names
