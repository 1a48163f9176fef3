"""Styles: light, air and season of a scene. They change its colors, never its layout.

Colors are linear light (the square of the display value), so that lights add.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.synthetic.ground import Camera

Range = tuple[float, float]


def rgb(red: float, green: float, blue: float) -> np.ndarray:
    """Return a display color, 0..255, as linear light: float32 (3,)."""
    return (np.array((red, green, blue), np.float32) / 255) ** 2


def mix(first: np.ndarray, second: np.ndarray, share: np.ndarray | float) -> np.ndarray:
    """Blend colors (..., 3) by `share` (...), 0 for `first` to 1 for `second`."""
    share = np.asarray(share, np.float32)[..., None]
    return first + (second - first) * share


@dataclass(frozen=True)
class Style:
    """Light, air and season; pairs of numbers are ranges that are sampled per image.

    sun_height: degrees. visibility: kilometers. The rest are linear colors, shares or factors.
    """

    zenith: np.ndarray
    horizon: np.ndarray
    glow: np.ndarray
    sun: np.ndarray
    sun_height: Range
    sun_ahead: bool
    ambient: np.ndarray
    haze: np.ndarray
    visibility: Range
    cloud_cover: Range
    cloud_light: np.ndarray
    cloud_dark: np.ndarray
    grass: tuple[np.ndarray, ...]
    leaves: tuple[np.ndarray, ...]
    exposure: float = 1.0
    lamps: float = 0.0
    stars: bool = False


SUMMER_GRASS = (rgb(104, 138, 52), rgb(86, 124, 46), rgb(128, 148, 62))
SUMMER_LEAVES = (rgb(52, 88, 36), rgb(64, 100, 40), rgb(44, 78, 44), rgb(78, 108, 44))

STYLES: dict[str, Style] = {
    "noon": Style(
        zenith=rgb(58, 118, 196), horizon=rgb(178, 212, 236), glow=rgb(222, 234, 240),
        sun=rgb(255, 244, 224) * 1.35, sun_height=(38, 60), sun_ahead=False,
        ambient=rgb(160, 182, 212) * 1.0, haze=rgb(168, 198, 226), visibility=(9, 20),
        cloud_cover=(0.15, 0.6), cloud_light=rgb(255, 255, 253), cloud_dark=rgb(158, 174, 196),
        grass=SUMMER_GRASS, leaves=SUMMER_LEAVES,
    ),
    "sunset": Style(
        zenith=rgb(72, 82, 142), horizon=rgb(250, 168, 96), glow=rgb(255, 206, 120),
        sun=rgb(255, 172, 104) * 1.35, sun_height=(8, 16), sun_ahead=True,
        ambient=rgb(150, 128, 152) * 1.0, haze=rgb(236, 160, 116), visibility=(5, 12),
        cloud_cover=(0.25, 0.7), cloud_light=rgb(255, 172, 108), cloud_dark=rgb(120, 88, 118),
        grass=SUMMER_GRASS, leaves=SUMMER_LEAVES, exposure=1.15, lamps=0.35,
    ),
    "night": Style(
        zenith=rgb(12, 22, 54), horizon=rgb(58, 84, 128), glow=rgb(98, 124, 164),
        sun=rgb(136, 162, 210) * 1.1, sun_height=(28, 45), sun_ahead=False,
        ambient=rgb(84, 104, 150) * 1.2, haze=rgb(44, 64, 104), visibility=(6, 14),
        cloud_cover=(0.1, 0.5), cloud_light=rgb(104, 124, 160), cloud_dark=rgb(34, 46, 78),
        grass=SUMMER_GRASS, leaves=SUMMER_LEAVES, lamps=1.0, stars=True,
    ),
    "overcast": Style(
        zenith=rgb(142, 152, 164), horizon=rgb(206, 210, 212), glow=rgb(220, 222, 222),
        sun=rgb(220, 222, 224) * 0.5, sun_height=(45, 70), sun_ahead=False,
        ambient=rgb(206, 212, 220) * 1.1, haze=rgb(190, 197, 204), visibility=(2.5, 7),
        cloud_cover=(0.8, 1.0), cloud_light=rgb(216, 219, 222), cloud_dark=rgb(126, 134, 144),
        grass=SUMMER_GRASS, leaves=SUMMER_LEAVES,
    ),
    "autumn": Style(
        zenith=rgb(104, 150, 198), horizon=rgb(232, 226, 208), glow=rgb(250, 238, 206),
        sun=rgb(255, 226, 176) * 1.4, sun_height=(18, 32), sun_ahead=False,
        ambient=rgb(160, 166, 182) * 1.0, haze=rgb(216, 208, 196), visibility=(5, 12),
        cloud_cover=(0.1, 0.5), cloud_light=rgb(255, 248, 236), cloud_dark=rgb(176, 172, 180),
        grass=(rgb(164, 142, 66), rgb(148, 130, 58), rgb(134, 134, 62)),
        leaves=(rgb(190, 104, 32), rgb(208, 138, 40), rgb(166, 70, 32), rgb(126, 104, 42)),
    ),
}  # fmt: skip
SHARES = {"noon": 0.3, "sunset": 0.2, "night": 0.12, "overcast": 0.2, "autumn": 0.18}


class Light:
    """A style with the sampled values of one image: position of the sun, visibility, clouds."""

    def __init__(
        self, style: Style, camera: Camera, rng: np.random.Generator, air: float = 1.0
    ) -> None:
        self.style = style
        self.camera = camera
        self.rng = rng
        side = rng.choice((-1.0, 1.0))
        turn = np.radians(rng.uniform(10, 24) if style.sun_ahead else rng.uniform(70, 125))
        rise = np.radians(rng.uniform(*style.sun_height))
        # x to the right, y up, z ahead.
        self.sun_at = np.array(
            (
                side * np.sin(turn) * np.cos(rise),
                np.sin(rise),
                np.cos(turn) * np.cos(rise),
            ),
            np.float32,
        )
        self.visibility = air * 1000 * rng.uniform(*style.visibility)
        self.cloud_cover = rng.uniform(*style.cloud_cover)
        warmth = rng.normal(0, 0.03)
        cast = np.array((1 + warmth, 1, 1 - warmth), np.float32)
        strength = rng.uniform(0.88, 1.1)
        self.sun = style.sun * cast * strength
        self.ambient = style.ambient * cast
        # A low sun ahead leaves the land black, so its light comes from the side.
        shine = self.sun_at.copy()
        if style.sun_ahead:
            shine = np.array((side * 0.8, 0.42, -0.05), np.float32)
        self.shine = shine / np.linalg.norm(shine)

    def on(
        self, nx: np.ndarray, ny: np.ndarray, nz: np.ndarray, open_: np.ndarray | float = 1.0
    ) -> np.ndarray:
        """Return the light on surfaces with these normals: (..., 3).

        `open_` is the share of direct sun that reaches them.
        """
        sx, sy, sz = self.shine
        direct = np.clip(nx * sx + ny * sy + nz * sz, 0, 1) * open_
        return (
            np.asarray(0.62 + 0.38 * ny, np.float32)[..., None] * self.ambient
            + np.asarray(direct, np.float32)[..., None] * self.sun
        )

    def on_face(self, nx: float, ny: float, nz: float) -> np.ndarray:
        """Return the light on one flat face: (3,)."""
        direct = nx * float(self.shine[0]) + ny * float(self.shine[1]) + nz * float(self.shine[2])
        return (0.62 + 0.38 * ny) * self.ambient + max(direct, 0.0) * self.sun

    def horizon_glow(self, across: np.ndarray) -> np.ndarray:
        """Return the closeness of each direction (x / z) to the sun's, 0..1."""
        if self.sun_at[2] <= 0.1:
            return np.full(np.shape(across), 0.1, np.float32)
        toward = self.sun_at[0] / self.sun_at[2]
        return np.exp(-((across - toward) ** 2) / 0.35)

    def haze(
        self, color: np.ndarray, distance: np.ndarray | float, across: np.ndarray
    ) -> np.ndarray:
        """Return colors (..., 3) through `distance` meters of air, in the directions `across`."""
        share = 1 - np.exp(-np.asarray(distance, np.float32) / self.visibility)
        air = mix(self.style.haze, self.style.glow, 0.6 * self.horizon_glow(across))
        return color + (air - color) * share[..., None]
