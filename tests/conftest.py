import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference videos and motions that lies beside a development checkout."""
    path = Path(os.environ.get("RAM_AVATAR_SHARED", Path(__file__).parents[2] / "shared"))
    if not (path / "videos").is_dir():
        pytest.skip(f"no reference videos at {path} (set RAM_AVATAR_SHARED)")
    return path
