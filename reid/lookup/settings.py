"""The settings of a search: those of ./params.yaml where it is the project's, else its defaults.

The defaults are those that the project's params.yaml has (tests/test_lookup.py compares them): k1,
k2 and lambda are of Zhong et al., CVPR 2017; the rest changes the speed and no distance.
"""

from pathlib import Path
from typing import Any

from reid.runtime import config, settings
from reid.runtime.settings import Settings

PARAMS = Path("params.yaml")
DEFAULTS: dict[str, dict[str, Any]] = {
    "extract": {"batch": 64, "device": "auto"},
    "distances": {
        "neighbours": 100,
        "tile_rows": 128,
        "tile_columns": 256,
        "precision": "fp32",
        "device": "auto",
    },
    "rerank": {"k1": 20, "k2": 6, "lambda_value": 0.3},
    "evaluate": {"metric": "market1501", "draws": 100, "seed": 0},
}


def read_params() -> dict[str, Any]:
    """Return the settings of ./params.yaml, {} where there is none. Raises InputError as
    `config.read`.
    """
    return config.read(PARAMS) if PARAMS.exists() else {}


def load(kind: type[Settings], name: str) -> Settings:
    """Make a `kind` of the section `name` of ./params.yaml, or of the defaults where it has none.

    Raises InputError for mistakes in the section.
    """
    params = read_params()
    if name in params:
        return config.load(kind, params, name)
    return settings.make(kind, DEFAULTS[name], name)
