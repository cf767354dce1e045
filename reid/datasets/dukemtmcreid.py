"""DukeMTMC-reID (Zheng et al., ICCV 2017; Ristani et al., ECCVW 2016) and Occluded-Duke (Miao et
al., ICCV 2019).

The authors of DukeMTMC withdrew it in 2019: both are read where a copy is at hand.
"""

from pathlib import Path

from reid.datasets.filenames import read_subfolders
from reid.datasets.records import Counts, Reader, SourceSettings, Splits


def read(folder: Path, settings: SourceSettings) -> Splits:
    """Records of train, query and gallery, each sorted by name. Raises InputError as
    `filenames.read_subfolders` does.

    The gallery's distractors have ordinary pids. Most of Occluded-Duke's queries are in its
    gallery too, where the camera rule leaves them out.
    """
    return read_subfolders(
        folder, r"(?P<pid>[0-9]{4})_c(?P<camid>[1-8])_f[0-9]{7}\.jpg", "0001_c2_f0046182.jpg"
    )


def published(settings: SourceSettings) -> dict[str, Counts]:
    """DukeMTMC-reID's published counts."""
    return {
        "train": Counts(702, 16_522),
        "query": Counts(702, 2_228),
        "gallery": Counts(1_110, 17_661),
    }


def published_occluded(settings: SourceSettings) -> dict[str, Counts]:
    """Occluded-Duke's published counts; its gallery is DukeMTMC-reID's."""
    return {
        "train": Counts(702, 15_618),
        "query": Counts(519, 2_210),
        "gallery": Counts(1_110, 17_661),
    }


READER = Reader(
    SourceSettings,
    read,
    ("DukeMTMC-reID", "dukemtmcreid", "dukemtmc_reid", "dukemtmc", "duke"),
    published,
)
OCCLUDED = Reader(
    SourceSettings,
    read,
    (
        "Occluded_Duke",
        "Occluded-Duke",
        "Occluded-DukeMTMC-reID",
        "Occluded-DukeMTMC",
        "occludedduke",
        "occ_duke",
    ),
    published_occluded,
)
