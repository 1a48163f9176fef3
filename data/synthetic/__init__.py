"""Drawn landscapes with the contest's layouts: a dataset for who has none at hand.

image, layout, style = draw_pair(seed=0, index=7, height=192, width=256)

A scene is a height field with classes on it (scenes, ground), seen by a camera, and things that
stand on it (sprites, structures). A style is light, air and season (light). The canvas paints sky,
land, water and things over one another, far ones first, picture and layout together.
"""

from __future__ import annotations

from data.synthetic.light import STYLES
from data.synthetic.picture import draw_pair, scene_of, style_of

__all__ = ["STYLES", "draw_pair", "scene_of", "style_of"]
