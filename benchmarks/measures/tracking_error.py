"""Error of a tracked capture against the truth.

One camera of unknown focal length cannot distinguish a person's size from their distance, or its own tilt from theirs.
Errors in millimetres are therefore measured after one similarity for the whole clip (scale, rotation, translation;
Umeyama 1991), fitted to the body joints of all frames. It has seven parameters, so errors that change from frame to
frame remain. The two customary measures are reported as well: aligned per frame, and relative to the root without
scale or rotation.
"""

from dataclasses import dataclass, field

import numpy as np
import roma
import torch
from torch import Tensor

from ram_avatar.body.template import FINGERS, SIDES, BodyTemplate
from ram_avatar.capture.capture import Capture
from ram_avatar.core.errors import UserError

USED = 0.05  # facial actions that never exceed this are not compared
_POSED_AT_ONCE = 32
_FORWARD = (0.0, -1.0, 0.0)  # where an upright template faces


def _metric(label: str, unit: str) -> float:
    return field(metadata={"label": label, "unit": unit})


@dataclass(frozen=True)
class TrackingError:
    """Means over all frames, visible or occluded; zero is perfect. "Aligned" means by one similarity for the clip.

    Body joints are the template's pose joints without fingers and eyes; the points of a hand are its finger joints
    and fingertips.
    """

    body: float = _metric("body joints, aligned", "mm")
    body_per_frame: float = _metric("body joints, aligned per frame (PA-MPJPE)", "mm")
    body_from_root: float = _metric("body joints from the root, not aligned (MPJPE)", "mm")
    left_hand: float = _metric("left fingers from the wrist, aligned", "mm")
    right_hand: float = _metric("right fingers from the wrist, aligned", "mm")
    vertices: float = _metric("vertices, aligned", "mm")
    body_turn: float = _metric("rotation of body joints relative to the root", "degrees")
    finger_turn: float = _metric("rotation of finger joints relative to the wrist", "degrees")
    head_direction: float = _metric("direction of the head, aligned", "degrees")
    body_in_picture: float = _metric("body joints in the video", "% of the height")
    hands_in_picture: float = _metric("finger points in the video", "% of the height")
    close_up: float = _metric("edges of the close-up in the video", "% of its side")
    actions: float = _metric("facial actions that the clip uses", "of 1")
    acceleration: float = _metric("acceleration of body joints, aligned", "mm/frame²")
    scale: float = _metric("true size over tracked size", "")


def compare_tracking(tracked: Capture, truth: Capture, template: BodyTemplate) -> TrackingError:
    """Compare two captures of one video.

    Args:
        tracked, truth: captures of the same frames with this template; either may be a crop of the video.

    Raises:
        UserError: The templates or the numbers of frames differ.
    """
    for capture in (tracked, truth):
        if capture.motion.template != template.name:
            raise UserError(
                f"{capture.folder}: uses body template '{capture.motion.template}'; expected '{template.name}'"
            )
    if len(tracked) != len(truth):
        raise UserError(f"{tracked.folder}: {len(tracked)} frames, but {truth.folder} has {len(truth)}")
    rows = _Rows.of(template)
    ours, true = (_Clip.of(capture, template) for capture in (tracked, truth))

    body, true_body = ours.points[:, rows.body], true.points[:, rows.body]
    rotation, shift, scale = roma.rigid_points_registration(
        body.flatten(0, 1), true_body.flatten(0, 1), compute_scaling=True
    )
    align = lambda points: scale * points @ rotation.T + shift
    aligned = align(ours.points)
    per_frame = roma.rigid_points_registration(body, true_body, compute_scaling=True)
    body_alone = per_frame[2][:, None, None] * body @ per_frame[0].mT + per_frame[1][:, None]
    acceleration = lambda points: points[2:] - 2 * points[1:-1] + points[:-2]

    def from_wrist(side: str) -> float:
        wrist, hand = rows.wrists[side], rows.hands[side]
        place = lambda points: points[:, hand] - points[:, [wrist]]
        return _millimetres(place(aligned), place(true.points))

    def rotation_error(joints: list[int], bases: list[int]) -> float:
        against = lambda clip: clip.turns[:, bases].mT @ clip.turns[:, joints]
        return _degrees(roma.rotmat_geodesic_distance(against(ours), against(true)))

    ahead = true.points.new_tensor(_FORWARD)
    heads = rotation @ ours.turns[:, rows.head] @ ahead, true.turns[:, rows.head] @ ahead
    off = (ours.pixels - true.pixels).norm(dim=-1) / true.height[:, None]  # [N, K]
    used = truth.motion.facial_actions.amax(0) > USED
    actions = (tracked.motion.facial_actions - truth.motion.facial_actions)[:, used].abs()
    return TrackingError(
        body=_millimetres(aligned[:, rows.body], true_body),
        body_per_frame=_millimetres(body_alone, true_body),
        body_from_root=_millimetres(body - ours.points[:, :1], true_body - true.points[:, :1]),
        left_hand=from_wrist("L"),
        right_hand=from_wrist("R"),
        vertices=_millimetres(align(ours.vertices.double()), true.vertices),
        body_turn=rotation_error(rows.body, [0] * len(rows.body)),
        finger_turn=rotation_error(rows.fingers, rows.finger_wrists),
        head_direction=_degrees(_angle(*heads)),
        body_in_picture=100 * float(off[:, rows.body].mean()),
        hands_in_picture=100 * float(off[:, rows.hands["L"] + rows.hands["R"]].mean()),
        close_up=_close_up_error(tracked, truth, template),
        actions=float(actions.mean()) if used.any() else 0.0,
        acceleration=_millimetres(acceleration(aligned[:, rows.body]), acceleration(true_body)),
        scale=float(scale),
    )


def _close_up_error(tracked: Capture, truth: Capture, template: BodyTemplate) -> float:
    """Return the mean distance of the close-up's four edges from the true ones, % of the true side."""
    errors = []
    framings = tracked.framing(template), truth.framing(template)
    for roots in zip(tracked.motion.root_translation.numpy(), truth.motion.root_translation.numpy(), strict=True):
        ours, true = (framing.square(root) for framing, root in zip(framings, roots, strict=True))
        edges = [np.array([s.left, s.top, s.left + s.side, s.top + s.side]) for s in (ours, true)]
        errors.append(np.abs(edges[0] - edges[1]).mean() / true.side)
    return 100 * float(np.mean(errors))


@dataclass(frozen=True)
class _Rows:
    """Indices of the points: all J joints of the template (0 is the root), then the ten fingertips."""

    body: list[int]
    hands: dict[str, list[int]]  # by side ("L", "R"): finger joints and fingertips
    wrists: dict[str, int]
    fingers: list[int]  # finger joints of both hands
    finger_wrists: list[int]  # the wrist of each
    head: int

    @classmethod
    def of(cls, template: BodyTemplate) -> "_Rows":
        fingers = {side: template.joints_of(*FINGERS, side=side) for side in SIDES}
        wrists = {side: template.joint_of(f"hand.{side}") for side in SIDES}
        excluded = {*template.joints_of("eye"), *fingers["L"], *fingers["R"]}
        joints = [template.joint(name) for name in template.pose_joints]
        tips = range(len(template.joint_names), len(template.joint_names) + 10)
        return cls(
            body=[joint for joint in joints if joint not in excluded],
            hands={"L": [*fingers["L"], *tips[:5]], "R": [*fingers["R"], *tips[5:]]},
            wrists=wrists,
            fingers=fingers["L"] + fingers["R"],
            finger_wrists=[wrists[side] for side in SIDES for _ in fingers[side]],
            head=template.joint_of("head"),
        )


@dataclass
class _Clip:
    """A posed capture; in double precision except for the vertices (160 KB per frame)."""

    points: Tensor  # [N, J + 10, 3] joints and fingertips, metres
    turns: Tensor  # [N, J, 3, 3] rotations from the reference pose
    vertices: Tensor  # [N, V, 3]
    pixels: Tensor  # [N, J + 10, 2] the points in the scene
    height: Tensor  # [N] height of the upright person at their distance, in pixels of the scene

    @classmethod
    @torch.no_grad()
    def of(cls, capture: Capture, template: BodyTemplate) -> "_Clip":
        body = template.body(capture.identity)
        posed = [body.pose(*part.parameters()) for part in capture.motion.batches(_POSED_AT_ONCE)]
        vertices = torch.cat([p.vertices for p in posed])
        tips = vertices[:, template.fingertips].mean(2)
        points = torch.cat([torch.cat([p.joints[..., :3, 3] for p in posed]), tips], 1).double()
        projected = capture.camera.project(points)
        stature = float(body.reference_vertices()[:, 2].max() - body.reference_vertices()[:, 2].min())
        return cls(
            points=points,
            turns=torch.cat([p.turns for p in posed]).double(),
            vertices=vertices,
            pixels=projected[..., :2],
            height=capture.camera.focal * stature / projected[:, 0, 2],
        )


def _millimetres(points: Tensor, true: Tensor) -> float:
    return 1000 * float((points - true).norm(dim=-1).mean())


def _degrees(angles: Tensor) -> float:
    return float(torch.rad2deg(angles).mean())


def _angle(a: Tensor, b: Tensor) -> Tensor:
    """Return the angle between vectors [..., 3]; unlike an arc cosine, accurate for small angles."""
    return torch.atan2(torch.linalg.cross(a, b).norm(dim=-1), (a * b).sum(-1))
