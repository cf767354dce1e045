"""The tensors that a file of weights holds, and whether they are those of a network."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reid.runtime.errors import InputError

CASTABLE = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
NESTS = (
    *("state_dict", "model_state_dict", "model_state", "model", "net", "network"),
    *("weights", "params"),
)


def state_of(content: Any, file: Path) -> dict[str, Tensor]:
    """What a file holds -> its tensors by name, from the top or under one key such as
    `state_dict`.

    Raises InputError that says what is there instead.
    """
    nests = [name for name in NESTS if isinstance(content, dict) and _is_state(content.get(name))]
    if len(nests) > 1:
        raise InputError(
            f"{file} holds weights under each of {', '.join(nests)}: wanted one. Save those that "
            "you mean, alone."
        )
    state = content[nests[0]] if nests else content
    if not nests and not _is_state(content):
        raise InputError(
            f"{file} holds {describe(content)}, wanted tensors by name, or a dict with "
            "`state_dict`, which holds them."
        )
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise InputError(
                f"{nests[0] if nests else 'the dict'} in {file} holds {name!r:.100}: "
                f"{type(tensor).__name__}, wanted tensors by name."
            )
    return dict(state)


def fit(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], file: Path, network: str
) -> dict[str, Tensor]:
    """Tensors of a file -> those that `wanted` names, in its types.

    All may have one prefix in the file, such as `module.`; what belongs to other parts, such as a
    classifier, is left out, and `num_batches_tracked` may be absent, as in old files. Raises
    InputError when tensors are absent or do not fit, or belong to a larger network.
    """
    prefix = _prefix(state, wanted, file, network)
    parts = {name.partition(".")[0] for name in wanted}
    names = [name.removeprefix(prefix) for name in state if name.startswith(prefix)]
    more = [name for name in names if name.partition(".")[0] in parts and name not in wanted]
    if more:
        raise InputError(
            f"{file} is of another network than {network}, which has no tensor {more[0]} "
            f"{shape(state[prefix + more[0]])}. Set `model.trunk` to the network it is of."
        )
    names = [name for name in wanted if prefix + name in state]
    return {
        name: fit_one(prefix + name, state[prefix + name], wanted[name], file) for name in names
    }


def fit_one(name: str, tensor: Tensor, wanted: Tensor, file: str | Path) -> Tensor:
    """A tensor of a file -> the same in the type of `wanted`, [the same shape].

    Raises InputError when it is not dense, real and finite, or has another shape or kind of number.
    """
    got = _peculiarity(tensor)
    expected = f"{str(wanted.dtype).removeprefix('torch.')} {shape(wanted)}"
    if not got and tensor.shape != wanted.shape:
        got = f"the shape {shape(tensor)}"
    if not got and (tensor.dtype in CASTABLE) != wanted.dtype.is_floating_point:
        got = f"the type {str(tensor.dtype).removeprefix('torch.')}"
    if not got:
        tensor = tensor.to(wanted.dtype)
        if bool(torch.isfinite(tensor).all()):
            return tensor
        got = "NaN or infinite numbers"
    raise InputError(f"tensor {name} in {file}: got {got}, wanted {expected}, dense and finite.")


def shape(tensor: Tensor) -> str:
    """Return a tensor's shape as text, such as [64, 3, 7, 7]."""
    return "nested" if tensor.is_nested else f"[{', '.join(map(str, tensor.shape))}]"


def describe(content: Any) -> str:
    """Say in words what was read: its type, and of a dict the first keys, with the shapes of
    tensors.
    """
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    keys = []
    for key, value in list(content.items())[:8]:
        name = "".join(letter if letter.isprintable() else "?" for letter in str(key)[:60])
        keys.append(f"{name} {shape(value)}" if isinstance(value, Tensor) else name)
    more = f" and {len(content) - 8} more" if len(content) > 8 else ""
    return f"a dict with {'the keys ' + ', '.join(keys) + more if keys else 'no key'}"


def _is_state(content: Any) -> bool:
    """Whether this is a mapping with tensors in it."""
    return isinstance(content, Mapping) and any(isinstance(v, Tensor) for v in content.values())


def _prefix(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], file: Path, network: str
) -> str:
    """Return the one prefix under which `state` has all wanted names. Raises InputError."""
    names = [name for name in wanted if not name.endswith("num_batches_tracked")]
    first = names[0]
    prefixes = [
        name.removesuffix(first) for name in state if name == first or name.endswith(f".{first}")
    ] or [""]
    absent = {prefix: [name for name in names if prefix + name not in state] for prefix in prefixes}
    complete = [prefix for prefix in absent if not absent[prefix]]
    if len(complete) == 1:
        return complete[0]
    if complete:
        raise InputError(
            f"{file} holds {len(complete)} networks, with the prefixes "
            f"{', '.join(repr(prefix) for prefix in complete[:5])}: wanted one. Save the one that "
            "you mean, alone."
        )
    nearest = min(absent, key=lambda prefix: len(absent[prefix]))
    missing = absent[nearest][0]
    raise InputError(
        f"{file} does not hold {network}: it has no tensor {nearest}{missing} "
        f"{shape(wanted[missing])}; it holds {describe(state)}. Set `model.trunk` to the network "
        "it is of, or name another file."
    )


def _peculiarity(tensor: Tensor) -> str:
    """Say what keeps a tensor from being dense, real numbers in memory; '' where nothing does."""
    if tensor.is_nested:
        return "a nested tensor"
    if tensor.layout != torch.strided:
        return f"a sparse tensor ({str(tensor.layout).removeprefix('torch.')})"
    if tensor.is_meta:
        return "a tensor without numbers (on the device meta)"
    if tensor.is_quantized:
        return "a quantised tensor"
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return "a view that repeats its numbers"
    return "complex numbers" if tensor.is_complex() else ""
