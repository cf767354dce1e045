"""AlignedReID++ on one's own pictures, from Python: docs/python.md.

Names are imported when they are used, so that `import reid` is quick.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reid.arrays.features import Features
    from reid.lookup.model import Model
    from reid.lookup.search import Answer, Result, Search, search
    from reid.runtime.errors import InputError

_MODULES = {
    "Answer": "reid.lookup.search",
    "Features": "reid.arrays.features",
    "InputError": "reid.runtime.errors",
    "Model": "reid.lookup.model",
    "Result": "reid.lookup.search",
    "Search": "reid.lookup.search",
    "search": "reid.lookup.search",
}
__all__ = ["Answer", "Features", "InputError", "Model", "Result", "Search", "search"]


def __getattr__(name: str) -> object:
    """Import a name of the library."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
