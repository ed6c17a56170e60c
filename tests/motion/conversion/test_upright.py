"""The up axis of a file: detected, given, noted; people who lie down stay down."""

from dataclasses import replace

import numpy as np
import pytest
import roma
import torch

from ram_avatar.motion.axes import AXES
from ram_avatar.motion.formats import ReadOptions
from ram_avatar.motion.formats.bvh import write_bvh
from ram_avatar.motion.formats.reading import read_motion
from ram_avatar.motion.skeleton import SkeletalClip

ON_BACK = roma.rotvec_to_rotmat(torch.tensor([-torch.pi / 2, 0.0, 0.0]))  # of a person who faced forward
ONTO = {  # rotations from the vertical to each axis of a file that is read as y up
    "x": [0.0, torch.pi / 2, 0.0],
    "y": [0.0, 0.0, 0.0],
    "z": [torch.pi / 2, 0.0, 0.0],
    "-x": [0.0, -torch.pi / 2, 0.0],
    "-y": [torch.pi, 0.0, 0.0],
    "-z": [-torch.pi / 2, 0.0, 0.0],
}
STANDING, LYING = 0.9, 0.12  # height of the hips above the floor, metres


def turned(clip: SkeletalClip, turn: torch.Tensor, rest: bool) -> SkeletalClip:
    """Rotate the world of a clip by [3, 3].

    With its rest pose, as a tool with another up axis writes it, or without, as a converter does that only rotates the
    root."""
    offsets = turn if rest else torch.eye(3)
    rotations = offsets @ clip.rotations @ offsets.T
    rotations[:, 0] = turn @ clip.rotations[:, 0] @ offsets.T
    return replace(clip, offsets=clip.offsets @ offsets.T, rotations=rotations, root=clip.root @ turn.T)


def at_height(clip: SkeletalClip, height: float) -> SkeletalClip:
    """Put a clip in place, with its hips at a height."""
    return replace(clip, root=torch.tensor([0.0, 0.0, height]).repeat(len(clip), 1))


def upwards(motion) -> torch.Tensor:
    """Return how far the pelvis' own up direction points up [N]."""
    return roma.rotvec_to_rotmat(motion.root_rotation)[:, 2, 2]


@pytest.fixture()
def read(template, tmp_path, listener):
    """A function that writes a clip as BVH and reads it as a motion."""

    def read(clip: SkeletalClip, **options):
        write_bvh(tmp_path / "clip.bvh", clip)
        return read_motion(tmp_path / "clip.bvh", template, options=ReadOptions(**options), progress=listener)

    return read


@pytest.mark.parametrize("axis", AXES)
def test_any_axis_may_be_up(read, stranger, listener, axis):
    """A file with another up axis gives the motion of its twin with y up, and a note."""
    clip = stranger()
    twin = read(clip)
    assert not listener.notes and (upwards(twin) > 0.9).all()
    file = turned(clip, roma.rotvec_to_rotmat(torch.tensor(ONTO[axis])), rest=True)
    for motion in (read(file), read(file, up=axis)):
        for name in ("root_rotation", "root_translation", "pose"):
            assert torch.allclose(getattr(motion, name), getattr(twin, name), atol=2e-3), name
    notes = [] if axis == "y" else [f"assumed {axis} is up; pass --up=y"]
    assert len(listener.notes) == len(notes) and all(note in listener.notes[0] for note in notes)


def test_only_the_root_is_rotated(read, stranger, listener):
    """The rest pose stands along y, the motion along z with the feet on the floor, as in AMASS converted to BVH."""
    clip = at_height(stranger(), STANDING)
    twin, file = read(clip), turned(clip, roma.rotvec_to_rotmat(torch.tensor(ONTO["z"])), rest=False)
    motion = read(file)
    assert torch.allclose(motion.pose, twin.pose, atol=2e-3) and (upwards(motion) > 0.9).all()
    assert len(listener.notes) == 1 and "assumed z is up" in listener.notes[0]


@pytest.mark.parametrize("yaw", [0.0, 0.5, torch.pi / 2, torch.pi])
def test_lying_people_stay_lying(read, stranger, listener, yaw):
    heading = roma.rotvec_to_rotmat(torch.tensor([0.0, 0.0, yaw]))
    lying = at_height(turned(stranger(), heading @ ON_BACK, rest=False), LYING)
    motion = read(lying)
    assert (upwards(motion).abs() < 0.4).all()
    (note,) = listener.notes
    assert "assumed y is up, so the person is not upright; pass --up=" in note
    assert (upwards(read(lying, up=note.split("--up=")[1].split(" ")[0])) > 0.7).all()
    assert (upwards(read(lying, up="y")).abs() < 0.4).all()
    assert len(listener.notes) == 1  # no note where the axis is given


@pytest.mark.parametrize("axis", ["z", "-y", "x"])
def test_lying_people_stay_lying_with_any_up_axis(read, stranger, listener, axis):
    lying = at_height(turned(stranger(), ON_BACK, rest=False), LYING)
    twin = read(lying)
    motion = read(turned(lying, roma.rotvec_to_rotmat(torch.tensor(ONTO[axis])), rest=True))
    assert torch.allclose(motion.pose, twin.pose, atol=2e-3)
    assert torch.allclose(upwards(motion), upwards(twin), atol=2e-3)
    assert f"assumed {axis} is up, so the person is not upright" in listener.notes[1]


def test_sitting_on_the_floor_with_z_up(read, stranger, listener):
    """The legs are level and the trunk is upright: the rest pose decides."""
    clip = at_height(stranger(), LYING)
    for side in ("Left", "Right"):
        joint = clip.joint(f"{side}UpLeg")
        clip.rotations[:, joint] = about_x(-90) @ clip.rotations[:, joint]
    twin = read(clip)
    motion = read(turned(clip, roma.rotvec_to_rotmat(torch.tensor(ONTO["z"])), rest=True))
    assert (upwards(motion) > 0.9).all() and torch.allclose(motion.pose, twin.pose, atol=2e-3)


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_getting_up_shows_who_was_lying(read, stranger, share):
    """Hips that are higher while the body is upright decide, though the person lies for most of the clip."""
    clip = stranger(60)
    lying = at_height(turned(clip, ON_BACK, rest=False), LYING)
    standing = at_height(clip, STANDING)
    up = int(60 * share)
    both = replace(
        clip,
        rotations=torch.cat([lying.rotations[up:], standing.rotations[:up]]),
        root=torch.cat([lying.root[up:], standing.root[:up]]),
    )
    # No rest pose to go by: it sits in the air.
    motion = read(_without_rest(both))
    assert (upwards(motion)[: 60 - up].abs() < 0.4).all() and (upwards(motion)[60 - up :] > 0.7).all()


def _without_rest(clip: SkeletalClip) -> SkeletalClip:
    """Return the same motion from a rest pose with random bone directions."""
    generator = torch.Generator().manual_seed(0)
    bases = roma.random_rotmat(len(clip.names), generator=generator)
    bases[0] = torch.eye(3)
    parents = torch.tensor([max(parent, 0) for parent in clip.parents])
    return replace(
        clip,
        offsets=(bases[parents].mT @ clip.offsets[..., None])[..., 0],
        rotations=bases[parents].mT @ clip.rotations @ bases,
    )


def test_our_own_file_keeps_a_lying_person(template, random_motion, tmp_path, listener):
    """Its up axis is y even if the person lies; resaved with z up by another program, it is still recognized."""
    from ram_avatar.motion.conversion.calibration import Reference
    from ram_avatar.motion.conversion.template_skeleton import TemplateSkeleton

    motion = random_motion(5, turn=0.05)
    lying = replace(motion, root_rotation=torch.tensor([-torch.pi / 2, 0, 0]).repeat(5, 1))
    clip = TemplateSkeleton(Reference(template)).clip(lying)
    write_bvh(tmp_path / "own.bvh", clip)
    again = read_motion(tmp_path / "own.bvh", template, progress=listener)
    assert torch.allclose(again.root_rotation, lying.root_rotation, atol=1e-4) and not listener.notes
    clip = TemplateSkeleton(Reference(template)).clip(motion)
    write_bvh(tmp_path / "own.bvh", turned(clip, roma.rotvec_to_rotmat(torch.tensor(ONTO["z"])), rest=True))
    again = read_motion(tmp_path / "own.bvh", template, progress=listener)
    assert torch.allclose(again.pose, motion.pose, atol=1e-4)
    assert torch.allclose(again.root_translation, motion.root_translation, atol=1e-4)
    assert "assumed z is up" in listener.notes[0]


@pytest.fixture()
def read_smpl(template, tmp_path, listener):
    """A function that reads ten frames of parameters with a constant root rotation and position."""

    def read(root: torch.Tensor, place, up: str | None = None):
        orient = np.tile(roma.rotmat_to_rotvec(root).numpy(), (10, 1))
        arrays = {"global_orient": orient, "body_pose": np.zeros((10, 63)), "transl": np.tile(place, (10, 1))}
        np.savez(tmp_path / "m.npz", **arrays)
        options = ReadOptions(fps=30.0, up=up)
        return read_motion(tmp_path / "m.npz", template, options=options, progress=listener)

    return read


def about_x(degrees: float) -> torch.Tensor:
    return roma.rotvec_to_rotmat(torch.tensor([np.radians(degrees), 0.0, 0.0], dtype=torch.float32))


@pytest.mark.parametrize(
    ("root", "place", "note"),
    [
        (about_x(0), (0.3, 1.2, 2.0), "assumed y is up"),
        (about_x(90), (0.3, 2.0, 0.95), None),
        (about_x(180), (0.1, 0.4, 3.0), "assumed -y is up"),  # camera coordinates
        (about_x(155), (0.1, 0.4, 3.0), "assumed -y is up"),  # of a camera that looks down
        (about_x(90), (0.0, 0.0, 0.0), None),  # centred on the hips
    ],
)
def test_smpl_parameters_of_standing_people(read_smpl, listener, root, place, note):
    assert (upwards(read_smpl(root, place)) > 0.85).all()
    assert [note in said for said in listener.notes] == ([True] if note else [])


@pytest.mark.parametrize("pelvis", [0.0, 0.22, 0.35])  # metres of the model's pelvis below `transl`
@pytest.mark.parametrize("root", [about_x(-90), about_x(90)], ids=["on the back", "on the belly"])
def test_smpl_parameters_of_lying_people(read_smpl, listener, root, pelvis):
    motion = read_smpl(root, (0.5, LYING + pelvis, -1.3))
    assert (upwards(motion).abs() < 0.1).all()
    assert "assumed y is up, so the person is not upright" in listener.notes[0]
    along = "z" if root[2, 1] > 0 else "-z"
    assert (upwards(read_smpl(root, (0.5, LYING + pelvis, -1.3), up=along)) > 0.9).all()
