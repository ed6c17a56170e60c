from itertools import pairwise

import pytest
import torch

from ram_avatar.config import TrainingConfig
from ram_avatar.training.schedule import (
    adversarial_weight,
    attention_on,
    augments,
    discriminator_on,
    frames_of_step,
    learning_rate_factor,
    texture_trains,
)

PAPER = TrainingConfig()


def test_the_phases_of_the_paper():
    """Of 150,000 steps the first 10,000 have no dual attention, and the last 20,000 a frozen texture."""
    assert PAPER.steps == 150_000
    assert not attention_on(9_999, PAPER) and attention_on(10_000, PAPER)
    assert texture_trains(129_999, PAPER) and not texture_trains(130_000, PAPER)


def test_the_learning_rate_is_a_cosine_to_zero():
    assert learning_rate_factor(75_000, PAPER) == pytest.approx(0.5)
    assert learning_rate_factor(150_000, PAPER) == pytest.approx(0)
    assert learning_rate_factor(100, PAPER) == pytest.approx(1, abs=1e-4)
    assert learning_rate_factor(0, PAPER) < 0.05  # warming up


def test_the_adversarial_weight_grows_by_a_tenth_every_2000_steps_up_to_a_limit():
    start = adversarial_weight(0, PAPER)
    assert adversarial_weight(2_000, PAPER) == pytest.approx(1.1 * start)
    assert start == 1e-3 and adversarial_weight(149_999, PAPER) == pytest.approx(0.02)


def test_the_discriminator_may_start_late_or_never():
    late = TrainingConfig(steps=100, discriminator_start=0.5)
    assert not discriminator_on(49, late) and discriminator_on(50, late)
    assert not discriminator_on(99, TrainingConfig(steps=100, adversarial_weight=0))


def test_every_frame_comes_once_an_epoch_in_a_new_order_each_time():
    config = TrainingConfig(batch_size=2, seed=3)
    first = torch.cat([frames_of_step(step, range(10), config) for step in range(5)])
    second = torch.cat([frames_of_step(step, range(10), config) for step in range(5, 10)])
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(10))
    assert first.tolist() != second.tolist()
    assert torch.equal(frames_of_step(7, range(10), config), frames_of_step(7, range(10), config))
    other = torch.cat([frames_of_step(step, range(10), TrainingConfig(batch_size=2, seed=4)) for step in range(5)])
    assert first.tolist() != other.tolist()


def test_augmented_steps_are_spread_evenly():
    steps = [augments(step, TrainingConfig(steps=100, pose_augmentation=0.3)) for step in range(100)]
    assert sum(steps) in (29, 30) and not any(a and b for a, b in pairwise(steps))
    assert not any(augments(step, TrainingConfig()) for step in range(100))
