import numpy as np
import pytest
import torch

from ram_avatar.body.kinematics import Kinematics

CHOSEN = ["toe2-1.L", "metacarpal3.R", "neck02"]


@pytest.fixture(scope="module")
def identity(template):
    generator = torch.Generator().manual_seed(5)
    identity = 0.3 * torch.randn(len(template.identity_names), generator=generator)
    identity[: template.phenotype_count] = torch.rand(template.phenotype_count, generator=generator)
    return identity


@pytest.fixture(scope="module")
def kinematics(template, identity):
    return Kinematics(template, identity, CHOSEN)


def test_joints_agree_with_the_mesh_body(template, identity, kinematics, random_motion):
    motion = random_motion(4, seed=3, turn=0.6)
    slow = template.body(identity).pose(*motion.parameters())
    kept = [template.joint(name) for name in kinematics.names]
    assert set(kinematics.names) == {"root", *template.pose_joints, *CHOSEN}
    for i, frame in enumerate(motion.frames()):
        fast = kinematics.pose(frame.root_rotation, frame.root_translation, frame.pose)
        assert np.abs(fast.positions - slow.joints[i, kept, :3, 3].numpy()).max() < 1e-5
        assert np.abs(fast.turns - slow.turns[i, kept].numpy()).max() < 1e-5


def test_points_agree_with_the_mesh_body(template, identity, kinematics, random_motion):
    """Every 37th vertex, whichever joints hold it, and the fingertips; neutral face."""
    motion = random_motion(3, seed=4, turn=0.5)
    motion.facial_actions.zero_()
    groups = [*([v] for v in range(0, len(template.skin_weights), 37)), *template.fingertips.tolist()]
    points = kinematics.vertices(groups)
    assert ((points.weights > 0.1).sum(1) > 1).any()  # some depend on several joints
    vertices = template.body(identity).pose(*motion.parameters()).vertices
    wanted = torch.stack([vertices[:, group].mean(1) for group in groups], 1).numpy()
    for i, frame in enumerate(motion.frames()):
        joints = kinematics.pose(frame.root_rotation, frame.root_translation, frame.pose)
        assert np.abs(points.at(joints) - wanted[i]).max() < 1e-5


def test_facial_actions_move_points_of_the_head(template, identity, kinematics, random_motion):
    motion = random_motion(2, seed=5, turn=0.5)
    head = (template.skin_weights[:, template.joint("head")] > 1 - 1e-6).nonzero().flatten()[::29]
    points = kinematics.vertices(head[:, None].tolist(), with_actions=True)
    wanted = template.body(identity).pose(*motion.parameters()).vertices[:, head].numpy()
    for i, frame in enumerate(motion.frames()):
        joints = kinematics.pose(frame.root_rotation, frame.root_translation, frame.pose)
        assert np.abs(points.at(joints, frame.facial_actions) - wanted[i]).max() < 1e-5
        assert np.abs(points.at(joints) - wanted[i]).max() > 1e-3


def test_joints_of_another_template(smplx):
    """SMPL-X's skeleton is a chain of rotations, too."""
    generator = torch.Generator().manual_seed(0)
    identity = smplx.default_identity() + 0.5 * torch.randn(len(smplx.identity_names), generator=generator)
    pose = 0.4 * torch.randn(1, len(smplx.pose_joints), 3, generator=generator)
    turn, place = torch.tensor([[0.3, -0.2, 0.9]]), torch.tensor([[0.1, 3.0, -0.2]])
    slow = smplx.body(identity).pose(turn, place, pose, torch.zeros(1, len(smplx.action_names)))
    kinematics = Kinematics(smplx, identity)
    fast = kinematics.pose(turn[0].double().numpy(), place[0].double().numpy(), pose[0].double().numpy())
    kept = [smplx.joint(name) for name in kinematics.names]
    assert np.abs(fast.positions - slow.joints[0, kept, :3, 3].numpy()).max() < 1e-5
    assert np.abs(fast.turns - slow.turns[0, kept].numpy()).max() < 1e-5


def test_rotating_a_joint_moves_only_its_descendants(kinematics, random_motion):
    """`ancestors`, compared with rotating each joint slightly."""
    frame = random_motion(1).frame(0)
    before = kinematics.pose(frame.root_rotation, frame.root_translation, frame.pose)
    for row, joint in enumerate(kinematics.pose_indices):
        turned = frame.pose.copy()
        turned[row] += [0.2, -0.3, 0.1]
        after = kinematics.pose(frame.root_rotation, frame.root_translation, turned)
        moved = np.abs(after.turns - before.turns).max((1, 2)) > 1e-9
        assert (moved == kinematics.ancestors[:, joint]).all(), kinematics.names[joint]


def test_parents_come_before_their_children(kinematics):
    reached = {0}
    for level in kinematics.levels:
        assert set(kinematics.parents[level].tolist()) <= reached
        reached |= set(range(level.start, level.stop))
    assert reached == set(range(len(kinematics.names))) and kinematics.parents[0] == -1


def test_an_unknown_joint_is_refused(template, identity):
    with pytest.raises(ValueError, match="tail"):
        Kinematics(template, identity, ["tail"])
