"""The page: contents -> one HTML file with its style, script, data and images inside."""

import json
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

# what would end the script element, or is no line of JavaScript's strings
ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def html(contents: dict[str, Any]) -> str:
    """Contents of `reid.page.contents.gather` -> the page, every value escaped."""
    environment = Environment(
        loader=PackageLoader("reid.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["thousands"] = lambda number: f"{number:,}"
    template = environment.get_template("index.html")
    parts = {"style": _source("style.css"), "script": _source("browser.js")}
    return template.render(**contents, **parts, data=script_json(contents["browser"]))


def script_json(value: Any) -> Markup:
    """A value as JSON that can stand in a script element whatever text is in it."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.translate(str.maketrans(ESCAPES)))


def _source(name: str) -> Markup:
    """A file of the project that goes into the page as it is."""
    return Markup(files("reid.page").joinpath("templates", name).read_text(encoding="utf-8"))
