"""Fixtures that several test modules share. What is slow to make is made once per session."""

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(max(1, min(2, os.cpu_count() or 1)))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference videos and motions beside a development checkout."""
    path = Path(os.environ.get("RAM_AVATAR_SHARED", Path(__file__).parents[2] / "shared"))
    if not (path / "videos").is_dir():
        pytest.skip(f"no reference videos at {path} (set RAM_AVATAR_SHARED)")
    return path


@pytest.fixture(scope="session")
def template():
    """Anny; built once per machine, then read from the user's cache folder."""
    from ram_avatar.body import load_template

    return load_template()


@pytest.fixture(scope="session")
def smplx_file(template, tmp_path_factory) -> Path:
    """A model file in the format of SMPL-X, with Anny's shape."""
    from fake_smplx import write_fake

    return write_fake(tmp_path_factory.mktemp("smplx") / "SMPLX_NEUTRAL.npz", template)


@pytest.fixture(scope="session")
def smplx(smplx_file):
    """The template of `smplx_file`."""
    from ram_avatar.body import SmplxTemplate

    return SmplxTemplate.load(smplx_file)


@pytest.fixture(scope="session")
def random_motion(template):
    """A function that returns a motion of small random rotations about the reference pose."""
    from ram_avatar.motion.motion import PARTS, Motion

    def make(frames: int = 3, seed: int = 0, turn: float = 0.2, distance: float = 3.0) -> Motion:
        generator = torch.Generator().manual_seed(seed)
        draw = lambda *shape: torch.randn(*shape, generator=generator)
        return Motion(
            template=template.name,
            fps=25.0,
            root_rotation=turn * draw(frames, 3),
            root_translation=torch.tensor([0.0, distance, 0.0]) + 0.05 * draw(frames, 3),
            pose=turn * draw(frames, len(template.pose_joints), 3),
            facial_actions=torch.rand(frames, len(template.action_names), generator=generator),
            confidence=torch.ones(frames, len(PARTS)),
        )

    return make


@pytest.fixture()
def stranger(template, random_motion):
    """A function that returns a clip as from another program: the template's skeleton with Mixamo's joint names."""
    from ram_avatar.motion.conversion.calibration import Reference
    from ram_avatar.motion.conversion.template_skeleton import TemplateSkeleton
    from ram_avatar.motion.joint_map import JointMap, shipped_tables

    def make(frames: int = 4):
        clip = TemplateSkeleton(Reference(template)).clip(random_motion(frames, turn=0.05))
        table = next(table for table in shipped_tables() if table.name == "motionbuilder")
        for part, joints in JointMap.find(clip.names).joints.items():
            part, _, side = part.partition(".")
            for joint, name in zip(joints, table.parts[part], strict=False):
                name = name.replace("{side}", {"L": "Left", "R": "Right"}.get(side, ""))
                clip.names[clip.joint(joint)] = name
        return clip

    return make


@pytest.fixture()
def listener():
    """A progress that records its notes and waits."""
    from ram_avatar.core.progress import Silent

    class Listener(Silent):
        def __init__(self):
            self.notes: list[str] = []
            self.waits: list[str] = []

        def note(self, text: str) -> None:
            self.notes.append(text)

        def wait(self, text: str):
            self.waits.append(text)
            return super().wait(text)

    return Listener()


@pytest.fixture(scope="session")
def film(template, tmp_path_factory) -> Path:
    """A short video of the built-in performer."""
    from ram_avatar.synthetic.performer import Performer, write_performance

    path = tmp_path_factory.mktemp("film") / "performer.mp4"
    write_performance(path, Performer(template), "training", frames=30, fps=12.5, size=256)
    return path


@pytest.fixture(scope="session")
def capture(film, template, tmp_path_factory):
    """The film, tracked with the real detector, the face from landmarks."""
    from ram_avatar.tracking.offline.fitting import FitSettings
    from ram_avatar.tracking.offline.track import track

    return track(film, tmp_path_factory.mktemp("capture") / "c", template=template, settings=FitSettings(60, 80))


@pytest.fixture(scope="session")
def tiny():
    """A preset that trains in seconds, with every part of the network and every phase of training."""
    from tiny_network import TINY_NETWORK

    from ram_avatar.config import Preset, TrainingConfig

    training = TrainingConfig(
        steps=12,
        batch_size=2,
        learning_rate=1e-2,
        texture_learning_rate=2e-2,
        weight_decay=0.0,
        attention_start=0.2,
        texture_frozen=0.2,
        discriminator_start=0.4,
        perceptual_layers=("relu1_1", "relu2_1"),
        checkpoint_seconds=1e9,
    )
    return Preset("tiny", TINY_NETWORK, training, texture_size=64)


@pytest.fixture(scope="session")
def avatar_folder(capture, tiny, tmp_path_factory) -> Path:
    """An avatar trained for a few steps."""
    from ram_avatar.creation.options import TrainOptions
    from ram_avatar.creation.train import train

    folder = tmp_path_factory.mktemp("avatar") / "a"
    train(capture, folder, TrainOptions(preset=tiny, accelerator="cpu"))
    return folder


@pytest.fixture(scope="session")
def avatars(template, tiny, tmp_path_factory) -> Path:
    """A folder with two untrained avatars, "ada" and "bob", and another folder."""
    from untrained_avatar import save_untrained

    folder = tmp_path_factory.mktemp("avatars")
    for name, tone in (("ada", 0.6), ("bob", -0.3)):
        save_untrained(folder / name, template, tiny.network, tone)
    (folder / "notes").mkdir()
    return folder


@pytest.fixture(scope="session")
def avatar(avatars):
    """The untrained avatar "ada"."""
    from ram_avatar.avatar import Avatar

    return Avatar.load(avatars / "ada")
