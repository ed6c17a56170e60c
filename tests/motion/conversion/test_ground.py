from dataclasses import replace

import pytest
import roma
import torch

from ram_avatar.motion.conversion.calibration import Reference
from ram_avatar.motion.conversion.ground import find_floor, lift_toes
from ram_avatar.motion.motion import PARTS, Motion


@pytest.fixture(scope="module")
def reference(template) -> Reference:
    return Reference(template)


@pytest.fixture()
def standing(template):
    """A function that makes a motion of a person standing still, the lowest vertex at a given height."""
    lowest = float(template.body(template.default_identity()).reference_vertices()[:, 2].min())

    def make(frames: int = 20, height: float = 0.0) -> Motion:
        return Motion(
            template=template.name,
            fps=30.0,
            root_rotation=torch.zeros(frames, 3),
            root_translation=torch.tensor([0.0, 3.0, height - lowest]).repeat(frames, 1),
            pose=torch.zeros(frames, len(template.pose_joints), 3),
            facial_actions=torch.zeros(frames, len(template.action_names)),
            confidence=torch.ones(frames, len(PARTS)),
        )

    return make


def _soles(template, motion: Motion) -> tuple[torch.Tensor, torch.Tensor]:
    """Return heights [N] of the lowest vertices of the left and the right foot, from the mesh."""
    vertices = template.body(template.default_identity()).pose(*motion.parameters()).vertices
    feet = [template.role_weight(f"foot.{side}", f"toes.{side}") > 0.99 for side in "LR"]
    return tuple(vertices[:, foot, 2].amin(1) for foot in feet)


@pytest.mark.parametrize("height", [-1.02, 0.0, 2.5])
def test_the_floor_is_found_under_a_standing_person(reference, standing, height):
    assert abs(find_floor(standing(height=height), reference) - height) < 1e-4
    assert abs(find_floor(standing(1, height=height), reference) - height) < 1e-4


def test_jumps_and_kicks_do_not_move_the_floor(template, reference, standing):
    motion = standing(60)
    motion.root_translation[20:40, 2] += 0.4 * torch.sin(torch.linspace(0, torch.pi, 20))
    knee = template.pose_joints.index("upperleg01.R")
    motion.pose[40:, knee, 0] = torch.linspace(0, -1.5, 20)
    assert abs(find_floor(motion, reference)) < 0.005


def test_no_toe_sinks_into_the_floor(template, reference, standing):
    """A heel lifts by up to 50 degrees; the toes of a rigid foot would sink by centimetres."""
    motion = standing(8)
    foot = template.pose_joints.index("foot.L")
    pitch = torch.linspace(0, 0.9, 8)
    motion.pose[:, foot, 0] = pitch
    motion.root_translation[:, 2] += 0.06 * torch.sin(pitch)
    before, after = _soles(template, motion), _soles(template, lift_toes(motion, reference))
    assert before[0].min() < -0.05
    assert after[0].min() > -0.002 and after[0][1:].max() < 0.02  # touches the floor, no more
    assert torch.allclose(after[1], before[1], atol=1e-5)


def test_feet_are_lifted_no_more_than_needed(template, reference, standing):
    """Compared with a search over angles for the smallest that brings the front of the foot to the floor."""
    motion = standing(1)
    motion.root_translation[:, 2] += 0.05
    foot = template.pose_joints.index("foot.L")
    motion.pose[:, foot] = roma.rotmat_to_rotvec(
        roma.rotvec_to_rotmat(torch.tensor([0.0, 0.0, 0.3])) @ roma.rotvec_to_rotmat(torch.tensor([0.6, 0.0, 0.0]))
    )
    given = roma.rotvec_to_rotmat(motion.pose[0, foot])
    across = torch.nn.functional.normalize(given[:, 0] * torch.tensor([1.0, 1.0, 0.0]), dim=0)
    for angle in torch.arange(0, 0.7, 0.002):
        tried = roma.rotvec_to_rotmat(-angle * across) @ given
        trial = motion.pose.clone()
        trial[0, foot] = roma.rotmat_to_rotvec(tried)
        if _soles(template, replace(motion, pose=trial))[0] >= 0:
            break
    lifted = roma.rotvec_to_rotmat(lift_toes(motion, reference).pose[0, foot])
    assert 0.1 < angle < 0.69
    assert roma.rotmat_geodesic_distance(lifted, tried) < 0.004


def test_feet_above_the_floor_are_unchanged(reference, standing, template):
    motion = standing(4, height=0.5)
    motion.pose[:, template.pose_joints.index("foot.L"), 0] = 0.8
    assert torch.allclose(lift_toes(motion, reference).pose, motion.pose, atol=1e-5)


def test_feet_far_below_the_floor_are_unchanged(reference, standing, template):
    """They stand on unknown ground, such as stairs that lead down."""
    motion = standing(4, height=-0.5)
    motion.pose[:, template.pose_joints.index("foot.L"), 0] = 0.8
    assert torch.allclose(lift_toes(motion, reference).pose, motion.pose, atol=1e-5)
