import socket

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ram_avatar.training.curves import CurveWriter


@pytest.fixture()
def written(tmp_path, monkeypatch):
    """The folder of a run that was killed after step 30 and resumed from step 20."""
    monkeypatch.setattr(socket, "gethostname", lambda: "my-own-machine")
    folder = tmp_path / "curves"
    for first, steps, value in ((0, (10, 20, 30), 1.0), (20, (20, 30, 40), 2.0)):
        with CurveWriter(folder, first) as curves:
            for step in steps:
                curves.add_numbers({"loss/detail": value}, step)
            curves.add_image("samples", torch.full((3, 4, 6), 255, dtype=torch.uint8), steps[-1])
    return folder


def test_tensorboard_reads_the_curves(written):
    read = EventAccumulator(str(written))
    read.Reload()
    assert [(point.step, point.value) for point in read.Scalars("loss/detail")] == [(10, 1), (20, 2), (30, 2), (40, 2)]
    [image] = [image for image in read.Images("samples") if image.step == 40]
    assert (image.width, image.height) == (6, 4)


def test_the_machine_is_not_named(written):
    files = list(written.iterdir())
    assert len(files) == 2
    for file in files:
        assert "my-own-machine" not in file.name and b"my-own-machine" not in file.read_bytes()
