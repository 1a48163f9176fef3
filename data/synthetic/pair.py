"""One landscape and its layout, from a seed and an index."""

from __future__ import annotations

import numpy as np

from data.synthetic.canvas import Canvas
from data.synthetic.light import SHARES, STYLES, Light
from data.synthetic.noise import stream
from data.synthetic.scenes import SCENES

SMALLEST, LARGEST = 32, 4096


def render_pair(
    seed: int, index: int, height: int, width: int, style: str | None = None
) -> tuple[np.ndarray, np.ndarray, str]:
    """Render pair `index` of the set of `seed`.

    Returns the image, uint8 RGB (H, W, 3); its layout of the contest's ids, uint8 (H, W); the name
    of the style. The pair depends only on the arguments. Another style changes the image, not the
    layout; another size of the same aspect ratio shows the same scene.

    style: one of STYLES; None samples one. Raises ValueError for an unknown style, a negative seed
    or index, or a side outside 32..4096 pixels.
    """
    if style is not None and style not in STYLES:
        raise ValueError(f"style: expected one of {', '.join(STYLES)}, got {style}.")
    if min(height, width) < SMALLEST or max(height, width) > LARGEST:
        raise ValueError(
            f"size: expected sides of {SMALLEST}..{LARGEST} pixels, got {height} x {width}."
        )
    style = style or style_of(seed, index)
    compose = SCENES[scene_of(seed, index)].compose
    scene = compose(stream(seed, index, "layout"), (height, width))
    light = Light(STYLES[style], scene.camera, stream(seed, index, "light"), scene.traits.air)
    canvas = Canvas(scene.ground.view(), light, scene.traits, stream(seed, index, "texture"))
    canvas.render_land()
    for thing in sorted(scene.things, key=lambda thing: -thing.z):
        thing.render(canvas)
    return canvas.to_image(), canvas.clean_layout(), style


def style_of(seed: int, index: int) -> str:
    """Return the style that `render_pair` samples for a pair, without rendering."""
    return _sample_name(stream(seed, index, "style"), SHARES)


def scene_of(seed: int, index: int) -> str:
    """Return the scene of a pair, a key of SCENES."""
    shares = {name: kind.share for name, kind in SCENES.items()}
    return _sample_name(stream(seed, index, "scene"), shares)


def _sample_name(rng: np.random.Generator, shares: dict[str, float]) -> str:
    weights = np.array(list(shares.values()))
    return str(rng.choice(list(shares), p=weights / weights.sum()))
