"""The surfaces that people of the built-in benchmark wear, unrolled: clothed torso and head, in
body heights.

Rows run down from the top, columns go around from the front; `angle` is 0 at the front, positive
to the person's left.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

Colour = tuple[int, int, int]
PATTERNS = (
    "plain", "hoops", "pinstripes", "checks", "print", "logo", "blocks", "dots", "band", "back",
    "chest",
)  # fmt: skip
BODY_TOP, HEAD_TOP = 0.85, 1.0
_ROWS, _COLUMNS = 128, 96


@dataclass(frozen=True)
class Surface:
    """A body of revolution: torso or head, in body heights. `centre` is how far its axis lies
    before the spine.
    """

    # [R, A, 4] RGBA: rows from `top` to `bottom`, columns around from the front
    texture: np.ndarray
    top: float
    bottom: float
    profile: np.ndarray  # [3, H]: heights, ascending; half widths; half depths
    centre: float

    def look(self, height: np.ndarray, angle: np.ndarray) -> np.ndarray:
        """The texture's pixels [..., 4] at heights and azimuths (radians); alpha is 0 above and
        below.
        """
        rows, columns = self.texture.shape[:2]
        row = np.floor((self.top - height) * (rows / (self.top - self.bottom))).astype(np.intp)
        column = (angle * (columns / (2 * np.pi)) + 2 * columns).astype(np.intp) % columns
        pixels = self.texture[row.clip(0, rows - 1), column]
        pixels[(row < 0) | (row >= rows), 3] = 0
        return pixels


@dataclass(frozen=True)
class Outfit:
    """The cut of the clothes, without their colours. Lengths in body heights."""

    kind: str  # tee, shirt, jacket, coat, dress
    lower: str  # trousers, shorts, skirt
    top_hem: float
    hem: float  # the lowest of what goes around both legs
    flare: float
    sleeve: float  # 0 none, 0.5 to the elbow, 1 to the hand
    sleeve_width: float
    leg_length: float  # 0 under a skirt, 0.5 to the knee, 1 to the ankle
    leg_width: float
    is_open: bool
    bulk: float
    waist: float


@dataclass(frozen=True)
class Colours:
    """What a torso and what it carries are coloured with."""

    top: Colour
    bottom: Colour
    accent: Colour
    skin: Colour
    shoes: Colour
    bag: Colour


def torso(
    generator: np.random.Generator,
    outfit: Outfit,
    colours: Colours,
    pattern: str,
    bag: str | None,
    width: float,
) -> Surface:
    """Dress a torso: top and skirt with their pattern, neckline, belt and the straps of a bag."""
    height, angle = _grid(BODY_TOP, outfit.hem, _ROWS, _COLUMNS)
    texture = np.empty((_ROWS, _COLUMNS, 4), np.float32)
    texture[...] = (*colours.top, 255)
    texture[_pattern(generator, pattern, height, angle), :3] = colours.accent
    if pattern == "checks":
        thin = ((height * 60) % 3 < 0.5) | ((angle * 10 / np.pi + 50) % 3 < 0.5)
        texture[thin, :3] = 0.5 * np.array(colours.accent) + 0.5 * np.array(colours.bottom)
    _front(texture, outfit, colours, height, angle)
    _below(texture, outfit, colours, height, angle, generator)
    neckline = generator.choice([0.012, 0.04, 0.075], p=[0.5, 0.3, 0.2])
    front = np.abs(angle)
    is_bare = (height > 0.84 - neckline * np.maximum(0, 1 - front / 0.6)) & (front < 1.2)
    texture[is_bare, :3] = colours.skin
    texture[_straps(height, angle, bag), :3] = colours.bag
    pixels, profile = texture.clip(0, 255).astype(np.uint8), _torso_profile(outfit, width)
    return Surface(pixels, BODY_TOP, outfit.hem, profile, 0.0)


def _front(
    texture: np.ndarray, outfit: Outfit, colours: Colours, height: np.ndarray, angle: np.ndarray
) -> None:
    """What an open jacket shows, or the row of buttons."""
    front = np.abs(angle)
    if outfit.is_open:
        texture[front < 0.3 + 0.35 * (0.84 - height), :3] = colours.accent
    elif outfit.kind in ("jacket", "coat", "shirt"):
        texture[front < 0.05, :3] = 0.6 * np.array(colours.top) + 0.15 * np.array(colours.accent)


def _below(
    texture: np.ndarray,
    outfit: Outfit,
    colours: Colours,
    height: np.ndarray,
    angle: np.ndarray,
    generator: np.random.Generator,
) -> None:
    """The garment below the top, its pleats, and the belt."""
    lower = height < outfit.top_hem
    texture[lower, :3] = colours.bottom
    if outfit.top_hem > 0.55:
        texture[np.abs(height - outfit.top_hem) < 0.008, :3] = (44, 34, 30)
    if outfit.lower == "skirt" and generator.random() < 0.3:
        texture[lower & ((angle * 12 / np.pi + 50) % 2 < 0.7), :3] = 0.7 * np.array(colours.bottom)
    if outfit.kind == "dress" and generator.random() < 0.4:
        texture[np.abs(height - 0.61) < 0.014, :3] = colours.accent


def head(
    generator: np.random.Generator,
    style: str,
    slim: bool,
    colours: tuple[Colour, Colour, Colour | None],
) -> Surface:
    """Make a head of skin, hair and perhaps hat colour; its hair may reach down to the
    shoulders.
    """
    skin, hair, hat = colours
    bottom = {"long": float(generator.uniform(0.72, 0.8)), "bob": 0.855}.get(style, 0.86)
    height, angle = _grid(HEAD_TOP, bottom, 64, 64)
    angle = np.abs(angle)
    texture = np.empty((64, 64, 4), np.float32)
    texture[...] = (*skin, 255)
    edge = {"short": 1.5, "long": 0.95, "bob": 0.9}.get(style, 1.25)
    nape = 0.895 if style in ("short", "bun", "ponytail") else 0.0
    is_hair = (height > generator.uniform(0.955, 0.975)) | ((angle > edge) & (height > nape))
    if style == "bald":
        is_hair = (angle > 2.2) & (height > 0.93) & (height < 0.96) & (generator.random() < 0.5)
    _face(texture, height, angle, generator, (skin, hair, slim))
    texture[is_hair, :3] = hair
    texture[is_hair & (np.abs(height - 0.975) < 0.012), :3] = np.array(hair) * 1.25 + 10
    texture[(height < 0.868) & ~is_hair, 3] = 0
    if hat:
        texture[height > 0.95, :3] = hat
    profile = _head_profile(bottom, style in ("long", "bob"))
    return Surface(texture.clip(0, 255).astype(np.uint8), HEAD_TOP, bottom, profile, 0.012)


def _grid(top: float, bottom: float, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Height and azimuth in (-pi, pi] of every pixel [R, A] of a texture."""
    height = np.linspace(top, bottom, rows)[:, None] + np.zeros((1, columns))
    angle = (
        (np.arange(columns) * 2 * np.pi / columns + np.pi) % (2 * np.pi)
        - np.pi
        + np.zeros((rows, 1))
    )
    return height, angle


def _pattern(
    generator: np.random.Generator, pattern: str, height: np.ndarray, angle: np.ndarray
) -> np.ndarray:
    """Where the accent colour goes: a mask [R, A]."""
    front, period = np.abs(angle), generator.choice([0.035, 0.05, 0.075])
    middle, around = generator.uniform(0.66, 0.73), (angle * 6 / np.pi + 50) % 1
    if pattern == "hoops":
        return height % period < 0.45 * period
    if pattern == "pinstripes":
        return (angle * generator.integers(8, 12) / np.pi + 50) % 1 < 0.35
    if pattern == "checks":
        return (height % 0.06 < 0.03) & (around < 0.5)
    if pattern == "dots":
        return np.hypot((height % 0.05) / 0.05 - 0.5, around - 0.5) < 0.28
    if pattern == "print":
        return _blotches(generator, height.shape)
    if pattern == "logo":
        return np.hypot((height - 0.7) / 0.05, front / generator.uniform(0.5, 0.8)) < 1
    if pattern == "chest":
        return (np.abs(height - 0.735) < 0.018) & (np.abs(angle - 0.5) < 0.28)
    if pattern == "back":
        return np.hypot((height - 0.69) / 0.06, (np.pi - front) / 0.8) < 1
    if pattern == "blocks":
        return height > middle
    if pattern == "band":
        return np.abs(height - middle) < generator.uniform(0.02, 0.04)
    return np.zeros(height.shape, bool)


def _blotches(generator: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    coarse = generator.integers(
        0, 256, (generator.integers(18, 34), generator.integers(10, 18)), np.uint8
    )
    return np.asarray(Image.fromarray(coarse).resize(shape[::-1], Image.Resampling.BICUBIC)) > 150


def _straps(height: np.ndarray, angle: np.ndarray, bag: str | None) -> np.ndarray:
    """Where the straps of a backpack or a crossbody bag go: a mask [R, A]."""
    front = np.abs(angle)
    if bag == "backpack":
        return (np.abs(front - 0.62) < 0.14) & (height > 0.63)
    if bag == "crossbody":
        slope = np.where(front < np.pi / 2, angle, np.sign(angle) * (np.pi - front))
        return (np.abs(height - 0.68 - 0.1 * slope) < 0.014) & (height > 0.52)
    return np.zeros(height.shape, bool)


def _face(
    texture: np.ndarray,
    height: np.ndarray,
    angle: np.ndarray,
    generator: np.random.Generator,
    of: tuple,
) -> None:
    """Eyes, nose, mouth, and perhaps glasses or a beard, put onto the head's new texture."""
    skin, hair, slim = np.array(of[0]), np.array(of[1]), of[2]
    texture[(np.abs(height - 0.936) < 0.006) & (np.abs(angle - 0.42) < 0.22), :3] = 0.5 * skin
    texture[(np.abs(height - 0.915) < 0.012) & (angle < 0.12), :3] = np.minimum(1.1 * skin, 250)
    texture[(np.abs(height - 0.893) < 0.005) & (angle < 0.3), :3] = (
        0.65 * skin * np.array([1.25, 0.9, 0.9])
    )
    texture[(height < 0.885) & (angle < 1.5), :3] = 0.82 * skin
    if generator.random() < 0.15:
        texture[(np.abs(height - 0.936) < 0.012) & (np.abs(angle - 0.5) < 0.38), :3] = (30, 30, 34)
    if not slim and generator.random() < 0.2:
        texture[(height < 0.905) & (angle < 1.3) & (angle > 0.1), :3] = 0.6 * hair + 0.3 * skin


def _torso_profile(outfit: Outfit, width: float) -> np.ndarray:
    """Heights, half widths and half depths [3, H] of a clothed torso."""
    bulk, hem, is_skirt = outfit.bulk, outfit.hem, outfit.hem < 0.44
    knots = [
        (
            hem,
            (0.092 if is_skirt else 0.082) + outfit.flare + bulk,
            (0.075 if is_skirt else 0.06) + outfit.flare + bulk,
        ),
        (max(0.5, hem + 0.03), 0.094 + bulk, 0.074 + bulk),
        (0.61, 0.084 + outfit.waist + bulk, 0.062 + bulk),
        (0.72, 0.099 + bulk, 0.07 + bulk),
        (0.79, 0.108 + bulk, 0.062 + bulk),
        (0.822, 0.085 + bulk, 0.05 + bulk),
        (0.838, 0.045 + bulk, 0.04 + bulk),
        (0.85, 0.03, 0.034),
    ]
    return np.array(knots).T * np.array([[1.0], [width], [width]])


def _head_profile(bottom: float, hangs: bool) -> np.ndarray:
    """Heights, half widths and half depths [3, H] of a head, wide below where the hair hangs
    down.
    """
    jaw = [(bottom, 0.022, 0.026), (0.872, 0.034, 0.042), (0.895, 0.045, 0.054)]
    if hangs:
        jaw = [(bottom, 0.062, 0.06), (0.86, 0.05, 0.052), (0.885, 0.046, 0.053)]
    crown = [(0.93, 0.052, 0.062), (0.97, 0.045, 0.055), (0.99, 0.026, 0.032), (1.0, 0.004, 0.004)]
    return np.array(sorted(jaw + crown)).T
