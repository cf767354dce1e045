"""Draws the people of the built-in benchmark: solids for torso and head, tapered capsules for
limbs.
"""

import math

import numpy as np

from reid.datasets.synthetic.bags import draw_backpack, draw_bag
from reid.datasets.synthetic.canvas import Canvas, Point
from reid.datasets.synthetic.people import Person
from reid.datasets.synthetic.poses import Place, Pose, between, skeleton
from reid.datasets.synthetic.solids import revolve


def draw_person(canvas: Canvas, person: Person, pose: Pose, place: Place) -> None:
    """Draw a person on the canvas, from the farthest part to the nearest."""
    place = Place(place.x, place.floor, place.scale * person.height)
    joints = {name: place.screen(joint, pose) for name, joint in skeleton(person, pose).items()}
    faces_us = math.cos(pose.yaw) > 0
    for side in sorted("lr", key=lambda side: joints["knee_" + side][2]):
        _leg(canvas, person, pose, place, joints, side)
    arms = sorted("lr", key=lambda side: joints["elbow_" + side][2])
    _arm(canvas, person, pose, place, joints, arms[0])
    if faces_us:
        _hair_behind(canvas, person, pose, place)
        draw_backpack(canvas, person, pose, place)
    revolve(canvas, person.body, pose, place)
    if joints["elbow_" + arms[0]][2] > -0.02:
        _arm(canvas, person, pose, place, joints, arms[0])
    neck = [place.screen(np.array([0, y, 0.008]), pose) for y in (0.82, 0.87)]
    radius = 0.03 * place.scale * person.width
    canvas.limb(tuple(neck), (1.15 * radius, radius), person.colours.skin, pose.side)
    if not faces_us:
        draw_backpack(canvas, person, pose, place)
    _arm(canvas, person, pose, place, joints, arms[1])
    _head(canvas, person, pose, place)
    draw_bag(canvas, person, pose, place, joints)


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
    sock = between(knee, ankle, 1 - person.socks)
    canvas.limb((sock, ankle), (0.024 * unit, 0.022 * unit), person.sock_colour, pose.side)
    if person.outfit.leg_length > 0:
        _trouser(canvas, person, pose.side, (hip, knee, ankle), unit)


def _trouser(
    canvas: Canvas, person: Person, light: float, leg: tuple[Point, Point, Point], unit: float
) -> None:
    hip, knee, ankle = leg
    length, loose = person.outfit.leg_length, person.outfit.leg_width * unit
    middle = between(hip, knee, min(1.0, 2 * length))
    canvas.limb(
        (hip, middle), (0.05 * unit, 0.03 * unit + 0.4 * loose), person.colours.bottom, light
    )
    if length > 0.5:
        end = between(knee, ankle, 1.86 * length - 0.93)
        canvas.limb((knee, end), (0.03 * unit + 0.4 * loose, loose), person.colours.bottom, light)
        _creases(canvas, knee, 0.04 * unit)
        _creases(canvas, between(knee, end, 0.8), 0.8 * loose)
        if person.stripe:
            canvas.line([hip[:2], knee[:2], end[:2]], 0.013 * unit, person.stripe)


def _arm(
    canvas: Canvas, person: Person, pose: Pose, place: Place, joints: dict[str, Point], side: str
) -> None:
    shoulder, elbow, hand = (joints[name + side] for name in ("shoulder_", "elbow_", "hand_"))
    unit = place.scale * person.width
    wrist = between(elbow, hand, 0.92)
    canvas.limb((wrist, hand), (0.018 * unit, 0.02 * unit), person.colours.skin, pose.side)
    if person.outfit.sleeve < 1:
        canvas.limb((elbow, wrist), (0.024 * unit, 0.017 * unit), person.colours.skin, pose.side)
    if person.outfit.sleeve < 0.5:
        canvas.limb((shoulder, elbow), (0.032 * unit, 0.025 * unit), person.colours.skin, pose.side)
    if person.outfit.sleeve <= 0:
        return
    loose = person.outfit.sleeve_width * unit
    upper = between(shoulder, elbow, min(1, 2 * person.outfit.sleeve))
    canvas.limb((shoulder, upper), (0.037 * unit, loose), person.sleeve_colour, pose.side)
    parts = [(shoulder, upper)]
    if person.outfit.sleeve > 0.5:
        cuff = between(elbow, hand, 1.8 * (person.outfit.sleeve - 0.5))
        canvas.limb((elbow, cuff), (loose, 0.8 * loose), person.sleeve_colour, pose.side)
        _creases(canvas, elbow, loose)
        parts.append((elbow, cuff))
    if person.rings:
        for start, end in parts:
            for step in np.arange(0.15, 1, 0.3):
                x, y, _ = between(start, end, step)
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
    revolve(canvas, person.head, pose, place)
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
