"""A benchmark's results as Markdown."""

from typing import Any

CHAIN = ("distances", "rerank", "evaluate")
WHAT = {
    "products": "bare matrix products",
    "distances": "distances: all pairs, with neighbours",
    "rerank": "re-ranking of 3 distances",
    "evaluate": "CMC and mAP of 7 columns, against sorting",
    "evaluate loop": "the same, against a loop in Python",
    "chain": "features to all columns' scores",
}


def markdown(result: dict[str, Any]) -> str:
    """The results of the steps that were run, as a paragraph and two tables."""
    steps, size, machine = result["steps"], result["size"], result["machine"]
    head = (
        f"`{result['command']}`: {size['queries']:,} queries x {size['gallery']:,} gallery images, "
        f"8 stripes x {result['channels']:,} channels, {result['precision']}, on "
        f"{machine['threads']} threads of {machine['cpu']}. `peak` is all memory of the step's "
        "process, `own` that without mapped files; Python and its libraries take 0.6 GB and 0.3 "
        "GB of them."
    )
    parts = [
        head,
        _times(steps),
        _ratio(steps),
        _shares(steps),
        _precisions(steps.get("precisions")),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _times(steps: dict[str, Any]) -> str:
    lines = [
        "| step | seconds | peak GB | private GB | textbook, seconds | times as fast |",
        "|---|---|---|---|---|---|",
    ]
    rows = {
        name: (steps[name], steps.get(f"textbook {name}"))
        for name in ("products", *CHAIN)
        if name in steps
    }
    if {"evaluate", "textbook evaluate loop"} <= set(steps):
        rows["evaluate loop"] = steps["evaluate"], steps["textbook evaluate loop"]
    if all(name in steps for name in CHAIN):
        plain = [rows[name][1] for name in CHAIN]
        chain = {"seconds": sum(steps[name]["seconds"] for name in CHAIN)}
        chain |= {key: max((steps[name][key] or 0) for name in CHAIN) for key in ("peak", "own")}
        rows["chain"] = (
            chain,
            {"seconds": sum(step["seconds"] for step in plain)} if all(plain) else None,
        )
    return "\n".join(lines + [_row(name, *steps) for name, steps in rows.items()])


def _row(name: str, step: dict[str, Any], plain: dict[str, Any] | None) -> str:
    seconds, memory = step["seconds"], (f"{(step[key] or 0) / 1e9:.2f}" for key in ("peak", "own"))
    compared = (
        (f"{plain['seconds']:,.1f}", f"{plain['seconds'] / seconds:.1f}") if plain else ("", "")
    )
    return f"| {' | '.join((WHAT[name], f'{seconds:,.2f}', *memory, *compared))} |"


def _ratio(steps: dict[str, Any]) -> str:
    if not {"products", "distances"} <= set(steps):
        return ""
    products, seconds = steps["products"], steps["distances"]["seconds"]
    times, each = seconds / products["seconds"], 1e6 * seconds / products["pairs"]
    return (
        f"Distances take {times:.2f} x the bare products: {each:.2f} us for each of "
        f"{products['pairs']:,} pairs."
    )


def _shares(steps: dict[str, Any]) -> str:
    shares = [
        f"{name} {step['share']:.3%}" for name, step in steps.items() if step.get("share", 1) < 1
    ]
    return f"Measured on a part and scaled: {', '.join(shares)}." if shares else ""


def _precisions(found: dict[str, Any] | None) -> str:
    if not found:
        return ""
    scores = found["scores"]
    lines = [
        f"Rank-1 / mAP in percent by precision, {found['queries']:,} queries x "
        f"{found['gallery']:,} gallery images:\n",
        f"| column | {' | '.join(scores)} |",
        "|---" * (1 + len(scores)) + "|",
    ]
    for column in next(iter(scores.values())):
        cells = (
            f"{score[column]['rank1']:.2f} / {score[column]['mAP']:.2f}"
            for score in scores.values()
        )
        lines.append(f"| {column} | {' | '.join(cells)} |")
    return "\n".join(lines)
