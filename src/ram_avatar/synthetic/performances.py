"""Performances of the built-in performer, from a choreography of key poses.

A beat says which channels change and in how many seconds; the others are held. Between keys, channels follow the
minimum-jerk profile (Flash and Hogan 1985, for a reach from rest to rest). Breathing, sway and blinks are added.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from ..body.template import BodyTemplate
from ..core.errors import UserError
from ..motion.motion import PARTS, Motion
from .choreography import (
    AT_EASE,
    PERFORMANCES,
    STANCE,
    Beat,
    Channels,
    Expression,
    Script,
)
from .posing import (
    ARM_JOINTS,
    FINGER_JOINTS,
    LEG_JOINTS,
    Array,
    Feet,
    Skeleton,
    mirrored,
)
from .walking import Gait

DISTANCE = 3.7  # metres from the camera
FLOOR = -1.02  # height of the floor; the camera is at 0


def performance(name: str, template: BodyTemplate, frames: int, fps: float) -> Motion:
    """Return a performance in front of the camera, repeated to fill `frames`.

    Args:
        name: one of `PERFORMANCES`.
        template: template whose joints and facial actions are animated, with the proportions of `performer_identity`.
        frames: N, at least 1.
        fps: frames per second.

    Raises:
        UserError: The performance does not exist.
    """
    if name not in PERFORMANCES:
        raise UserError(f"unknown performance '{name}'; choose from {', '.join(PERFORMANCES)}")
    return perform(PERFORMANCES[name], template, frames, fps, seed=len(name))


def perform(script: Script, template: BodyTemplate, frames: int, fps: float, seed: int) -> Motion:
    """Perform any script; see `performance`.

    Args:
        seed: seed of breathing, sway, gaze and blinks.
    """
    skeleton = Skeleton(template, template.body(performer_identity(template)))
    seconds = np.arange(frames) / fps
    body = _Timeline(STANCE, script.beats, skeleton)
    channels = {channel: body.at(channel, seconds) for channel in STANCE}
    noise = _Drift(seconds, seed)
    pose = _Pose(template, frames)

    head, torso, root = channels["head"], channels["torso"], channels["root"]
    feet, away = _standing_feet(channels, skeleton), np.zeros(3)
    if script.route:
        walk = Gait(script.route, skeleton).at(seconds)
        root, feet, away = walk.root - [0, DISTANCE, 0, 0], walk.feet, walk.away
        torso, head = torso + walk.torso, head + walk.head
        for channel, swing in zip(("left_arm", "right_arm"), walk.arms, strict=True):
            channels[channel] = channels[channel] + swing
    torso = torso + noise(3, 0.012) + np.stack([0.010 * noise.breath, 0 * seconds, 0 * seconds], 1)
    head = head + noise(3, 0.02)
    for joint, share in (("spine05", 0.3), ("spine03", 0.4), ("spine01", 0.3)):
        pose[joint] = share * torso
    for joint, share in (("neck01", 0.25), ("neck03", 0.3), ("head", 0.45)):
        pose[joint] = share * head
    for side, flip in (("L", 1.0), ("R", -1.0)):
        limb = "left" if side == "L" else "right"
        arm = channels[f"{limb}_arm"].reshape(frames, -1, 3)
        hand = channels[f"{limb}_hand"].reshape(frames, -1, 3)
        arm = arm + noise(len(ARM_JOINTS) * 3, 0.012).reshape(arm.shape)
        hand = hand + noise(len(FINGER_JOINTS) * 3, 0.015).reshape(hand.shape)
        arm[:, 0, 1] -= 0.012 * noise.breath
        for joints, turns in ((ARM_JOINTS, arm), (FINGER_JOINTS, hand)):
            for k, joint in enumerate(joints):
                pose[f"{joint}.{side}"] = turns[:, k] if flip > 0 else mirrored(turns[:, k])

    feet.ankles[..., 2] += FLOOR
    position, turn = _stand(pose, skeleton, feet, root + noise(4, 0.004))
    actions, gaze = _face(template, script.expressions, seconds, head + away, noise)
    for eye in ("eye.L", "eye.R"):
        pose[eye] = gaze
    tensor = lambda values: torch.from_numpy(np.ascontiguousarray(values, np.float32))
    return Motion(
        template.name,
        fps,
        tensor(turn),
        tensor(position),
        tensor(pose.turns),
        tensor(actions),
        torch.ones(frames, len(PARTS)),
    )


def performer_identity(template: BodyTemplate, seed: int = 0) -> torch.Tensor:
    """Return the identity [I] of a young man of average height; other seeds vary face and build slightly."""
    identity = template.default_identity()
    chosen = {
        "gender": 0.12, "age": 0.62, "muscle": 0.56, "weight": 0.44, "height": 0.40, "proportions": 0.62,
        "head-age-incr": -0.2, "eye-scale-incr": 0.5, "chin-width-incr": -0.15, "hand-scale-incr": 0.1,
        "nose-scale-depth-incr": -0.15, "nose-point-up": 0.25,
        "mouth-angles-up": 0.5, "mouth-upperlip-volume-incr": -0.4, "mouth-lowerlip-volume-incr": -0.3,
    }  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    for i, name in enumerate(template.identity_names):
        if name in chosen:
            identity[i] = chosen[name]
        if seed and name.startswith(("nose-", "chin-", "cheek-", "mouth-", "head-scale", "eye-height")):
            identity[i] += 0.2 * torch.randn((), generator=generator)
    return identity


def _standing_feet(channels: dict[str, Array], skeleton: Skeleton) -> Feet:
    """Return level feet placed by the channels; heights are above the floor."""
    ankles = []
    for limb, flip in (("left", 1.0), ("right", -1.0)):
        out, back, up, _ = channels[f"{limb}_foot"].T
        ankles.append(np.stack([flip * out, DISTANCE + back, skeleton.ankle_height + up], 1))
    yaw = np.stack([channels["left_foot"][:, 3], channels["right_foot"][:, 3]], 1)
    return Feet(np.stack(ankles, 1), yaw, np.zeros_like(yaw))


def _stand(pose: "_Pose", skeleton: Skeleton, feet: Feet, root: Array) -> tuple[Array, Array]:
    """Pose the legs so that the feet stay in place; return position [N, 3] and rotation vector [N, 3] of the root."""
    turn = Rotation.from_rotvec(np.stack([0 * root[:, 3], 0 * root[:, 3], root[:, 3]], 1))
    position = np.stack([root[:, 0], DISTANCE + root[:, 1], FLOOR + skeleton.upright - root[:, 2]], 1)
    position, legs = skeleton.legs(position, turn, feet.ankles, feet.yaw, feet.pitch)
    for leg, side in enumerate("LR"):
        for k, joint in enumerate(LEG_JOINTS):
            pose[f"{joint}.{side}"] = legs[:, leg, k]
    return position, turn.as_rotvec()


def _face(
    template: BodyTemplate, expressions: tuple[Expression, ...], seconds: Array, away: Array, noise: "_Drift"
) -> tuple[Array, Array]:
    """Return facial actions [N, A] and eye rotation vectors [N, 3]; `away` [N, 3] is the head's, from the camera."""
    index = {name: i for i, name in enumerate(template.action_names)}
    actions = np.zeros((len(seconds), len(index)))
    for name, weight in Expression(0, 0, AT_EASE).weights():
        actions[:, index[name]] = weight
    period = max((e.start + e.seconds for e in expressions), default=1.0)
    time = seconds % period
    for expression in expressions:
        rise = np.clip((time - expression.start) / expression.ease, 0, 1)
        fall = np.clip((expression.start + expression.seconds - time) / expression.ease, 0, 1)
        for name, weight in expression.weights():
            actions[:, index[name]] = np.maximum(actions[:, index[name]], weight * minimum_jerk(np.minimum(rise, fall)))
    # The eyes compensate most of a head turn to stay on the camera, and wander a little.
    gaze = -0.45 * away * [1, 0, 1] + noise(3, 0.03) * [1, 0, 1]
    gaze = np.clip(gaze, -0.3, 0.3)
    down = np.clip(gaze[:, 0], 0, None) / 0.5
    blink = noise.blinks()
    for side in ("Left", "Right"):
        lid = index[f"eyeBlink{side}"]
        actions[:, lid] = np.maximum(actions[:, lid], blink)
        actions[:, index[f"eyeLookDown{side}"]] = np.maximum(actions[:, index[f"eyeLookDown{side}"]], down)
    return actions.clip(0, 1), gaze


def minimum_jerk(fraction: Array) -> Array:
    """Interpolate from 0 to 1 with minimum jerk: 10 s^3 - 15 s^4 + 6 s^5."""
    return fraction**3 * (10 + fraction * (-15 + 6 * fraction))


@dataclass
class _Pose:
    """Rotation vectors of the pose joints, set by name."""

    template: BodyTemplate
    frames: int
    turns: Array = field(init=False)  # [N, P, 3]

    def __post_init__(self) -> None:
        self.turns = np.zeros((self.frames, len(self.template.pose_joints), 3))

    def __setitem__(self, joint: str, turns: Array) -> None:
        self.turns[:, self.template.pose_joints.index(joint)] = turns


class _Timeline:
    """Key values of every channel, interpolated."""

    def __init__(self, stance: Channels, beats: tuple[Beat, ...], skeleton: Skeleton) -> None:
        self._keys = {channel: [(0.0, _vector(channel, value, skeleton))] for channel, value in stance.items()}
        self._start = 0.0
        for beat in beats:
            end = self._start + beat.seconds
            for channel, value in beat.changes.items():
                keys = self._keys[channel]
                keys.append((self._start, keys[-1][1]))  # hold until the beat begins
                keys.append((end, _vector(channel, value, skeleton)))
            self._start = end
        self.period = self._start

    def at(self, channel: str, seconds: Array) -> Array:
        """Return the values [N, C] of a channel."""
        times, values = (np.array(column) for column in zip(*self._keys[channel], strict=True))
        time = seconds % self.period
        before = (np.searchsorted(times, time, side="right") - 1).clip(0, len(times) - 1)
        after = (before + 1).clip(max=len(times) - 1)
        span = times[after] - times[before]
        fraction = np.where(span > 0, (time - times[before]) / np.where(span > 0, span, 1), 0)
        return values[before] + (values[after] - values[before]) * minimum_jerk(fraction)[:, None]


def _vector(channel: str, value: Any, skeleton: Skeleton) -> Array:
    """Return a channel's value as a vector [C]."""
    if channel.endswith("_arm"):
        return skeleton.arm(value).ravel()
    if channel.endswith("_hand"):
        return skeleton.hand(value).ravel()
    return np.array(value, float)


class _Drift:
    """Involuntary motion: slow sums of sines, breath, blinks."""

    def __init__(self, seconds: Array, seed: int) -> None:
        self._seconds = seconds
        self._random = np.random.default_rng(seed)
        self.breath = np.sin(2 * np.pi * 0.27 * seconds)

    def __call__(self, channels: int, size: float) -> Array:
        """Return noise [N, C] below one hertz with a standard deviation of `size`."""
        frequency = self._random.uniform(0.08, 0.7, (4, channels))
        phase = self._random.uniform(0, 2 * np.pi, (4, channels))
        waves = np.sin(2 * np.pi * frequency[None] * self._seconds[:, None, None] + phase)
        return size * waves.sum(1) / np.sqrt(2)

    def blinks(self) -> Array:
        """Return the closing of the lids [N]: a quarter of a second every two to four seconds."""
        closed = np.zeros_like(self._seconds)
        for start in self._blink_times():
            closed = np.maximum(closed, np.clip(1 - np.abs(self._seconds - start) / 0.14, 0, 1))
        return minimum_jerk(closed)

    def _blink_times(self) -> Iterator[float]:
        time = 1.1
        while time < self._seconds[-1] + 1:
            yield time
            time += self._random.uniform(2.0, 4.0)
