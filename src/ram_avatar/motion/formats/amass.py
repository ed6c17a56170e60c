"""Motions of the SMPL family: AMASS archives, and SMPL-X parameters as fitters save them, both `.npz`.

The bodies are licensed and not included, so the skeleton has generic proportions (`_REST`). Shape (`betas`), soft
tissue (`dmpls`) and expression belong to the licensed bodies, too, and are not read.
"""

import math
from pathlib import Path

import numpy as np
import roma
import torch
from torch import Tensor

from ...body.smpl_joints import SMPL, SMPLH, SMPLX
from ...body.template import BodyTemplate
from ...core.progress import SILENT, Progress
from ...core.untrusted.arrays import Arrays, open_arrays
from ..axes import AXES
from ..conversion.upright import find_up, note_up, stand_up
from ..joint_map import JointMap
from ..limits import LARGEST, MAX_FPS, MIN_FPS, check_frames
from ..motion import Motion
from ..skeleton import SkeletalClip
from .options import ReadOptions
from .skeletal import SkeletonReader

HEIGHT = 1.70  # metres, of the skeleton
_MAX_BYTES = 1 << 31  # of a file; an hour at 120 frames per second takes 540 MB, and AMASS's newer files twice that
_FRAME_RATES = ("mocap_framerate", "mocap_frame_rate", "fps")
_CONVERTED_AT_ONCE = 4096  # frames; bounds the extra memory
_AMASS_ONLY = ("dmpls", "surface_model_type", "markers_latent")

_MODELS = {3 * len(joints): joints for joints in (SMPL, SMPLH, SMPLX)}

# Joint counts of the parts of SMPL-X, in the order of the joints, for files that store the parts separately, with the
# names of fitters and of AMASS. Parts that are not required may be missing.
_FITTERS = {
    "global_orient": 1,
    "body_pose": 21,
    "jaw_pose": 1,
    "leye_pose": 1,
    "reye_pose": 1,
    "left_hand_pose": 15,
    "right_hand_pose": 15,
}
_AMASS = {"root_orient": 1, "pose_body": 21, "pose_jaw": 1, "pose_eye": 2, "pose_hand": 30}
_REQUIRED = 2  # the first parts: the root and the body
_SMPL_BODY = 23  # joints of SMPL's body part, which includes hands without fingers

# Joint positions in a T-pose, as shares of the body height: to the left, to the front, above the soles. Heights of
# hip, knee, ankle, shoulder, chin and eyes, half the shoulder width, lengths of upper arm, forearm and foot:
# R. Drillis and R. Contini, Body Segment Parameters, 1966, as in D. A. Winter, Biomechanics and Motor Control of Human
# Movement, fig. 4.1. Distance between the hips: A. L. Bell et al., J. Biomechanics 23(6), 1990, for an average pelvis.
# The spine is divided evenly; the rest is interpolated.
_REST = {
    "pelvis": (0, 0, 0.575),
    "left_hip": (0.05, 0, 0.530),
    "spine1": (0, 0, 0.635),
    "left_knee": (0.05, 0, 0.285),
    "spine2": (0, 0, 0.695),
    "left_ankle": (0.05, 0, 0.039),
    "spine3": (0, 0, 0.755),
    "left_foot": (0.05, 0.07, 0.010),
    "neck": (0, 0, 0.840),
    "left_collar": (0.03, 0, 0.818),
    "head": (0, 0.01, 0.900),
    "left_shoulder": (0.129, 0, 0.818),
    "left_elbow": (0.315, 0, 0.818),
    "left_wrist": (0.461, 0, 0.818),
    "jaw": (0, 0.02, 0.905),
    "left_eye_smplhf": (0.018, 0.055, 0.936),
}
_HAND = 0.108  # length of the hand as a share of the body height, ibid.
# Shares of the hand's length: from the wrist to the first joint, from there to the second, to the third (B. Buchholz et
# al., Ergonomics 35(3), 1992), and the offset of the first joint toward the thumb (our estimate).
_FINGER_LENGTHS = {
    "index": (0.463, 0.245, 0.143, 0.12),
    "middle": (0.446, 0.266, 0.170, 0.0),
    "ring": (0.421, 0.244, 0.165, -0.10),
    "pinky": (0.414, 0.204, 0.117, -0.19),
    "thumb": (0.118, 0.251, 0.196, 0.08),
}
_THUMB = np.sqrt([0.5, 0.5])  # the thumb points halfway between outward and forward, other fingers outward

_FROM_MODEL = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # the model at rest: y up, facing z
_PELVIS = 0.35  # metres of `trans` above the pelvis in a y-up world: 0.22 for SMPL, 0.35 for SMPL-X


def read(
    path: Path, template: BodyTemplate, identity: Tensor | None, options: ReadOptions, progress: Progress
) -> Motion:
    """Read a motion of SMPL, SMPL+H or SMPL-X as a motion of the template.

    Raises:
        UserError: see `read_amass`.
    """
    reader = SkeletonReader(path, template, identity, options, progress)
    clip = read_amass(path, options.fps, options.up, progress)
    return reader.motion(clip, reader.joint_map(clip))


def read_amass(
    path: str | Path, fps: float | None = None, up: str | None = None, progress: Progress = SILENT
) -> SkeletalClip:
    """Read a motion of SMPL, SMPL+H or SMPL-X.

    The pose is one array `poses` [N, 72], [N, 156] or [N, 165] as in AMASS (N. Mahmood et al., ICCV 2019), or parts:
    `global_orient`, `body_pose` ([N, 63], or SMPL's [N, 69]) and so on, or AMASS's `root_orient`, `pose_body`,
    `pose_hand`, .... The position is `trans` or `transl` [N, 3]. Hands are joint rotations from the flat hand. The
    skeleton is `HEIGHT` tall, whatever the person's shape. Its root is at `trans`, which is off the model's pelvis by
    a constant that only the licensed model holds.

    Args:
        fps: frame rate, if the file states none (`mocap_framerate`, `mocap_frame_rate` or `fps`).
        up: the up axis of the file's world, a key of `axes.AXES`. AMASS itself has z; for other files it is found
            from the motion (`upright.find_up`).
        progress: receives a note on the up axis if that is not z.

    Raises:
        UserError: no such file, damaged, no frame rate; or an array, named in the message, is too large, missing, of
            the wrong shape or not finite.
    """
    if up is not None and up not in AXES:
        raise ValueError(f"up must be one of {list(AXES)}, got {up}")
    with open_arrays(path, _MAX_BYTES, "a motion") as arrays:
        clip = _clip(arrays, fps, Path(path).stat().st_size)
        certain = arrays.first(_AMASS_ONLY) is not None
    mapping = JointMap.find(clip.names)
    if up is None and certain:
        up = "z"
    elif up is None:
        found = find_up(clip, mapping, usual=None, sunk=_PELVIS)
        note_up(path, found, "z", progress)
        up = found.axis
    return stand_up(clip, mapping, up)


def _clip(arrays: Arrays, fps: float | None, size: int) -> SkeletalClip:
    """Build the clip of a file of `size` bytes as if y were up."""
    way = arrays.first(("transl", "trans")) or "trans"
    frames = _count(arrays, way)
    if not frames:
        raise ValueError("has no frames")
    check_frames(frames, len(SMPLX), size)
    poses = _frames(arrays, "poses", frames, *_MODELS) if "poses" in arrays else _joined(arrays, frames)
    joints = _MODELS[poses.shape[1]]
    trans = _frames(arrays, way, frames, 3)
    fps = _frame_rate(arrays, fps)
    rotations = torch.cat(
        [
            _FROM_MODEL @ roma.rotvec_to_rotmat(part.reshape(len(part), -1, 3)) @ _FROM_MODEL.T
            for part in poses.split(_CONVERTED_AT_ONCE)
        ]
    )
    return SkeletalClip(
        names=list(joints),
        parents=[list(joints).index(parent) if parent else -1 for parent in joints.values()],
        offsets=_offsets(joints),
        rotations=rotations,
        root=trans @ _FROM_MODEL.T,
        fps=fps,
    )


def _count(arrays: Arrays, key: str) -> int:
    """Return the number of frames of an array."""
    return (*arrays.shape(key), 0)[0]


def _frames(arrays: Arrays, key: str, frames: int, *widths: int) -> Tensor:
    """Return an array as [N, W], with N frames and W one of the widths; the file may hold [N, W / 3, 3]."""
    shape = arrays.shape(key)
    if len(shape) not in (2, 3) or math.prod(shape[1:]) not in widths:
        raise ValueError(f"{key} must be [frames, {' or '.join(map(str, widths))}], got {list(shape)}")
    if shape[0] != frames:
        raise ValueError(f"has {shape[0]} frames of {key}, but {frames} of the position")
    return arrays.numbers(key, largest=LARGEST).flatten(1)


def _joined(arrays: Arrays, frames: int) -> Tensor:
    """Join the parts: [N, 165] for SMPL-X, [N, 72] for SMPL. Missing parts stay at rest."""
    for parts in (_FITTERS, _AMASS):
        required = tuple(parts)[:_REQUIRED]
        if all(key in arrays for key in required):
            break
    else:
        names = " nor ".join(" and ".join(tuple(parts)[:_REQUIRED]) for parts in (_FITTERS, _AMASS))
        raise ValueError(f"not an SMPL motion: it has neither poses nor {names}")
    root, body = required
    widths = {key: (3 * count,) for key, count in parts.items()} | {body: (3 * parts[body], 3 * _SMPL_BODY)}
    found = {key: _frames(arrays, key, frames, *widths[key]) for key in parts if key in arrays}
    if found[body].shape[1] == 3 * _SMPL_BODY:
        if others := [key for key in found if key not in required]:
            raise ValueError(f"{body} is SMPL's, with {3 * _SMPL_BODY} numbers per frame, which has no {others[0]}")
        return torch.cat([found[root], found[body]], 1)
    return torch.cat([found.get(key, torch.zeros(frames, 3 * count)) for key, count in parts.items()], 1)


def _frame_rate(arrays: Arrays, given: float | None) -> float:
    """Return the file's own rate, or the given one if it states none."""
    key = arrays.first(_FRAME_RATES)
    if key is None:
        if given is None:
            raise ValueError(f"has no frame rate ({', '.join(_FRAME_RATES)}); set it with --fps")
        return given
    return arrays.number(key, MIN_FPS, MAX_FPS)


def _offsets(joints: dict[str, str]) -> Tensor:
    """Return the offsets [J, 3] from each joint's parent in the T-pose, palms down: metres, the package's axes."""
    places = {name: np.array(place) for name, place in _REST.items()}
    wrist = places["left_wrist"]
    for finger, (first, *lengths, aside) in _FINGER_LENGTHS.items():
        ahead = _THUMB if finger == "thumb" else np.array([1.0, 0.0])
        place = np.array([np.sqrt(first**2 - aside**2), aside])
        for number, length in enumerate([*lengths, 0.0], start=1):
            places[f"left_{finger}{number}"] = wrist + _HAND * np.array([*place, 0.0])
            place = place + length * ahead
    places["left_hand"] = places["left_middle1"]
    rest = {
        name: places[name.replace("right_", "left_")] * (-1 if name.startswith("right_") else 1, 1, 1)
        for name in joints
    }
    bones = [rest[name] - rest[parent or name] for name, parent in joints.items()]
    left, front, height = HEIGHT * np.stack(bones, 1)
    return torch.from_numpy(np.stack([left, -front, height], 1)).float()
