import pytest
import torch

from ram_avatar.body.template import HAND_ROLES, MAX_CLOTHING, OPTIONAL_ROLES, ROLES


def test_every_pose_joint_has_a_known_role(template):
    assert set(ROLES) - set(template.roles) <= set(OPTIONAL_ROLES) and set(OPTIONAL_ROLES) < set(ROLES)
    assert len(set(template.pose_roles)) == len(template.pose_joints)
    assert set(template.roles.values()) <= set(template.joint_names)
    assert template.joint_of("hips") == 0


def test_roles_lie_where_their_names_say(template):
    at = template.body(template.default_identity()).at_reference().joints[0, :, :3, 3]
    place = lambda role: at[template.joint_of(role)]
    upward = ("foot.L", "shin.L", "thigh.L", "spine2", "spine3", "neck1", "head", "eye.L")
    assert [float(place(role)[2]) for role in upward] == sorted(float(place(role)[2]) for role in upward)
    for role in ("upper_arm", "forearm", "hand", "thigh", "toes", "eye", "little1"):
        assert place(f"{role}.L")[0] > 0.02 and place(f"{role}.R")[0] < -0.02
    assert place("toes.L")[1] < place("foot.L")[1] - 0.05  # in front
    for finger in ("thumb", "index", "middle", "ring", "little"):
        reach = [(place(f"{finger}{k}.R") - place("hand.R")).norm() for k in (1, 2, 3)]
        assert reach == sorted(reach)


def test_joints_of_prefixes(template):
    hand = template.joints_of(*HAND_ROLES, side="L")
    assert len(hand) == 16 and all(template.joint_names[joint].endswith(".L") for joint in hand)
    assert template.joints_of("eye") == [template.joint_of("eye.L"), template.joint_of("eye.R")]
    assert len(template.joints_of("thigh", "thumb")) == 2 * 2 + 2 * 3


def test_weights_of_roles_divide_the_surface(template):
    """A joint without a role counts for the one above: toes for the foot, and nothing is left over."""
    every = sum(template.role_weight(role) for role in ("hips", "spine", "neck", "head", "eye", "clavicle"))
    every = every + template.role_weight("upper_arm", "forearm", *HAND_ROLES, "thigh", "shin", "foot", "toes")
    assert torch.allclose(every, torch.ones(len(every)), atol=1e-4)
    toe = template.skin_weights[:, template.joint("toe1-2.L")]
    assert (template.role_weight("foot.L") >= toe - 1e-6).all() and toe.max() > 0.5


def test_the_unconstrained_parameterization_stays_within_limits_and_inverts(template):
    limits, default = template.identity_range, template.default_identity()
    free = 1.5 * torch.randn(len(default), generator=torch.Generator().manual_seed(0))
    identity = limits.to_identity(free)
    assert (identity >= limits.low).all() and (identity <= limits.high).all()
    assert torch.allclose(limits.to_free(identity), free, atol=2e-2)
    assert torch.allclose(limits.to_identity(limits.to_free(default)), default, atol=1e-6)
    step = limits.to_identity(torch.full_like(free, 1e-3)) - limits.to_identity(torch.zeros_like(free))
    assert torch.allclose(step, 1e-3 * limits.pace, rtol=1e-2)
    assert torch.isfinite(limits.to_free(limits.high, 1e-3)).all()


def test_the_default_identity_costs_nothing(template):
    default = template.default_identity()
    assert template.identity_cost(default).abs() < 1e-6
    unusual = template.identity_range.to_identity(torch.ones_like(default)).requires_grad_()
    cost = template.identity_cost(unusual)
    cost.backward()
    assert cost > 0.1 and (unusual.grad != 0).all()


@pytest.mark.parametrize("name", ["template", "smplx"])
def test_clothing_moves_the_surface_and_no_joint(name, request):
    template = request.getfixturevalue(name)
    identity = template.default_identity()
    clothing = torch.zeros(len(template.skin_weights), 3)
    clothing[::2, 1] = -0.05
    bare, dressed = (each.body(identity).at_reference() for each in (template, template.dressed(clothing)))
    moved = (dressed.vertices - bare.vertices)[0].norm(dim=1)
    assert torch.equal(dressed.joints, bare.joints) and torch.equal(dressed.turns, bare.turns)
    assert moved[1::2].max() < 1e-5 and moved[::2].mean() > 0.04 and moved.max() < 0.0501


def test_clothing_is_bounded(template):
    good = torch.zeros(len(template.skin_weights), 3)
    for clothing in (None, good, good + MAX_CLOTHING / 2):
        template.check_clothing(clothing)
    for clothing in (good[1:], good[:, :2], good + MAX_CLOTHING, good * torch.nan):
        with pytest.raises(ValueError, match="clothing: expected"):
            template.check_clothing(clothing)
