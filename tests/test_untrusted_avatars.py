"""Avatars that others made: refused in one line before they take memory."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from ram_avatar.avatar import Avatar
from ram_avatar.core.errors import UserError
from ram_avatar.networks.avatar_network import AvatarNetwork


@pytest.fixture()
def folder(avatars, tmp_path):
    shutil.copytree(avatars / "ada", tmp_path / "a")
    return tmp_path / "a"


def _edit(folder, field, value):
    """Change a field of avatar.json, or one of a field: "camera.width"."""
    path = folder / "avatar.json"
    described = json.loads(path.read_text())
    *outer, name = field.split(".")
    inner = described[outer[0]] if outer else described
    inner[name] = value
    path.write_text(json.dumps(described))


@pytest.mark.parametrize(
    ("field", "value", "cause"),
    [
        ("name", "\x1b]0;owned\x07", "name: holds characters that cannot be printed"),
        ("name", None, "name: expected a text"),
        ("preset", "x" * 300, "preset: expected at most"),
        ("template", ["x"], "template: expected a text, found a list of 1"),
        ("fps", 0, "fps: expected 0.01 to 10000, found 0"),
        ("fps", "25", "fps: expected a number"),
        ("network", [], "network: expected fields by name, found a list of 0"),
        ("network.texture_resolution", 20_000, "network: texture_resolution: expected 1 to 4096"),
        ("network.styles", 200_000_000, "network: styles: expected 1 to"),
        ("network.styles", 0, "network: styles: expected 1 to"),
        ("network.unet_widths", [20_000, 20_000, 8], "network: unet_widths: expected 1 to 1024"),
        ("network.unet_widths", [1.5, 2], "network: unet_widths: expected a whole number"),
        ("network.unet_widths", [1] * 11, "network: unet_widths: expected 2 to 10 numbers, found 11"),
        ("network.image_size", 1 << 20, "network: image_size: expected 4 to 2048"),
        ("network.alpha", 1, "network: alpha: expected true or false"),
        ("network.attention_widths", [4], "network: attention_widths: expected 2 values, found 1"),
        ("network.speed", 1, "network: unknown field: speed"),
        ("camera.width", 0, "camera: width: expected 1 to 16384, found 0"),
        ("camera.width", 40_000, "camera: width: expected 1 to 16384, found 40000"),
        ("camera", dict(focal=1, center_x=1, center_y=1, width=16384, height=16384), "camera: width x height"),
        ("camera.focal", -1, "camera: focal: expected"),
        ("camera.focal", 1e8, "framing: focal / longer side: expected"),
        ("framing.above", None, "framing: above, below, aside: expected all three or none"),
        ("framing.above", 0, "framing: above: expected 0.01 to 1000, found 0"),
        ("framing.camera", None, "framing: unknown field: camera"),
        ("placement.leg_length", 0, "placement: leg_length: expected"),
        ("placement.x", 10**400, "placement: x: expected a number within 1e"),
        ("placement.neutral_face", [0.1] * 3, "neutral_face: expected 52 numbers, found 3"),
        ("training", [], "training: expected fields by name"),
        ("training.step", "many", "step: expected a whole number"),
        ("training.source", "\x1b[31m.mp4", "training: source: holds characters that cannot be printed"),
        ("training.curve", [[[[1e300]]]], "training: curve: expected a number within"),
    ],
)
def test_a_wrong_field_is_named_in_one_line(folder, field, value, cause):
    _edit(folder, field, value)
    with pytest.raises(UserError, match=cause) as raised:
        Avatar.load(folder)
    assert str(raised.value).startswith(f"{folder / 'avatar.json'}: damaged (") and str(raised.value).isprintable()


def test_deep_nesting_is_refused(folder):
    (folder / "avatar.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="nested too deeply"):
        Avatar.load(folder)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"texture_resolution": 1024}, r"network.neural_texture.planes must be \[3, 2, 1024, 1024\]"),
        ({"styles": 1_000_000}, r"network.styles.codes must be \[1000000, 8\]"),
        ({"unet_widths": [1024, 1024, 1024]}, "network.style_unet"),
        ({"alpha": False}, "network.alpha.* is unknown"),
        ({"face": False}, "network.part_networks.face.* is unknown"),
    ],
)
def test_weights_are_compared_before_a_network_takes_memory(folder, monkeypatch, changes, cause):
    for name, value in changes.items():
        _edit(folder, f"network.{name}", value)
    devices, init = [], AvatarNetwork.__init__

    def noted(self, config):
        devices.append(torch.get_default_device().type)
        init(self, config)

    monkeypatch.setattr(AvatarNetwork, "__init__", noted)
    with pytest.raises(UserError, match=f"weights.safetensors: damaged, not an avatar's weights .*{cause}"):
        Avatar.load(folder)
    assert devices == ["meta"]


def _replace(name, change):
    def spoil(tensors):
        tensors[name] = change(tensors[name])

    return spoil


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (_replace("texture", lambda t: t[0]), r"texture must be \[3, T, T\], T up to 2048, got \[64, 64\]"),
        (_replace("texture", lambda t: t[:, :9].contiguous()), r"texture must be \[3, T, T\]"),
        (_replace("texture", lambda t: t[:, :0, :0].contiguous()), r"texture must be \[3, T, T\]"),
        (_replace("texture", lambda t: t.float()), "texture must be uint8, got float32"),
        (_replace("identity", lambda t: t[:5].contiguous()), r"identity must be \[195\], got \[5\]"),
        (_replace("identity", lambda t: t + 1000), "identity: holds numbers that no body of template anny"),
        (_replace("identity", lambda t: t * torch.nan), "identity holds numbers that are not finite"),
        (_replace("network.styles.codes", lambda t: t.double() * 1e300), "must be float32, got float64"),
        (_replace("filmed", lambda t: t[:, :2].contiguous()), r"filmed must be \[1, 4, 2, 3\], got \[1, 2, 2, 3\]"),
        (_replace("filmed", lambda t: t.expand(1025, -1, -1, -1).contiguous()), "filmed must hold 1 to 1024 poses"),
        (lambda tensors: tensors.pop("texture"), "texture must be"),
        (lambda tensors: tensors.update(clothing=torch.zeros(5, 3)), r"clothing must be \[13718, 3\], got \[5, 3\]"),
        (lambda tensors: tensors.update(clothing=torch.ones(13718, 3)), "clothing: expected at most 0.4 m from"),
        (lambda tensors: tensors.update(clothing=torch.full((13718, 3), torch.nan)), "clothing holds numbers that are"),
        (lambda tensors: tensors.update(more=torch.zeros(1)), "more is unknown"),
    ],
)
def test_wrong_tensors_are_named_in_one_line(folder, spoil, cause):
    tensors = load_file(folder / "weights.safetensors")
    spoil(tensors)
    save_file(tensors, folder / "weights.safetensors")
    with pytest.raises(UserError, match=rf"weights\.safetensors: .*{cause}"):
        Avatar.load(folder)


def test_what_an_untrained_avatar_lacks_is_filled_in(folder):
    _edit(folder, "training", {"note": "by hand"})
    training = Avatar.load(folder).training
    assert training == {"note": "by hand", "step": 0, "steps": 0, "seconds": 0.0, "source": "", "frames": 0}
