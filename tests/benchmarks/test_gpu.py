import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_gpus_minutes_can_be_rehearsed(capture, tmp_path):
    """All parts, each in a process of its own; their tables are printed and left behind."""
    out = tmp_path / "out"
    command = [sys.executable, str(ROOT / "benchmarks/gpu.py"), str(capture.folder), str(out), "--minutes", "20"]
    done = subprocess.run([*command, "--rehearse"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for part in ("pictures", "rendering", "steps", "curve"):
        assert f"## {part}\n\n{(out / f'{part}.md').read_text()}" in done.stdout
    assert "| lite | float32 |" in done.stdout and "psnr_person" in done.stdout


def test_without_a_gpu_it_says_so(capture, tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks/gpu.py"), str(capture.folder), str(tmp_path / "out")]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    )
    assert done.returncode == 1 and done.stderr == "no CUDA GPU is available; --rehearse runs everything on the CPU\n"
