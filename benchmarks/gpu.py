"""Everything worth knowing about a GPU that is at hand for minutes: `python benchmarks/gpu.py CAPTURE OUT --minutes M`.

The parts run in order of importance, each in a process of its own with its share of the time, and one that fails does
not stop the rest: that the GPU paints what the CPU paints; frames per second of all presets; training steps; quality
over training time. Prints Markdown tables as they come, and leaves them and the trained avatars in OUT. Everything
that does not need the GPU is best prepared before: track the clip, and run `--rehearse`, which does the same on the CPU
in small.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from measures.results import describe_setup, markdown_table
from render import matrix_rate, on_gpu, untrained

from ram_avatar.body import load_template
from ram_avatar.capture.capture import Capture
from ram_avatar.config import Preset, load_preset
from ram_avatar.core.device import choose_precision
from ram_avatar.creation.options import TrainOptions
from ram_avatar.creation.train import train
from ram_avatar.inference.engine import Engine
from ram_avatar.networks.avatar_network import AvatarNetwork
from ram_avatar.synthetic.performances import performance
from ram_avatar.training.avatar_data import avatar_data
from ram_avatar.training.first_avatar import first_avatar
from ram_avatar.training.launch import launched
from ram_avatar.training.trainer import Trainer

PRESETS = ("lite", "standard", "paper")
CURVE = (1, 2, 5, 10)  # minutes of training
_WARM_UP, _STEPS = 6, 24  # steps before those that are timed, and those
_RATES = "steps_per_second.json"


@dataclass(frozen=True)
class Job:
    """What a part gets."""

    capture: Path
    out: Path
    seconds: float
    rehearse: bool

    @property
    def device(self) -> torch.device:
        """Where to measure."""
        return torch.device("cpu" if self.rehearse else "cuda")

    @property
    def presets(self) -> tuple[str, ...]:
        """The presets to measure."""
        return PRESETS[: 1 if self.rehearse else None]

    def preset(self, name: str) -> Preset:
        """Return a preset; a rehearsal keeps of its training what takes no time."""
        preset = load_preset(name)
        quick = {"steps": 4, "perceptual_layers": ("relu1_1",), "large_size": 0, "clothing": False}
        return replace(preset, training=replace(preset.training, **quick), texture_size=64) if self.rehearse else preset


def pictures(job: Job) -> str:
    """Compare what the GPU paints with what the CPU paints."""
    template, rows = load_template(), []
    motion = performance("driving", template, 8, 25.0)
    for name in job.presets:
        avatar = untrained(name, template)
        _shake(avatar.network)
        wanted = np.stack(list(Engine(avatar).render_all(motion.frames())))
        for form, exact in (("float32", True), ("live", False)):
            engine = Engine(avatar.to(job.device), exact=exact)
            found = np.stack(list(engine.render_all(motion.frames())))
            error = np.square(found.astype(float) - wanted).mean()
            decibels = 10 * np.log10(255**2 / max(error, 1e-9))
            rows.append((name, form, f"{decibels:.1f} dB", f"{np.abs(found.astype(int) - wanted).max()}"))
    return markdown_table(rows, ("preset", "form", "GPU to CPU", "largest difference"))


def rendering(job: Job) -> str:
    """Time the network and motion to pixels."""
    if job.rehearse:
        return "Frames per second: only on a GPU."
    template, parts = load_template(), []
    peak = {dtype: matrix_rate(dtype) for dtype in (torch.float32, torch.bfloat16)}
    parts.append(", ".join(f"{rate / 1e12:.0f} TFLOP/s in {dtype}" for dtype, rate in peak.items()))
    parts += [f"`{name}`\n\n{on_gpu(name, template, peak)}" for name in PRESETS]
    return "\n\n".join(parts)


def steps(job: Job) -> str:
    """Time training steps with everything on; note the rates for `curve`."""
    capture, template, rows, rates = Capture.load(job.capture), load_template(), [], {}
    for name in job.presets:
        preset = job.preset(name)
        avatar = first_avatar(capture, template, preset)
        precision = choose_precision("auto", preset.precision, job.device)
        with launched(job.device, 1, precision, train) as fabric:
            data = avatar_data(avatar, capture, fabric.device, large=preset.training.large_size)
            trainer = Trainer(avatar.to(fabric.device), data, preset, job.out, fabric)
            trainer.step = preset.training.steps // 2  # attention and discriminator are on
            _timed(trainer, _WARM_UP, job.device)
            took = _timed(trainer, 2 if job.rehearse else _STEPS, job.device)
            busy, launches = _profiled(trainer, job.device)
        memory = torch.cuda.max_memory_allocated() / 2**30 if not job.rehearse else 0.0
        rates[name] = 1 / took
        whole = took * load_preset(name).training.steps / 60
        rows.append((f"`{name}`, batch {preset.training.batch_size}", f"{1e3 * took:.1f} ms", f"{busy / took:.0%}",
                     f"{launches:.0f}", f"{memory:.1f} GB", f"{whole:.1f} min"))  # fmt: skip
        (job.out / _RATES).write_text(json.dumps(rates))
        del trainer, data, avatar
    return markdown_table(rows, ("preset", "a step", "device busy", "launches", "memory", "whole preset"))


def curve(job: Job) -> str:
    """Train `standard` for 1, 2, 5 and 10 minutes, as far as the time allows."""
    ends, rows = time.monotonic() + job.seconds, []
    rates = json.loads((job.out / _RATES).read_text())
    name = "lite" if job.rehearse else "standard"
    for minutes in CURVE[: 1 if job.rehearse else None]:
        if time.monotonic() + 60 * minutes + 60 > ends and not job.rehearse:
            break
        preset, count = job.preset(name), int(60 * minutes * rates[name])
        count = 4 if job.rehearse else count
        preset = replace(preset, training=replace(preset.training, steps=count))
        folder = job.out / f"{name}-{minutes}-minutes"
        train(
            Capture.load(job.capture), folder, TrainOptions(preset=preset, accelerator=job.device.type), overwrite=True
        )
        found = json.loads((folder / "metrics.json").read_text())
        figures = (f"{key} {value:.4g}" for key, value in found.items() if isinstance(value, float))
        rows.append((f"`{name}`, {minutes} min", f"{count}", ", ".join(figures)))
    return markdown_table(rows, ("training", "steps", "held-out frames"))


PARTS: dict[str, tuple[Callable[[Job], str], float]] = {  # with their shares of the time
    "pictures": (pictures, 0.12),
    "rendering": (rendering, 0.2),
    "steps": (steps, 0.2),
    "curve": (curve, 0.48),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("capture", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, in small")
    parser.add_argument("--part", choices=PARTS, help="this one only, in this process")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.part:
        job = Job(given.capture, given.out, 60 * given.minutes * PARTS[given.part][1], given.rehearse)
        (given.out / f"{given.part}.md").write_text(PARTS[given.part][0](job) + "\n")
        return
    if not given.rehearse and not torch.cuda.is_available():
        sys.exit("no CUDA GPU is available; --rehearse runs everything on the CPU")
    print(f"{describe_setup()}\n", flush=True)
    failed = [name for name in PARTS if not _run(name, given)]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}; see the logs in {given.out}")


def _run(name: str, given: argparse.Namespace) -> bool:
    """Run one part in a process of its own, and print its table; return whether it came to an end."""
    log, table = given.out / f"{name}.log", given.out / f"{name}.md"
    table.unlink(missing_ok=True)
    limit = 60 * given.minutes * PARTS[name][1]
    with log.open("w") as file:
        try:
            subprocess.run(
                [sys.executable, *sys.argv, "--part", name], stdout=file, stderr=file, timeout=limit, check=True
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            print(f"{name}: {error}\n{log.read_text()[-1500:]}", flush=True)
    if table.is_file():
        print(f"## {name}\n\n{table.read_text()}", flush=True)
    return table.is_file()


@torch.no_grad()
def _shake(network: AvatarNetwork) -> None:
    """Perturb all parameters: a new network adds nothing to the surface, whatever it computes."""
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter += 0.05 * torch.randn(parameter.shape, generator=generator)


def _timed(trainer: Trainer, count: int, device: torch.device) -> float:
    """Take steps; return the seconds of one."""
    started = time.perf_counter()
    for _ in range(count):
        trainer.train_step()
        trainer.step += 1
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - started) / count


def _profiled(trainer: Trainer, device: torch.device, count: int = 4) -> tuple[float, float]:
    """Return for how many seconds of a step the device works, and how many kernels it runs."""
    if device.type != "cuda":
        return 0.0, 0.0
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        _timed(trainer, count, device)
    kernels = [event for event in profiled.key_averages() if event.self_device_time_total > 0]
    busy = sum(event.self_device_time_total for event in kernels)
    return busy / 1e6 / count, sum(event.count for event in kernels) / count


if __name__ == "__main__":
    main()
