"""Synthetic landscapes with the contest's layouts: the built-in dataset.

image, layout, style = render_pair(seed=0, index=7, height=192, width=256)

A scene is a height field with classes (scenes, ground), seen by a camera, with objects on it
(sprites, structures). A style is light, air and season (light). The canvas composites sky, land,
water and objects from back to front, image and layout together.
"""

from __future__ import annotations

from data.synthetic.light import STYLES
from data.synthetic.pair import render_pair, scene_of, style_of

__all__ = ["STYLES", "render_pair", "scene_of", "style_of"]
