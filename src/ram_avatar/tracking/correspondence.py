"""Where MediaPipe's landmarks lie on a body template: measured data, one file per template.

A detector's landmarks are points of its own making, not joints or vertices. `correspondence_measuring` finds them
once: it renders the template, runs the detector on the renders and records what it hits. Of Anny the result ships with
this package; of a template that may not be shipped it is measured on the user's machine and kept in the cache folder.
"""

import os
import zipfile
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..body.template import BodyTemplate
from ..core.cache import cache_folder
from ..core.progress import SILENT, Progress

FACE_ROWS = slice(0, 478)  # rows of the regressor, in MediaPipe's order
TIP_ROWS = {"left": slice(478, 483), "right": slice(483, 488)}  # thumb to little finger
SURFACE_ROWS = slice(488, 495)
POINTS = 495
SIDES = ("left", "right")


@dataclass(frozen=True)
class Correspondence:
    """Where MediaPipe's landmarks lie on a template.

    Face, fingertips, nose, ears, heels and toes are weighted sums of vertices. Pose landmark
    `joint_landmarks[i]` lies at joint `joints[i]`, moved by `joint_offsets[i]`, which turns with the joint
    `joint_frames[i]`. The landmarks within a hand are its joints.
    """

    regressor: Tensor  # [495, V], rows sum to 1: 478 face, 5 left and 5 right fingertips, 7 pose landmarks
    surface_landmarks: list[int]  # pose landmarks of the last 7 rows: nose, ears, heels, big toes
    joint_landmarks: list[int]  # 12 pose landmarks: shoulders, elbows, wrists, hips, knees, ankles
    joints: list[int]  # 12 joints of the template
    joint_frames: list[int]  # 12 joints whose rotation (`Posed.turns`) carries the offset
    joint_offsets: Tensor  # [12, 3] metres, world axes of the reference pose
    hand_joints: dict[str, list[int]]  # "left", "right": wrist, then 3 joints of each finger from the thumb on

    @classmethod
    def load(cls, template: BodyTemplate, progress: Progress = SILENT) -> "Correspondence":
        """The data that belongs to `template`, on its device; measured now if it never was.

        Raises:
            UserError: the detector does not see a person in the template.
        """
        name = f"{template.name}-mediapipe.npz"
        shipped = Path(str(files(__package__) / "data" / name))
        if shipped.is_file():
            return cls._read(template, shipped)
        kept = cache_folder() / name
        try:
            return cls._read(template, kept)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):  # absent, or damaged: measure it anew
            pass
        text = (
            f"Measuring where the detector's landmarks lie on '{template.name}' "
            "(once on this machine, about a minute: it looks at 150 renders of the body)"
        )
        with progress.wait(text):
            cls._measure(template, kept)
        return cls._read(template, kept)

    @classmethod
    def _read(cls, template: BodyTemplate, path: Path) -> "Correspondence":
        with np.load(path, allow_pickle=False) as data:
            return cls._from_arrays(template, dict(data))

    @staticmethod
    def _measure(template: BodyTemplate, path: Path) -> None:
        from .correspondence_measuring import measure

        partial = path.with_suffix(f".{os.getpid()}.part")
        with partial.open("wb") as file:
            np.savez_compressed(file, **measure(template.to("cpu")))
        partial.replace(path)

    @classmethod
    def _from_arrays(cls, template: BodyTemplate, data: dict[str, np.ndarray]) -> "Correspondence":
        device = template.skin_weights.device
        joint = {name: i for i, name in enumerate(template.joint_names)}
        rows, columns = (torch.from_numpy(data[key].astype(np.int64)) for key in ("rows", "columns"))
        regressor = torch.zeros(POINTS, len(template.skin_weights))
        regressor.index_put_((rows, columns), torch.from_numpy(data["weights"]), accumulate=True)
        return cls(
            regressor=regressor.to(device),
            surface_landmarks=data["surface_landmarks"].tolist(),
            joint_landmarks=data["joint_landmarks"].tolist(),
            joints=[joint[name] for name in data["joints"].tolist()],
            joint_frames=[joint[name] for name in data["joint_frames"].tolist()],
            joint_offsets=torch.from_numpy(data["joint_offsets"]).to(device),
            hand_joints={side: [joint[name] for name in data[f"{side}_hand"].tolist()] for side in SIDES},
        )

    def hand(self, points: Tensor, joints: Tensor, side: str) -> Tensor:
        """MediaPipe's hand landmarks [B, 21, 3] of a posed body.

        Args:
            points: [B, 495, 3] the regressed points.
            joints: [B, J, 3] positions of all joints of the template.
            side: "left" or "right", of the person.
        """
        chain = joints[:, self.hand_joints[side]]  # [B, 16, 3]
        fingers = chain[:, 1:].unflatten(1, (5, 3))
        tips = points[:, TIP_ROWS[side], None]
        return torch.cat([chain[:, :1], torch.cat([fingers, tips], 2).flatten(1, 2)], 1)

    def pose_joints(self, joints: Tensor, turns: Tensor) -> Tensor:
        """Pose landmarks `joint_landmarks` [B, 12, 3] of a posed body.

        Args:
            joints: [B, J, 3] positions of all joints of the template.
            turns: [B, J, 3, 3] their rotations from the reference pose.
        """
        offsets = (turns[:, self.joint_frames] @ self.joint_offsets[..., None])[..., 0]
        return joints[:, self.joints] + offsets
