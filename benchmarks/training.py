"""Time and memory of a training step of `lite`: `python benchmarks/training.py [CAPTURE]`.

Without a capture, the built-in performer is rendered and tracked first.
"""

import resource
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from lightning_fabric import Fabric
from measures.results import describe_setup, markdown_table, median_seconds

from ram_avatar.body import load_template
from ram_avatar.capture.capture import Capture
from ram_avatar.config import load_preset
from ram_avatar.core.progress import Silent
from ram_avatar.synthetic.performer import Performer, write_performance
from ram_avatar.tracking.offline.track import track
from ram_avatar.training.avatar_data import avatar_data
from ram_avatar.training.first_avatar import first_avatar
from ram_avatar.training.trainer import Trainer


def main() -> None:
    preset, fabric, template = load_preset("lite"), Fabric(accelerator="cpu", devices=1), load_template()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if len(sys.argv) > 1:
            capture = Capture.load(sys.argv[1])
        else:
            write_performance(folder / "film.mp4", Performer(template), "training", frames=60)
            capture = track(folder / "film.mp4", folder / "capture", template=template)
        avatar = first_avatar(capture, template, preset, Silent())
        data = avatar_data(avatar, capture, fabric.device)
        rows = []
        for label, weight in (("as shipped, without a discriminator", 0.0), ("with the discriminator", 1e-3)):
            training = replace(preset.training, adversarial_weight=weight, attention_start=0.0)
            trainer = Trainer(avatar, data, replace(preset, training=training), folder, fabric)
            trainer.step = 1  # past step 0, which includes the gradient penalty
            epoch = -(-len(capture.train_frames) // preset.training.batch_size)
            for _ in range(epoch):  # the first epoch renders the condition maps
                trainer.train_step()
                trainer.step += 1
            rows.append((f"one step {label}", f"{median_seconds(trainer.train_step, runs=9):.3f} s", "0.6 s"))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        rows.append(("peak memory of the process", f"{peak:.1f} GB", "6 GB"))
    print(f"Training `lite`, batch {preset.training.batch_size}, {len(capture)} frames\n{describe_setup()}\n")
    print(markdown_table(rows))


if __name__ == "__main__":
    main()
