"""Clips of the Bandai-Namco Research Motiondataset: BVH files in a .zip, those of the first of its two data sets."""

import zipfile
from pathlib import Path

from ram_avatar.core.errors import UserError

KINDS = {"kicks": "kick", "runs": "run", "slashes": "slash", "dances": "dance"}


def extract_kinds(archive: Path, folder: Path) -> dict[str, list[Path]]:
    """Extract the clips of every kind in `KINDS` into a folder; return their paths by kind.

    Raises:
        UserError: The archive is not a .zip, or lacks a kind.
    """
    try:
        with zipfile.ZipFile(archive) as clips:
            names = [name for name in clips.namelist() if "dataset-1" in name]
            chosen = {kind: [name for name in names if f"_{word}" in name] for kind, word in KINDS.items()}
            if missing := [kind for kind, of_kind in chosen.items() if not of_kind]:
                raise UserError(f"{archive}: has no {', '.join(missing)} of the first Bandai-Namco data set")
            return {kind: [Path(clips.extract(name, folder)) for name in of_kind] for kind, of_kind in chosen.items()}
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{archive}: not a .zip of Bandai-Namco clips ({error})") from None
