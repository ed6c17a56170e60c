"""What each preset costs, counted without a GPU: `python benchmarks/cost.py [PRESET ...]`.

Counted are FLOP of convolutions and matrix products, and bytes of tensors; see `ram_avatar.training.cost` for what
the memory leaves out.
"""

import sys

from network_cost import frame_flops
from training_cost import StepCost, step_cost

from ram_avatar.config import load_preset, preset_names

COLUMNS = ("part", "parameters", "GFLOP a frame", "GFLOP a step", "activations", "in bf16")
PUBLISHED = "The published network: 55.0 M parameters and a texture of 12.6 M, 768 GFLOP a frame, 357 in its attention."


def main() -> None:
    for name in sys.argv[1:] or preset_names():
        preset = load_preset(name)
        size, batch = preset.network.image_size, preset.training.batch_size
        print(f"`{name}`, {size} x {size}, batch {batch}\n")
        print(table(frame_flops(preset.network), step_cost(preset, bf16=False), step_cost(preset, bf16=True)), "\n")
    print(PUBLISHED)


def table(frame: dict[str, int], exact: StepCost, half: StepCost) -> str:
    """Markdown: a line per part, their sum, and the memory of a whole step."""
    rows = [("---",) * len(COLUMNS)]
    for part in exact.flops:
        count = exact.parameters.get(part, 0)
        rows.append(
            (
                part,
                _told(count, 1e6, "M"),
                _told(frame.get(part, 0), 1e9),
                _told(exact.flops[part], 1e9),
                _told(exact.activations[part], 2**20, "MB"),
                _told(half.activations[part], 2**20, "MB"),
            )
        )
    rows.append(
        (
            "all",
            _told(sum(exact.parameters.values()), 1e6, "M"),
            _told(sum(frame.values()), 1e9),
            _told(sum(exact.flops.values()), 1e9),
            _told(sum(exact.activations.values()), 2**30, "GB"),
            _told(sum(half.activations.values()), 2**30, "GB"),
        )
    )
    rows.append(("weights, gradients, Adam", "", "", "", *(_told(c.state_bytes, 2**30, "GB") for c in (exact, half))))
    rows.append(("**peak of a step**", "", "", "", *(f"**{c.peak_bytes / 2**30:.1f} GB**" for c in (exact, half))))
    return "\n".join(f"| {' | '.join(row)} |" for row in (COLUMNS, *rows))


def _told(value: float, unit: float, name: str = "") -> str:
    """Three digits or so; nothing for nothing."""
    scaled = value / unit
    if scaled < 0.005:
        return ""
    return f"{scaled:,.{0 if scaled >= 100 else 1 if scaled >= 1 else 2}f} {name}".strip()


if __name__ == "__main__":
    main()
