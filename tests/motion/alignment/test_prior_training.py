import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ram_avatar.cli.motion import prior as prior_command
from ram_avatar.core.errors import UserError
from ram_avatar.core.progress import Silent
from ram_avatar.motion.alignment.networks import divergence
from ram_avatar.motion.alignment.pose_collection import PoseCollection, collect_poses, find_sources
from ram_avatar.motion.alignment.prior_file import SHIPPED, load_prior
from ram_avatar.motion.alignment.prior_training import (
    Augmentation,
    PriorTraining,
    reconstruction_error,
    train_prior,
)
from ram_avatar.motion.formats.writing import write_motion
from ram_avatar.motion.pose_features import PoseFeatures
from ram_avatar.synthetic.improvisation import improvised
from ram_avatar.synthetic.performances import perform, performance


class Notes(Silent):
    def __init__(self):
        self.notes = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def features(template):
    return PoseFeatures(template)


@pytest.fixture(scope="module")
def motions(template, tmp_path_factory) -> Path:
    """A folder with a motion, a .zip with a .bvh file and another file, and a broken file."""
    folder = tmp_path_factory.mktemp("motions")
    (folder / "deep").mkdir()
    motion = perform(improvised(5), template, 200, 25.0, seed=5)
    motion.save(folder / "deep" / "a.npz")
    write_motion(folder / "b.bvh", motion[:120], template)
    with zipfile.ZipFile(folder / "c.zip", "w") as archive:
        archive.write(folder / "b.bvh", "../somewhere/b.bvh")
        archive.writestr("readme.txt", "not a motion")
    (folder / "b.bvh").unlink()
    (folder / "d.bvh").write_text("HIERARCHY\nnothing")
    return folder


def test_sources_are_found_in_files_folders_and_archives(motions):
    assert [str(s).removeprefix(f"{motions}/") for s in find_sources([motions])] == [
        "c.zip/../somewhere/b.bvh",
        "d.bvh",
        "deep/a.npz",
    ]
    with pytest.raises(UserError, match="no such file"):
        find_sources([motions / "absent"])
    with pytest.raises(UserError, match="no motion files there"):
        find_sources([Path(__file__).parent])


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_poses_are_collected_on_disk_without_broken_files(motions, features, template, workers):
    kept, held_out, notes = PoseCollection(features.width), PoseCollection(features.width), Notes()
    assert collect_poses(find_sources([motions]), kept, held_out, 0.25, notes, workers) == 2
    assert (len(kept), len(held_out)) == (90 + 150, 30 + 50)
    assert len(notes.notes) == 1 and "d.bvh" in notes.notes[0]
    own = perform(improvised(5), template, 200, 25.0, seed=5)
    expected = features.of(own.root_rotation.double().numpy(), own.pose.double().numpy())
    assert np.allclose(kept.array()[90:], expected[:150], atol=1e-5)
    assert np.allclose(held_out.array()[30:], expected[150:], atol=1e-5)
    assert isinstance(kept.array(), np.memmap)
    with pytest.raises(UserError, match="none of 1 motion files can be read"):
        collect_poses(find_sources([motions / "d.bvh"]), kept, held_out, 0.25, Silent())


@pytest.mark.parametrize(
    ("where", "field", "value", "cause"),
    [
        (b"PK\x01\x02", 8, 1, "bad.bvh is encrypted"),
        (b"PK\x01\x02", 10, 12, "bad.bvh is compressed in a way that is not read"),
        (b"PK\x03\x04", 60, 0xFF, "bad.bvh is damaged"),
        (b"PK\x01\x02", 27, 0x40, "bad.bvh is larger than 8 MB"),
    ],
)
def test_a_bad_entry_of_an_archive_is_named_and_left_out(
    motions, features, template, tmp_path, where, field, value, cause
):
    """Changes of one byte: of flags, compression and size in the directory, and of the packed text."""
    write_motion(tmp_path / "b.bvh", perform(improvised(5), template, 40, 25.0, seed=5), template)
    with zipfile.ZipFile(tmp_path / "c.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "b.bvh", "bad.bvh")
        archive.write(tmp_path / "b.bvh", "x" * 300 + "/good.bvh")
        archive.writestr("\x1b[2J.bvh", "HIERARCHY\nnothing")
    content = bytearray((tmp_path / "c.zip").read_bytes())
    content[content.index(where) + field] = value
    (tmp_path / "c.zip").write_bytes(content)
    (tmp_path / "b.bvh").unlink()
    (tmp_path / "d.zip").write_bytes(content[:500])
    kept, held_out, notes = PoseCollection(features.width), PoseCollection(features.width), Notes()
    assert collect_poses(find_sources([tmp_path]), kept, held_out, 0.25, notes, 1) == 1
    assert len(kept) + len(held_out) == 40
    told = "\n".join(notes.notes)
    assert f"c.zip: {cause}" in told and "d.zip: not a .zip archive, or damaged" in told
    assert "c.zip/?[2J.bvh: " in told and "tmp" not in told.replace(str(tmp_path), "") and len(notes.notes) == 3


def test_augmentation_exchanges_whole_limbs(features):
    """Each limb is some pose's limb of that batch, or its mirror image; the encoder's input has noise."""
    generator = torch.Generator().manual_seed(0)
    poses = torch.randn(40, features.width, generator=generator).round(decimals=3)
    augment = Augmentation(features, PriorTraining(exchange=0.5, noise=0.1), generator)
    assert sorted(int(i) for group in augment.groups for i in group) == list(range(features.width))
    seen, wanted = augment(poses)
    mirrored = poses[:, features.mirror] * torch.from_numpy(features.mirror_signs).float()
    for group in augment.groups:
        assert _are_among(wanted[:, group], torch.cat([poses, mirrored])[:, group]).all()
    kept = _are_among(wanted, torch.cat([poses, mirrored]))
    assert kept.float().mean() < 0.5  # most are new
    assert 0.09 < (seen - wanted).std() < 0.11
    _, plain = Augmentation(features, PriorTraining(exchange=0.0), generator)(poses)
    assert 0.2 < (plain - poses).abs().amax(1).gt(1e-6).float().mean() < 0.8  # about half are mirrored


def _are_among(rows: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    return (rows[:, None] == others[None]).all(-1).any(1)


def test_divergence_agrees_with_torch():
    """Compared with torch's own."""
    from torch.distributions import Normal, kl_divergence

    mean, log_variance = torch.randn(7, 4), torch.randn(7, 4)
    slow = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0)).sum(1).mean()
    assert torch.allclose(divergence(mean, log_variance), slow)


def test_training_reconstructs_poses_and_is_reproducible(features, template):
    motion = perform(improvised(6), template, 600, 25.0, seed=6)
    poses = features.of(motion.root_rotation.double().numpy(), motion.pose.double().numpy()).astype(np.float32)
    few, _ = train_prior(poses, features, PriorTraining(epochs=1, batch_size=64), Silent())
    more, told = train_prior(poses, features, PriorTraining(epochs=8, batch_size=64), Silent())
    again, _ = train_prior(poses, features, PriorTraining(epochs=8, batch_size=64), Silent())
    assert reconstruction_error(more, poses) < 0.7 * reconstruction_error(few, poses)
    for a, b in zip(more.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert told["divergence"] > 0 and not more.training


def test_the_command_writes_a_prior_with_its_card(motions, template, features, tmp_path):
    out = tmp_path / "prior.safetensors"
    prior_command([motions, out], epochs=1, licence="mine")
    _, card = load_prior(out, template.name, features.names)
    assert card["files"] == 2 and card["poses"] + card["held_out_poses"] == 320
    assert card["licence"] == "mine" and card["training"]["epochs"] == 1 and card["held_out_error_degrees"] > 0
    with pytest.raises(UserError, match="exists"):
        prior_command([motions, out])
    with pytest.raises(UserError, match="at least one motion"):
        prior_command([motions])
    with pytest.raises(UserError, match="at least 256"):
        prior_command([motions / "c.zip", tmp_path / "few.safetensors"])
    assert [p.name for p in tmp_path.iterdir()] == [out.name]


def test_the_shipped_prior_generalizes(template, features):
    """The demo's performances are not in its training set. Its licence allows any use."""
    prior, card = load_prior(None, template.name, features.names)
    assert SHIPPED.stat().st_size < 5_000_000
    assert card["licence"].startswith("Free for all uses") and card["training"]["epochs"] == 50
    assert "make_motion_prior.py" in card["command"] and not any("bandai" in m.lower() for m in card["motions"])
    motion = performance("training", template, 200, 10.0)
    poses = features.of(motion.root_rotation.double().numpy(), motion.pose.double().numpy()).astype(np.float32)
    assert reconstruction_error(prior, poses) < 2.5


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"kind": "avatar's motion prior"}, "not a motion prior"),
        ({"format_version": "0"}, "format 0"),
        ({"facts": json.dumps({"template": "smplx", "joints": []})}, "template 'smplx'"),
        ({"facts": json.dumps({"template": "anny-0.6", "joints": ["root"]})}, "other joints"),
        ({"facts": "[" * 100_000}, "nested too deeply"),
        ({"tensor": "encoder.layers.1.weight"}, "encoder.layers.1.weight is missing"),
        ({"tensor": "encoder.layers.2.bias"}, "encoder.layers.2.bias is missing"),
    ],
)
def test_untrusted_priors_are_refused(template, features, tmp_path, change, cause):
    with safe_open(SHIPPED, "pt") as file:
        described = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys() if name != change.get("tensor")}  # noqa: SIM118
    path = tmp_path / "prior.safetensors"
    save_file(tensors, path, described | {k: v for k, v in change.items() if k != "tensor"})
    with pytest.raises(UserError, match=cause):
        load_prior(path, template.name, features.names)
    with pytest.raises(UserError, match="no such file"):
        load_prior(tmp_path / "absent", template.name, features.names)
