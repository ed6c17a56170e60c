from pathlib import Path

import pytest
import torch

pytest.importorskip("starlette", reason="the extra [live] is not installed")


@pytest.fixture()
def motion_file(random_motion, tmp_path) -> Path:
    """Return a one-second motion of a swaying body."""
    motion = random_motion(25, turn=0.0)
    motion.pose[:] = 0.2 * torch.sin(torch.arange(25) / 4)[:, None, None]
    motion.save(tmp_path / "sway.npz")
    return tmp_path / "sway.npz"
