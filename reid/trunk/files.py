"""Files of weights from elsewhere, read as data and never code, and what they are where they cannot
be read.

torch reads tensors and plain numbers, and we the one NumPy number that re-ID checkpoints hold
beside them. Nothing else of a file is made, and nothing of it is run.
"""

import hashlib
import io
import pickle
import re
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors

from reid.runtime.errors import InputError

FLOATS = {"f4": "<f", "f8": "<d"}
UNREADABLE = (  # how files begin that are often taken for weights
    (b"version https://git-lfs", "a Git LFS pointer: fetch the file itself with `git lfs pull`"),
    (b"\x89HDF", "an HDF5 file, as Keras writes"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x1f\x8b", "a gzip archive: unpack it"),
)


def read_bytes(file: Path) -> bytes:
    """Return a file's bytes. Raises InputError when it cannot be read."""
    try:
        if file.exists() and not file.is_file() and not file.is_dir():
            raise ValueError("it is no plain file")  # a pipe or device might never end
        return file.read_bytes()
    except (OSError, ValueError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {file}: {reason}.") from None


def verified_bytes(file: Path, sha256: str) -> bytes:
    """Return a file's bytes if they have the digest `sha256` of params.yaml.

    Raises InputError, with the digest to write, when there is none or another.
    """
    content = read_bytes(file)
    digest = hashlib.sha256(content).hexdigest()
    if not sha256:
        raise InputError(
            f"`model.weights` in params.yaml names the file {file}, and `model.weights_sha256` is "
            f"empty: write its SHA-256 there, {digest}, so that a changed file is noticed."
        )
    if digest != sha256:
        raise InputError(
            f"{file} is not the file that params.yaml means: its SHA-256 is {digest}, and "
            f"`model.weights_sha256` is {sha256}. Put that file there, or write the new SHA-256."
        )
    return content


def load(content: bytes, file: Path) -> Any:
    """The bytes of a file of torch or safetensors -> what it holds: tensors and plain values.

    Raises InputError that says what the file is instead, and when it asks for any other object.
    """
    try:
        if content[8:9] == b"{":  # after safetensors' length of its header
            return load_safetensors(content)
        return _load_torch(content)
    except Exception as error:  # bytes that are no pickle raise whatever they happen to spell
        code = re.search(r"GLOBAL (\S+) (?:was not|whose)", str(error))
        if isinstance(error, pickle.UnpicklingError) and code:
            raise InputError(
                f"{file} was refused, and nothing of it was run: it asks for the Python object "
                f"{code[1]}, wanted tensors and numbers only. Take a file that holds a "
                "`state_dict`, from somebody whom you trust."
            ) from None
        raise InputError(
            f"{file} holds no weights that can be read: it is {_kind(content, error)}. Wanted what "
            "torch.save makes of a `state_dict`, or safetensors: download the file again, or name "
            "another."
        ) from None


def _kind(content: bytes, error: Exception) -> str:
    """Say what bytes are that could not be read as weights."""
    if not content:
        return "empty"
    for start, kind in UNREADABLE:
        if content.startswith(start):
            return kind
    if content.lstrip()[:5].lower() in (b"<!doc", b"<html", b"<?xml", b"<head"):
        return "a web page, maybe one to log in"
    if content[:1] == b"\x08" and content[2:3] in (b"\x12", b"\x1a", b":", b"B"):
        return "an ONNX model, it seems"
    if content[:4] == b"PK\x03\x04":
        return _kind_of_zip(content)
    if isinstance(error, SafetensorError):
        return f"a damaged safetensors file ({str(error)[:100]})"
    with_text = content[:200].decode("utf-8", "replace")
    if all(letter.isprintable() or letter.isspace() for letter in with_text.rstrip("\ufffd")):
        return f"text that begins with {with_text[:40]!r}"
    return f"damaged, cut short or of another kind ({type(error).__name__})"


def _kind_of_zip(content: bytes) -> str:
    """Say what kind of zip archive this is: torch writes zip archives too."""
    try:
        names = zipfile.ZipFile(io.BytesIO(content)).namelist()
    except Exception:  # a damaged archive raises many things
        return "a zip archive, as torch writes them, that is cut short or damaged"
    if any(name.endswith("constants.pkl") for name in names):
        return "a TorchScript archive: save its state_dict() instead"
    if any(name.endswith("data.pkl") for name in names):
        return "a file of torch that is damaged"
    return f"a zip archive with {', '.join(names[:3])}: unpack it"


def _load_torch(content: bytes) -> Any:
    """Read a file of torch 0.4 or later, of Python 2 or 3, from any device."""
    numpy_names = [
        (_scalar, "numpy.core.multiarray.scalar"),
        (_scalar, "numpy._core.multiarray.scalar"),
        (_Dtype, "numpy.dtype"),
    ]
    with warnings.catch_warnings(), torch.serialization.safe_globals(numpy_names):
        warnings.simplefilter("ignore")  # `encoding` is said to be ignored, and is not
        opened = io.BytesIO(content)
        return torch.load(opened, map_location="cpu", weights_only=True, encoding="latin1")


class _Dtype:
    """Stands in for `numpy.dtype` while reading: the name of a type, and nothing that a file can
    reach.
    """

    def __init__(self, name: str, *_: Any) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None:
        """Leave out byte order and the rest, which FLOATS knows."""


def _scalar(dtype: _Dtype, content: str | bytes) -> float | None:
    """Stands in for NumPy's own `scalar` while reading: the float of these bytes (Python 2's:
    text), else None.
    """
    content = content.encode("latin1") if isinstance(content, str) else content
    if dtype.name not in FLOATS or len(content) != struct.calcsize(FLOATS[dtype.name]):
        return None
    return struct.unpack(FLOATS[dtype.name], content)[0]
