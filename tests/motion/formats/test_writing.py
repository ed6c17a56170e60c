import pytest
import torch

from ram_avatar.core.errors import UserError
from ram_avatar.core.progress import Silent
from ram_avatar.motion.formats.reading import read_motion
from ram_avatar.motion.formats.writing import write_motion


class Notes(Silent):
    """Collects notes."""

    def __init__(self):
        self.said = []

    def note(self, text: str) -> None:
        self.said.append(text)


def test_our_own_format_is_exact(template, random_motion, tmp_path):
    motion, notes = random_motion(5), Notes()
    write_motion(tmp_path / "m.npz", motion, template, progress=notes)
    again = read_motion(tmp_path / "m.npz", template)
    assert all(torch.equal(a, b) for a, b in zip(motion.parameters(), again.parameters(), strict=True))
    assert notes.said == []


def test_bvh_holds_the_body_and_notes_the_loss(template, random_motion, tmp_path):
    motion, notes = random_motion(5), Notes()
    write_motion(tmp_path / "m.BVH", motion, template, progress=notes)
    again = read_motion(tmp_path / "m.BVH", template)
    assert (again.pose - motion.pose).abs().max() < 1e-4
    assert (again.root_translation - motion.root_translation).abs().max() < 1e-5
    assert len(notes.said) == 1 and "m.BVH: left out the face" in notes.said[0]


def test_csv_holds_the_face_and_notes_the_loss(template, random_motion, tmp_path):
    motion, notes = random_motion(30), Notes()
    write_motion(tmp_path / "m.csv", motion, template, progress=notes)
    again = read_motion(tmp_path / "m.csv", template)
    assert again.fps == motion.fps and (again.facial_actions - motion.facial_actions).abs().max() < 1e-3
    assert len(notes.said) == 1 and "left out the body" in notes.said[0]
    face = again
    face.facial_actions[0] = 0.5
    quiet = Notes()
    write_motion(tmp_path / "f.csv", face, template, progress=quiet)
    assert quiet.said == []
    with pytest.raises(UserError, match=r"f\.bvh: only the face moves"):
        write_motion(tmp_path / "f.bvh", face, template)


@pytest.mark.parametrize(("name", "cause"), [("m.fbx", "written as one of"), ("short.csv", "longer than 1 second")])
def test_unwritable_motions_are_refused(template, random_motion, tmp_path, name, cause):
    with pytest.raises(UserError, match=f"{name}: .*{cause}"):
        write_motion(tmp_path / name, random_motion(25), template)
    assert list(tmp_path.iterdir()) == []
