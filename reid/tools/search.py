"""Find who in a folder is on some pictures: the pictures nearest to each query."""

import argparse
import json
import sys
import warnings
from pathlib import Path
from typing import Any

from tabulate import tabulate

from reid.arrays.names import COLUMNS, RERANKED
from reid.lookup.files import shown
from reid.lookup.search import COLUMN, FAR, TOP, Answer, Search, search
from reid.runtime import cli
from reid.runtime.errors import InputError
from reid.tools import parser

MOST_NAMED = 10  # pictures that are left out


def main() -> None:
    """Search, print a table for each query or JSON, and draw the lists where asked."""
    args = _parser().parse_args()
    column = f"{args.column}_rk" if args.rerank else args.column
    if column not in COLUMNS:
        raise InputError(
            f"--rerank with --column {args.column}: only {', '.join(RERANKED)} are re-ranked."
        )
    found = search(args.query, args.gallery, args.model, column=column, top=args.top, far=args.far)
    if args.save:
        save(found, args.save)
    print(json.dumps(as_json(found), indent=1) if args.json else as_text(found))
    check_left_out(found.left_out, args.strict)


def as_text(found: Search) -> str:
    """Return a table for each query, and below it whether the person is in the gallery."""
    texts = []
    for answer in found.answers:
        rows = [
            (rank, f"{result.distance:.4f}", shown(result.picture), _mark(result.is_within))
            for rank, result in enumerate(answer.results, 1)
        ]
        headers = ("rank", found.column, "picture", f"at most {found.threshold or 0:.4f}")
        if found.threshold is None:
            rows, headers = [row[:-1] for row in rows], headers[:-1]
        table = tabulate(rows, headers, disable_numparse=True, colalign=("right", "right"))
        texts.append(f"{shown(answer.query)} among {found.pictures:,} pictures\n{table}")
        texts[-1] += f"\n{verdict(answer, found)}"
    return "\n\n".join(texts)


def _mark(is_within: bool | None) -> str:
    return "yes" if is_within else "no: beyond it"


def verdict(answer: Answer, found: Search) -> str:
    """Say whether a query's person is in the gallery, as far as the model's run tells."""
    if found.threshold is None:
        return f"Whether the person is in the gallery is not known: {found.reason}."
    where = f"the threshold {found.threshold:.4f}, of false-accept rate {found.far:g}"
    if answer.is_in_gallery:
        within = sum(bool(result.is_within) for result in answer.results)
        return f"{within} of these within {where}."
    return f"not in the gallery: none within {where}."


def as_json(found: Search) -> dict[str, Any]:
    """Return all that was found, as plain values."""
    return {
        "model": str(found.model),
        "gallery": str(found.gallery),
        "pictures": found.pictures,
        "column": found.column,
        "false_accept_rate": found.far,
        "threshold": found.threshold,
        "threshold_unknown": found.reason or None,
        "left_out": {str(path): reason for path, reason in found.left_out.items()},
        "queries": [
            {
                "query": str(answer.query),
                "in_gallery": answer.is_in_gallery,
                "results": [
                    {**result._asdict(), "picture": str(result.picture)}
                    for result in answer.results
                ],
            }
            for answer in found.answers
        ],
    }


def save(found: Search, path: Path) -> None:
    """Draw each query with its nearest pictures, a row each."""
    from reid.results import pictures
    from reid.results.pictures import Picture

    rows = []
    for answer in found.answers:
        query = Picture(pixels(answer.query), "query")
        nearest = [
            Picture(pixels(result.picture), f"{rank}\n{result.distance:.3f}", result.is_within)
            for rank, result in enumerate(answer.results, 1)
        ]
        rows.append([query, *nearest])
    with cli.atomic_output(path, is_file=True) as draft:
        pictures.ranked_lists(rows, draft)


def pixels(path: Path) -> Any:
    """A file as RGB [H, W, 3] of at most 384 pixels."""
    import numpy as np

    from reid.lookup.model import as_rgb

    image = as_rgb(path)
    image.thumbnail((384, 384))
    return np.asarray(image)


def check_left_out(left_out: dict[Path, str], is_strict: bool) -> None:
    """Name the pictures that were left out in a warning; or raise InputError where `is_strict`."""
    if not left_out:
        return
    named = [f"{shown(path)} ({reason})" for path, reason in list(left_out.items())[:MOST_NAMED]]
    more = f" and {len(left_out) - MOST_NAMED} more" if len(left_out) > MOST_NAMED else ""
    text = f"{len(left_out)} pictures were left out: {'; '.join(named)}{more}"
    sys.stdout.flush()
    if is_strict:
        raise InputError(f"{text}. Mend or remove them.")
    warnings.warn(text, stacklevel=2)


def _parser() -> argparse.ArgumentParser:
    arguments = parser.make("search", str(__doc__), "query.jpg --gallery FOLDER --save list.png")
    add = arguments.add_argument
    add("query", nargs="+", help="pictures of whom to look for")
    add("--gallery", required=True, help="folder of pictures to search, however deep")
    add("--model", help="model.safetensors (default: the headline's, of ./params.yaml)")
    add(
        "--column",
        choices=COLUMNS,
        default=COLUMN,
        metavar="COLUMN",
        help=f"{', '.join(COLUMNS)} (default: {COLUMN})",
    )
    add("--rerank", action="store_true", help="the column re-ranked, the same as _rk behind it")
    add("--top", type=parser.count, default=TOP, help="pictures for a query (default: %(default)s)")
    add("--far", type=float, default=FAR, help="false-accept rate of the threshold, %(default)s")
    add("--save", type=Path, metavar="PNG", help="draw the lists to this file")
    add("--json", action="store_true", help="print JSON")
    add("--strict", action="store_true", help="end with 1 where a picture cannot be read")
    return arguments


if __name__ == "__main__":
    cli.run(main)
