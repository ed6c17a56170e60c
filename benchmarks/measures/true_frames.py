"""An avatar of the built-in performer against the performer's true frames of the same motion."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ram_avatar.avatar import Avatar
from ram_avatar.capture.capture import Capture
from ram_avatar.core.errors import UserError
from ram_avatar.core.images import to_tensor
from ram_avatar.core.progress import Progress
from ram_avatar.evaluation.metrics import StLpips, psnr, st_lpips_person
from ram_avatar.inference.render import render
from ram_avatar.synthetic.laboratory import nearest_pose
from ram_avatar.training.avatar_data import avatar_data

METRICS = {"psnr": "PSNR", "psnr_person": "PSNR person", "st_lpips_person": "ST-LPIPS person"}


@dataclass
class FrameErrors:
    """Metrics of every frame of a motion, each [N]."""

    distance: np.ndarray  # degrees to the nearest training pose
    avatar: dict[str, np.ndarray]  # by metric (`METRICS`)
    mesh: dict[str, np.ndarray]


def load_pair(avatar: Path, truth: Path) -> tuple[Avatar, Capture]:
    """Load an avatar and the synthetic capture that it was trained on.

    Raises:
        UserError: They do not belong together.
    """
    loaded, known = Avatar.load(avatar), Capture.load(truth)
    if not known.report.get("truth") or not torch.allclose(loaded.identity, known.identity, atol=1e-5):
        raise UserError(f"{truth}: not the true capture that {avatar} was trained on")
    return loaded, known


@torch.no_grad()
def compare_frames(
    avatar: Avatar, truth: Capture, chosen: slice, known: Capture, st_lpips: StLpips, progress: Progress
) -> FrameErrors:
    """Compare an avatar's close-ups with the true ones.

    Args:
        truth: capture of the motion that drives the avatar.
        chosen: which of its frames.
        known: capture that the avatar was trained on.
    """
    data = avatar_data(avatar, truth, progress=progress)
    values: dict[str, dict[str, list[float]]] = {method: {key: [] for key in METRICS} for method in ("avatar", "mesh")}
    frames = range(len(data))[chosen]
    for index, rendered in zip(frames, render(avatar, truth.motion[chosen], close_up=True), strict=True):
        maps, plate = data.maps(torch.tensor([index]), neighbors=False), data.plates(torch.tensor([index]))
        covered = maps.position[:, 3:]
        images = {
            "avatar": to_tensor(rendered)[None],
            "mesh": (maps.color * covered + plate * (1 - covered)).cpu(),
        }
        true, mask = to_tensor(data.frames[index])[None], data.masks[index][None].float() / 255
        for method, image in images.items():
            values[method]["psnr"].append(float(psnr(image, true)))
            values[method]["psnr_person"].append(float(psnr(image, true, mask)))
            values[method]["st_lpips_person"].append(float(st_lpips_person(st_lpips, image, true, mask)))
        progress.step(f"Comparing: {truth.report['motion']}", index - frames[0] + 1, len(frames))
    distance, _ = nearest_pose(truth.motion[chosen], known.train_motion, avatar.template)
    arrays = {method: {key: np.array(v) for key, v in of.items()} for method, of in values.items()}
    return FrameErrors(distance.numpy(), **arrays)
