import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(max(1, min(2, os.cpu_count() or 1)))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference videos and motions that lies beside a development checkout."""
    path = Path(os.environ.get("RAM_AVATAR_SHARED", Path(__file__).parents[2] / "shared"))
    if not (path / "videos").is_dir():
        pytest.skip(f"no reference videos at {path} (set RAM_AVATAR_SHARED)")
    return path


@pytest.fixture(scope="session")
def template():
    """Anny; built once on a machine, then read from the user's cache folder."""
    from ram_avatar.body.template import load_template

    return load_template()


@pytest.fixture()
def random_motion(template):
    """A function that makes a motion of small random turns about the reference pose."""
    from ram_avatar.motion.motion import Motion

    def make(frames: int = 3, seed: int = 0, turn: float = 0.2, distance: float = 3.0) -> Motion:
        generator = torch.Generator().manual_seed(seed)
        draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
        return Motion(
            template=template.name,
            fps=25.0,
            root_rotation=turn * draw(frames, 3),
            root_translation=torch.tensor([0.0, distance, 0.0]) + 0.05 * draw(frames, 3),
            pose=turn * draw(frames, len(template.pose_joints), 3),
            facial_actions=torch.rand(frames, len(template.action_names), generator=generator),
            confidence=torch.ones(frames, 4),
        )

    return make
