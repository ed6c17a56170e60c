"""The engine and the trainer on a pretend GPU: nothing is left on the host, and what they wait for is counted."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pretend_gpu.scenarios import RENDERS

pytestmark = pytest.mark.slow
TESTS = Path(__file__).parents[1]
TRAININGS = ["train", "train on large windows", "train with moved limbs"]


@pytest.fixture(scope="module")
def found(avatar_folder, capture):
    command = [sys.executable, "-m", "pretend_gpu.scenarios", str(avatar_folder), str(capture.folder)]
    paths = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("kind", RENDERS)
def test_the_engine_renders_the_same_without_a_wait(found, kind):
    """Each frame sends one buffer of numbers, and the background if it moves; one picture returns."""
    one = found[f"render {kind}"]
    assert "failed" not in one, one["failed"]
    assert one["differ"] < 1e-3 and one["contrast"] > 10
    assert not one["waits"] and one["copies"]["from the GPU"] == 1
    assert one["copies"]["to the GPU"] == (2 if kind == "close-up" else 1)


@pytest.mark.parametrize("kind", TRAININGS)
def test_training_takes_the_same_steps_without_a_wait(found, kind):
    """Where limbs move, OpenCV finds their clothes: a copy from the GPU, which waits, for each frame of the batch."""
    one = found[kind]
    assert "failed" not in one, one["failed"]
    moved = 2 if kind == "train with moved limbs" else 0
    assert not one["waits"] and one["copies"].get("from the GPU", 0) == moved
    assert one["copies"]["to the GPU"] <= 5 + 10 * moved
    for here, there in zip(one["losses"], one["on the CPU"], strict=True):
        assert here == pytest.approx(there, rel=2e-2)


def test_the_whole_train_command_runs(found):
    one = found["the train command"]
    assert "failed" not in one, one["failed"]
    assert one["device"] == "gpu" and {"avatar.json", "metrics.json", "preview.mp4"} <= set(one["files"])
