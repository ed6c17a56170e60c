"""Rendering speed: `python benchmarks/render.py [AVATAR [CAPTURE]]`.

Without an avatar, uses an untrained one, which is as fast. Speed depends on the size of the windows around the
person, so the performer drives, then the person of the capture if there is one. With a CUDA GPU, the presets for GPUs
are timed there too.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import numpy as np
import torch
from measures.network_cost import frame_flops
from measures.results import describe_setup, markdown_table, median_seconds
from torch.utils.flop_counter import FlopCounterMode

from ram_avatar.avatar import Avatar
from ram_avatar.body import BodyTemplate, load_template
from ram_avatar.capture.capture import Capture
from ram_avatar.config import load_preset
from ram_avatar.core.camera import Camera
from ram_avatar.inference.cuda_graph import CudaGraph
from ram_avatar.inference.engine import Engine
from ram_avatar.inference.export import export
from ram_avatar.inference.folding import FoldedNetwork, Windows
from ram_avatar.motion.motion import Motion
from ram_avatar.motion.retargeting.retarget import Person, Placement, retarget
from ram_avatar.networks.avatar_network import AvatarNetwork, ConditionMaps
from ram_avatar.rendering.condition_maps import ConditionMapper, MeshMaps
from ram_avatar.rendering.filmed_poses import SHAPE as FILMED_SHAPE
from ram_avatar.rendering.framing import Framing
from ram_avatar.synthetic.performances import performance

PRESETS = ("lite", "standard", "paper")
FRAMES = 48
ROUNDS = 7


@dataclass
class Sample:
    """The inputs of one frame."""

    maps: MeshMaps
    previous: MeshMaps  # of the previous frame
    windows: Windows | None  # of the exact engine
    live: Windows | None  # of the live one

    @property
    def given(self) -> ConditionMaps:
        """The inputs of the training network."""
        return ConditionMaps(previous=self.previous.position, **vars(self.maps))


def main() -> None:
    template = load_template()
    print(f"{describe_setup()}, {torch.get_num_threads()} threads\n")
    costs = {name: sum(frame_flops(load_preset(name).network).values()) for name in PRESETS}
    print(
        markdown_table([(f"`{name}`, one frame", f"{cost / 1e9:.1f} GFLOP", "") for name, cost in costs.items()]), "\n"
    )
    avatar = Avatar.load(sys.argv[1]) if len(sys.argv) > 1 else untrained("lite", template)
    motion = performance("driving", template, FRAMES, 25.0)
    driver = Person.of(motion, template, avatar.identity)
    motion = retarget(motion, template, driver, avatar.person)
    motions = {"the performer": motion}
    if len(sys.argv) > 2:
        capture = Capture.load(sys.argv[2])
        driver = Person.of(capture.shown_motion, template, capture.identity)
        motions[capture.folder.name] = retarget(capture.motion, template, driver, avatar.person)
    with torch.no_grad():
        scene = f"{avatar.camera.width} x {avatar.camera.height}"
        print(f"`{avatar.preset}`, close-ups of {avatar.size} in a scene of {scene}, on the CPU\n")
        print(on_cpu(avatar, motion), "\n")
        print(motion_to_pixels(avatar, motions), "\n")
        if torch.cuda.is_available():
            peak = {dtype: matrix_rate(dtype) for dtype in (torch.float32, torch.bfloat16)}
            print("matrix products:", ", ".join(f"{rate / 1e12:.0f} TFLOP/s in {t}" for t, rate in peak.items()), "\n")
            for name in ("standard", "paper"):
                print(f"`{name}` on {torch.cuda.get_device_name()}\n\n{on_gpu(name, template, peak)}\n")


def untrained(preset: str, template: BodyTemplate) -> Avatar:
    """Return an untrained avatar of an average person in front of a plain wall."""
    recipe, identity = load_preset(preset), template.default_identity()
    size, motion = recipe.network.image_size, performance("driving", template, FRAMES, 25.0)
    return Avatar(
        name="performer",
        preset=preset,
        framing=Framing.of(Camera.default(size, size), template, identity),
        identity=identity,
        template=template,
        network=AvatarNetwork(recipe.network.for_capture(styles=1)).eval(),
        texture=torch.zeros(3, recipe.texture_size, recipe.texture_size),
        background=np.full((size, size, 3), 128, np.uint8),
        placement=Placement.of(motion, template, identity),
        fps=25.0,
        filmed=torch.zeros(1, *FILMED_SHAPE) if recipe.network.novelty else None,
    )


def sample(avatar: Avatar, motion: Motion, index: int) -> Sample:
    """Return the inputs of one frame of a motion, on the avatar's device."""
    exact, live = Engine(avatar), Engine(avatar, exact=False)
    camera = avatar.framing.square(motion.root_translation[index].numpy()).camera(avatar.camera, avatar.size)
    posed = lambda i: exact.mapper.pose(motion[[i]].map(lambda t: t.to(avatar.device)))
    draw = lambda i: exact.mapper.draw(posed(i), camera)
    (maps, places), (previous, _) = draw(index), draw(index - 1)
    windows = [e.renderer.windows(places) if avatar.device.type == "cpu" else None for e in (exact, live)]
    return Sample(maps, previous, *windows)


def on_cpu(avatar: Avatar, motion: Motion) -> str:
    """Time all forms of the network, interleaved so that other load on the machine slows all of them alike."""
    folded = FoldedNetwork(avatar.network)
    half = deepcopy(folded).in_bf16()
    samples = [sample(avatar, motion, i) for i in range(4, FRAMES, FRAMES // 4)]
    previous = samples[0].previous.position if folded.attends_to_previous else None
    forms: dict[str, Callable[[Sample], object]] = {
        "training network": lambda s: avatar.network(s.given),
        "folded": lambda s: folded(s.maps, previous),
        "face and hand networks in windows: **the engine, exact**": lambda s: folded(s.maps, previous, s.windows),
        "and the last layers in the person's window": lambda s: folded(s.maps, previous, s.live),
        "and in bf16: **the engine, live**": lambda s: half(s.maps, previous, s.live),
    }
    if find_spec("onnxruntime") and find_spec("onnxscript"):
        forms["exported, ONNX Runtime"] = onnx_runtime(avatar, previous)
    durations: dict[str, list[tuple[float, float]]] = {name: [] for name in forms}
    for round_ in range(1 + ROUNDS):
        for name, form in forms.items():
            for given in samples:
                start, worked = time.perf_counter(), time.process_time()
                form(given)
                if round_:  # the first round warms up
                    durations[name].append((time.perf_counter() - start, time.process_time() - worked))
    medians = {name: [statistics.median(times) for times in zip(*d, strict=True)] for name, d in durations.items()}
    slow, slow_work = medians["training network"]
    rows = []
    for name, form in forms.items():
        took, work = medians[name]
        with FlopCounterMode(display=False) as counter:
            for given in samples:
                form(given)
        cost = counter.get_total_flops() / len(samples) / 1e9
        measured = f"{1e3 * took:.0f} ms ({slow / took:.1f} times as fast), {1e3 * work:.0f} ms of processor time"
        rows.append((name, f"{measured} ({slow_work / work:.1f} times less)", f"{cost:.1f}" if cost else ""))
    return markdown_table(rows).replace("| goal |", "| GFLOP |")


def onnx_runtime(avatar: Avatar, previous: torch.Tensor | None) -> Callable[[Sample], object]:
    """Return the exported graph, run by ONNX Runtime with torch's number of threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as scratch:
        export(avatar, Path(scratch) / "avatar.onnx")
        session = onnxruntime.InferenceSession(Path(scratch) / "avatar.onnx", options)
    names = [value.name for value in session.get_inputs()]

    def run(given: Sample):
        inputs = {name: tensor.contiguous().numpy() for name, tensor in vars(given.maps).items()}
        inputs |= {"previous": previous.contiguous().numpy()} if previous is not None else {}
        return session.run(None, {name: inputs[name] for name in names})

    return run


def motion_to_pixels(avatar: Avatar, motions: dict[str, Motion]) -> str:
    """Time the engine, exact and live: frames per second and stages of a frame."""
    rows = []
    for (driver, motion), (form, exact) in product(motions.items(), (("exact", True), ("live", False))):
        engine, name = Engine(avatar, exact=exact), f"{driver}, {form}"
        stages: list[dict[str, float]] = []
        for frame in list(motion.frames()) * 2:
            engine.render(frame)
            stages.append(engine.timings)
        warm = stages[len(motion) :]
        took = {stage: statistics.median(t[stage] for t in warm) for stage in warm[0]}
        parts = ", ".join(f"{stage} {1e3 * value:.1f} ms" for stage, value in took.items())
        rows.append((f"motion to pixels, {name}", f"**{1 / sum(took.values()):.0f} frames per second**: {parts}", "20"))
    whole = Camera.default(avatar.size, avatar.size)
    slow = ConditionMapper(avatar.dressed, avatar.identity, whole, avatar.texture, avatar.filmed)
    frame = next(iter(motions.values()))[:1]
    rows.append(("condition maps as rendered in training", f"{1e3 * median_seconds(lambda: slow(frame)):.1f} ms", ""))
    return markdown_table(rows)


def on_gpu(preset: str, template: BodyTemplate, peak: dict[torch.dtype, float]) -> str:
    """Time the network alone and motion to pixels, in frames per second."""
    cost = sum(frame_flops(load_preset(preset).network).values())
    avatar = untrained(preset, template).to("cuda")
    engine, motion = Engine(avatar, exact=False), performance("driving", template, FRAMES, 25.0)
    given, folded = sample(avatar, motion, 4), FoldedNetwork(avatar.network).to("cuda")
    half = deepcopy(folded).in_bf16()
    previous = given.previous.position if folded.attends_to_previous else None
    exact_graph, half_graph = (CudaGraph(lambda n=network: n(given.maps, previous)) for network in (folded, half))
    forms = {
        "training network": (torch.float32, lambda: avatar.network(given.given)),
        "folded": (torch.float32, lambda: folded(given.maps, previous)),
        "folded, one graph": (torch.float32, exact_graph),
        "folded, bf16": (torch.bfloat16, lambda: half(given.maps, previous)),
        "folded, bf16, one graph": (torch.bfloat16, half_graph),
    }
    rows = []
    for name, (dtype, form) in forms.items():
        rate = 1 / median_seconds(lambda form=form: _finished(form), runs=30, warm_up=5)
        rows.append((name, f"{rate:.0f} frames per second", f"{cost * rate / peak[dtype]:.1%} of the peak"))
    frames = list(motion.frames())
    engine.render(frames[0])
    start = time.perf_counter()
    for _ in engine.render_all(frames):
        pass
    rows.append(("motion to pixels", f"{len(frames) / (time.perf_counter() - start):.0f} frames per second", ""))
    alone = median_seconds(lambda: engine.render(frames[1]), runs=30, warm_up=5)
    rows.append(("one frame, from its pose until its picture is on the host", f"{1e3 * alone:.1f} ms", ""))
    return markdown_table(rows).replace("| goal |", "| |")


def matrix_rate(dtype: torch.dtype, size: int = 8192) -> float:
    """Return the FLOP per second of a large matrix product: what the device can reach."""
    a, b = (torch.randn(size, size, device="cuda", dtype=dtype) for _ in range(2))
    return 2 * size**3 / median_seconds(lambda: _finished(lambda: a @ b), runs=10, warm_up=3)


def _finished(work: Callable[[], object]) -> None:
    work()
    torch.cuda.synchronize()


if __name__ == "__main__":
    main()
