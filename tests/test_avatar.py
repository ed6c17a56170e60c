import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ram_avatar.avatar import Avatar
from ram_avatar.core.errors import UserError
from ram_avatar.core.images import write_picture
from ram_avatar.inference.render import render
from ram_avatar.motion.retargeting.retarget import Placement


@pytest.fixture(scope="module")
def avatar(avatar_folder):
    return Avatar.load(avatar_folder)


@pytest.fixture()
def motion(capture):
    return capture.motion[24:]


def test_saving_and_loading_keeps_the_frames(avatar, motion, tmp_path):
    avatar.save(tmp_path)
    again = Avatar.load(tmp_path)
    for mine, theirs in zip(render(avatar, motion), render(again, motion), strict=True):
        assert mine.shape == (256, 256, 3) and mine.dtype == np.uint8 and np.array_equal(mine, theirs)


def test_an_avatar_of_format_2_renders_its_square(avatar, motion, tmp_path):
    """In format 2 the image was one fixed square, which the network painted."""
    square = avatar.framing.square(motion.root_translation[0].numpy())
    avatar.save(tmp_path)
    described = json.loads((tmp_path / "avatar.json").read_text())
    described |= {"format_version": 2, "camera": square.camera(avatar.camera, 64).as_dict()}
    described.pop("framing")
    (tmp_path / "avatar.json").write_text(json.dumps(described))
    write_picture(tmp_path / "background.png", square.cut(avatar.background, 64))
    old = Avatar.load(tmp_path)
    first, second = render(old, motion[:2])
    assert first.shape == (64, 64, 3) and np.abs(first.astype(int) - second).max() > 5
    now = next(render(avatar, motion[:1], close_up=True))
    assert np.abs(first.astype(int) - now)[2:-2, 2:-2].max() <= 2


def test_it_moves(avatar, motion):
    still = motion[[0, 0, 0]]
    frames = list(render(avatar, still))
    assert np.abs(frames[0].astype(int) - frames[2]).max() <= 1
    assert np.abs(next(render(avatar, motion[[5]])).astype(int) - frames[0]).max() > 20


def test_backgrounds(avatar, motion):
    own = next(render(avatar, motion[:1]))
    clear = next(render(avatar, motion[:1], background="transparent"))
    assert clear.shape == (256, 256, 4) and clear[..., 3].max() > 200 and clear[0, 0, 3] < 30
    blue = np.zeros((90, 160, 3), np.uint8)
    blue[..., 2] = 255
    over_blue = next(render(avatar, motion[:1], background=blue))
    assert tuple(over_blue[0, 0]) == pytest.approx((0, 0, 255), abs=12)
    alpha = clear[..., 3:] / 255.0
    rebuilt = clear[..., :3] * alpha + np.array([0, 0, 255]) * (1 - alpha)
    assert np.abs(rebuilt - over_blue).mean() < 2  # straight alpha
    assert np.abs(own.astype(int) - over_blue)[clear[..., 3] > 235].mean() < 12


def test_a_motion_of_another_template_is_refused(avatar, motion):
    motion.template = "smplx"
    with pytest.raises(UserError, match="smplx"):
        next(render(avatar, motion))


def test_the_placement_is_where_the_person_stands(avatar, capture, template):
    assert avatar.placement == Placement.of(capture.motion, template, capture.identity)
    assert 1.5 < avatar.placement.y < 8


def _edit(folder, **values):
    path = folder / "avatar.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def _drop_a_tensor(folder):
    tensors = load_file(folder / "weights.safetensors")
    tensors.pop(next(name for name in tensors if "style_unet" in name))
    save_file(tensors, folder / "weights.safetensors")


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda f: (f / "weights.safetensors").write_bytes(b"\x08" * 100), "weights.safetensors: damaged"),
        (lambda f: (f / "weights.safetensors").write_bytes((f / "weights.safetensors").read_bytes()[:-999]), "damaged"),
        (lambda f: (f / "weights.safetensors").unlink(), "missing"),
        (_drop_a_tensor, "weights.safetensors: damaged.*style_unet.* is missing"),
        (lambda f: _edit(f, format_version=0), "avatar format 0"),
        (lambda f: _edit(f, template="smplx"), "smplx"),
        (lambda f: _edit(f, network={"no": "such"}), "damaged"),
        (lambda f: (f / "avatar.json").write_text("[]"), "damaged"),
        (lambda f: (f / "background.png").write_bytes(b"no picture"), "background.png"),
        (lambda f: (f / "avatar.json").unlink(), "not an avatar"),
    ],
)
def test_damaged_avatars_are_reported_in_one_line(avatar_folder, tmp_path, spoil, cause):
    folder = tmp_path / "a"
    shutil.copytree(avatar_folder, folder)
    spoil(folder)
    with pytest.raises(UserError, match=cause) as raised:
        Avatar.load(folder)
    assert "\n" not in str(raised.value)


def test_a_full_disk_leaves_the_old_avatar(avatar, avatar_folder, tmp_path):
    """With a real limit on file sizes: the weights do not fit, and the old files stay intact."""
    folder = tmp_path / "a"
    shutil.copytree(avatar_folder, folder)
    before = {path.name: path.stat().st_size for path in folder.iterdir()}
    script = f"""
import resource
from ram_avatar import Avatar, UserError
avatar = Avatar.load({str(folder)!r})
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    avatar.save({str(folder)!r})
except UserError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and str(folder) in done.stdout and "disk" in done.stdout
    assert {path.name: path.stat().st_size for path in folder.iterdir()} == before
    Avatar.load(folder)


def test_rendering_leaves_no_gradients(avatar, motion):
    torch.set_grad_enabled(True)
    next(render(avatar, motion[:1]))
    assert all(p.grad is None for p in avatar.network.parameters())
