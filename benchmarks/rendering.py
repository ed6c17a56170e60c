"""Frames a second of an avatar, from motion to pixels: `python benchmarks/rendering.py [AVATAR]`.

Without an avatar an untrained one of the built-in performer is used: the speed is the same.
"""

import sys
import tempfile
import time
from pathlib import Path

import torch
from machine import describe, seconds, table
from torch.utils.flop_counter import FlopCounterMode

from ram_avatar.avatar import Avatar
from ram_avatar.body import load_template
from ram_avatar.config import load_preset
from ram_avatar.demo.performances import performance
from ram_avatar.demo.performer import Performer, write_performance
from ram_avatar.motion.retarget import Person, retarget
from ram_avatar.networks.avatar_network import ConditionMaps
from ram_avatar.progress import Silent
from ram_avatar.rendering.condition_maps import ConditionMapper
from ram_avatar.tracking.track import track
from ram_avatar.training.first_avatar import first_avatar


def main() -> None:
    template = load_template()
    with tempfile.TemporaryDirectory() as scratch:
        if len(sys.argv) > 1:
            avatar = Avatar.load(sys.argv[1])
        else:
            write_performance(Path(scratch) / "film.mp4", Performer(template), "training", frames=40)
            capture = track(Path(scratch) / "film.mp4", Path(scratch) / "capture", template=template)
            avatar = first_avatar(capture, template, load_preset("lite"), Silent())
        motion = performance("driving", template, 64, 25.0)
        motion = retarget(motion, template, Person.of(motion, template, avatar.identity), avatar.person)
        rates = []
        for _ in range(3):
            started = time.perf_counter()
            frames = sum(1 for _ in avatar.render(motion))
            rates.append(frames / (time.perf_counter() - started))
        mapper = ConditionMapper(avatar.template, avatar.identity, avatar.camera, avatar.texture)
        one = motion[:1]
        maps = mapper(one)
        given = ConditionMaps(previous=maps.position, **vars(maps))
        network = avatar.network.eval()
        with torch.no_grad():
            drawing, painting = seconds(lambda: mapper(one)), seconds(lambda: network(given))
            with FlopCounterMode(display=False) as counter:
                network(given)
    print(f"Rendering `{avatar.preset}` at {avatar.camera.width} x {avatar.camera.height}\n{describe()}\n")
    print(
        table(
            [
                ("motion to pixels", f"{sorted(rates)[1]:.1f} frames a second", "6"),
                ("condition maps of a frame", f"{1e3 * drawing:.1f} ms", ""),
                ("network, a frame", f"{1e3 * painting:.1f} ms", ""),
                ("network, a frame", f"{counter.get_total_flops() / 1e9:.1f} GFLOP", "about 6"),
            ]
        )
    )


if __name__ == "__main__":
    main()
