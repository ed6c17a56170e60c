"""Damaged or malicious files: they are read, or refused in one line."""

import io
import random
import re
from dataclasses import replace

import numpy as np
import pytest
import roma
import torch

from ram_avatar.core.errors import UserError
from ram_avatar.motion.conversion.calibration import Reference
from ram_avatar.motion.formats import ReadOptions, skeletal
from ram_avatar.motion.formats.bvh import write_bvh
from ram_avatar.motion.formats.reading import read_motion

MUTATIONS = 100
NUMBERS = ["0", "90", "-45.5", "179.9", "1000", "-1e5", "1e-3", "1e-300"]  # that may be right
WORDS = [
    "nan",
    "inf",
    "-1",
    "0",
    "1e308",
    "-1e9",
    "1e-320",
    "",
    "x",
    "٣",
    "99999999999999999999",
    "}",
    ";",
    ":",
    '"',
    "\0",
]
SHAPES = [(), (0,), (3,), (10, 0), (10, 3), (0, 63), (10, 69), (10, 23, 3), (10, 165), (1, 63), (9, 3), (10, 3, 3, 3)]


def of_text(text: str, chance: random.Random) -> bytes:
    """Mutate a text: numbers and words, lines, bytes, its end."""
    for _ in range(chance.choice([1, 1, 2, 5])):
        lines = text.split("\n")
        at = chance.randrange(len(lines))
        kind = chance.randrange(9)
        if kind in (7, 8):
            lines[at] = re.sub(r"(?<=[\s,;])-?\d+\.\d+", chance.choice(NUMBERS), lines[at], count=1)
        elif kind <= 2:
            words = re.split(r"([\s,;]+)", lines[at])
            words[chance.randrange(0, len(words), 2)] = chance.choice(WORDS)  # the odd ones are white space
            lines[at] = "".join(words)
        elif kind == 3:
            del lines[at]
        elif kind == 4:
            lines.insert(chance.randrange(len(lines)), lines[at])
        elif kind == 5:
            lines = lines[: at + 1]
        text = "\n".join(lines)
        if kind == 6 and text:
            position = chance.randrange(len(text))
            text = text[:position] + chr(chance.randrange(256)) + text[position + 1 :]
    return text.encode("utf-16" if chance.random() < 0.05 else chance.choice(["utf-8", "utf-8-sig"]))


def of_arrays(arrays: dict, chance: random.Random) -> bytes:
    """Return an archive with arrays of other values, shapes and types, missing arrays, or changed bytes."""
    arrays = dict(arrays)
    for _ in range(chance.choice([1, 1, 2])):
        key = chance.choice(list(arrays))
        kind = chance.randrange(6)
        value = np.array(arrays[key])
        if kind == 0:
            del arrays[key]
        elif kind == 1:
            arrays[key] = np.full(chance.choice(SHAPES), chance.choice([0.0, 1.0, np.pi, 1e6]))
        elif kind == 2 and value.size:
            value = np.zeros(value.shape)
            value.flat[chance.randrange(value.size)] = chance.choice([np.nan, np.inf, 1e300, 1e9, -1e-300])
            arrays[key] = value
        elif kind == 3:
            arrays[key] = np.zeros(value.shape, chance.choice(["<U8", "i1", "complex64", "bool", "f2"]))
        elif kind == 4:
            arrays[key] = np.full_like(value, chance.choice([0.0, 1e3, 1e30]), dtype=np.float64)
        elif kind == 5:
            arrays[chance.choice(["fps", "poses", "trans", "dmpls", "pose_hand", "root_orient"])] = value
        if not arrays:
            break
    file = io.BytesIO()
    np.savez(file, **arrays)
    content = bytearray(file.getvalue())
    if chance.random() < 0.3:
        for _ in range(chance.choice([1, 10])):
            content[chance.randrange(len(content))] = chance.randrange(256)
    if chance.random() < 0.1:
        del content[chance.randrange(len(content)) :]
    return bytes(content)


@pytest.fixture()
def check(template, monkeypatch, tmp_path):
    """A function that reads a hundred mutations, each a dictionary of contents by file name; the first one is read."""
    reference = Reference(template)
    monkeypatch.setattr(skeletal, "Reference", lambda *_: reference)

    def check(mutate) -> None:
        chance, refused = random.Random(0), 0
        for number in range(MUTATIONS):
            files = mutate(chance)
            for name, content in files.items():
                (tmp_path / name).write_bytes(content)
            try:
                motion = read_motion(tmp_path / next(iter(files)), template, options=ReadOptions(fps=20.0))
                assert all(torch.isfinite(values).all() for values in motion.parameters()), number
            except UserError as error:
                assert "\n" not in str(error), number
                refused += 1
        assert 0.2 < refused / MUTATIONS < 0.95  # both outcomes occur, or the test shows nothing

    return check


def test_bvh_with_z_up(check, stranger, tmp_path):
    clip = stranger(3)
    turn = roma.rotvec_to_rotmat(torch.tensor([torch.pi / 2, 0.0, 0.0]))
    rotations, root = turn @ clip.rotations @ turn.T, clip.root @ turn.T
    write_bvh(tmp_path / "z.bvh", replace(clip, offsets=clip.offsets @ turn.T, rotations=rotations, root=root))
    text = (tmp_path / "z.bvh").read_text()
    check(lambda chance: {"m.bvh": of_text(text, chance)})


def test_facial_recordings(check):
    rows = [f"10:00:0{i // 15}:{i % 15:02d}.000;61;{i / 40:.3f};0,5;0,25".replace(".", ",") for i in range(40)]
    live_link = "\n".join(["Timecode;BlendShapeCount;JawOpen;eyeBlinkLeft;CTRL_expressions_tongueOut", *rows])
    rows = [f"{i},{i / 30:.4f},0.25,{i / 100}" for i in range(40)]
    audio = "\n".join([",timeCode,blendShapes.EyeBlinkLeft,blendShapes.JawOpen", *rows])
    check(lambda chance: {"m.csv": of_text(chance.choice([live_link, audio]), chance)})


def test_smpl_parameters(check):
    generator = np.random.default_rng(0)
    body = 0.2 * generator.standard_normal((10, 63))
    place = generator.standard_normal((10, 3))
    fitter = {"global_orient": body[:, :3], "body_pose": body, "transl": place, "betas": np.zeros((1, 10))}
    smpl = {**fitter, "body_pose": np.zeros((10, 69)), "fps": 30}
    own = {"root_orient": body[:, :3], "pose_body": body, "pose_hand": np.zeros((10, 90)), "trans": place}
    check(lambda chance: {"m.npz": of_arrays(chance.choice([fitter, smpl, own]), chance)})


def test_our_own_files(template, check, random_motion, tmp_path):
    random_motion(10).save(tmp_path / "own.npz")
    with np.load(tmp_path / "own.npz") as file:
        arrays = {name: file[name] for name in file.files}
    check(lambda chance: {"m.npz": of_arrays(arrays, chance)})


# A person with CMU's names: bone, parent, direction (left, up, front), length.
BONES = [
    *((bone, parent, (0, 1, 0), 2.0) for bone, parent in (("lowerback", "root"), ("upperback", "lowerback"))),
    *((bone, parent, (0, 1, 0), 2.0) for bone, parent in (("thorax", "upperback"), ("lowerneck", "thorax"))),
    ("head", "lowerneck", (0, 1, 0), 3.0),
    *((f"{s}hipjoint", "root", (x, -0.5, 0), 2.0) for s, x in (("l", 1), ("r", -1))),
    *((f"{s}femur", f"{s}hipjoint", (0, -1, 0), 7.0) for s in "lr"),
    *((f"{s}tibia", f"{s}femur", (0, -1, 0), 7.0) for s in "lr"),
    *((f"{s}foot", f"{s}tibia", (0, -0.3, 1), 2.0) for s in "lr"),
    *((f"{s}clavicle", "thorax", (x, 0.2, 0), 2.0) for s, x in (("l", 1), ("r", -1))),
    *((f"{s}humerus", f"{s}clavicle", (x, 0, 0), 5.0) for s, x in (("l", 1), ("r", -1))),
    *((f"{s}radius", f"{s}humerus", (x, 0, 0), 4.0) for s, x in (("l", 1), ("r", -1))),
    *((f"{s}hand", f"{s}radius", (x, 0, 0), 1.0) for s, x in (("l", 1), ("r", -1))),
]


def test_acclaim(check, tmp_path):
    bones = [
        f"begin\nid {k}\nname {name}\ndirection {' '.join(map(str, way))}\nlength {length}\naxis 0 0 0 XYZ\n"
        "dof rx ry rz\nend"
        for k, (name, _, way, length) in enumerate(BONES, start=1)
    ]
    tree = [f"{parent} {name}" for name, parent, _, _ in BONES]
    root = "order TX TY TZ RX RY RZ\naxis XYZ\nposition 0 0 0\norientation 0 0 0"
    units = ":units\nlength 0.45\nangle deg"
    parts = [":version 1.10", units, ":root", root, ":bonedata", *bones, ":hierarchy", "begin", *tree, "end"]
    skeleton, generator = "\n".join(parts), np.random.default_rng(0)
    rows = [":FULLY-SPECIFIED", ":DEGREES"]
    for frame in range(1, 6):
        turns = (f"{name} {' '.join(f'{v:.3f}' for v in generator.normal(0, 10, 3))}" for name, *_ in BONES)
        rows += [str(frame), "root 0 16 0 0 0 0", *turns]
    motion = "\n".join(rows)
    (tmp_path / "other.asf").write_text(skeleton)  # of two in the folder, the name decides

    def mutate(chance):
        first = chance.random() < 0.5
        return {
            "m_01.amc": motion.encode() if first else of_text(motion, chance),
            "m.asf": of_text(skeleton, chance) if first else skeleton.encode(),
        }

    check(mutate)
