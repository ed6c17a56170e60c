"""A known motion, and the landmarks that an error-free detector would find."""

import numpy as np
import torch

from ram_avatar.body.anatomy import anatomy_of
from ram_avatar.core.camera import Camera
from ram_avatar.motion.motion import PARTS, Motion
from ram_avatar.tracking.correspondence import Correspondence
from ram_avatar.tracking.detection.landmarks import Landmarks
from ram_avatar.tracking.detection.mediapipe import MEDIAPIPE
from ram_avatar.tracking.detection.topology import HIPS, Topology

FRAMES, WIDTH, HEIGHT = 24, 480, 640


def performance(template, frames: int = FRAMES, speed: float = 1.0) -> tuple[Motion, torch.Tensor]:
    """A person of another identity who waves, turns, bends fingers and opens the mouth."""
    anatomy, time = anatomy_of(template), torch.linspace(0, 2 * speed, frames)
    angles = anatomy.relaxed.repeat(frames, 1, 1)
    turn = lambda name, axis, values: angles[:, template.pose_joints.index(name), axis].add_(values)
    turn("upperarm01.L", 1, -0.6 * torch.sin(time))
    turn("lowerarm01.R", 0, 0.5 + 0.4 * torch.sin(2 * time))
    turn("spine03", 2, 0.2 * torch.sin(time))
    turn("finger2-1.R", 0, 0.8 * torch.sin(time).abs())
    actions = torch.zeros(frames, len(template.action_names))
    actions[:, template.action_names.index("jawOpen")] = 0.6 * torch.sin(3 * time).abs()
    identity = template.default_identity()
    identity[: template.phenotype_count] += torch.tensor([0.2, 0.0, 0.1, -0.1, 0.2, 0.1])
    motion = Motion(
        template=template.name,
        fps=25.0,
        root_rotation=torch.stack([torch.zeros(frames), torch.zeros(frames), 0.3 * torch.sin(time)], 1),
        root_translation=torch.tensor([0.1, 3.4, 0.05]) + 0.1 * torch.sin(time)[:, None] * torch.tensor([1.0, 0, 0]),
        pose=anatomy.to_pose(angles),
        facial_actions=actions,
        confidence=torch.ones(frames, len(PARTS)),
    )
    return motion, identity


def seen_by_a_perfect_detector(
    template, motion, identity, camera: Camera, topology: Topology = MEDIAPIPE
) -> list[Landmarks]:
    """The landmarks of each frame of a motion, exactly."""
    map_ = Correspondence.load(template, topology)
    with torch.no_grad():
        posed = template.points(map_.regressor).body(identity).pose(*motion.parameters())
    points, joints = posed.vertices, posed.joints[..., :3, 3]
    pose = torch.zeros(len(motion), topology.pose_count, 3)
    pose[:, map_.pose_landmarks] = map_.pose(points, joints, posed.turns)
    hips = pose[:, topology.indices(HIPS)].mean(1, keepdim=True)

    def project(x: torch.Tensor) -> np.ndarray:
        return camera.project(x)[..., :2].numpy()

    def spatial(x: torch.Tensor) -> np.ndarray:
        depth = (x[:, 1:2] - x[:1, 1:2]) * camera.focal / x[:1, 1:2]  # any origin does: only directions count
        return np.concatenate([project(x), depth.numpy()], 1)

    seen = []
    for i in range(len(motion)):
        metric = (pose[i] - hips[i]).numpy()
        seen.append(
            Landmarks(
                topology=topology,
                pose=project(pose[i]),
                visibility=np.ones(topology.pose_count, np.float32),
                pose_world=np.stack([metric[:, 0], -metric[:, 2], metric[:, 1]], 1),
                left_hand=spatial(map_.hand(points, joints, "left")[i]),
                right_hand=spatial(map_.hand(points, joints, "right")[i]),
                face=spatial(points[i, map_.face_rows]),
                mask=np.zeros((HEIGHT // 4, WIDTH // 4), np.uint8),
            )
        )
    return seen
