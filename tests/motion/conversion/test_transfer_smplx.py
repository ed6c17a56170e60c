"""Transfer to a template without twist joints and without a second neck joint."""

import pytest
import torch

from ram_avatar.motion.conversion.calibration import Reference
from ram_avatar.motion.conversion.template_skeleton import TemplateSkeleton
from ram_avatar.motion.conversion.transfer import to_template
from ram_avatar.motion.joint_map import JointMap
from ram_avatar.motion.motion import PARTS, Motion

BONES = [
    (f"{start}.{side}", f"{end}.{side}")
    for side in "LR"
    for start, end in (
        ("upper_arm", "forearm"), ("forearm", "hand"), ("thigh", "shin"), ("shin", "foot"),
        ("index1", "index2"), ("middle2", "middle3"), ("little1", "little2"), ("thumb2", "thumb3"),
    )
]  # fmt: skip


def _moving(template, frames: int = 40) -> Motion:
    """Limbs swing about all axes at a human pace."""
    generator, time = torch.Generator().manual_seed(3), torch.linspace(0, 3, frames)[:, None, None]
    phase, reach = (6.3 * torch.rand(len(template.pose_joints), 3, generator=generator) for _ in range(2))
    return Motion(
        template=template.name,
        fps=25.0,
        root_rotation=torch.zeros(frames, 3),
        root_translation=torch.zeros(frames, 3),
        pose=0.06 * reach * torch.sin(time + phase),
        facial_actions=torch.zeros(frames, len(template.action_names)),
        confidence=torch.ones(frames, len(PARTS)),
    )


def _directions(template, motion: Motion) -> torch.Tensor:
    joints = template.body(template.default_identity()).pose(*motion.parameters()).joints[..., :3, 3]
    at = lambda role: joints[:, template.joint_of(role)]
    bones = torch.stack([at(end) - at(start) for start, end in BONES], 1)
    return bones / bones.norm(dim=-1, keepdim=True)


def _apart(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return torch.rad2deg(torch.atan2(torch.linalg.cross(one, other).norm(dim=-1), (one * other).sum(-1)))


def test_bones_point_where_annys_do(template, smplx):
    motion = _moving(template)
    clip = TemplateSkeleton(Reference(template)).clip(motion)
    there = to_template(clip, JointMap.find(clip.names), Reference(smplx))
    assert there.template == smplx.name and there.pose.shape == (40, 53, 3)
    apart = _apart(_directions(template, motion), _directions(smplx, there))
    assert apart.max() < 2.0


def test_conversion_of_smplx_to_a_clip_and_back_is_exact(smplx):
    """The template's own skeleton carries a motion to other programs and back."""
    motion = _moving(smplx)
    clip = TemplateSkeleton(Reference(smplx)).clip(motion)
    assert len(clip.names) == 1 + 53 + 1 + 10  # including the ends of head and fingers; feet end in toe joints
    back = to_template(clip, JointMap.find(clip.names), Reference(smplx))
    assert _apart(_directions(smplx, motion), _directions(smplx, back)).max() < 1.0
    own = TemplateSkeleton(Reference(smplx)).motion(clip)
    assert _apart(_directions(smplx, motion), _directions(smplx, own)).max() < 0.01


def test_a_twisted_hand_twists_the_forearm_too(template, smplx):
    motion = _moving(template, 8)
    motion.pose.zero_()
    body = template.body(template.default_identity()).at_reference().joints[0, :, :3, 3]
    along = body[template.joint_of("hand.L")] - body[template.joint_of("forearm_twist.L")]
    motion.pose[:, template.pose_roles.index("hand.L")] = torch.linspace(0, 1, 8)[:, None] * along / along.norm()
    clip = TemplateSkeleton(Reference(template)).clip(motion)
    there = to_template(clip, JointMap.find(clip.names), Reference(smplx))
    turned = lambda role: (there.pose[-1] - there.pose[0])[smplx.pose_roles.index(role)].norm()
    assert turned("forearm.L") == pytest.approx(0.5, abs=0.1) and turned("hand.L") == pytest.approx(0.5, abs=0.1)
    assert turned("forearm.R") < 0.05
