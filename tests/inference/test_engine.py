import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from inference.twin import persons, renderings, shake

from ram_avatar.avatar import Avatar
from ram_avatar.core.camera import Camera
from ram_avatar.core.errors import UserError
from ram_avatar.core.images import fill, to_array, to_tensor
from ram_avatar.inference.engine import Engine
from ram_avatar.inference.windowed import OUTLINE
from ram_avatar.networks.avatar_network import AvatarNetwork
from ram_avatar.networks.painting import Rendering
from ram_avatar.rendering.framing import Framing
from ram_avatar.rendering.rectangles import Window


@pytest.fixture(scope="module")
def trained(avatar_folder):
    return Avatar.load(avatar_folder)


@pytest.fixture()
def shaken(avatar_folder):
    """An avatar with perturbed parameters, so that all of them matter. Its alpha is nowhere zero."""
    avatar = Avatar.load(avatar_folder)
    shake(avatar.network)
    return avatar


@pytest.fixture()
def motion(capture):
    return capture.motion[20:26].map(torch.clone)


@pytest.fixture()
def empty_cache(tmp_path, monkeypatch, template):
    """A cache without autotuning results."""
    monkeypatch.setenv("RAM_AVATAR_CACHE", str(tmp_path))


def _over(person: Rendering, plate: np.ndarray) -> np.ndarray:
    return to_array(person.over(to_tensor(plate)[None]))[0]


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    """Test whether two images differ by at most 1.

    Two orders of summation may move an edge across a pixel centre, so one pixel in a thousand may differ by more.
    """
    return bool((np.abs(one.astype(int) - other).max(2) > 1).mean() < 1e-3)


def _difference(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(one.astype(int) - other).max())


@pytest.mark.parametrize("which", ["shaken", "trained"])
def test_no_pixel_differs_by_more_than_one(which, motion, request):
    avatar = request.getfixturevalue(which)
    engine = Engine(avatar, close_up=True)
    for frame, wanted in zip(motion.frames(), renderings(avatar, motion), strict=True):
        assert _difference(engine.render(frame), wanted) <= 1


@pytest.mark.parametrize("size", [(128, 128), (320, 320)])
def test_a_larger_close_up_shows_the_surface_at_its_size(shaken, motion, size):
    engine = Engine(shaken, close_up=True, size=size)
    for frame, person in zip(motion.frames(), persons(shaken, motion, size, close_up=True), strict=True):
        found, plate = engine.render(frame), engine.square.cut(shaken.background, size[0])
        assert _alike(found, _over(person, plate))


@pytest.mark.parametrize("which", ["shaken", "trained"])
@pytest.mark.parametrize("size", [(256, 256), (512, 512)])
def test_the_scene_shows_the_person_in_the_room(which, motion, size, request):
    """The scene equals the plain composition; outside the close-up it is the room."""
    avatar = request.getfixturevalue(which)
    engine, room = Engine(avatar, size=size), fill(avatar.background, *size)
    for frame, person in zip(motion.frames(), persons(avatar, motion, size), strict=True):
        found, outside = engine.render(frame), person.alpha[0, 0].numpy() == 0
        assert _alike(found, _over(person, room)) and 0.1 < outside.mean() < 0.9
        assert np.array_equal(found[outside], room[outside])


@pytest.mark.parametrize("size", [(48, 48), (24, 24)])
def test_a_scene_smaller_than_the_painting_is_the_average_of_a_larger_one(shaken, motion, size):
    alone, within = Engine(shaken, size=size, background="transparent"), Engine(shaken, size=size)
    frame, room = motion.frame(0), fill(shaken.background, *size)
    picture, cut_out = within.render(frame), alone.render(frame).astype(float)
    times = math.ceil(64 / (within.square.side * size[0] / 256))
    assert times > 1
    larger = next(persons(shaken, motion[:1], (size[0] * times, size[1] * times)))
    average = lambda image: cv2.resize(image.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    assert np.abs(picture - average(_over(larger, room.repeat(times, 0).repeat(times, 1)))).max() <= 1.5
    alpha = larger.alpha[0, 0].numpy()
    assert np.abs(cut_out[..., 3] - 255 * average(alpha)).max() <= 1.5
    premultiplied = average(to_array(larger.color)[0] * alpha[..., None])
    assert np.abs(cut_out[..., :3] * cut_out[..., 3:] / 255 - premultiplied).max() <= 2


def test_a_scene_of_one_pixel_shows_the_mean(trained, motion):
    (pixel,) = Engine(trained, size=(1, 1)).render(motion.frame(0))
    assert np.abs(pixel - Engine(trained).render(motion.frame(0)).mean((0, 1))).max() < 8


@pytest.mark.parametrize("away", [-0.9, 0.9, 40.0])
def test_of_a_person_at_the_edge_the_scene_shows_the_part_within(shaken, motion, away):
    """Hips at the edge of the frame, or out of sight."""
    motion = motion[:1]
    motion.root_translation[:, 0] += away
    found, person = Engine(shaken).render(motion.frame(0)), next(persons(shaken, motion, (256, 256)))
    assert _alike(found, _over(person, shaken.background))
    assert person.alpha.any() == (away < 1)


def test_a_distant_person_in_a_large_scene_is_a_few_pixels(trained, motion):
    """Drawn many times as large, the whole scene would be larger than any image."""
    camera = Camera.default(3000, 4000)
    framing = Framing.of(camera, trained.template, trained.identity)
    far = replace(trained, framing=framing, background=np.full((4000, 3000, 3), 90, np.uint8))
    engine = Engine(far)
    for distance, least, most in ((300.0, 100, 4000), (1e5, 0, 9)):
        motion.root_translation[0] = torch.tensor([0.0, distance, 0.0])
        rows, columns = (engine.render(motion.frame(0)) != 90).any(2).nonzero()
        assert least <= len(rows) <= most
        assert len(rows) == 0 or (abs(rows.mean() - 2000) < 40 and abs(columns.mean() - 1500) < 20)


def test_hands_are_shown_where_the_network_makes_all_else_transparent(avatar_folder, motion):
    """Near bones alpha is at least that of the outline, and the head is opaque; the crop to what is seen holds both."""
    avatar = Avatar.load(avatar_folder)
    with torch.no_grad():
        avatar.network.alpha.belief.zero_()
        avatar.network.style_unet.decoders[-1].to_wavelets.bias[4] = -2.0  # of the mean of each 2 x 2 pixels
    engine = Engine(avatar, background="transparent")
    for frame, person in zip(motion.frames(), persons(avatar, motion, (256, 256)), strict=True):
        alpha, seen = engine.render(frame)[..., 3], person.alpha[0, 0].numpy() > 0
        assert 0.002 < seen.mean() < 0.2
        assert ((alpha > 2) != (person.alpha[0, 0].numpy() > 2 / 255)).mean() < 1e-3


@pytest.mark.parametrize("size", [(128, 128), (512, 512)])
def test_the_scene_at_another_size(trained, motion, size):
    small = Engine(trained, size=size).render(motion.frame(0))
    whole = Engine(trained).render(motion.frame(0))
    assert small.shape == (size[1], size[0], 3)
    resized = cv2.resize(whole, size, interpolation=cv2.INTER_AREA if size[0] < 256 else cv2.INTER_CUBIC)
    assert np.abs(small.astype(int) - resized).mean() < 4


def test_the_room_shows_no_trace_of_the_person(trained, motion):
    """Where alpha is a mere trace, the image matches the background to two levels."""
    picture = Engine(trained).render(motion.frame(0))
    alpha = Engine(trained, background="transparent").render(motion.frame(0))[..., 3]
    assert 0.02 < (alpha > 127).mean() < 0.6 and (alpha == 0).mean() > 0.3
    assert _difference(picture[alpha == 0], trained.background[alpha == 0]) <= 2


def test_in_reduced_precision_it_is_above_45_decibels(trained, shaken, motion, empty_cache):
    """Over the whole image; for an avatar whose alpha is nowhere zero, within the person's window."""
    for avatar, whole in ((trained, True), (shaken, False)):
        engine = Engine(avatar, exact=False, close_up=True)
        for frame, wanted in zip(motion.frames(), renderings(avatar, motion), strict=True):
            picture = engine.render(frame)
            seen = Window.whole(64).slices if whole else engine.renderer.window.slices
            error = np.square(picture[seen].astype(float) - wanted[seen]).mean()
            assert error < 255**2 * 10**-4.5


def test_a_reset_starts_a_new_clip(shaken, motion):
    engine = Engine(shaken)
    first = [engine.render(frame) for frame in motion.frames()]
    after = engine.render(motion.frame(0))  # attends to the last frame
    engine.reset()
    again = [engine.render(frame) for frame in motion.frames()]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(after, first[0])


def test_outside_the_window_there_is_only_background(shaken, capture, monkeypatch):
    monkeypatch.setattr("ram_avatar.inference.windowed.multiplies_bf16", lambda device: False)
    blue = np.full((256, 256, 3), (0, 0, 255), np.uint8)
    motion = capture.motion[:1]  # arms down: narrow
    for background in (blue, "transparent"):
        engine = Engine(shaken, background=background, exact=False, close_up=True)
        picture, window = engine.render(motion.frame(0)), engine.renderer.window
        outside = np.ones((64, 64), bool)
        outside[window.slices] = False
        assert outside.mean() > 0.1
        if background is blue:
            wanted = next(renderings(shaken, motion[:1], blue))
            assert _difference(picture[window.slices], wanted[window.slices]) <= 1
            shown = engine.square.inside(256, 256, 64)
            assert (picture[outside & shown] == (0, 0, 255)).all()
        else:
            assert not picture[outside].any() and picture[window.slices].any()


def test_the_window_leaves_a_margin_around_the_template(trained, motion, empty_cache):
    engine = Engine(trained, exact=False)
    engine.render(motion.frame(0))
    posed = engine.mapper.pose(motion[:1])
    _, places = engine.mapper.draw(posed, engine.square.camera(trained.camera, 64))
    room = places.person.grown(round(OUTLINE * 64), 64)
    assert engine.renderer.window.joined(room) == engine.renderer.window


def test_the_background_can_change_during_a_clip(trained, motion):
    engine = Engine(trained)
    engine.render(motion.frame(0))
    engine.set_background(np.zeros((30, 40, 3), np.uint8))
    assert engine.render(motion.frame(1))[:4, :4].max() <= 3
    engine.set_background(None)
    assert _difference(engine.render(motion.frame(2))[:2, :2], trained.background[:2, :2]) <= 8
    with pytest.raises(ValueError, match="opaque"):
        engine.set_background("opaque")


def test_an_avatar_without_alpha_paints_the_whole_frame_and_is_never_transparent(trained, motion, avatar_folder, tiny):
    avatar = Avatar.load(avatar_folder)
    avatar.network = shake(AvatarNetwork(replace(tiny.network, styles=2, alpha=False)))
    engine = Engine(avatar, close_up=True)
    for frame, wanted in zip(motion.frames(), renderings(avatar, motion), strict=True):
        assert _difference(engine.render(frame), wanted) <= 1
    engine, room = Engine(avatar, size=(512, 512)), fill(avatar.background, 512, 512)
    for frame, person in zip(motion.frames(), persons(avatar, motion, (512, 512)), strict=True):
        assert _alike(engine.render(frame), _over(person, room))
    with pytest.raises(UserError, match="no alpha"):
        Engine(avatar, background="transparent")


def test_without_a_warm_start_the_surface_adds_no_colour(motion, avatar_folder, tiny):
    config = replace(tiny.network, styles=2, warm_start=False, keep_hands=False, sharpness=False, novelty=False)
    avatar = Avatar.load(avatar_folder)
    avatar.network = shake(AvatarNetwork(config))
    engine, room = Engine(avatar, size=(512, 512)), fill(avatar.background, 512, 512)
    for frame, person in zip(motion.frames(), persons(avatar, motion, (512, 512)), strict=True):
        assert _alike(engine.render(frame), _over(person, room))


def test_the_stages_are_timed(trained, motion):
    engine = Engine(trained)
    assert not engine.timings
    engine.render(motion.frame(0))
    assert set(engine.timings) == {"maps", "network", "compositing"} and min(engine.timings.values()) > 0


def test_the_person_may_leave_the_image_and_return(shaken, motion):
    motion.root_translation[1] += torch.tensor([40.0, 0, 0])
    engine = Engine(shaken, close_up=True)
    for frame, wanted in zip(motion.frames(), renderings(shaken, motion), strict=True):
        assert _difference(engine.render(frame), wanted) <= 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("exact", [True, False])
def test_on_a_gpu_the_recorded_graph_renders_the_same(shaken, motion, exact):
    wanted = list(renderings(shaken, motion))
    engine = Engine(shaken.to("cuda"), close_up=True, exact=exact)
    for _ in range(2):
        for frame, picture in zip(motion.frames(), wanted, strict=True):
            found = engine.render(frame)
            error = np.square(found.astype(float) - picture).mean()
            # Pixels at an outline may be covered on only one of the devices.
            assert error < 255**2 * 10**-3.5 and np.median(np.abs(found.astype(int) - picture)) <= 1
        engine.reset()
