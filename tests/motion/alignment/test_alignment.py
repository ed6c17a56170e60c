import copy
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from scipy.spatial.transform import Rotation, Slerp
from torch import nn

from ram_avatar.body.kinematics import Kinematics
from ram_avatar.body.template import SIDES
from ram_avatar.core.errors import UserError
from ram_avatar.core.progress import Silent
from ram_avatar.motion.alignment.aligner import (
    HISTORY,
    MAX_TURN,
    Aligner,
    Alignment,
    Score,
    between,
    limited,
)
from ram_avatar.motion.alignment.fitting import AlignmentTraining, fit_alignment, latents_of
from ram_avatar.motion.alignment.networks import PoseDecoder, PoseEncoder, PriorConfig
from ram_avatar.motion.alignment.posture import Posture
from ram_avatar.motion.alignment.prior_file import load_prior
from ram_avatar.motion.motion import Motion
from ram_avatar.motion.pose_features import (
    PoseFeatures,
    angles_between,
    split_heading,
    to_features,
    to_rotations,
)
from ram_avatar.motion.retargeting.retarget import Person, retarget
from ram_avatar.motion.retargeting.turn_limit import TurnLimit
from ram_avatar.synthetic.improvisation import improvised
from ram_avatar.synthetic.performances import perform, performance, performer_identity

SPLIT, FRAMES = 240, 300


@pytest.fixture(scope="module")
def own(template) -> Motion:
    return performance("training", template, FRAMES, 25.0)


@pytest.fixture(scope="module")
def prior(template):
    return load_prior(None, template.name, PoseFeatures(template).names)[0]


@pytest.fixture(scope="module")
def alignment(own, template, prior) -> Alignment:
    return fit_alignment(own[:SPLIT], own[SPLIT:], template, prior, Silent(), AlignmentTraining(epochs=30))


@pytest.fixture(scope="module")
def stranger(template) -> Motion:
    """Motion unlike any of the avatar's own: wide steps, lifted legs, deep bows."""
    return perform(improvised(77), template, 150, 25.0, seed=77)


@pytest.fixture(scope="module")
def scores(alignment, template):
    features = PoseFeatures(template)
    score = Score(alignment, Posture(template, features))
    return lambda motion: score(features.rotations(*_arrays(motion)))


def _arrays(motion: Motion):
    return motion.root_rotation.double().numpy(), motion.pose.double().numpy()


def _features(motion: Motion, template) -> np.ndarray:
    return PoseFeatures(template).of(*_arrays(motion))


def _aligned(alignment, template, motion: Motion, **options) -> Motion:
    aligner = Aligner(alignment, template, motion.fps, **options)
    return Motion.of_frames(motion.template, motion.fps, map(aligner, motion.frames()))


# The paper's structure ------------------------------------------------------------------------------------------


def test_the_networks_match_the_paper(prior, alignment):
    """Supplement, section 2: an encoder of three fully connected layers between two batch normalizations, decoders of
    two; decoder B takes the latent and the previous four poses."""
    kinds = [type(m) for m in prior.encoder.modules() if isinstance(m, nn.Linear | nn.BatchNorm1d)]
    assert kinds.count(nn.Linear) == 3 and kinds.count(nn.BatchNorm1d) == 2
    order = []
    for module in prior.encoder.modules():
        if isinstance(module, nn.Linear | nn.BatchNorm1d):
            module.register_forward_hook(lambda m, *_: order.append(type(m)))
    prior.encoder(torch.randn(3, prior.config.width))
    assert order == [nn.BatchNorm1d, nn.Linear, nn.Linear, nn.Linear, nn.BatchNorm1d]
    for decoder in (prior.decoder, alignment.decoder):
        assert [type(m) for m in decoder.modules() if isinstance(m, nn.Linear)] == [nn.Linear, nn.Linear]
    latent, width = prior.config.latent, prior.config.width
    assert prior.decoder.layers[0].in_features == latent
    assert HISTORY == 4 and alignment.decoder.layers[0].in_features == latent + 4 * width
    assert AlignmentTraining().epochs == 200


def test_the_encoder_is_frozen_while_decoder_b_trains(own, template, prior):
    before = {name: value.clone() for name, value in prior.state_dict().items()}
    made = fit_alignment(own[:40], own[40:60], template, prior, Silent(), AlignmentTraining(epochs=2))
    for name, value in prior.state_dict().items():  # including the statistics of batch normalization
        assert torch.equal(value, before[name]), name
    again = fit_alignment(own[:40], own[40:60], template, prior, Silent(), AlignmentTraining(epochs=2))
    for name, value in made.decoder.state_dict().items():
        assert torch.equal(value, again.decoder.state_dict()[name]), name


# Running --------------------------------------------------------------------------------------------------------


def test_numpy_agrees_with_torch(alignment, template, stranger):
    """Encoder and decoder B as modules, fed their own last four outputs, compared with the folded matrices."""
    features = _features(stranger[:40], template)
    aligner = Aligner(alignment, template, 25.0)
    got = np.stack([to_features(aligner.decode(pose)) for pose in features])
    before = torch.from_numpy(to_features(to_rotations(alignment.decoder.mean.double().numpy()))).float()
    before = before.repeat(1, HISTORY, 1)
    latents = latents_of(alignment.encoder, torch.from_numpy(features).float())
    for latent, found in zip(latents, got, strict=True):
        with torch.no_grad():
            decoded = alignment.decoder(latent[None], before)
        decoded = torch.from_numpy(to_features(to_rotations(decoded.double().numpy()))).float()
        before = torch.cat([before[:, 1:], decoded[:, None]], 1)
        assert np.abs(decoded[0].numpy() - found).max() < 2e-4


def test_alignment_is_causal(alignment, template, stranger):
    """The first frames do not depend on later ones; later frames depend on earlier ones."""
    whole = _aligned(alignment, template, stranger)
    half = _aligned(alignment, template, stranger[:60])
    assert torch.equal(whole.pose[:60], half.pose)
    late = _aligned(alignment, template, stranger[30:60])
    assert not torch.equal(late.pose[:5], whole.pose[30:35])


def test_alignment_changes_only_the_body(alignment, template, stranger):
    features = PoseFeatures(template)
    frame = stranger.frame(70)
    given = {name: value.copy() for name, value in vars(frame).items()}
    aligned = Aligner(alignment, template, 25.0)(frame)
    assert all(np.array_equal(getattr(frame, name), value) for name, value in given.items())
    others = [i for i in range(len(template.pose_joints)) if i not in features.joints]
    assert np.array_equal(aligned.pose[others], frame.pose[others])
    assert not np.allclose(aligned.pose[features.joints], frame.pose[features.joints], atol=0.05)
    for name in ("root_translation", "facial_actions", "confidence"):
        assert np.array_equal(getattr(aligned, name), getattr(frame, name))
    assert np.allclose(split_heading(aligned.root_rotation)[1], split_heading(frame.root_rotation)[1], atol=1e-9)


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_without_strength_nothing_changes(alignment, template, stranger, mode):
    aligned = _aligned(alignment, template, stranger, mode=mode, strength=0.0)
    assert torch.equal(aligned.pose, stranger.pose) and torch.equal(aligned.root_rotation, stranger.root_rotation)


def test_strength_is_a_fraction_of_the_way(alignment, template, stranger):
    given = _features(stranger, template)
    whole, half = (
        angles_between(_features(_aligned(alignment, template, stranger, mode="on", strength=s), template), given)
        for s in (1.0, 0.5)
    )
    assert abs(np.median(half[whole > 10] / whole[whole > 10]) - 0.5) < 0.03


def test_the_threshold_lets_nineteen_of_twenty_held_out_frames_in(scores, own):
    held_out = scores(own[SPLIT:])
    assert 0 < (held_out > 1).mean() <= 0.05 + 1 / len(held_out)
    assert scores(own[:SPLIT]).max() < 0.05  # training frames are known


def test_known_motion_is_unchanged_and_strange_motion_moves_inside(alignment, template, own, stranger, scores):
    held_out = own[SPLIT:]
    changed = angles_between(
        _features(_aligned(alignment, template, held_out), template), _features(held_out, template)
    )
    assert changed.mean() < 0.5
    before, after = scores(stranger), scores(_aligned(alignment, template, stranger, max_turn=math.inf))
    assert (before > 1).mean() > 0.5
    assert (after > 1).mean() < 0.4 * (before > 1).mean()
    assert (after <= np.maximum(before, 1) + 0.1).all()


def test_a_decoder_that_follows_its_own_errors_stays_near_the_avatars_range(alignment, template, stranger):
    """Fed its own outputs, it must not bend a neck further and further."""
    decoder = copy.deepcopy(alignment.decoder)
    with torch.no_grad():
        decoder.layers[0].weight *= 3  # errors grow from frame to frame
    features = PoseFeatures(template)
    head, chest = (features.roles.index(role) for role in ("head", "spine3"))

    def bent(motion: Motion) -> np.ndarray:
        world = features.orientations(features.rotations(*_arrays(motion)))
        return np.degrees(Rotation.from_matrix(world[:, chest].swapaxes(1, 2) @ world[:, head]).magnitude())

    aligned = _aligned(replace(alignment, decoder=decoder), template, stranger, mode="on")
    assert bent(aligned).max() < 60  # 175 without the bound


# The bound --------------------------------------------------------------------------------------------------------


def _bones(template, motion: Motion) -> np.ndarray:
    """Return world orientations [N, K, 3, 3] of every joint that carries a bone."""
    kinematics = Kinematics(template, template.default_identity())
    return np.stack([kinematics.pose(f.root_rotation, f.root_translation, f.pose).turns for f in motion.frames()])


def _turned(template, one: Motion, other: Motion) -> np.ndarray:
    """Return angles [N, K] in degrees between the bone orientations of two motions."""
    a, b = _bones(template, one), _bones(template, other)
    cosine = (np.einsum("nkij,nkij->nk", a, b) - 1) / 2
    return np.degrees(np.arccos(cosine.clip(-1, 1)))


@pytest.mark.parametrize("seed", [77, 78])
def test_auto_rotates_no_bone_by_more_than_its_bound(alignment, template, seed):
    """For motions far outside, after feet and hands are placed; "on" does exceed the bound."""
    far = perform(improvised(seed), template, 100, 25.0, seed=seed)
    identity = performer_identity(template)
    driver = avatar = Person.of(far, template, identity)
    off, auto, on = (
        retarget(far, template, driver, avatar, align=align)
        for align in (None, *(Aligner(alignment, template, 25.0, mode) for mode in ("auto", "on")))
    )
    auto, on = _turned(template, auto, off), _turned(template, on, off)
    assert auto.max() < MAX_TURN + 0.01
    assert (auto > MAX_TURN / 2).mean() > 0.1 and on.max() > 60
    limbs = [template.roles[f"{role}.{side}"] for role in ("upper_arm", "forearm", "thigh", "shin") for side in SIDES]
    columns = [Kinematics(template, identity).index(name) for name in limbs]
    assert (auto[:, columns].max(0) > MAX_TURN / 2).all()  # every limb was affected


def test_the_bound_holds_without_placement(alignment, template, stranger):
    for degrees in (10.0, 4.0):
        turned = _turned(template, _aligned(alignment, template, stranger, max_turn=degrees), stranger)
        assert 0.9 * degrees < turned.max() < degrees + 0.01


def test_turn_limit_agrees_with_a_loop_over_bones(template):
    """Compared with a loop over bones that uses SciPy's slerp, for poses close together and far apart."""
    features = PoseFeatures(template)
    rng = np.random.default_rng(0)
    limit, count = TurnLimit(features, 10.0), len(features.roles)
    for size in (0.02, 0.1, 0.4):
        original, changed = (Rotation.from_rotvec(rng.normal(0, size, (count, 3))).as_matrix() for _ in range(2))
        for pose in (original, changed):
            pose[0] = Rotation.from_rotvec([*rng.normal(0, size, 2), 0]).as_matrix()
        got = features.orientations(limit(original, changed))
        before, wanted = features.orientations(original), features.orientations(changed)
        for k in range(1, count):
            both = Rotation.from_matrix(np.stack([before[k], wanted[k]]))
            apart = np.degrees((both[0].inv() * both[1]).magnitude())
            share = min(1.0, 10.0 / apart) if apart < 135 else 10.0 / apart * (180 - apart) / 45
            assert np.allclose(got[k], Slerp([0, 1], both)(share).as_matrix(), atol=1e-6)
        kept = features.with_body(limit(original, changed), np.zeros(3), np.zeros((len(template.pose_joints), 3)))[0]
        assert abs(kept[2]) < 1e-9


def test_alignment_sets_in_without_a_jump(alignment, template, own, stranger):
    """Small steps from the avatar's own pose to a strange one give small steps."""
    features = PoseFeatures(template)
    start, end = (features.rotations(*_arrays(m[[i]]))[0] for m, i in ((own, 10), (stranger, 70)))
    aligner, steps = Aligner(alignment, template, 25.0), []
    frame = own.frame(10)
    for share in np.linspace(0, 1, 80):
        root, pose = features.with_body(between(start, end, share), np.zeros(3), frame.pose)
        steps.append(aligner(replace(frame, root_rotation=root, pose=pose)))
    out = Motion.of_frames(template.name, 25.0, steps)
    moved = angles_between(_features(out[1:], template), _features(out[:-1], template)).max(1)
    given = angles_between(to_features(start), to_features(end)).max() / 79
    assert moved.max() < 4 * given


def test_a_limiter_is_smooth_and_limits():
    scores = np.linspace(0, 20, 20001)
    allowed = np.array([limited(s) for s in scores])
    assert np.array_equal(allowed[scores < 0.8], scores[scores < 0.8]) and allowed.max() < 1
    slope = np.diff(allowed) / np.diff(scores)
    assert (slope >= -1e-9).all() and np.abs(np.diff(slope)).max() < 0.02


def test_impossible_options(alignment, template):
    with pytest.raises(ValueError, match="strength"):
        Aligner(alignment, template, 25.0, strength=1.5)
    with pytest.raises(ValueError, match="mode"):
        Aligner(alignment, template, 25.0, mode="maybe")


# Training data --------------------------------------------------------------------------------------------------


def test_frames_without_a_body_do_not_count(own, template, prior):
    """A stretch without a visible body is not learned, not known, and not part of any history."""
    hidden = own.map(torch.clone)
    hidden.confidence[100:140, 0] = 0.2
    hidden.pose[100:140] = 2.0
    made = fit_alignment(hidden[:SPLIT], hidden[SPLIT:], template, prior, Silent(), AlignmentTraining(epochs=1))
    assert made.card["frames"] == 200 and len(made.known) == 200
    spread = made.decoder.deviation.max()
    whole = fit_alignment(own[:SPLIT], own[SPLIT:], template, prior, Silent(), AlignmentTraining(epochs=1))
    assert spread < 1.5 * whole.decoder.deviation.max()
    nobody = own.map(torch.clone)
    nobody.confidence[:, 0] = 0.0
    with pytest.raises(UserError, match="0 frames show the body"):
        fit_alignment(nobody[:SPLIT], own[SPLIT:], template, prior, Silent())


# The file -------------------------------------------------------------------------------------------------------


def test_an_alignment_survives_its_file(alignment, template, stranger, tmp_path):
    path = tmp_path / "motion_prior.safetensors"
    alignment.save(path, template)
    again = Alignment.load(path, template)
    assert again.card == alignment.card and again.outside == alignment.outside
    assert torch.equal(_aligned(again, template, stranger[:20]).pose, _aligned(alignment, template, stranger[:20]).pose)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"cut": True}, "damaged"),
        ({"format_version": "99"}, "format 99"),
        ({"kind": "motion prior"}, "not a"),
        ({"facts": "{"}, "damaged"),
        ({"facts": "[]"}, "damaged"),
        ({"tensor": ("known", torch.zeros(3, 2, 3))}, "damaged"),
        ({"tensor": ("known", torch.full((5, 25, 3), torch.nan))}, "not finite"),
        ({"tensor": ("decoder.layers.0.weight", torch.zeros(256, 3))}, "damaged"),
        ({"tensor": ("encoder.layers.0.weight", torch.zeros(()))}, "damaged"),
        ({"tensor": ("encoder.layers.0.bias", torch.zeros(60_000))}, "hidden: expected 1 to 4096"),
        ({"tensor": ("encoder.layers.0.bias", torch.zeros(()))}, "encoder.layers.0.bias is missing, or no list"),
        ({"tensor": ("encoder.entry.running_var", torch.full((162,), -1.0))}, "running_var must be positive"),
        ({"tensor": ("decoder.deviation", torch.zeros(162))}, "decoder.deviation must be positive"),
        ({"tensor": ("known", torch.zeros(0, 25, 3))}, "no postures are known"),
        ({"tensor": ("more", torch.zeros(1))}, "more is unknown"),
        ({"fact": ("outside", 0)}, "outside: expected"),
        ({"fact": ("outside", "far")}, "outside: expected a number"),
        ({"fact": ("card", [])}, "card: expected fields by name"),
        ({"fact": ("card", {"by": "\x1b[31m"})}, "card: by: holds characters"),
        ({"fact": ("joints", "all")}, "joints: expected a list"),
    ],
)
def test_untrusted_files_are_refused(alignment, template, tmp_path, change, cause):
    path = tmp_path / "motion_prior.safetensors"
    alignment.save(path, template)
    with safe_open(path, "pt") as file:
        described = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if "cut" in change:
        path.write_bytes(path.read_bytes()[:5000])
    else:
        tensors |= dict([change["tensor"]]) if "tensor" in change else {}
        if "fact" in change:
            described["facts"] = json.dumps(json.loads(described["facts"]) | dict([change["fact"]]))
        save_file(tensors, path, described | {k: v for k, v in change.items() if k not in ("tensor", "fact")})
    with pytest.raises(UserError, match=cause) as raised:
        Alignment.load(path, template)
    assert str(path) in str(raised.value)


def test_a_file_that_is_too_large_is_not_read(template, tmp_path):
    path = tmp_path / "motion_prior.safetensors"
    with path.open("wb") as file:
        file.truncate(1 << 27)
    with pytest.raises(UserError, match="larger than"):
        Alignment.load(path, template)


def test_a_decoder_takes_no_history_or_four_poses():
    config = PriorConfig(width=12, hidden=8, latent=3, own_hidden=5)
    assert PoseDecoder(config, 0)(torch.zeros(2, 3)).shape == (2, 12)
    assert PoseDecoder(config, HISTORY)(torch.zeros(2, 3), torch.zeros(2, HISTORY, 12)).shape == (2, 12)
    mean, log_variance = PoseEncoder(config)(torch.randn(4, 12))
    assert mean.shape == log_variance.shape == (4, 3)
