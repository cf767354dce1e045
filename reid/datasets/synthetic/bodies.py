"""Draws people for the built-in benchmark: a skeleton in three dimensions, seen by a camera that
looks down a little.

Torso, head and skirts are bodies of revolution wearing an unrolled texture (rows: height, columns:
azimuth), limbs are tapered capsules. Lengths are in body heights: y up from the floor, x to the
side, z forward; yaw 0 faces the camera.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from reid.datasets.synthetic.canvas import MIDDLE, Canvas, Point
from reid.datasets.synthetic.clothing import Surface
from reid.datasets.synthetic.people import Person


@dataclass(frozen=True)
class Pose:
    """How one image shows a person. Angles in radians; `side` is where the light comes from, -1
    (left) to 1 (right).
    """

    yaw: float
    phase: float
    stride: float
    bends: tuple[float, float]
    tilt: float
    lean: float
    side: float
    folds: int


@dataclass(frozen=True)
class Place:
    """Where a person stands on the canvas: feet at (x, floor), `scale` pixels a body height."""

    x: float
    floor: float
    scale: float

    def screen(self, joint: np.ndarray, pose: Pose) -> Point:
        """Project a joint [3] as the pose is turned and the camera tilted."""
        right, up, forward = map(float, joint)
        sin, cos = math.sin(pose.yaw), math.cos(pose.yaw)
        x, depth = right * cos + forward * sin, forward * cos - right * sin
        y = up * math.cos(pose.tilt) - depth * math.sin(pose.tilt)
        return self.x + self.scale * (x + pose.lean * up), self.floor - self.scale * y, depth


def draw_person(canvas: Canvas, person: Person, pose: Pose, place: Place) -> None:
    """Draw a person on the canvas, from the farthest part to the nearest."""
    place = Place(place.x, place.floor, place.scale * person.height)
    joints = {name: place.screen(joint, pose) for name, joint in _skeleton(person, pose).items()}
    faces_us = math.cos(pose.yaw) > 0
    for side in sorted("lr", key=lambda side: joints["knee_" + side][2]):
        _leg(canvas, person, pose, place, joints, side)
    arms = sorted("lr", key=lambda side: joints["elbow_" + side][2])
    _arm(canvas, person, pose, place, joints, arms[0])
    if faces_us:
        _hair_behind(canvas, person, pose, place)
        _backpack(canvas, person, pose, place)
    _revolve(canvas, person.body, pose, place)
    if joints["elbow_" + arms[0]][2] > -0.02:
        _arm(canvas, person, pose, place, joints, arms[0])
    neck = [place.screen(np.array([0, y, 0.008]), pose) for y in (0.82, 0.87)]
    radius = 0.03 * place.scale * person.width
    canvas.limb(tuple(neck), (1.15 * radius, radius), person.colours.skin, pose.side)
    if not faces_us:
        _backpack(canvas, person, pose, place)
    _arm(canvas, person, pose, place, joints, arms[1])
    _head(canvas, person, pose, place)
    _bag(canvas, person, pose, place, joints)


def _skeleton(person: Person, pose: Pose) -> dict[str, np.ndarray]:
    """The joints [3] of a walking person, arms swinging against the legs, the lower foot on the
    floor.
    """
    joints = {}
    for side, sign in (("l", 1), ("r", -1)):
        swing = sign * pose.stride * math.sin(pose.phase)
        flex = 0.15 * pose.stride + pose.stride * max(0.0, sign * math.cos(pose.phase))
        hip = np.array([sign * 0.046 * person.width, 0.49, 0.0])
        knee = hip + 0.23 * np.array([0.02 * sign, -np.cos(swing), np.sin(swing)])
        ankle = knee + 0.22 * np.array([0, -np.cos(swing - flex), np.sin(swing - flex)])
        joints |= {"hip_" + side: hip, "knee_" + side: knee, "ankle_" + side: ankle}
        joints["toe_" + side] = ankle + np.array([0.012 * sign, -0.022, 0.062])
        bend = pose.bends[sign > 0]
        shoulder = np.array([sign * 0.1 * person.width, 0.79, 0.0])
        elbow = shoulder + 0.165 * np.array([0.16 * sign, -np.cos(swing), -0.8 * np.sin(swing)])
        forward = -0.8 * swing + bend
        hand = elbow + 0.155 * np.array([-0.25 * sign * bend, -np.cos(forward), np.sin(forward)])
        joints |= {"shoulder_" + side: shoulder, "elbow_" + side: elbow, "hand_" + side: hand}
    lowest = min(joints["ankle_l"][1], joints["ankle_r"][1]) - 0.035
    return {
        name: joint
        - np.array([0, lowest * ("knee" in name or "toe" in name or "ankle" in name), 0])
        for name, joint in joints.items()
    }


def _leg(
    canvas: Canvas, person: Person, pose: Pose, place: Place, joints: dict[str, Point], side: str
) -> None:
    """Draw shoe, bare or stockinged leg, sock; then the trouser leg over them, if there is one."""
    hip, knee, ankle, toe = (joints[name + side] for name in ("hip_", "knee_", "ankle_", "toe_"))
    unit, bare = place.scale * person.width, person.tights or person.colours.skin
    canvas.limb((ankle, toe), (0.021 * unit, 0.017 * unit), person.colours.shoes, pose.side)
    canvas.line(
        [(ankle[0], ankle[1] + 0.021 * unit), (toe[0], toe[1] + 0.015 * unit)],
        0.011 * unit,
        person.sole,
    )
    if person.outfit.leg_length < 1:
        canvas.limb((knee, ankle), (0.034 * unit, 0.02 * unit), bare, pose.side)
    if person.outfit.leg_length < 0.5:
        canvas.limb((hip, knee), (0.046 * unit, 0.035 * unit), bare, pose.side)
    sock = _between(knee, ankle, 1 - person.socks)
    canvas.limb((sock, ankle), (0.024 * unit, 0.022 * unit), person.sock_colour, pose.side)
    if person.outfit.leg_length > 0:
        _trouser(canvas, person, pose.side, (hip, knee, ankle), unit)


def _trouser(
    canvas: Canvas, person: Person, light: float, leg: tuple[Point, Point, Point], unit: float
) -> None:
    hip, knee, ankle = leg
    length, loose = person.outfit.leg_length, person.outfit.leg_width * unit
    middle = _between(hip, knee, min(1.0, 2 * length))
    canvas.limb(
        (hip, middle), (0.05 * unit, 0.03 * unit + 0.4 * loose), person.colours.bottom, light
    )
    if length > 0.5:
        end = _between(knee, ankle, 1.86 * length - 0.93)
        canvas.limb((knee, end), (0.03 * unit + 0.4 * loose, loose), person.colours.bottom, light)
        _creases(canvas, knee, 0.04 * unit)
        _creases(canvas, _between(knee, end, 0.8), 0.8 * loose)
        if person.stripe:
            canvas.line([hip[:2], knee[:2], end[:2]], 0.013 * unit, person.stripe)


def _arm(
    canvas: Canvas, person: Person, pose: Pose, place: Place, joints: dict[str, Point], side: str
) -> None:
    shoulder, elbow, hand = (joints[name + side] for name in ("shoulder_", "elbow_", "hand_"))
    unit = place.scale * person.width
    wrist = _between(elbow, hand, 0.92)
    canvas.limb((wrist, hand), (0.018 * unit, 0.02 * unit), person.colours.skin, pose.side)
    if person.outfit.sleeve < 1:
        canvas.limb((elbow, wrist), (0.024 * unit, 0.017 * unit), person.colours.skin, pose.side)
    if person.outfit.sleeve < 0.5:
        canvas.limb((shoulder, elbow), (0.032 * unit, 0.025 * unit), person.colours.skin, pose.side)
    if person.outfit.sleeve <= 0:
        return
    loose = person.outfit.sleeve_width * unit
    upper = _between(shoulder, elbow, min(1, 2 * person.outfit.sleeve))
    canvas.limb((shoulder, upper), (0.037 * unit, loose), person.sleeve_colour, pose.side)
    parts = [(shoulder, upper)]
    if person.outfit.sleeve > 0.5:
        cuff = _between(elbow, hand, 1.8 * (person.outfit.sleeve - 0.5))
        canvas.limb((elbow, cuff), (loose, 0.8 * loose), person.sleeve_colour, pose.side)
        _creases(canvas, elbow, loose)
        parts.append((elbow, cuff))
    if person.rings:
        for start, end in parts:
            for step in np.arange(0.15, 1, 0.3):
                x, y, _ = _between(start, end, step)
                canvas.line(
                    [(x - 0.9 * loose, y), (x + 0.9 * loose, y)], 0.016 * unit, person.rings
                )


def _creases(canvas: Canvas, joint: Point, reach: float) -> None:
    x, y, _ = joint
    canvas.line(
        [(x - 0.7 * reach, y - 0.2 * reach), (x + 0.6 * reach, y + 0.2 * reach)],
        0.25 * reach,
        None,
        96,
    )


def _head(canvas: Canvas, person: Person, pose: Pose, place: Place) -> None:
    unit = place.scale
    behind = _hair_knot(person, pose, place)
    if math.cos(pose.yaw) > 0.3 and behind:
        canvas.limb(behind[0], behind[1], person.hair, pose.side)
    _revolve(canvas, person.head, pose, place)
    if math.cos(pose.yaw) <= 0.3 and behind:
        canvas.limb(behind[0], behind[1], person.hair, pose.side)
    if person.hat:
        crown, brim = (
            place.screen(np.array([0, y, z]), pose) for y, z in ((0.965, 0.01), (0.955, 0.085))
        )
        if person.brim == "cap":
            canvas.limb((crown, brim), (0.036 * unit, 0.022 * unit), person.hat, pose.side)
        elif person.brim == "wide":
            canvas.disc(crown[0], crown[1], (0.085 * unit, 0.026 * unit), person.hat, 104)
        canvas.disc(crown[0], crown[1] - 0.014 * unit, (0.05 * unit, 0.036 * unit), person.hat, 124)


def _hair_knot(person: Person, pose: Pose, place: Place) -> tuple | None:
    unit = place.scale
    if person.style == "bun":
        knot = place.screen(np.array([0, 0.975, -0.05]), pose)
        return (knot, knot), (0.026 * unit, 0.026 * unit)
    if person.style == "ponytail":
        ends = [
            place.screen(np.array([0, y, z]), pose) for y, z in ((0.955, -0.06), (0.82, -0.085))
        ]
        return tuple(ends), (0.022 * unit, 0.012 * unit)
    return None


def _hair_behind(canvas: Canvas, person: Person, pose: Pose, place: Place) -> None:
    if person.style == "long":
        ends = [
            place.screen(np.array([0, y, -0.02]), pose) for y in (0.93, person.head.bottom + 0.04)
        ]
        canvas.limb(tuple(ends), (0.055 * place.scale, 0.06 * place.scale), person.hair, pose.side)


def _backpack(canvas: Canvas, person: Person, pose: Pose, place: Place) -> None:
    if person.bag != "backpack":
        return
    unit, reach = place.scale * person.width, 0.075 + person.bag_size
    top, bottom = (
        place.screen(np.array([0, y, -reach]), pose) for y in (0.765, 0.60 - person.bag_size)
    )
    half = (0.075 * abs(math.cos(pose.yaw)) + 0.045 * abs(math.sin(pose.yaw))) * unit
    canvas.limb((top, bottom), (0.92 * half, half), person.colours.bag, pose.side)
    pocket = _between(top, bottom, 0.75)
    if math.cos(pose.yaw) < 0.2:
        canvas.disc(pocket[0], pocket[1], (0.7 * half, 0.045 * unit), person.bag_trim, 118)
        canvas.line(
            [
                (top[0] - 0.6 * half, top[1] + 0.02 * unit),
                (top[0] + 0.6 * half, top[1] + 0.02 * unit),
            ],
            0.012 * unit,
            person.bag_trim,
            96,
        )


def _bag(
    canvas: Canvas, person: Person, pose: Pose, place: Place, joints: dict[str, Point]
) -> None:
    if person.bag == "handbag":
        _handbag(canvas, person, joints["hand_" + person.bag_side], place.scale * person.width)
    if person.bag == "crossbody":
        _crossbody(canvas, person, pose, place)


def _handbag(canvas: Canvas, person: Person, hand: Point, unit: float) -> None:
    if hand[2] < -0.06:
        return
    half, drop = (0.04 + person.bag_size) * unit, (0.10 + person.bag_size) * unit
    box = [(hand[0] - half, hand[1] + 0.35 * drop), (hand[0] + half, hand[1] + 0.35 * drop)]
    canvas.line([box[0], hand[:2], box[1]], 0.01 * unit, person.bag_trim)
    box += [
        (hand[0] + 1.1 * half, hand[1] + 1.2 * drop),
        (hand[0] - 1.1 * half, hand[1] + 1.2 * drop),
    ]
    canvas.polygon(box, person.colours.bag, 112)
    canvas.disc(hand[0] - 0.2 * half, hand[1] + 0.7 * drop, (0.5 * half, 0.2 * drop), None, 140)


def _crossbody(canvas: Canvas, person: Person, pose: Pose, place: Place) -> None:
    unit, sign = place.scale * person.width, 1 if person.bag_side == "l" else -1
    hip = place.screen(np.array([sign * 0.12 * person.width, 0.51, 0.02]), pose)
    if hip[2] <= -0.07:
        return
    half = (0.045 + person.bag_size) * unit * max(0.5, abs(math.cos(pose.yaw)))
    corners = [(-1, -0.8), (1, -0.8), (1.1, 0.9), (-1.1, 0.9)]
    outline = [(hip[0] + half * x, hip[1] + 0.05 * unit * y) for x, y in corners]
    canvas.polygon(outline, person.colours.bag, 114)
    flap = [(hip[0] - half, hip[1] - 0.01 * unit), (hip[0] + half, hip[1] - 0.01 * unit)]
    canvas.line(flap, 0.012 * unit, person.bag_trim)


def _between(start: Point, end: Point, step: float) -> Point:
    return tuple(a + step * (b - a) for a, b in zip(start, end, strict=True))


def _revolve(canvas: Canvas, surface: Surface, pose: Pose, place: Place) -> None:
    """Draw a body of revolution: its outline row by row, the side we see of its texture, and the
    light on it.
    """
    rows, height, half, middle = _outline(surface, pose, place, canvas.colour.height)
    if not len(rows):
        return
    left = max(0, int((middle - half).min()))
    right = min(canvas.colour.width, int((middle + half).max()) + 2)
    if right <= left:
        return
    across = (np.arange(left, right, dtype=np.float32) - middle) / half
    angle = np.arcsin(np.clip(across, -1, 1))
    nearer = height + (0.8 * math.sin(pose.tilt) / place.scale) * np.cos(angle) * half
    pixels = surface.look(nearer, angle - pose.yaw)
    inside = np.clip(half - np.abs(across) * half + 0.5, 0, 1) * pixels[..., 3]
    mask, corner = Image.fromarray(inside.astype(np.uint8)), (left, int(rows[0]))
    light = MIDDLE * (0.6 + 0.42 * np.cos(angle - 0.7 * pose.side))
    light *= _folds()[pose.folds, : len(rows), : right - left]
    canvas.colour.paste(Image.fromarray(np.ascontiguousarray(pixels[..., :3])), corner, mask)
    canvas.shade.paste(Image.fromarray(light.astype(np.uint8)), corner, mask)


def _outline(
    surface: Surface, pose: Pose, place: Place, lowest: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The canvas's rows [R] that a body of revolution covers, above `lowest`; and [R, 1] of each:
    height on the body, half its width and its middle on the canvas.
    """
    tall = place.scale * math.cos(pose.tilt)
    first = int(place.floor - tall * surface.top) - 1
    last = int(place.floor - tall * surface.bottom) + 8
    rows = np.arange(max(first, 0), min(last, lowest), dtype=np.float32)
    height = ((place.floor - rows) / tall)[:, None]
    sin, cos = math.sin(pose.yaw), math.cos(pose.yaw)
    knots = np.hypot(surface.profile[1] * cos, surface.profile[2] * sin) * place.scale
    half = np.interp(height, surface.profile[0], knots).astype(np.float32)
    middle = place.x + place.scale * (surface.centre * sin + pose.lean * height)
    return rows, height, half, middle


@functools.cache
def _folds() -> np.ndarray:
    """Eight sheets [8, 1024, 512] of soft folds around 1, longer than wide."""
    generator = np.random.default_rng(0)
    sheets = []
    for _ in range(8):
        small = generator.normal(128, 60, (100, 72)).clip(0, 255).astype(np.uint8)
        soft = np.asarray(
            Image.fromarray(small).resize((512, 1024), Image.Resampling.BICUBIC), np.float32
        )
        sheets.append(1 + (soft - 128) / 128 * 0.22)
    return np.stack(sheets)
