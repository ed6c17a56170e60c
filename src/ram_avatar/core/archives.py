"""Writing `.npz` archives. Reading them: `untrusted.arrays`."""

import io
from pathlib import Path

import numpy as np


def write_arrays(path: str | Path, **arrays: np.ndarray | str | float) -> None:
    """Write a compressed `.npz`.

    It is packed in memory: an archive that fails on a full disk prints a traceback of its own when it is collected.
    """
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    Path(path).write_bytes(packed.getbuffer())
