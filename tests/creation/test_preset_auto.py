import pytest

from ram_avatar.avatar import Avatar
from ram_avatar.core.errors import UserError
from ram_avatar.creation.options import TrainOptions
from ram_avatar.creation.train import train


def test_what_was_begun_goes_on_with_its_preset(capture, tmp_path, monkeypatch, listener):
    """Even if another one would be chosen today, as on a machine with a GPU."""
    start = TrainOptions(instant=True, accelerator="cpu")
    train(capture, tmp_path / "a", start, progress=listener)
    assert Avatar.load(tmp_path / "a").preset == "lite" and "Preset 'lite': made for CPUs" in listener.notes
    monkeypatch.setattr("ram_avatar.creation.train.best_preset", lambda device: ("standard", "this GPU has 80 GB"))
    assert train(capture, tmp_path / "a", start).preset == "lite"
    with pytest.raises(UserError, match="preset 'lite'"):
        train(capture, tmp_path / "a", TrainOptions(preset="standard", instant=True, accelerator="cpu"))
