import os
import re
import tarfile

import numpy as np
import pytest
import torch

from ram_avatar.core.errors import UserError
from ram_avatar.motion.formats.amc import read_amc

# A leg. The unit is one metre; the shin's own x axis points along the file's -z.
ASF = """# a comment
:version 1.10
:units
  mass 1.0
  length 0.0254
  angle deg
:documentation
  free text
:root
  order TX TY TZ RX RY RZ
  axis XYZ
  position 0 0 0
  orientation 0 0 0
:bonedata
  begin
    id 1
    name hip
    direction 1 0 0
    length 0.1
    axis 0 0 0 XYZ
  end
  begin
    id 2
    name femur
    direction 0 -1 0
    length 0.5
    axis 0 0 0 XYZ
    dof rx ry rz
    limits (-160.0 20.0)
           (-70.0 70.0)
           (-60.0 70.0)
  end
  begin
    id 3
    name tibia
    direction 0 -1 0
    length 0.4
    axis 0 90 0 XYZ
    dof rx
    limits (-10.0 170.0)
  end
:hierarchy
  begin
    root hip
    hip femur
    femur tibia
  end
"""

AMC = """#!OML:ASF
:FULLY-SPECIFIED
:DEGREES
1
root 0 1 0 0 0 0
femur 0 0 0
tibia 0
2
root 0 1 0 0 0 0
femur -90 0 0
tibia 0
3
root 0 1 0 0 0 0
femur 0 0 0
tibia 90
4
root 0 1 0 0 0 0
femur 90 0 90
tibia 0
5
root 1 2 3 0 90 0
femur 0 0 0
tibia 0
"""


@pytest.fixture()
def leg(tmp_path):
    """A function that writes the leg's two files, edited by replacing text, and returns the motion's path."""

    def write(old: str = "", new: str = ""):
        (tmp_path / "07.asf").write_text(ASF.replace(old, new) if old else ASF)
        (tmp_path / "07_01.amc").write_text(AMC.replace(old, new) if old else AMC)
        return tmp_path / "07_01.amc"

    return write


@pytest.fixture(scope="module")
def cmu(shared, tmp_path_factory):
    """A function that returns the path of a clip of CMU's database."""
    archive = shared / "motions" / "cmu_asf_amc_subset.tgz"
    if not archive.is_file():
        pytest.skip(f"no {archive}")
    folder = tmp_path_factory.mktemp("cmu")
    wanted = {"03_01.amc", "03.asf", "02_01.amc", "02.asf"}
    with tarfile.open(archive, "r|gz") as file:
        for member in file:
            name = member.name.rsplit("/", 1)[-1]
            if name in wanted:
                (folder / name).write_bytes(file.extractfile(member).read())
                wanted.remove(name)
            if not wanted:
                break
    return lambda clip: folder / f"{clip}.amc"


def test_joint_positions_follow_from_the_angles(leg):
    clip = read_amc(leg())
    assert clip.names == ["root", "hip", "femur", "tibia", "tibia_end"]
    assert clip.parents == [-1, 0, 1, 2, 3] and clip.fps == 120 and len(clip) == 5
    _, positions = clip.forward()
    expected = {
        "at rest, the leg hangs on the left": ([0.1, 0, 1], [0.1, 0, 0.5], [0.1, 0, 0.1]),
        "the thigh swings to the front": ([0.1, 0, 1], [0.1, -0.5, 1], [0.1, -0.9, 1]),
        "the shin turns about its own axis": ([0.1, 0, 1], [0.1, 0, 0.5], [-0.3, 0, 0.5]),
        "the first angle turns first": ([0.1, 0, 1], [0.1, 0.5, 1], [0.1, 0.9, 1]),
        "the body turns to its left, and has moved": ([1, -2.9, 2], [1, -2.9, 1.5], [1, -2.9, 1.1]),
    }
    for found, (what, place) in zip(positions[:, 2:], expected.items(), strict=True):
        assert torch.allclose(found, torch.tensor(place, dtype=torch.float32), atol=1e-5), what
    assert torch.allclose(positions[:, 1], positions[:, 0])


def test_units_of_length_and_angle(leg):
    _, metres = read_amc(leg()).forward()
    _, tenths = read_amc(leg("length 0.0254", "length 0.254")).forward()
    assert torch.allclose(tenths, metres / 10, atol=1e-6)
    half = str(np.pi / 2)
    angles = {"-90 0 0": f"-{half} 0 0", "90 0 90": f"{half} 0 {half}", "tibia 90": f"tibia {half}"}
    path = leg(":DEGREES", ":RADIANS")
    text = path.read_text().replace("0 90 0", f"0 {half} 0")
    for old, new in angles.items():
        text = text.replace(old, new)
    path.write_text(text)
    _, radians = read_amc(path).forward()
    assert torch.allclose(radians, metres, atol=1e-5)


def test_the_skeleton_is_found(leg, tmp_path):
    path = leg()
    other = tmp_path / "elsewhere" / "walk.amc"
    other.parent.mkdir()
    other.write_text(path.read_text())
    with pytest.raises(UserError, match=r"walk\.amc: needs its skeleton; put walk\.asf beside it"):
        read_amc(other)
    assert len(read_amc(other, skeleton=tmp_path / "07.asf", fps=60)) == 5
    (tmp_path / "07.asf").rename(other.with_name("anything.ASF"))  # the only one in the folder
    assert len(read_amc(other)) == 5
    (other.with_name("WALK.ASF")).write_text(ASF.replace("0.4", "0.3"))  # of the same name
    assert torch.allclose(read_amc(other).offsets[-1], torch.tensor([0, 0, -0.3]))


@pytest.mark.parametrize(
    ("motion", "skeletons", "taken"),
    [
        ("HDM_bd_01-02_03_120", ["HDM_bd", "HDM_bk", "HDM_b"], "HDM_bd"),  # of several, the longest
        ("03_01", ["03", "02"], "03"),
        ("10_02", ["1", "10"], "10"),
        ("Walk", ["walk", "wal"], "walk"),  # capitals do not count
        ("10_02", ["1", "2"], None),  # no number is cut
        ("02_01", ["03", "04"], None),
    ],
)
def test_the_skeleton_is_chosen_among_several(leg, tmp_path, motion, skeletons, taken):
    text = leg().read_text()
    (tmp_path / "07.asf").unlink()
    for name in skeletons:
        (tmp_path / f"{name}.asf").write_text(ASF.replace("0.4", "0.3") if name == taken else ASF)
    path = tmp_path / f"{motion}.amc"
    path.write_text(text)
    if taken is None:
        with pytest.raises(UserError, match=r"needs its skeleton; put"):
            read_amc(path)
    else:
        assert torch.allclose(read_amc(path).offsets[-1], torch.tensor([0, 0, -0.3]))


def test_byte_order_marks_are_ignored(leg, tmp_path):
    whole = read_amc(leg())
    for path in tmp_path.iterdir():
        path.write_text(path.read_text(), encoding="utf-8-sig")
    assert torch.equal(read_amc(tmp_path / "07_01.amc").rotations, whole.rotations)


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        (":bonedata", ":nothing", r"07\.asf: not an Acclaim skeleton, it has no section :bonedata"),
        ("direction 1 0 0", "direction 1 zero 0", r"07\.asf: line 18: 'direction 1 zero 0' should hold numbers"),
        ("direction 1 0 0", "direction 1 0", r"07\.asf: line 18: needs 3 finite numbers"),
        ("length 0.5", "length nan", r"07\.asf: line 26: needs 1 finite numbers"),
        ("    length 0.5\n", "", r"07\.asf: line 31: a bone without length"),
        ("length 0.0254", "length 0", r"07\.asf: line 5: length must be positive"),
        ("axis 0 90 0 XYZ", "axis 0 90 0 ABC", r"07\.asf: line 38: needs an order of axes such as XYZ"),
        ("name femur", "name hip", r"07\.asf: line 24: a second bone with the name hip"),
        ("name femur", f"name {'x' * 201}", r"07\.asf: line 24: a joint's name must have 1 to 200"),
        ("name femur", "name f\x1b[2J", r"07\.asf: line 24: a joint's name must have 1 to 200"),
        ("name femur", "name root", r"07\.asf: line 24: a second bone with the name root"),
        ("free text", "free " * 20_000, r"07\.asf: line 8: longer than 65536 characters"),
        ("\n1\nroot", f"\n{'1' * 5000}\nroot", r"07_01\.amc: line 4: the frame's number is too large"),
        ("\n1\nroot", "\n1\n2\nroot", r"07_01\.amc: frame 1 has no angles of root"),
        ("dof rx\n", "dof rx ru\n", r"07\.asf: 'rx ru' are not the degrees of freedom"),
        ("dof rx\n", "dof rx tx\n", r"07\.asf: line 39: bones that translate are not supported"),
        ("hip femur", "hip thigh", r"07\.asf: line 45: there is no bone thigh"),
        ("femur tibia", "femur tibia hip", r"07\.asf: the bone hip has two parents"),
        ("    femur tibia\n", "", r"07\.asf: the bone tibia is not in the hierarchy"),
        ("3\nroot", "7\nroot", r"07_01\.amc: line 12: frame 7, but 3 comes next"),
        ("tibia 90", "shin 90", r"07_01\.amc: line 15: there is no bone shin in the skeleton"),
        ("tibia 90", "tibia 90 3", r"07_01\.amc: line 15: needs 1 finite numbers"),
        ("tibia 90", "tibia inf", r"07_01\.amc: line 15: needs 1 finite numbers"),
        ("tibia 90\n", "", r"07_01\.amc: frame 3 has no angles of tibia"),
        (AMC, ":DEGREES\n", r"07_01\.amc: not an Acclaim motion, it has no frames"),
    ],
)
def test_errors_name_the_cause(leg, old, new, cause):
    with pytest.raises(UserError, match=cause):
        read_amc(leg(old, new))


def test_files_that_cannot_be_read(leg, tmp_path, monkeypatch):
    path = leg()
    with pytest.raises(UserError, match=r"08_01\.amc: there is no such file"):
        read_amc(tmp_path / "08_01.amc")
    with pytest.raises(UserError, match=r"08\.asf: there is no such file"):
        read_amc(path, skeleton=tmp_path / "08.asf")
    path.write_bytes(bytes(range(256)))
    with pytest.raises(UserError, match=r"07_01\.amc: line"):
        read_amc(path)
    monkeypatch.setattr("ram_avatar.motion.formats.amc._MAX_SKELETON", 100)
    with pytest.raises(UserError, match=r"07\.asf: larger than"):
        read_amc(path)


def test_a_pipe_is_not_read(leg, tmp_path):
    path = leg()
    os.mkfifo(tmp_path / "07_0.asf")
    with pytest.raises(UserError, match=r"07_0\.asf: not a regular file"):
        read_amc(path, skeleton=tmp_path / "07_0.asf")


def test_bones_without_channels_cannot_take_much_memory(leg):
    still = "begin\nname b{0}\ndirection 1 0 0\nlength 1\naxis 0 0 0 XYZ\nend\n"
    bones = lambda count: "".join(still.format(k) for k in range(count)) + ":hierarchy\nbegin\n"
    tree = lambda count: " ".join(f"b{k}" for k in range(count))
    path = leg(":hierarchy\n  begin\n    root", f"{bones(400)}root {tree(400)}")
    frames = "".join(f"{k}\nroot 0 0 0 0 0 0\nfemur 0 0 0\ntibia 0\n" for k in range(1, 7001))
    path.write_text(":DEGREES\n" + frames)
    with pytest.raises(UserError, match=r"07_01\.amc: has 7000 frames of 808 joints, too many"):
        read_amc(path)
    with pytest.raises(UserError, match=r"07\.asf: line \d+: more than 500 bones"):
        read_amc(leg(":hierarchy\n  begin\n    root", f"{bones(500)}root {tree(500)}"))


@pytest.mark.parametrize("clip", ["03_01", "02_01"])
def test_cmu_people_walk_upright_and_forward(cmu, clip):
    clip = read_amc(cmu(clip))
    turns, positions = clip[::20].forward()
    at = lambda name: positions[:, clip.joint(name)]
    tall = positions[..., 2].amax(1) - positions[..., 2].amin(1)
    assert 1.45 < tall.median() < 1.9  # from the toes to the top of the head bone
    for side in "lr":
        assert (at(f"{side}femur")[:, 2] - at(f"{side}foot")[:, 2] > 0.4).all()
    assert (at("head_end")[:, 2] > at("lfemur")[:, 2] + 0.4).all()
    left = (at("lfemur") - at("rfemur")) / 0.2
    front = -turns[:, 0, :, 1]
    assert (torch.linalg.cross(left, front)[:, 2] < 0).all()
    way = clip.root[-1] - clip.root[0]
    assert way.norm() > 2 and (front @ (way / way.norm()) > 0.8).all()


def test_a_cmu_frame_agrees_with_the_definition(cmu):
    """A plain twin: each bone ends at its parent's end plus its own vector, rotated by C M C^-1 of all bones above."""
    path, frame = cmu("03_01"), 200
    skeleton = path.with_name("03.asf").read_text()
    motion = re.search(rf"^{frame}\n(.*?)^{frame + 1}\n", path.read_text(), re.M | re.S)[1]
    angles = {name: [float(n) for n in numbers] for name, *numbers in map(str.split, motion.splitlines())}

    def turn(x: float, y: float, z: float) -> np.ndarray:
        (cx, cy, cz), (sx, sy, sz) = np.cos(np.radians([x, y, z])), np.sin(np.radians([x, y, z]))
        about_x, about_y = [[1, 0, 0], [0, cx, -sx], [0, sx, cx]], [[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]]
        return np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]]) @ about_y @ about_x

    unit = 0.0254 / 0.45
    ends, turns = {"root": unit * np.array(angles["root"][:3])}, {"root": turn(*angles["root"][3:])}
    parents = {}
    for line in skeleton.split(":hierarchy")[1].splitlines():
        parents |= {child: line.split()[0] for child in line.split()[1:]}
    for block in skeleton.split("begin")[1:-1]:
        fields = {line.split()[0]: line.split()[1:] for line in block.strip().splitlines()}
        name, dof = fields["name"][0], fields.get("dof", [])
        own = dict(zip(dof, angles.get(name, []), strict=True))
        axes = turn(*map(float, fields["axis"][:3]))
        turns[name] = turns[parents[name]] @ axes @ turn(*(own.get(c, 0) for c in ("rx", "ry", "rz"))) @ axes.T
        vector = np.array(list(map(float, fields["direction"]))) * float(fields["length"][0]) * unit
        ends[name] = ends[parents[name]] + turns[name] @ vector
    clip = read_amc(path)
    _, positions = clip[[frame - 1]].forward()
    for name in ("ltoes", "rfingers", "head", "lthumb"):
        x, y, z = ends[name]
        assert np.allclose(positions[0, clip.joint(f"{name}_end")], [x, -z, y], atol=1e-4), name
