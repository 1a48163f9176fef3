"""Growth of a forward pass with size, batch and classes: the measured points and their plot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

AXES = ("width", "batch", "classes")
# (height, width); six downsamples need multiples of 64
SIZES = ((192, 256), (384, 512), (576, 768), (768, 1024))
BATCHES = (1, 2, 4)
CLASSES = (12, 29, 60, 120, 182)
# The fixed values while another axis varies.
SIZE, BATCH, MOST = SIZES[1], BATCHES[0], CLASSES[-1]
COLORS = {"spade": "#1f6f8b", "tsit": "#c05621"}

PANEL, HEIGHT, MARGIN = 260, 220, 46
FRAME = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
    'font-family="sans-serif" font-size="11" fill="#333">\n'
    '<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
)


def cases() -> Iterator[tuple[str, int, tuple[int, int], int, int]]:
    """(axis, value, (height, width), batch, classes) of each measurement."""
    for height, width in SIZES:
        yield "width", width, (height, width), BATCH, MOST
    for batch in BATCHES:
        yield "batch", batch, SIZE, batch, MOST
    for classes in CLASSES:
        yield "classes", classes, SIZE, BATCH, classes


def render_plot(rows: Sequence[Mapping[str, Any]]) -> str:
    """An SVG with a panel per axis and a line per generator: seconds over the axis.

    rows: with model, axis, value and seconds.
    """
    panels = []
    for place, axis in enumerate(AXES):
        chosen = [row for row in rows if row["axis"] == axis]
        panels.append(_render_panel(place * PANEL, axis, chosen))
    legend = "".join(
        f'<text x="{MARGIN + 70 * i}" y="14" fill="{color}">{name.upper()}</text>'
        for i, (name, color) in enumerate(COLORS.items())
    )
    return FRAME.format(width=len(AXES) * PANEL, height=HEIGHT, body=legend + "\n".join(panels))


def _render_panel(left: int, axis: str, rows: Sequence[Mapping[str, Any]]) -> str:
    values = sorted({row["value"] for row in rows})
    top = 1.1 * max(row["seconds"] for row in rows)
    right, bottom = PANEL - 16, HEIGHT - MARGIN

    def x(value: float) -> float:
        return left + MARGIN + (right - MARGIN) * value / values[-1]

    def y(seconds: float) -> float:
        return bottom - (bottom - 30) * seconds / top

    parts = [
        f'<path d="M{x(0):.1f} 30V{bottom}H{left + right}" fill="none" stroke="#999"/>',
        f'<text x="{left + (MARGIN + right) / 2:.1f}" y="{HEIGHT - 8}" '
        f'text-anchor="middle">{axis}</text>',
        f'<text x="{x(0) - 6:.1f}" y="{y(top / 1.1):.1f}" text-anchor="end">'
        f"{top / 1.1:.1f} s</text>",
        f'<text x="{x(0) - 6:.1f}" y="{bottom}" text-anchor="end">0</text>',
    ]
    parts += [
        f'<text x="{x(value):.1f}" y="{bottom + 14}" text-anchor="middle">{value}</text>'
        for value in values
    ]
    for name, color in COLORS.items():
        points = sorted((row["value"], row["seconds"]) for row in rows if row["model"] == name)
        line = " ".join(f"{x(value):.1f},{y(seconds):.1f}" for value, seconds in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts += [
            f'<circle cx="{x(value):.1f}" cy="{y(seconds):.1f}" r="3" fill="{color}"/>'
            for value, seconds in points
        ]
    return "\n".join(parts)
