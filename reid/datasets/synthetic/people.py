"""What the people of the built-in benchmark look like: body, skin, hair, clothes, shoes and bags,
from a seed.

People come in families of eight that share four colours and, often, the cut of the clothes: they
differ in which garment has which colour, in a pattern, in bag, shoes or hair. `lookalikes` says
how many belong to such a family.
"""

from dataclasses import dataclass

import numpy as np

from reid.datasets.synthetic.clothing import PATTERNS, Colour, Colours, Outfit, Surface, head, torso

FAMILY = 8
_CLOTHES = {
    "black": (28, 28, 31), "charcoal": (62, 63, 68), "grey": (128, 129, 131),
    "silver": (183, 184, 186), "white": (232, 231, 227), "navy": (30, 38, 72),
    "blue": (44, 82, 158), "sky": (128, 170, 214), "denim": (66, 90, 128),
    "pale denim": (124, 148, 178), "teal": (24, 112, 116), "green": (44, 112, 62),
    "olive": (96, 98, 58), "lime": (150, 188, 76), "yellow": (226, 190, 62),
    "orange": (218, 112, 42), "red": (186, 36, 42), "wine": (104, 26, 42),
    "pink": (228, 146, 168), "magenta": (182, 48, 118), "purple": (98, 62, 134),
    "lilac": (176, 158, 206), "brown": (100, 68, 46), "beige": (204, 184, 150),
}  # fmt: skip
# how common the colours are, in the order above
_TOPS = [8, 4, 4, 3, 9, 4, 4, 3, 2, 2, 2, 3, 2, 1, 3, 2, 5, 2, 4, 2, 2, 2, 2, 3]
_BOTTOMS = [10, 4, 4, 1, 2, 5, 2, 1, 9, 4, 1, 1, 2, 0.3, 0.3, 0.3, 1, 1, 0.7, 0.5, 0.5, 0.5, 2, 4]
_SKINS = [
    (234, 196, 168), (222, 180, 148), (204, 158, 122), (168, 120, 86),
    (122, 82, 58), (84, 56, 42),
]  # fmt: skip
_HAIRS = [
    (24, 20, 20), (42, 30, 26), (70, 48, 34), (112, 76, 46),
    (176, 136, 84), (148, 146, 142), (120, 50, 34),
]  # fmt: skip
_STYLES = ("short", "bald", "long", "bun", "ponytail", "bob")
_PATTERN_WEIGHTS = {  # in the order of PATTERNS
    "tee": [5, 4, 1, 1, 3, 5, 2, 1, 1, 1, 2],
    "shirt": [4, 2, 3, 5, 2, 0, 0, 1, 0, 0, 1],
    "jacket": [6, 0, 0, 1, 0, 1, 3, 0, 2, 2, 2],
    "coat": [8, 0, 0, 2, 0, 0, 1, 0, 1, 0, 0],
    "dress": [4, 2, 1, 1, 4, 0, 1, 3, 1, 0, 0],
}


@dataclass(frozen=True)
class Person:
    """One person as drawn in every image. Lengths in body heights; colours RGB; None where there
    is nothing.
    """

    height: float
    width: float
    head: Surface
    body: Surface
    outfit: Outfit
    colours: Colours
    hair: Colour
    style: str
    hat: Colour | None
    brim: str  # cap, wide, none
    sleeve_colour: Colour
    rings: Colour | None  # across the sleeves
    stripe: Colour | None  # down the trousers
    tights: Colour | None
    socks: float
    sock_colour: Colour
    sole: Colour
    bag: str | None  # backpack, handbag, crossbody
    bag_side: str
    bag_size: float
    bag_trim: Colour


def dress(seed: int, number: int, lookalikes: float) -> Person:
    """Make person `number` of the set drawn from `seed`; with probability `lookalikes` one of a
    family.
    """
    personal = np.random.default_rng([seed, 1, number])
    family = np.random.default_rng([seed, 2, number // FAMILY])
    related = personal.random() < lookalikes
    colours = _colours(family if related else personal, personal, related)
    cut = family if related and personal.random() < 0.6 else personal
    slim = bool(cut.random() < 0.45)
    outfit = _outfit(cut, slim)
    pattern = PATTERNS[_pick(personal, _PATTERN_WEIGHTS[outfit.kind])]
    bag = [None, "backpack", "handbag", "crossbody"][_pick(personal, [4, 3, 2 + slim, 2])]
    width = float(np.clip(personal.normal(0.98 if slim else 1.08, 0.07), 0.85, 1.3))
    sleeve = colours.accent if personal.random() < 0.12 else _sleeve(colours, pattern)
    return Person(
        height=float(personal.uniform(0.95, 1.04)),
        width=width,
        body=torso(personal, outfit, colours, pattern, bag, width),
        outfit=outfit,
        colours=colours,
        sleeve_colour=sleeve,
        rings=colours.accent if pattern == "hoops" and sleeve != colours.accent else None,
        **_legs(personal, outfit, colours),
        **_hair(personal, slim, colours.skin),
        **_feet(personal, colours.shoes),
        **_carried(personal, bag, colours.bag),
    )


def _pick(generator: np.random.Generator, weights: list[float]) -> int:
    return int(generator.choice(len(weights), p=np.array(weights) / np.sum(weights)))


def _jitter(generator: np.random.Generator, colour: Colour, spread: float) -> Colour:
    return tuple(
        int(value) for value in (np.array(colour) + generator.normal(0, spread, 3)).clip(8, 245)
    )


def _colours(palette: np.random.Generator, personal: np.random.Generator, related: bool) -> Colours:
    """A person's colours; in a family the same four garment colours in another order."""
    values, either = list(_CLOTHES.values()), [a + b for a, b in zip(_TOPS, _BOTTOMS, strict=True)]
    four = [
        _jitter(palette, values[_pick(palette, weights)], 9)
        for weights in (_TOPS, _BOTTOMS, either, _TOPS)
    ]
    if related:  # mostly the two large garments change places, and the two small ones
        apart = np.concatenate([personal.permutation(2), 2 + personal.permutation(2)])
        four = [
            four[index] for index in (personal.permutation(4) if personal.random() < 0.4 else apart)
        ]
    top, bottom, shoes, bag = four
    accent = _jitter(personal, (226, 226, 222) if sum(top) < 330 else (36, 38, 52), 12)
    if personal.random() < 0.4 and np.abs(np.subtract(top, bag)).sum() > 150:
        accent = bag
    skin = _jitter(personal, _SKINS[_pick(personal, [6, 8, 6, 3, 2, 1])], 6)
    return Colours(top, bottom, accent, skin, shoes, bag)


def _sleeve(colours: Colours, pattern: str) -> Colour:
    """A sleeve's one colour, halfway to the accent where the pattern is fine."""
    share = {"checks": 0.4, "pinstripes": 0.25, "dots": 0.2, "print": 0.3}.get(pattern, 0)
    return tuple(
        int(value)
        for value in np.array(colours.top) + share * np.subtract(colours.accent, colours.top)
    )


def _outfit(cut: np.random.Generator, slim: bool) -> Outfit:
    """Choose garments, their lengths and widths."""
    kind = ("tee", "shirt", "jacket", "coat", "dress")[_pick(cut, [8, 4, 5, 2, 4 * slim])]
    lower = ("trousers", "shorts", "skirt")[_pick(cut, [7, 3, 4 * slim])]
    lower = {"dress": "skirt", "coat": "trousers"}.get(kind, lower)
    skirt_hem = float(cut.choice([0.34, 0.27, 0.12], p=[0.5, 0.3, 0.2]) + cut.uniform(-0.02, 0.02))
    top_hem = _top_hem(cut, kind, lower, skirt_hem)
    short = {"tee": 0.85, "shirt": 0.35, "dress": 0.7}.get(kind, 0.0)
    leg_length = _leg_length(cut, lower)
    warm = kind in ("jacket", "coat")
    return Outfit(
        kind=kind,
        lower=lower,
        top_hem=top_hem,
        hem=skirt_hem if lower == "skirt" else min(top_hem, 0.455),
        flare=float(cut.uniform(0.0, 0.04)) if lower == "skirt" or kind == "coat" else 0.0,
        sleeve=float(cut.choice([0.0, 0.35, 0.5]) if cut.random() < short else 1.0),
        sleeve_width=float(cut.uniform(0.03, 0.04) + 0.004 * warm),
        leg_length=leg_length,
        leg_width=float(cut.choice([0.026, 0.034, 0.046], p=[0.35, 0.45, 0.2])),
        is_open=warm and bool(cut.random() < 0.45),
        bulk=0.012 * warm + float(cut.uniform(0, 0.01)),
        waist=float(cut.uniform(-0.012, 0.006)) if slim else 0.004,
    )


def _top_hem(cut: np.random.Generator, kind: str, lower: str, skirt_hem: float) -> float:
    """Height of the top's lower edge, higher when it is tucked in."""
    coat_hem = float(cut.uniform(0.26, 0.4))  # drawn for all, so that what follows is the same
    hems = {"tee": 0.485, "shirt": 0.465, "jacket": 0.475, "coat": coat_hem, "dress": skirt_hem}
    if kind in ("tee", "shirt") and (lower == "skirt" or cut.random() < 0.3):
        return 0.575
    return hems[kind]


def _leg_length(cut: np.random.Generator, lower: str) -> float:
    trousers = 1.0 if cut.random() < 0.85 else 0.8
    shorts = float(cut.uniform(0.3, 0.55))
    return {"trousers": trousers, "shorts": shorts, "skirt": 0.0}[lower]


def _legs(generator: np.random.Generator, outfit: Outfit, colours: Colours) -> dict:
    """A stripe down long trousers, and tights where there are none."""
    has_stripe = outfit.leg_length == 1 and generator.random() < 0.12
    has_tights = outfit.leg_length == 0 and generator.random() < 0.35
    return {
        "stripe": colours.accent if has_stripe else None,
        "tights": _jitter(generator, (40, 36, 40), 12) if has_tights else None,
    }


def _hair(generator: np.random.Generator, slim: bool, skin: Colour) -> dict:
    """Head, hair and hat."""
    hair = _jitter(generator, _HAIRS[_pick(generator, [9, 7, 5, 3, 2, 1, 1])], 5)
    style = _STYLES[_pick(generator, [1, 0.1, 7, 2, 4, 4] if slim else [20, 2, 1, 0, 1, 1])]
    wears = generator.random() < 0.15
    hat = _jitter(generator, list(_CLOTHES.values())[_pick(generator, _TOPS)], 8) if wears else None
    brim = ("cap", "wide", "none")[_pick(generator, [3, 1, 1])]
    return {
        "hair": hair,
        "style": style,
        "hat": hat,
        "brim": brim,
        "head": head(generator, style, slim, (skin, hair, hat)),
    }


def _feet(generator: np.random.Generator, shoes: Colour) -> dict:
    """Socks and soles."""
    return {
        "socks": float(generator.choice([0.15, 0.3, 0.9], p=[0.6, 0.3, 0.1])),
        "sock_colour": _jitter(
            generator, [(225, 225, 220), (40, 40, 44)][_pick(generator, [1, 1])], 10
        ),
        "sole": (225, 223, 218) if generator.random() < 0.5 else _darker(shoes, 0.6),
    }


def _carried(generator: np.random.Generator, bag: str | None, colour: Colour) -> dict:
    """The bag and its trimmings, which stand out from it."""
    return {
        "bag": bag,
        "bag_side": "lr"[_pick(generator, [1, 1])],
        "bag_size": float(generator.uniform(0, 0.03)),
        "bag_trim": _darker(colour, 0.65) if sum(colour) > 150 else (96, 96, 100),
    }


def _darker(colour: Colour, share: float) -> Colour:
    return tuple(int(share * value) for value in colour)
