from dataclasses import replace

import pytest
import roma
import torch

from ram_avatar.motion.conversion.calibration import Reference
from ram_avatar.motion.conversion.template_skeleton import TemplateSkeleton
from ram_avatar.motion.formats.bvh import read_bvh, write_bvh


@pytest.fixture(scope="module")
def skeleton(template) -> TemplateSkeleton:
    return TemplateSkeleton(Reference(template))


def test_its_joints_are_those_of_the_mesh(template, skeleton, random_motion):
    motion = random_motion(4, turn=0.5)
    posed = template.body(template.default_identity()).pose(*motion.parameters())
    turns, positions = skeleton.clip(motion).forward()
    for index, name in enumerate(skeleton.names):
        if name in template.joint_names:
            joint = template.joint_names.index(name)
            assert torch.allclose(positions[:, index], posed.joints[:, joint, :3, 3], atol=1e-5), name
            assert torch.allclose(turns[:, index], posed.turns[:, joint], atol=1e-5), name


def test_its_ends_are_on_the_mesh(template, skeleton, random_motion):
    motion = random_motion(1, turn=0.5)
    posed = template.body(template.default_identity()).pose(*motion.parameters())
    positions = skeleton.clip(motion).forward()[1]
    for finger in range(10):
        tip = posed.vertices[0, template.fingertips[finger]].mean(0)
        end = positions[0, skeleton.names.index(f"finger{finger % 5 + 1}-3.{'LR'[finger // 5]}_end")]
        assert (end - tip).norm() < 0.005


def test_conversion_to_a_clip_and_back_is_exact(skeleton, random_motion):
    motion = random_motion(6, turn=0.6)
    again = skeleton.motion(skeleton.clip(motion))
    assert torch.allclose(again.root_translation, motion.root_translation)
    for name in ("root_rotation", "pose"):
        before, after = (roma.rotvec_to_rotmat(getattr(m, name)) for m in (motion, again))
        assert torch.allclose(before, after, atol=1e-5), name
    assert again.confidence[0].tolist() == [1, 1, 1, 0, 1, 1, 1, 1] and (again.facial_actions == 0).all()


def test_real_motion_survives_a_file(template, skeleton, tmp_path):
    """Within 0.1 degrees and 1 mm, on a body other than the default, too."""
    from ram_avatar.synthetic.performances import performance, performer_identity

    motion = performance("driving", template, 40, 12.5)
    own = TemplateSkeleton(Reference(template, performer_identity(template)))
    write_bvh(tmp_path / "a.bvh", own.clip(motion))
    again = skeleton.motion(read_bvh(tmp_path / "a.bvh"))
    assert again.fps == motion.fps
    for name in ("root_rotation", "pose"):
        before, after = (roma.rotvec_to_rotmat(getattr(m, name)) for m in (motion, again))
        assert roma.rotmat_geodesic_distance(before, after).rad2deg().max() < 0.1, name
    places = [own.clip(m).forward()[1] for m in (motion, again)]
    assert (places[0] - places[1]).norm(dim=-1).max() < 1e-3


def test_other_skeletons_are_not_recognized(skeleton, random_motion):
    clip = skeleton.clip(random_motion(2))
    renamed = replace(clip, names=[name.replace("wrist", "hand") for name in clip.names])
    assert skeleton.motion(renamed) is None
    elbow = clip.joint("lowerarm01.L")
    parents = list(clip.parents)
    parents[elbow] = clip.joint("clavicle.L")
    assert skeleton.motion(replace(clip, parents=parents)) is None
    hanging = clip.offsets.clone()
    hanging[elbow] = torch.tensor([0.0, 0.0, -0.25])
    assert skeleton.motion(replace(clip, offsets=hanging)) is None, "arms that hang at rest"
    longer = clip.offsets.clone()
    longer[elbow] *= 1.3
    assert skeleton.motion(replace(clip, offsets=longer)) is not None, "only of other proportions"
