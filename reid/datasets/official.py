"""The official archives of the datasets, and which of them may be downloaded."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Archive:
    """An official archive: MD5 ('' where none is published), Google Drive id ('' for no download),
    where it is from.
    """

    file: str
    md5: str
    drive: str
    source: str


ARCHIVES = {
    "market1501": (
        Archive(
            "Market-1501-v15.09.15.zip",
            "65005ab7d12ec1c44de4eeafe813e68a",
            "0B8-rUzbwVRk0c054eEozWG9COHM",
            "from https://drive.google.com/file/d/0B8-rUzbwVRk0c054eEozWG9COHM/view (linked at "
            "https://zheng-lab.cecs.anu.edu.au/Project/project_reid.html; for research only)",
        ),
    ),
    "distractors_500k": (
        Archive(
            "distractors_500k.zip",
            "",
            "0B8-rUzbwVRk0cGtxWmFFVDZkNUE",
            "from https://drive.google.com/file/d/0B8-rUzbwVRk0cGtxWmFFVDZkNUE/view (linked at "
            "https://zheng-lab.cecs.anu.edu.au/Project/project_reid.html; for research only)",
        ),
    ),
    "dukemtmcreid": (
        Archive(
            "DukeMTMC-reID.zip",
            "2f93496f9b516d1ee5ef51c1d5e7d601",
            "",
            "from a copy that you already hold: its authors withdrew the dataset in 2019 and "
            "give it to nobody",
        ),
    ),
    "cuhk03": (
        Archive(
            "cuhk03-np.zip",
            "",
            "1pBCIAGSZ81pgvqjC-lUHtl0OYV1icgkz",
            "from https://drive.google.com/file/d/1pBCIAGSZ81pgvqjC-lUHtl0OYV1icgkz/view "
            "(linked at https://github.com/zhunzhong07/person-re-ranking, CUHK03-NP)",
        ),
        Archive(
            "cuhk03_release.zip",
            "728939e58ad9f0ff53e521857dd8fb43",
            "",
            "on request from its authors "
            "(https://www.ee.cuhk.edu.hk/~xgwang/CUHK_identification.html)",
        ),
    ),
    "msmt17": (
        Archive(
            "MSMT17_V1.tar.gz",
            "ea5502ae9dd06c596ad866bd1db0280d",
            "",
            "on request by e-mail from its authors (https://www.pkuvmc.com/dataset.html)",
        ),
    ),
}
