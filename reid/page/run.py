"""The folders that the page is made of, and one run in them, opened by protocol."""

from dataclasses import dataclass
from pathlib import Path

from reid import prepared
from reid.arrays import features, matrices
from reid.arrays.features import Features, Identities
from reid.arrays.matrices import Matrix
from reid.arrays.names import PROTOCOLS
from reid.page.rankings import Sides
from reid.prepared import Split
from reid.runtime.errors import InputError


@dataclass(frozen=True)
class Folders:
    """A dataset's folders, as dvc.yaml names them; those from models to runs have <loss>/<seed>."""

    data: Path
    models: Path
    features: Path
    distances: Path
    reranked: Path
    runs: Path
    tables: Path


@dataclass(frozen=True)
class View:
    """One protocol of a run: images and features of queries and gallery, distances by column."""

    query_images: Split
    gallery_images: Split
    queries: Features
    gallery: Features
    columns: dict[str, Matrix]

    @property
    def sides(self) -> Sides:
        """The people and cameras of both sides."""
        return Sides(*(Identities(side.pids, side.camids) for side in (self.queries, self.gallery)))


def read_views(data: Path, features_folder: Path, distances: Path, reranked: Path) -> dict:
    """Folders of a prepared dataset and of one of its runs -> {protocol: View}.

    Raises InputError for files that are missing, broken or of different images.
    """
    gallery, by_protocol = features.read_protocols(features_folder)
    gallery_images = _read_images(data / "gallery", gallery)
    views = {}
    for protocol in matrices.protocols_in(distances):
        if protocol not in by_protocol:
            raise InputError(
                f"{features_folder} has no features of {PROTOCOLS[protocol]}, but {distances} has "
                f"distances of {protocol}: they belong to different runs. Extract the split anew."
            )
        queries = by_protocol[protocol]
        images = _read_images(data / PROTOCOLS[protocol], queries)
        shape = len(queries), len(gallery)
        columns = matrices.read_columns(distances / protocol, reranked / protocol, shape)
        views[protocol] = View(images, gallery_images, queries, gallery, columns)
    return views


def read_columns(
    features_folder: Path, distances: Path, reranked: Path
) -> dict[str, tuple[Sides, dict[str, Matrix]]]:
    """A run's folders -> by protocol its people and cameras, and its distances by column."""
    gallery = features.read_identities(features_folder / "gallery")
    found = {}
    for protocol in matrices.protocols_in(distances):
        queries = features.read_identities(features_folder / PROTOCOLS[protocol])
        shape = len(queries.pids), len(gallery.pids)
        columns = matrices.read_columns(distances / protocol, reranked / protocol, shape)
        found[protocol] = Sides(queries, gallery), columns
    return found


def _read_images(folder: Path, described: Features) -> Split:
    """Open a split. Raises InputError unless its people and cameras are those of the features."""
    split = prepared.read(folder)
    same = split.pids.tolist() == described.pids.tolist()
    if not same or split.camids.tolist() != described.camids.tolist():
        raise InputError(
            f"{folder} holds {len(split):,} images with other people or cameras than the "
            f"{len(described):,} whose features were given: wanted the images that the features "
            "were extracted from. Extract them anew, or name the right folder."
        )
    return split
