"""One landscape and its layout, made from a seed and an index."""

from __future__ import annotations

import numpy as np

from data.synthetic.canvas import Canvas
from data.synthetic.light import SHARES, STYLES, Light
from data.synthetic.noise import stream
from data.synthetic.scenes import SCENES

SMALLEST, LARGEST = 32, 4096


def draw_pair(
    seed: int, index: int, height: int, width: int, style: str | None = None
) -> tuple[np.ndarray, np.ndarray, str]:
    """Draw picture `index` of the set that `seed` names.

    Returns the picture, uint8 RGB (H, W, 3); its layout of the contest's ids, uint8 (H, W); the
    style's name. The pair depends on its arguments alone. Another style changes the picture and
    not the layout; another size of the same shape shows the same scene.

    style: one of STYLES; None draws one. Raises ValueError for a style that there is not, a
    negative seed or index, or a side that is not 32..4096 pixels.
    """
    if style is not None and style not in STYLES:
        raise ValueError(f"style must be one of {', '.join(STYLES)}: {style}")
    if min(height, width) < SMALLEST or max(height, width) > LARGEST:
        raise ValueError(f"sides must be {SMALLEST}..{LARGEST} pixels: {height} x {width}")
    style = style or style_of(seed, index)
    compose = SCENES[scene_of(seed, index)].compose
    scene = compose(stream(seed, index, "layout"), (height, width))
    light = Light(STYLES[style], scene.camera, stream(seed, index, "light"), scene.traits.air)
    canvas = Canvas(scene.ground.view(), light, scene.traits, stream(seed, index, "texture"))
    canvas.paint_land()
    for thing in sorted(scene.things, key=lambda thing: -thing.z):
        thing.draw(canvas)
    return canvas.picture(), canvas.clean_layout(), style


def style_of(seed: int, index: int) -> str:
    """The style that draw_pair draws for a pair, without drawing it."""
    return _draw(stream(seed, index, "style"), SHARES)


def scene_of(seed: int, index: int) -> str:
    """The kind of scene of a pair, a key of SCENES."""
    shares = {name: kind.share for name, kind in SCENES.items()}
    return _draw(stream(seed, index, "scene"), shares)


def _draw(rng: np.random.Generator, shares: dict[str, float]) -> str:
    weights = np.array(list(shares.values()))
    return str(rng.choice(list(shares), p=weights / weights.sum()))
