from copy import copy
from dataclasses import replace

import pytest
import torch
from lightning_fabric import Fabric

from ram_avatar.capture.dataset import CaptureDataset
from ram_avatar.core.progress import Silent
from ram_avatar.training.first_avatar import first_avatar
from ram_avatar.training.pose_augmentation import PoseAugmentation, _poses
from ram_avatar.training.trainer import Trainer

SIZE = 128


@pytest.fixture(scope="module")
def made(capture, template, tiny):
    avatar = first_avatar(capture, template, tiny, Silent())
    filmed = avatar.filmed[list(capture.train_frames).index(3) :][:10]  # else every pose would be near a filmed one
    data = CaptureDataset(capture, template, avatar.texture, SIZE, torch.device("cpu"), Silent(), filmed)
    return data, PoseAugmentation(data, 0)


def differs(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return ((a - b).abs() > 1e-5).any(1, keepdim=True)


def test_a_limb_moves_and_the_rest_stays(made):
    data, augment = made
    for step in range(4):
        batch = data.batch(torch.tensor([5 + step]), neighbors=False)
        moved = augment(batch, batch.index.tolist(), step)
        before, after = batch.maps.position, moved.maps.position
        assert 0.005 < differs(before, after).float().mean() < 0.3  # limbs
        # An image changes only about where the maps do: where the limb was, and where it is.
        near = torch.nn.functional.max_pool2d(differs(before, after).float(), 21, 1, 10) > 0
        assert not (differs(batch.image, moved.image) & ~near).any()
        assert not (differs(batch.mask, moved.mask) & ~near).any()
        assert torch.equal(batch.plate, moved.plate) and torch.equal(batch.index, moved.index)


def test_a_moved_limb_shows_the_surface_and_what_it_left_the_plate(made):
    data, augment = made
    batch = data.batch(torch.tensor([8]), neighbors=False)
    moved = augment(batch, batch.index.tolist(), 1)
    before, after = batch.maps.mask > 0.5, moved.maps.mask > 0.5
    inner = lambda region: -torch.nn.functional.max_pool2d(-region.float(), 3, 1, 1) > 0
    arrived, left = inner(after & ~before), inner(before & ~after)
    assert arrived.sum() > 20 and left.sum() > 20
    error = lambda image, truth, region: ((image - truth).abs().mean(1, keepdim=True))[region].mean()
    assert error(moved.image, moved.maps.color, arrived) < 1e-3 and (moved.mask[arrived] > 0.999).all()
    assert error(moved.image, batch.plate, left) < 1e-3 and (moved.mask[left] == 0).all()


def test_draws_depend_on_step_and_frame_alone(made):
    """So a batch may be split over processes, and an interrupted run resumes exactly."""
    data, augment = made
    batch = data.batch(torch.tensor([3, 9]), neighbors=False)
    first, other = augment(batch, batch.index.tolist(), 7), augment(batch, batch.index.tolist(), 8)
    alone = augment(data.batch(torch.tensor([9]), neighbors=False), [9], 7)
    assert torch.equal(first.image[1:], alone.image) and torch.equal(first.maps.position[1:], alone.maps.position)
    assert not torch.equal(first.maps.position, other.maps.position)


def test_other_templates_take_over_the_poses_of_limbs(template, smplx):
    draw = lambda each: dict(
        zip(each.pose_roles, _poses(each, torch.Generator().manual_seed(0)).unbind(1), strict=True)
    )
    anny, other = draw(template), draw(smplx)
    for role in ("upper_arm.L", "forearm.R", "shin.L"):
        assert torch.equal(anny[role], other[role]) and other[role].norm(dim=1).mean() > 0.1


def test_moved_limbs_are_novel_and_count_as_far_as_they_are(made):
    data, augment = made
    for step in range(3):
        batch = data.batch(torch.tensor([6 + step]), neighbors=False)
        moved = augment(batch, batch.index.tolist(), step)
        novel = (moved.maps.novelty > 0.7).sum()
        assert not batch.maps.novelty.any() and novel > 50
        as_novel = (moved.inside - moved.maps.novelty).abs() < 1e-5
        assert ((moved.inside == batch.inside) | as_novel).all() and (as_novel & (moved.inside < 0.99)).any()


def test_legs_under_a_skirt_stay(made):
    data, augment = made
    thigh = data.mapper.template.pose_roles.index("thigh.L")
    moves = lambda augment: any(thigh in augment._choose(torch.Generator().manual_seed(n))[0] for n in range(30))
    skirted = copy(augment)
    skirted._moves_legs = False
    assert moves(augment) and not moves(skirted)


def test_boxes_follow_the_hands(made):
    data, augment = made
    batch = data.batch(torch.tensor([4]), neighbors=False)
    moved = [augment(batch, batch.index.tolist(), step).boxes[0] for step in range(6)]
    assert all(torch.allclose(boxes[0], batch.boxes[0, 0], atol=1e-2) for boxes in moved)  # the face
    assert any((boxes[1:] - batch.boxes[0, 1:]).abs().max() > 5 for boxes in moved)


def test_an_unknown_background_is_not_learned_from(made, monkeypatch):
    data, augment = made
    batch = data.batch(torch.tensor([8]), neighbors=False)
    monkeypatch.setattr(data.capture, "known_background", False)
    moved = augment(batch, batch.index.tolist(), 1)
    hidden = batch.inside - moved.inside > 0.5
    assert hidden.any() and not (hidden & (moved.maps.mask > 0.5) & (moved.maps.novelty > 0.9)).any()


def test_the_critic_sees_no_moved_limbs(capture, template, tiny, tmp_path):
    """They have no true neighbours in time."""
    training = replace(tiny.training, pose_augmentation=0.5, discriminator_start=0.0)
    preset = replace(tiny, training=training)
    avatar = first_avatar(capture, template, preset, Silent())
    data = CaptureDataset(capture, template, avatar.texture, 64, torch.device("cpu"), Silent(), avatar.filmed)
    trainer = Trainer(avatar, data, preset, tmp_path, Fabric(accelerator="cpu", devices=1))
    terms = []
    for _ in range(2):
        terms.append(trainer.train_step().keys())
        trainer.step += 1
    assert "adversarial" in terms[0] and "adversarial" not in terms[1] and "critic" not in terms[1]
