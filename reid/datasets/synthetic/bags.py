"""What the people of the built-in benchmark carry: backpacks, handbags and crossbody bags."""

import math

import numpy as np

from reid.datasets.synthetic.canvas import Canvas, Point
from reid.datasets.synthetic.people import Person
from reid.datasets.synthetic.poses import Place, Pose, between


def draw_backpack(canvas: Canvas, person: Person, pose: Pose, place: Place) -> None:
    """Draw the backpack, if it is one; its pocket shows from behind."""
    if person.bag != "backpack":
        return
    unit, reach = place.scale * person.width, 0.075 + person.bag_size
    top, bottom = (
        place.screen(np.array([0, y, -reach]), pose) for y in (0.765, 0.60 - person.bag_size)
    )
    half = (0.075 * abs(math.cos(pose.yaw)) + 0.045 * abs(math.sin(pose.yaw))) * unit
    canvas.limb((top, bottom), (0.92 * half, half), person.colours.bag, pose.side)
    pocket = between(top, bottom, 0.75)
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


def draw_bag(
    canvas: Canvas, person: Person, pose: Pose, place: Place, joints: dict[str, Point]
) -> None:
    """Draw the bag in a hand or at the hip, if it is one."""
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
