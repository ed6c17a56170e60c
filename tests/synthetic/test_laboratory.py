import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from ram_avatar.capture.capture import Capture
from ram_avatar.core.errors import UserError
from ram_avatar.core.progress import Silent
from ram_avatar.motion.formats import ReadOptions
from ram_avatar.motion.formats.writing import write_motion
from ram_avatar.motion.motion import Motion
from ram_avatar.motion.retargeting.retarget import Person, Placement, retarget
from ram_avatar.rendering.shading import shaded
from ram_avatar.synthetic.laboratory import (
    nearest_pose,
    performer,
    stage,
    synthesize,
)
from ram_avatar.synthetic.options import SynthOptions
from ram_avatar.synthetic.performances import FLOOR, performance, performer_identity
from ram_avatar.synthetic.performer import Performer
from ram_avatar.video import read_frames

SIZE, FRAMES = 128, 5


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    """The folder of a short performance, at a low frame rate to cover more of the motion."""
    folder = tmp_path_factory.mktemp("studio") / "training"
    synthesize(folder, SynthOptions(frames=FRAMES, fps=2.0, size=SIZE))
    return folder


def test_truth_is_a_capture(studio, template):
    truth = Capture.load(studio / "truth")
    assert len(truth) == FRAMES and truth.source == "training.mp4" and truth.report["truth"]
    assert truth.camera == Performer.camera(SIZE)
    assert torch.allclose(truth.identity, performer_identity(template), atol=1e-6)
    acted = performance("training", template, FRAMES, 2.0)
    assert torch.equal(truth.motion.pose, acted.pose)
    assert torch.equal(truth.motion.root_translation, acted.root_translation)
    assert (truth.motion.confidence == 1).all() and truth.footage.size == (SIZE, SIZE)


def test_frames_of_the_truth_are_those_of_the_video(studio):
    stored = [frame for frame, _ in Capture.load(studio / "truth").frames()]
    assert np.array_equal(np.stack(stored), np.stack(list(read_frames(studio / "video.mp4"))))


def test_true_mesh_covers_the_true_mask(studio, template):
    truth = Capture.load(studio / "truth")
    drawn = shaded(template, truth.identity, truth.motion, truth.camera)
    overlap = lambda a, b: (a & b).sum() / (a | b).sum()
    for (_, mask), (_, covered) in zip(truth.frames(), drawn, strict=True):
        person = mask > 127
        # The mask is dressed and the mesh is not, but no shift improves the overlap.
        assert overlap(person, covered) > 0.85
        shifted = [overlap(person, np.roll(covered, shift, axis)) for shift in (-1, 1) for axis in (0, 1)]
        assert overlap(person, covered) > max(shifted)


def test_frame_equals_the_plate_outside_the_person(studio):
    truth = Capture.load(studio / "truth")
    plate = truth.background().astype(int)
    for frame, mask in truth.frames():
        difference = np.abs(frame - plate).max(-1)
        assert np.median(difference[mask == 0]) <= 4  # except for shadows, grain and compression
        assert np.median(difference[mask == 255]) > 25
        edge = (mask > 0) & (mask < 255)
        assert 0.02 < edge.sum() / (mask > 0).sum() < 0.5, "antialiased"


def test_masks_match_the_frames(template):
    motion = performance("training", template, 1, 25.0)
    person = performer(0)
    (frame, mask), alone = next(person.render_with_masks(motion, SIZE)), next(person.render(motion, SIZE))
    assert np.array_equal(frame, alone)
    assert set(np.unique(mask)) == {0, 64, 128, 191, 255}  # four rays per pixel
    assert np.abs(frame.astype(int) - person.room(SIZE))[mask == 255].mean() > 30


def _other_person(template, frames: int = 16) -> Motion:
    """Return the motion of a taller person, far away and off to the side, seen by a tilted camera."""
    acted = performance("training", template, frames, 8.0)
    own = Placement.of(acted, template, performer_identity(template))
    path = acted.root_translation - torch.tensor([own.x, own.y, own.floor])
    motion = replace(acted, root_translation=torch.tensor([1.5, 6.0, -2.0]) + 1.3 * path)
    motion.root_translation[:, 2] += torch.linspace(-0.3, 0.3, frames)
    motion.confidence[:] = 0.5
    return motion


def _posed(motion: Motion, template) -> torch.Tensor:
    return template.body(performer_identity(template)).pose(*motion.parameters()).vertices


def test_another_persons_motion_is_moved_to_the_performers_place(tmp_path, template):
    motion = _other_person(template)
    motion.save(tmp_path / "other.npz")
    staged = stage(tmp_path / "other.npz", template, performer_identity(template), 12, Silent())
    assert len(staged) == 12 and staged.fps == 8.0 and (staged.confidence == 1).all()
    legs = [i for i, role in enumerate(template.pose_roles) if role.startswith(("thigh", "shin", "foot"))]
    changed = (staged.pose - motion.pose[:12]).norm(dim=-1)
    assert changed.max() < 0.1 and set(changed.amax(0).nonzero().flatten().tolist()) <= set(legs), "feet are held"
    vertices = _posed(staged, template)
    assert (vertices[..., 2].amin(1) - FLOOR).abs().max() < 0.06, "feet neither float nor sink"
    pixels = Performer.camera(100).project(vertices)[..., :2]
    assert pixels.min() > 0 and pixels.max() < 100
    assert staged.root_translation[:, 0].std() > 0.01, "steps are kept"


def test_motion_files_of_other_programs_are_staged(tmp_path, template, random_motion):
    """A BVH file at another rate moves the performer as the template's own file does."""
    motion = random_motion(6, turn=0.05)
    motion.save(tmp_path / "m.npz")
    write_motion(tmp_path / "m.bvh", motion, template, performer_identity(template))
    own, other = (
        stage(tmp_path / name, template, performer_identity(template), 12, Silent(), ReadOptions(fps=50.0))
        for name in ("m.npz", "m.bvh")
    )
    assert own.fps == other.fps == 50.0 and len(own) == len(other) == 11
    assert torch.allclose(own.pose[:, :-2], other.pose[:, :-2], atol=1e-3)  # BVH files hold no eyes


def test_another_persons_capture_is_scaled_to_the_performer(tmp_path, studio, template):
    """A capture knows how tall its person is; a motion file does not."""
    own = Capture.load(studio / "truth")
    tall = own.identity.clone()
    tall[template.identity_names.index("height")] = 0.9
    people = [Person.of(own.motion, template, who) for who in (own.identity, tall)]
    assert people[1].placement.leg_length > 1.1 * people[0].placement.leg_length
    folder = shutil.copytree(studio / "truth", tmp_path / "tall")
    moved = retarget(own.motion, template, *people)
    replace(Capture.load(folder), identity=tall, motion=moved).write_description()
    known = stage(folder, template, own.identity, FRAMES, Silent())
    unknown = stage(folder / "motion.npz", template, own.identity, FRAMES, Silent())
    sway = lambda m: float(m.root_translation[:, 0].std())
    assert sway(known) == pytest.approx(sway(own.motion), rel=0.05)
    assert sway(unknown) > 1.1 * sway(known)


def test_jumps_are_kept(tmp_path, template):
    motion = performance("training", template, 1, 20.0)[[0] * 40]
    motion.root_translation[18:24, 2] += 0.25
    motion.save(tmp_path / "jump.npz")
    soles = _posed(stage(tmp_path / "jump.npz", template, performer_identity(template), 40, Silent()), template)
    height = soles[..., 2].amin(1) - FLOOR
    assert height[:12].abs().max() < 0.01 and height[20] == pytest.approx(0.25, abs=0.01)


def test_motion_that_leaves_the_frame_is_kept_in_place(tmp_path, template):
    away = performance("training", template, 4, 8.0)
    away.root_translation[:, 0] += torch.tensor([-2.0, -1.0, 1.0, 2.0])
    away.save(tmp_path / "away.npz")
    notes = []
    progress = Silent()
    progress.note = notes.append
    staged = stage(tmp_path / "away.npz", template, performer_identity(template), 4, progress)
    assert staged.root_translation[:, 0].std() < 1e-6
    assert len(notes) == 1 and "away.npz: walks out" in notes[0]


def test_rendering_is_deterministic(template):
    motion = performance("driving", template, 2, 5.0)
    first, again = (np.stack(list(performer(0).render(motion, 64))) for _ in range(2))
    assert np.array_equal(first, again)


@pytest.mark.slow
def test_result_depends_on_the_seed_only(tmp_path, studio, template):
    again = synthesize(tmp_path / "again", SynthOptions(frames=FRAMES, fps=2.0, size=SIZE))
    assert (again.folder.parent / "video.mp4").read_bytes() == (studio / "video.mp4").read_bytes()
    other = synthesize(tmp_path / "other", SynthOptions(frames=2, size=64, seed=1))
    assert (other.identity - again.identity).abs().max() > 0.05
    assert torch.equal(other.identity, Capture.load(other.folder).identity)


@pytest.mark.parametrize(
    ("wanted", "cause"),
    [
        ({"motion": "waltz.npz"}, r"waltz\.npz: no such file"),
        ({"motion": "{tmp}/text.npz"}, r"text\.npz: not a motion, or damaged"),
        ({"motion": "{tmp}/other.npz"}, r"other\.npz: .*'smpl'.*'anny"),
        ({"motion": "{tmp}/short.npz"}, r"short\.npz: a motion of 1 frames"),
        ({"size": 101}, "101 pixels"),
        ({"frames": 0}, "0 frames"),
        ({"performer": "kilt"}, "'kilt'; choose from trousers, skirt"),
    ],
)
def test_invalid_input_is_reported(tmp_path, random_motion, wanted, cause):
    (tmp_path / "text.npz").write_text("hello")
    random_motion(1).save(tmp_path / "short.npz")
    foreign = random_motion(2)
    foreign.template = "smpl"
    foreign.save(tmp_path / "other.npz")
    before = set(tmp_path.iterdir())
    with pytest.raises(UserError, match=cause):
        options = {k: v.format(tmp=tmp_path) if k == "motion" else v for k, v in wanted.items()}
        synthesize(tmp_path / "out", SynthOptions(**options))
    assert set(tmp_path.iterdir()) == before  # no partial output


def test_existing_files_are_kept(tmp_path, studio):
    with pytest.raises(UserError, match=r"exists.*--overwrite"):
        synthesize(studio)
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(UserError, match="other files"):
        synthesize(tmp_path, overwrite=True)
    assert (tmp_path / "precious.txt").exists()


def test_nearest_pose(template, random_motion):
    """Matches the plain formula, pose by pose; a known pose has distance zero."""
    some, known = random_motion(3, seed=1), random_motion(4, seed=2)
    far, which = nearest_pose(some, known, template)
    compared = [i for i, name in enumerate(template.pose_joints) if not name.startswith(("finger", "eye"))]

    def distance(i: int, j: int) -> float:
        pairs = zip(
            [some.root_rotation[i], *some.pose[i, compared]],
            [known.root_rotation[j], *known.pose[j, compared]],
            strict=True,
        )
        turns = [
            (Rotation.from_rotvec(a.numpy()).inv() * Rotation.from_rotvec(b.numpy())).magnitude() for a, b in pairs
        ]
        return float(np.degrees(np.mean(turns)))

    plain = np.array([[distance(i, j) for j in range(4)] for i in range(3)])
    assert far.numpy() == pytest.approx(plain.min(1), abs=1e-3)
    assert which.tolist() == plain.argmin(1).tolist()
    itself, where = nearest_pose(known, Motion(**vars(known)), template)
    assert itself.max() < 0.01 and where.tolist() == [0, 1, 2, 3]
