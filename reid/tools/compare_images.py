"""Compare two pictures: their distances with and without alignment, the costs of their stripes and
the path of DMLI through them.
"""

from pathlib import Path

from tabulate import tabulate

from reid.lookup.files import shown
from reid.lookup.model import Model
from reid.lookup.search import check_queries
from reid.runtime import cli
from reid.tools import parser


def main() -> None:
    """Describe two pictures, print what differs, and draw their alignment where asked."""
    arguments = parser.make("compare-images", str(__doc__), "a.jpg b.jpg --save pair.png")
    arguments.add_argument("a", type=Path, help="a picture, whose stripes are the rows")
    arguments.add_argument("b", type=Path, help="a picture, whose stripes are the columns")
    arguments.add_argument("--model", help="model.safetensors (default: the headline's)")
    arguments.add_argument("--save", type=Path, metavar="PNG", help="draw the alignment")
    args = arguments.parse_args()
    check_queries([args.a, args.b])
    print(compare(Model.load(args.model), (args.a, args.b), args.save))


def compare(model: Model, paths: tuple[Path, Path], out: Path | None) -> str:
    """Two pictures -> their distances, costs and path as text; drawn to `out` if that is given."""
    # here, because they take a second to import
    from reid.lookup import ranking
    from reid.page import pairs

    features = [model.describe([path]) for path in paths]
    distances = {
        name: float(ranking.distances(*features, name)[0, 0])
        for name in ("global", "local", "dmli", "global_dmli")
    }
    costs = pairs.stripe_costs(*(side.stripes[0] for side in features))
    cells = pairs.cheapest_path(costs)
    if out is not None:
        _draw(paths, (distances["dmli"], costs, cells), out)
    rows = [
        [row + 1, *(_cost(cost, (row, column) in cells) for column, cost in enumerate(of_row))]
        for row, of_row in enumerate(costs)
    ]
    table = tabulate(rows, ["", *range(1, len(costs) + 1)], disable_numparse=True)
    return (
        f"{shown(paths[0])} and {shown(paths[1])}\n"
        f"global       {distances['global']:.4f}\n"
        f"local        {distances['local']:.4f}  without alignment\n"
        f"dmli         {distances['dmli']:.4f}  with alignment\n"
        f"global_dmli  {distances['global_dmli']:.4f}\n\n"
        f"costs of stripes, those on the path of DMLI in brackets:\n{table}"
    )


def _cost(cost: float, is_on_path: bool) -> str:
    return f"[{cost:.2f}]" if is_on_path else f" {cost:.2f} "


def _draw(paths: tuple[Path, Path], aligned: tuple, out: Path) -> None:
    from reid.results import pictures
    from reid.results.pictures import Picture
    from reid.tools.search import pixels

    dmli, costs, cells = aligned
    texts = f"{shown(paths[0].name)}\n", f"{shown(paths[1].name)}\nDMLI {dmli:.3f}"
    pair = [Picture(pixels(path), text) for path, text in zip(paths, texts, strict=True)]
    with cli.atomic_output(out, is_file=True) as draft:
        pictures.alignment((pair[0], pair[1]), costs, cells, draft)


if __name__ == "__main__":
    cli.run(main)
