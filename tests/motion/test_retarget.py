import torch

from ram_avatar.motion.retarget import Placement, retarget


def _other(template, height: float) -> torch.Tensor:
    identity = template.default_identity()
    identity[template.identity_names.index("height")] = height
    return identity


def test_a_motion_on_its_own_body_stays_as_it_is(template, random_motion):
    motion = random_motion(12)
    place = Placement.of(motion, template, template.default_identity())
    driven = retarget(motion, place, place)
    assert torch.allclose(driven.root_translation, motion.root_translation, atol=1e-6)
    assert torch.equal(driven.pose, motion.pose)


def test_a_taller_driver_stands_on_the_shorter_ones_floor(template, random_motion):
    """The soles of the avatar are where its own floor is, whatever the driver's size and place."""
    tall, short = _other(template, 0.9), _other(template, 0.2)
    driver = random_motion(20, seed=1, turn=0.02, distance=4.0)
    own = random_motion(20, seed=2, turn=0.02, distance=2.5)
    source, target = Placement.of(driver, template, tall), Placement.of(own, template, short)
    assert source.leg_length > 1.1 * target.leg_length
    driven = retarget(driver, source, target)
    soles = template.body(short).pose(*driven.parameters()).vertices[..., 2].amin(1)
    own_soles = template.body(short).pose(*own.parameters()).vertices[..., 2].amin(1)
    assert abs(float(soles.median() - own_soles.median())) < 0.05
    middle = driven.root_translation.median(0).values
    assert abs(float(middle[1]) - 2.5) < 0.1


def test_steps_are_scaled_by_the_legs(random_motion):
    motion = random_motion(5)
    source = Placement(0.0, 3.0, -1.0, leg_length=0.8)
    target = Placement(1.0, 2.0, -0.5, leg_length=0.4)
    driven = retarget(motion, source, target)
    assert torch.allclose(driven.root_translation.diff(dim=0), motion.root_translation.diff(dim=0) * 0.5, atol=1e-6)


def test_the_place_can_be_kept(random_motion):
    motion, place = random_motion(5), Placement(0.3, 2.0, -1.0, 0.8)
    driven = retarget(motion, Placement(0.0, 3.0, -1.0, 0.8), place, keep_place=True)
    assert torch.allclose(driven.root_translation[:, :2], torch.tensor([[0.3, 2.0]]).expand(5, -1))
    assert driven.root_translation[:, 2].std() > 0
