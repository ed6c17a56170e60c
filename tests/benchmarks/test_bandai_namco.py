import zipfile

import pytest
from measures.bandai_namco import extract_kinds

from ram_avatar.core.errors import UserError


def test_clips_of_the_first_data_set_are_extracted_by_kind(tmp_path):
    names = [f"dataset-1_{action}_normal_{k:03}" for action in ("kick", "run", "slash", "dance-short") for k in (1, 2)]
    with zipfile.ZipFile(tmp_path / "clips.zip", "w") as clips:
        for name in [*names, "dataset-1_bow_normal_001", "dataset-2_kick_normal_001"]:
            clips.writestr(f"{name}.bvh", name)
    kinds = extract_kinds(tmp_path / "clips.zip", tmp_path / "out")
    assert {kind: len(paths) for kind, paths in kinds.items()} == {"kicks": 2, "runs": 2, "slashes": 2, "dances": 2}
    assert sorted(path.read_text() for paths in kinds.values() for path in paths) == sorted(names)


def test_other_files_are_reported(tmp_path):
    with zipfile.ZipFile(tmp_path / "few.zip", "w") as clips:
        clips.writestr("dataset-1_kick_normal_001.bvh", "")
    (tmp_path / "text.zip").write_text("hello")
    for name, cause in (("few", "has no runs, slashes, dances"), ("text", "not a .zip"), ("none", "not a .zip")):
        with pytest.raises(UserError, match=rf"{name}\.zip: {cause}"):
            extract_kinds(tmp_path / f"{name}.zip", tmp_path / "out")
