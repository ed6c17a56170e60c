"""Cost of each preset, counted without a GPU: `python benchmarks/cost.py [PRESET ...]`.

Counts the FLOP of convolutions and matrix products, and the bytes of tensors; `measures.training_cost` says what the
memory does not include.
"""

import sys

from measures.network_cost import frame_flops
from measures.training_cost import StepCost, step_cost

from ram_avatar.config import load_preset, preset_names

COLUMNS = ("part", "parameters", "GFLOP per frame", "GFLOP per step", "activations", "in bf16")
PUBLISHED = (
    "The published network: 55.0 M parameters and a texture of 12.6 M, 768 GFLOP per frame, 357 of them in attention."
)


def main() -> None:
    for name in sys.argv[1:] or preset_names():
        preset = load_preset(name)
        size, batch = preset.network.image_size, preset.training.batch_size
        print(f"`{name}`, {size} x {size}, batch {batch}\n")
        print(
            cost_table(frame_flops(preset.network), step_cost(preset, bf16=False), step_cost(preset, bf16=True)), "\n"
        )
    print(PUBLISHED)


def cost_table(frame: dict[str, int], exact: StepCost, half: StepCost) -> str:
    """Return a Markdown table: a row per part, their sum, and the memory of a whole step."""
    rows = [("---",) * len(COLUMNS)]
    for part in exact.flops:
        count = exact.parameters.get(part, 0)
        rows.append(
            (
                part,
                _format(count, 1e6, "M"),
                _format(frame.get(part, 0), 1e9),
                _format(exact.flops[part], 1e9),
                _format(exact.activations[part], 2**20, "MB"),
                _format(half.activations[part], 2**20, "MB"),
            )
        )
    rows.append(
        (
            "total",
            _format(sum(exact.parameters.values()), 1e6, "M"),
            _format(sum(frame.values()), 1e9),
            _format(sum(exact.flops.values()), 1e9),
            _format(sum(exact.activations.values()), 2**30, "GB"),
            _format(sum(half.activations.values()), 2**30, "GB"),
        )
    )
    rows.append(("weights, gradients, Adam", "", "", "", *(_format(c.state_bytes, 2**30, "GB") for c in (exact, half))))
    rows.append(("**peak of a step**", "", "", "", *(f"**{c.peak_bytes / 2**30:.1f} GB**" for c in (exact, half))))
    return "\n".join(f"| {' | '.join(row)} |" for row in (COLUMNS, *rows))


def _format(value: float, unit: float, name: str = "") -> str:
    """Return about three digits; an empty string for next to nothing."""
    scaled = value / unit
    if scaled < 0.005:
        return ""
    return f"{scaled:,.{0 if scaled >= 100 else 1 if scaled >= 1 else 2}f} {name}".strip()


if __name__ == "__main__":
    main()
