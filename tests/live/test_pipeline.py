import numpy as np
import pytest
import torch

from ram_avatar.drivers.driver import Driven, Status
from ram_avatar.drivers.played_motion import Standing, standing
from ram_avatar.drivers.settings import FINGERS, Settings
from ram_avatar.live.manual import ManualControl
from ram_avatar.live.session.backdrop import Backdrop
from ram_avatar.live.session.pipeline import AvatarPipeline
from ram_avatar.motion.motion import PARTS, Frame, Motion
from ram_avatar.rendering.visible_mark import mark


def _step(pipeline, seconds: float):
    return pipeline.paint(pipeline.drive(None, seconds))


def _pose(avatar, frame: Frame):
    """The posed body of one frame."""
    motion = Motion.of_frames(avatar.template.name, 25.0, [frame])
    return avatar.template.body(avatar.identity).pose(*motion.parameters())


@pytest.fixture()
def frames(random_motion) -> list[Frame]:
    return list(random_motion(4).frames())


@pytest.mark.parametrize("body", ["template", "smplx"])
def test_sliders_bend_the_finger_they_name_and_no_other(body, request):
    template = request.getfixturevalue(body)
    manual, posed = ManualControl(template), template.body(template.default_identity())
    frame = Frame(
        np.zeros(3), np.zeros(3), np.zeros((len(template.pose_joints), 3)), np.zeros(len(template.action_names)),
        np.ones(len(PARTS)),
    )  # fmt: skip

    def points(settings: Settings) -> torch.Tensor:
        """[10, 3] finger tips."""
        pose = torch.from_numpy(manual(frame, settings).pose).float()[None]
        still = torch.zeros(1, 3), torch.zeros(1, 3), pose, torch.zeros(1, len(template.action_names))
        return posed.pose(*still).vertices[0][template.fingertips].mean(1)

    joints = posed.at_reference().joints[0, :, :3, 3]
    wrists = joints[[template.joint_of("hand.L"), template.joint_of("hand.R")]]
    for i, finger in enumerate(FINGERS):
        straight, bent = (points(Settings(fingers={finger: value})) for value in (0.0, 1.0))
        moved = (bent - straight).norm(dim=-1)
        assert moved.argmax() == i and moved[i] > 0.02 and moved[[j for j in range(10) if j != i]].max() < 1e-5
        if finger.split()[1] != "thumb":
            assert (bent[i] - wrists[i // 5]).norm() < 0.75 * (straight[i] - wrists[i // 5]).norm()


def test_sliders_hold_a_facial_action_and_leave_the_rest(avatar, frames):
    names = avatar.template.action_names
    held = ManualControl(avatar.template)(frames[0], Settings(face={"jawOpen": 0.9}))
    assert held.facial_actions[names.index("jawOpen")] == 0.9
    others = [i for i, name in enumerate(names) if name != "jawOpen"]
    assert np.array_equal(held.facial_actions[others], frames[0].facial_actions[others])
    assert np.array_equal(held.pose, frames[0].pose)


def test_backgrounds():
    plate, rgba = np.full((4, 4, 3), 100, np.uint8), np.zeros((4, 4, 4), np.uint8)
    rgba[0, 0] = 10, 20, 30, 255
    rgba[0, 1] = 200, 200, 200, 128
    backdrop = Backdrop(plate, plate.shape[1::-1])
    room = backdrop.behind(rgba, "captured")
    assert room[0, 0].tolist() == [10, 20, 30] and room[2, 2].tolist() == [100] * 3 and abs(room[0, 1, 0] - 150) <= 1
    assert backdrop.behind(rgba, "#ff8000")[3, 3].tolist() == [255, 128, 0]
    assert backdrop.behind(rgba, "transparent")[3, 3].tolist() == [0, 0, 0]
    assert np.array_equal(backdrop.behind(rgba, "picture"), room)  # none was chosen so far
    wide = np.zeros((4, 12, 3), np.uint8)
    wide[:, 4:8] = 7
    backdrop.choose(wide)
    assert backdrop.behind(rgba, "picture")[3].tolist() == [[7, 7, 7]] * 4


@pytest.mark.parametrize("size", [64, 256, 1024])
def test_the_mark_is_small_opaque_and_on_a_copy(size):
    rgba = np.zeros((size, size, 4), np.uint8)
    marked = mark(rgba)
    changed = (marked != rgba).any(-1)
    assert not rgba.any() and 0.002 < changed.mean() < 0.08
    assert (marked[changed][:, 3] == 255).all() and marked[..., 0].max() > 200
    ys, xs = np.nonzero(changed)
    assert ys.min() > 0.7 * size and xs.min() > 0.3 * size


class Scripted:
    """A driver that gives what it was told to, and notes what it is asked."""

    takes_long = False

    def __init__(self, *driven: Driven):
        self.driven, self.noted = list(driven), []

    def drive(self, rgb, seconds):
        return self.driven.pop(0)

    def adjust(self, settings):
        self.noted.append(settings.smoothing)

    def calibrate(self):
        self.noted.append("calibrate")

    def reset(self):
        self.noted.append("reset")

    def close(self):
        self.noted.append("close")


class Notebook:
    """Notes the frames it is to paint."""

    def __init__(self):
        self.frames: list[Frame] = []

    def render(self, frame):
        self.frames.append(frame)
        return np.zeros((8, 8, 4), np.uint8)

    def reset(self):
        self.frames.append(None)


@pytest.fixture()
def make(avatar):
    def build(driver, **options):
        renderer = Notebook()
        pipeline = AvatarPipeline(
            renderer,
            driver,
            start=standing(avatar),
            backdrop=Backdrop(np.zeros((8, 8, 3), np.uint8), (8, 8)),
            manual=ManualControl(avatar.template),
            **options,
        )
        return pipeline, renderer

    return build


def test_who_is_lost_stays_as_they_were(make, avatar, frames):
    lost = Driven(None, Status.LOST)
    pipeline, renderer = make(Scripted(lost, Driven(frames[1], Status.SEEN), lost))
    shown = [_step(pipeline, t) for t in range(3)]
    assert [s.status for s in shown] == [Status.LOST, Status.SEEN, Status.LOST]
    assert np.array_equal(renderer.frames[0].pose, standing(avatar).pose)
    assert renderer.frames[1] is frames[1] and renderer.frames[2] is frames[1]


def test_after_a_reset_the_pose_is_the_first(make, avatar, frames):
    driver = Scripted(Driven(frames[1], Status.SEEN), Driven(None, Status.WAITING))
    pipeline, renderer = make(driver)
    _step(pipeline, 0.0)
    pipeline.reset()
    _step(pipeline, 1.0)
    assert renderer.frames[1] is None and "reset" in driver.noted
    assert np.array_equal(renderer.frames[2].pose, standing(avatar).pose)


def test_an_avatar_without_opacity_hides_what_is_behind(make, avatar):
    pipeline, renderer = make(Standing(avatar))
    renderer.render = lambda frame: np.full((8, 8, 3), 9, np.uint8)
    shown = _step(pipeline, 0.0)
    assert (shown.rgba[..., 3] == 255).all() and (shown.rgb == 9).all()


def test_sliders_have_the_last_word(make, frames):
    """What a slider holds is held on the side that it names, whatever the driver says."""
    pipeline, renderer = make(Scripted(Driven(frames[1], Status.SEEN)))
    pipeline.settings = Settings(face={"eyeBlinkLeft": 1.0})
    _step(pipeline, 0.0)
    changed = renderer.frames[0].facial_actions != frames[1].facial_actions
    assert changed.sum() == 1 and renderer.frames[0].facial_actions[changed] == 1.0


def test_drivers_are_exchanged_and_told_of_the_smoothing(make):
    first, second = Scripted(), Scripted()
    pipeline, _ = make(first)
    pipeline.settings = Settings(smoothing=0.9)
    pipeline.use(second)
    pipeline.calibrate()
    pipeline.close()
    assert first.noted == [0.9, "close"] and second.noted == [0.9, "calibrate", "close"]


def test_stages_are_timed_and_marked_where_asked(make, avatar):
    pipeline, _ = make(Standing(avatar), marked=True)
    shown = _step(pipeline, 0.0)
    assert shown.timings["render"] > 0 and shown.rgba[..., 3].max() == 255 and shown.rgb.max() > 0
