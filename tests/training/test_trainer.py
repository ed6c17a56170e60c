import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ram_avatar.avatar import Avatar
from ram_avatar.capture.capture import Capture
from ram_avatar.capture.dataset import CaptureDataset
from ram_avatar.core.errors import UserError
from ram_avatar.core.progress import Silent
from ram_avatar.creation.options import TrainOptions
from ram_avatar.creation.train import train
from ram_avatar.motion.alignment.aligner import ALIGNMENT_FILE, Alignment, Score
from ram_avatar.motion.alignment.posture import Posture
from ram_avatar.motion.pose_features import PoseFeatures
from ram_avatar.networks.opacity import soft_outline
from ram_avatar.training.first_avatar import first_avatar
from ram_avatar.training.launch import launched
from ram_avatar.training.trainer import CHECKPOINT_FILE, Trainer


@pytest.fixture()
def trainer(capture, template, tiny, tmp_path):
    def make(preset=tiny, folder=tmp_path, filmed=slice(None)):
        torch.manual_seed(0)
        fabric = Fabric(accelerator="cpu", devices=1)
        avatar = first_avatar(capture, template, preset, Silent())
        size, filmed = preset.network.image_size, avatar.filmed[filmed]
        data = CaptureDataset(capture, template, avatar.texture, size, fabric.device, Silent(), filmed)
        return Trainer(avatar, data, preset, folder, fabric)

    return make


def test_every_parameter_trains(trainer, tiny):
    """With every phase on, a few steps change each parameter of each module."""
    training = replace(tiny.training, attention_start=0.0, texture_frozen=0.0, discriminator_start=0.0, warmup_steps=1)
    made = trainer(replace(tiny, training=training))
    before = {name: p.detach().clone() for name, p in _parameters(made)}
    for _ in range(3):  # gains that start at zero block the layers behind them for a step
        made.train_step()
        made.step += 1
    # The output starts at zero, so the first step reaches nothing behind it.
    seen = {int(i) for step in (1, 2) for i in _frames(made, step)}
    for name, parameter in _parameters(made):
        changed = parameter != before[name]
        if "styles.codes" in name:  # a style code trains with its frame
            assert {i for i in range(len(changed)) if changed[i].any()} == seen
        elif "enter.novelty" not in name:  # in filmed frames no limb is novel
            assert changed.any(), name


def test_novelty_trains_with_moved_limbs(trainer, tiny):
    moves = replace(tiny.training, pose_augmentation=1.0, warmup_steps=1)
    made = trainer(replace(tiny, training=moves), filmed=slice(3))
    weight = made.network.style_unet.enter["novelty"].weight
    before = weight.detach().clone()
    for _ in range(3):
        made.train_step()
        made.step += 1
    assert (weight != before).all()


def test_phases_freeze_the_right_modules(trainer, tiny):
    training = replace(tiny.training, steps=10, attention_start=0.5, texture_frozen=0.3, discriminator_start=0.9)
    made = trainer(replace(tiny, training=training))
    for step, still in ((0, ("network.dual_attention", "critic.")), (8, ("network.neural_texture", "critic."))):
        made.step = step
        before = {name: p.detach().clone() for name, p in _parameters(made)}
        made.train_step()
        for name, parameter in _parameters(made):
            if name.startswith(still):
                assert torch.equal(parameter, before[name]), name
        assert any(not torch.equal(p, before[name]) for name, p in _parameters(made))


def test_training_lowers_the_loss(trainer, tiny):
    training = replace(tiny.training, steps=48, discriminator_start=1.0, warmup_steps=2)
    made = trainer(replace(tiny, training=training))
    losses = []
    for _ in range(48):
        losses.append(float(sum(made.train_step().values())))
        made.step += 1
    assert sum(losses[-12:]) < 0.93 * sum(losses[:12])


def test_an_interrupted_run_resumes_bit_for_bit(trainer, tmp_path):
    """Six steps at once give the same weights as three, a kill, and three more from the checkpoint."""
    whole = trainer(folder=_made(tmp_path / "whole"))
    whole.run(Silent())
    first = trainer(folder=_made(tmp_path / "parts"))
    for _ in range(3):
        first.train_step()
        first.step += 1
    first.save()
    second = trainer(folder=tmp_path / "parts")
    for parameter in second.network.parameters():
        parameter.data.zero_()  # its initial weights must not matter
    assert second.resume() and second.step == 3
    second.run(Silent())
    for (name, a), (_, b) in zip(_parameters(whole), _parameters(second), strict=True):
        assert torch.equal(a, b), name


def test_two_processes_take_the_steps_of_one(capture, tiny, tmp_path):
    """The same seed gives the same losses and weights, within rounding, when two processes share the batch."""
    preset = replace(tiny, training=replace(tiny.training, discriminator_start=1.0))
    avatar = train(capture, tmp_path / "a", TrainOptions(preset=preset, instant=True, accelerator="cpu"))
    results = {}
    for devices in (1, 2):
        arguments = (tmp_path / "a", capture.folder, preset)
        with launched(torch.device("cpu"), devices, "32-true", _three_steps, *arguments) as fabric:
            assert fabric.world_size == devices
            results[devices] = _three_steps(fabric, *arguments)
    assert np.allclose(results[1][0], results[2][0], rtol=1e-4)
    assert torch.allclose(results[1][1], results[2][1], atol=2e-3)
    start = torch.cat([p.flatten() for p in avatar.network.parameters()])
    assert (results[1][1] - start).abs().max() > 1e-3  # the weights changed


def _three_steps(fabric, folder, capture, preset):
    avatar, capture = Avatar.load(folder), Capture.load(capture)
    data = CaptureDataset(capture, avatar.template, avatar.texture, 64, fabric.device, Silent())
    trainer, losses = Trainer(avatar, data, preset, folder, fabric), []
    for trainer.step in range(3):
        losses.append(float(sum(trainer.train_step().values())))
    return losses, torch.cat([p.detach().flatten() for p in avatar.network.parameters()])


def test_a_batch_that_cannot_be_shared_is_refused(capture, tiny, tmp_path):
    odd = replace(tiny, training=replace(tiny.training, batch_size=3))
    with pytest.raises(UserError, match="divisible"):
        train(capture, tmp_path / "a", TrainOptions(preset=odd, devices=2, accelerator="cpu"))
    assert not (tmp_path / "a").exists()


def test_a_checkpoint_of_another_run_is_refused(trainer, tiny, tmp_path):
    trainer(folder=tmp_path).save()
    other = trainer(replace(tiny, training=replace(tiny.training, learning_rate=5e-4)))
    with pytest.raises(UserError, match="another preset or capture"):
        other.resume()
    (tmp_path / CHECKPOINT_FILE).write_bytes(b"cut short")
    with pytest.raises(UserError, match=CHECKPOINT_FILE):
        other.resume()


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda tensors, facts: facts.update(step="many"), "step: expected a number"),
        (lambda tensors, facts: facts.update(step=99), "step: expected 0 to 12"),
        (lambda tensors, facts: facts.pop("run"), "run is missing"),
        (lambda tensors, facts: tensors.pop("module.network.styles.codes"), "styles.codes is missing"),
        (lambda tensors, facts: tensors.pop("optimizer.network.0.exp_avg"), "an optimizer's state is incomplete"),
        (lambda tensors, facts: tensors.update({"optimizer.network.0.exp_avg": torch.zeros(2)}), "exp_avg must be"),
        (lambda tensors, facts: tensors.update({"optimizer.network.9999.step": torch.zeros(())}), "is unknown"),
    ],
)
def test_a_damaged_checkpoint_is_refused(trainer, tmp_path, spoil, cause):
    made = trainer(folder=tmp_path)
    made.train_step()
    made.save()
    path = tmp_path / CHECKPOINT_FILE
    with safe_open(path, "pt") as file:
        facts = json.loads(file.metadata()["facts"])
    tensors = load_file(path)
    spoil(tensors, facts)
    save_file(tensors, path, {"facts": json.dumps(facts)})
    with pytest.raises(UserError, match=rf"checkpoint\.safetensors: damaged.*{cause}"):
        made.resume()


def test_a_trained_avatar_is_complete(avatar_folder, tiny):
    metrics = json.loads((avatar_folder / "metrics.json").read_text())
    assert metrics["frames"] == 6
    for name in ("psnr", "psnr_person", "ssim", "st_lpips_person"):
        for figures in (metrics, metrics["nearest_frame"], metrics["textured_mesh"]):
            assert figures[name] > 0
    names = {path.name for path in avatar_folder.iterdir()}
    assert {"avatar.json", "weights.safetensors", "background.png", "preview.mp4", "README.md", "curves"} <= names
    assert ALIGNMENT_FILE in names
    assert CHECKPOINT_FILE not in names
    card = (avatar_folder / "README.md").read_text()
    assert "consent" in card and f"{metrics['psnr']:.2f}" in card
    avatar = Avatar.load(avatar_folder)
    assert avatar.training["step"] == tiny.training.steps
    assert avatar.network.styles.style_trained.sum() == 24  # the training frames only


def test_the_alignment_is_fitted_to_the_training_frames(avatar_folder, capture, template):
    """The last fifth is held out; at most one of its frames may count as out of distribution."""
    known = Alignment.load(avatar_folder / ALIGNMENT_FILE, template)
    assert (known.card["frames"], known.card["held_out_frames"]) == (24, len(capture) - 24)
    features = PoseFeatures(template)
    root, pose = (t.double().numpy() for t in (capture.motion.root_rotation, capture.motion.pose))
    score = Score(known, Posture(template, features))(features.rotations(root, pose))
    assert (score[:24] < 0.05).all() and (score[24:] > 1).sum() <= 1


def test_a_missing_alignment_is_added_alone(avatar_folder, capture, tiny, tmp_path):
    """Training a finished avatar without an alignment adds it and changes nothing else."""
    folder = tmp_path / "a"
    shutil.copytree(avatar_folder, folder)
    (folder / ALIGNMENT_FILE).unlink()
    weights = (folder / "weights.safetensors").read_bytes()
    made = train(capture, folder, TrainOptions(preset=tiny, accelerator="cpu"))
    assert made.alignment and Avatar.load(folder).alignment
    before, again = (load_file(each / ALIGNMENT_FILE) for each in (avatar_folder, folder))
    assert before.keys() == again.keys() and all(torch.equal(before[name], again[name]) for name in before)
    assert (folder / "weights.safetensors").read_bytes() == weights
    (folder / ALIGNMENT_FILE).unlink()
    with pytest.raises(UserError, match="learned from"):
        train(Capture(**{**vars(capture), "source": "other.mp4"}), folder, TrainOptions(preset=tiny, accelerator="cpu"))


def test_instant_stops_at_the_textured_mesh(capture, tiny, tmp_path):
    """An untrained network draws the surface colours over the plate."""
    avatar = train(capture, tmp_path / "a", TrainOptions(preset=tiny, instant=True, accelerator="cpu"))
    assert not (tmp_path / "a" / "metrics.json").exists() and (tmp_path / "a" / "preview.mp4").is_file()
    assert Avatar.load(tmp_path / "a").training["step"] == 0
    data = CaptureDataset(capture, avatar.template, avatar.texture, 64, torch.device("cpu"), Silent())
    maps = data.maps(torch.tensor([3]))
    covered, edge = maps.position[:, 3:], (maps.position[:, 3:] != soft_outline(maps.position[:, 3:])).float()
    with torch.no_grad():
        plate = data.plates(torch.tensor([3]))
        drawn = avatar.network.eval()(maps).over(plate)
    mesh = maps.color * covered + plate * (1 - covered)
    assert ((drawn - mesh) * (1 - edge)).abs().max() < 0.05 and edge.mean() < 0.2
    trained = train(capture, tmp_path / "a", TrainOptions(preset=tiny, accelerator="cpu"))  # resumes from there
    assert trained.training["step"] == tiny.training.steps
    weights = load_file(tmp_path / "a" / "weights.safetensors")
    assert any("style_unet" in name for name in weights)


def test_a_run_killed_after_its_last_step_is_finished(capture, tiny, tmp_path, monkeypatch):
    """The same call does the rest: evaluation, preview and card."""
    preset = replace(tiny, training=replace(tiny.training, steps=2))

    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sys.modules[train.__module__], "judge", killed)
        with pytest.raises(KeyboardInterrupt):
            train(capture, tmp_path / "a", TrainOptions(preset=preset, accelerator="cpu"))
    before = (tmp_path / "a" / "weights.safetensors").read_bytes()
    assert not (tmp_path / "a" / "metrics.json").exists()
    train(capture, tmp_path / "a", TrainOptions(preset=preset, accelerator="cpu"))
    assert (tmp_path / "a" / "metrics.json").is_file() and not (tmp_path / "a" / "checkpoint.safetensors").exists()
    assert (tmp_path / "a" / "weights.safetensors").read_bytes() == before
    with pytest.raises(UserError, match="trained to its end"):
        train(capture, tmp_path / "a", TrainOptions(preset=preset, accelerator="cpu"))


def test_a_finished_avatar_is_not_trained_again(capture, tiny, avatar_folder):
    with pytest.raises(UserError, match="trained to its end"):
        train(capture, avatar_folder, TrainOptions(preset=tiny))
    with pytest.raises(UserError, match="preset 'tiny'"):
        train(capture, avatar_folder, TrainOptions(preset=replace(tiny, name="other")))


def _parameters(trainer: Trainer):
    for module, owner in trainer.modules.items():
        for name, parameter in owner.named_parameters():
            yield f"{module}.{name}", parameter


def _frames(trainer: Trainer, step: int):
    from ram_avatar.training.schedule import frames_of_step

    return frames_of_step(step, trainer.data.capture.train_frames, trainer.config)


def _made(folder):
    folder.mkdir()
    return folder
