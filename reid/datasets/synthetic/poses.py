"""A person of the built-in benchmark in three dimensions: a skeleton, seen by a camera that looks
down a little.

Lengths are in body heights: y up from the floor, x to the side, z forward; yaw 0 faces the camera.
"""

import math
from dataclasses import dataclass

import numpy as np

from reid.datasets.synthetic.canvas import Point
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


def skeleton(person: Person, pose: Pose) -> dict[str, np.ndarray]:
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


def between(start: Point, end: Point, step: float) -> Point:
    """The point that is `step` (0 to 1) of the way from `start` to `end`."""
    return tuple(a + step * (b - a) for a, b in zip(start, end, strict=True))
