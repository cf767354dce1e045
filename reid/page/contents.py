"""All that the page shows, gathered from a dataset's folders: plain values and charts for the
template.
"""

from typing import Any

from tqdm import tqdm

from reid.arrays import matrices
from reid.arrays.names import COLUMNS, PROTOCOLS
from reid.page import browser, choose, facts, figures, training, verification
from reid.page import run as page_run
from reid.page.choose import PageSettings
from reid.page.facts import QUERIES
from reid.page.figures import Figure
from reid.page.run import Folders, View
from reid.results import cell, metrics
from reid.results.metrics import EvaluateSettings
from reid.results.tables import TITLES, TablesSettings
from reid.runtime.errors import InputError

Contents = dict[str, Any]


def gather(
    folders: Folders,
    identity: tuple[str, str],
    settings: tuple[TablesSettings, EvaluateSettings, PageSettings],
) -> Contents:
    """A dataset's folders and (dataset, loss) of the headline -> what the template shows.

    Of several seeds, all but the tables is of the first. Raises InputError for what is missing,
    broken or of different runs.
    """
    (dataset, loss), (naming, evaluate, page) = identity, settings
    seed, titles = naming.seeds[0], _titles(naming, loss)
    headline = _headline(folders, loss, naming, page)
    head = {"dataset": naming.name(dataset), "loss": titles[loss], "seed": seed}
    of_all = {
        "tables": [facts.table(folders.tables, dataset, protocol) for protocol in PROTOCOLS],
        "columns": [(column, TITLES[column]) for column in COLUMNS],
        "losses": list(titles.values()),
        "cmc": _cmc(folders, titles, seed, evaluate),
        "training": _training(folders, titles, seed),
        "statistics": facts.statistics(folders.data),
    }
    return head | of_all | headline


def _titles(naming: TablesSettings, loss: str) -> dict[str, str]:
    """What every loss of the tables, and the headline's, is called, each otherwise."""
    titles = {name: naming.name(name) for name in (*naming.losses, loss)}
    if len(set(titles.values())) < len(titles):
        return {name: f"{title} ({name})" for name, title in titles.items()}
    return titles


def _headline(
    folders: Folders, loss: str, naming: TablesSettings, settings: PageSettings
) -> Contents:
    """What is shown of the headline's run alone."""
    seed = naming.seeds[0]
    run = cell.read_cell(folders.runs / loss, [seed])[0]
    of_run = [folders.features, folders.distances, folders.reranked]
    views = page_run.read_views(folders.data, *(folder / loss / str(seed) for folder in of_run))
    if "full" not in views:
        raise InputError(
            f"{folders.distances / loss / str(seed)} has no distances of full queries: run the "
            "distances stage anew."
        )
    view = views["full"]
    return {
        "trunk": naming.name(run["trunk"]),
        "tiles": facts.tiles(run, view),
        "browser": _browser(views, settings),
        "distances": figures.distances(view, settings.seed),
        "sample": min(figures.SAMPLE, len(view.queries)),
        "cameras": figures.cameras(view),
        "verification": verification.section(run, QUERIES),
        "provenance": facts.provenance(run),
    }


def _browser(views: dict[str, View], settings: PageSettings) -> Contents:
    """Score every query with full queries, choose some, and describe them."""
    view = views["full"]
    sides, precisions = view.sides, {}
    for column in tqdm(COLUMNS, desc="scoring queries", unit="column", delay=2, leave=False):
        matrix = view.columns[column]
        scores = metrics.evaluate(matrix, sides.queries, sides.gallery)
        precisions[column] = scores.average_precisions
        matrices.release(matrix)
    return browser.document(views, choose.groups(precisions, settings))


def _cmc(
    folders: Folders, titles: dict[str, str], seed: int, settings: EvaluateSettings
) -> list[Contents]:
    """By protocol, the CMC charts of all losses."""
    of_losses = {}
    for loss, title in tqdm(titles.items(), "CMC curves", unit="loss", delay=2, leave=False):
        run_folders = [folders.features, folders.distances, folders.reranked]
        found = page_run.read_columns(*(folder / loss / str(seed) for folder in run_folders))
        of_losses[title] = figures.curves(found, settings)
    protocols = [name for name in PROTOCOLS if any(name in by for by in of_losses.values())]
    return [{"title": QUERIES[name], "figures": figures.cmc(of_losses, name)} for name in protocols]


def _training(folders: Folders, titles: dict[str, str], seed: int) -> list[Figure]:
    """The charts of the histories of all losses."""
    histories = {
        title: training.read_history(folders.models / loss / str(seed) / "history.csv")
        for loss, title in titles.items()
    }
    return training.charts_of(histories)
