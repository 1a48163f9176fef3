"""Plots of losses over the steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw

Row = Mapping[str, Any]
COLORS = ((31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189))


def render_curves(records: Sequence[Row], *, together: bool = False) -> Image.Image:
    """Plot every loss over the steps, each with its own scale; `together`: with a common scale."""
    width, height, margin = 960, 480, 40
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((margin, margin, width - margin, height - margin), outline="gray")
    last = max(record["step"] for record in records)
    every = [value for record in records for value in record["losses"].values()]
    draw.text((margin, height - margin + 6), f"step 0 .. {last}", fill="black")
    for index, name in enumerate(records[0]["losses"]):
        values = [record["losses"][name] for record in records]
        shown = every if together else values
        low, high = min(0.0, *shown), max(*shown, 1e-9)
        points = [
            (
                margin + (width - 2 * margin) * record["step"] / last,
                height - margin - (height - 2 * margin) * (value - low) / (high - low),
            )
            for record, value in zip(records, values, strict=True)
        ]
        color = COLORS[index % len(COLORS)]
        draw.line(points, fill=color, width=2)
        text = f"{name}: {low:.3g} .. {high:.3g}"
        draw.text((margin + 180 * index, 14), text, fill=color)
    return image


def total_losses(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The sum of all losses of each run, step by step."""
    steps = min(row["steps"] for row in rows)
    totals = {
        r["precision"]: [sum(v) for v in zip(*r["losses"].values(), strict=True)] for r in rows
    }
    return [
        {"step": step + 1, "losses": {name: values[step] for name, values in totals.items()}}
        for step in range(steps)
    ]
