"""The published ablation numbers, rank-1/mAP in percent, which the tables set beside ours.

Source: the results in the README of github.com/michuanhaohao/AlignedReID, whose paper is
AlignedReID++ (Luo et al., Pattern Recognition 94, 2019). Departs from an earlier edition of it in
the MSMT17 block, see NOTES.
"""

SOURCE = "the README of github.com/michuanhaohao/AlignedReID"
MODEL = "Resnet50"

# By dataset, where it needs one: a remark that goes below the table.
NOTES = {
    "msmt17": (
        "An earlier edition of the published MSMT17 table left cells empty and held cells of "
        "other tables (Alignedreid(LS): Global from CUHK03, Local from DukeMTMCReID). The numbers "
        "here are those of a later edition (commit fca9620), which gives the Local of Alignedreid "
        "as rank-1 only and has no re-ranked column."
    )
}

COLUMNS = ("global", "local", "dmli", "global_dmli", "global_dmli_rk")

# By dataset and protocol, by loss: the cells of COLUMNS, as many as were published.
_TEXT = {
    ("market1501", "full"): {
        "alignedreid": "89.2/75.9 90.7/75.5 91.1/77.4 91.0/77.6 92.0/88.5",
        "ls": "90.6/77.7 91.4/76.7 91.9/78.8 91.8/79.1 92.8/89.4",
    },
    ("dukemtmcreid", "full"): {
        "alignedreid": "79.3/65.6 80.9/66.9 81.0/67.7 80.7/68.0 85.2/81.2",
        "ls": "81.2/67.4 81.5/68.4 81.8/69.4 82.1/69.7 86.2/82.8",
    },
    ("cuhk03", "full"): {
        "alignedreid": "60.7/58.4 60.2/58.2 60.9/59.6 60.9/59.7 67.6/70.7",
        "ls": "59.7/58.1 59.9/57.2 61.1/59.4 61.5/59.6 67.9/70.7",
    },
    ("msmt17", "full"): {
        "alignedreid": "63.4/38.4 63.8/- 66.3/40.2 66.3/40.6",
        "ls": "67.6/41.8 67.3/38.4 69.6/43.3 69.8/43.7",
    },
    ("market1501", "partial"): {
        "softmax": "59.0/46.4 56.5/43.7 63.3/50.0",
        "softmax_trihard": "62.4/49.7 51.8/37.6 68.0/52.7",
        "alignedreid": "65.9/53.5 52.8/38.1 70.1/55.3",
    },
    ("dukemtmcreid", "partial"): {
        "softmax": "45.9/34.7 48.6/36.1 53.6/40.6",
        "softmax_trihard": "47.8/36.4 43.3/31.5 53.7/40.5",
        "alignedreid": "49.8/38.2 44.8/33.3 55.3/42.8",
    },
}


def columns(dataset: str, protocol: str, loss: str) -> dict[str, dict[str, float]]:
    """The published {column: {"rank1", "mAP"}} of a cell, in percent; holds only what was
    published, maybe nothing.
    """
    cells = _TEXT.get((dataset, protocol), {}).get(loss, "").split()
    return {column: _numbers(cell) for column, cell in zip(COLUMNS, cells, strict=False)}


def _numbers(cell: str) -> dict[str, float]:
    numbers = zip(("rank1", "mAP"), cell.split("/"), strict=True)
    return {metric: float(number) for metric, number in numbers if number != "-"}
