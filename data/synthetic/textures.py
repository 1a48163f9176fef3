"""Materials of the land's classes: the albedo of each pixel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from data.synthetic.ground import Line, View
from data.synthetic.light import Light, mix, rgb
from data.synthetic.noise import Noise, smoothstep


@dataclass(frozen=True)
class Traits:
    """Properties of a scene's land, the same in every style.

    snow_line: meters above which mountains are white. stone, soil: indices into the palettes.
    furrows: radians, direction of the rows of the fields. strip: meters, width of one field.
    dryness: 0..1, brown share of the hills. air: factor of the visibility. line: center of the
    road or path, None without one.
    """

    snow_line: float = 1e9
    stone: int = 0
    soil: int = 0
    furrows: float = 0.0
    strip: float = 60.0
    dryness: float = 0.0
    air: float = 1.0
    line: Line | None = None


class Surface:
    """The visible land, for the materials; every array is (H, W)."""

    def __init__(self, view: View, light: Light, traits: Traits, rng: np.random.Generator) -> None:
        self.view, self.light, self.traits = view, light, traits
        self.noise = Noise(rng)
        self.x, self.z, self.height = view.x, view.z, view.height
        self.camera = view.ground.camera

    @cached_property
    def normals(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Unit normals of the land: x to the right, y up, z away from the camera."""
        ground = self.view.ground
        camera = ground.camera
        heights = ground.top
        by_column = np.gradient(heights, axis=1)
        slope_x = by_column / (ground.z / (camera.focal * camera.height))
        growth = np.log(camera.far / camera.near) / heights.shape[0]
        slope_z = np.gradient(heights, axis=0) / (growth * ground.z)
        slope_z -= slope_x * camera.across[None, :]
        slope_x, slope_z = self.view.sample(slope_x), self.view.sample(slope_z)
        up = 1 / np.sqrt(1 + slope_x**2 + slope_z**2)
        return -slope_x * up, up, -slope_z * up

    @cached_property
    def sunlit(self) -> np.ndarray:
        """Share of direct sun, 0..1, that hills leave to each place."""
        ground = self.view.ground
        sx, sy, _ = self.light.shine
        drop = np.abs(ground.x - ground.x[:, :1] if sx < 0 else ground.x[:, -1:] - ground.x)
        line = ground.top + drop * (sy / max(abs(sx), 0.2))
        # Light comes along the rows of the image: the highest line so far is the shadow's edge.
        if sx < 0:
            edge = np.maximum.accumulate(line, axis=1)
        else:
            edge = np.maximum.accumulate(line[:, ::-1], axis=1)[:, ::-1]
        return self.view.sample(1 - np.clip((edge - line) / (0.012 * ground.z), 0, 1))

    @cached_property
    def hollow(self) -> np.ndarray:
        """Depth of a place below its surroundings: -1 crest, 1 hollow."""
        height = self.view.ground.top
        around = cv2.blur(height, (21, 13))
        depth = (around - height) / (0.03 * self.view.ground.z)
        return self.view.sample(np.clip(depth, -1, 1))

    def grain(self, wavelength: float, stretch: float = 1.0) -> np.ndarray:
        """Return noise on the land that keeps its scale in the image.

        wavelength: in image heights, `stretch` times shorter in depth than across. Mean 0,
        deviation 1, less on land at a flat angle. Two octaves cross-fade with distance.
        """
        octave = np.log2(self.z * np.float32(wavelength / self.camera.focal))
        low = np.floor(octave)
        part = octave - low
        down = 0.6 * (np.log(self.z) + self.camera.upward[:, None] * self.camera.focal)
        down = (down * (stretch / wavelength)).astype(np.float32)
        near = self.noise.band(self.x * np.exp2(-low), down, 1.0, turn=False)
        far = self.noise.band(self.x * np.exp2(-low - 1), down, 1.0, turn=False)
        grain = (near * (1 - part) + far * part) / np.sqrt((1 - part) ** 2 + part**2)
        crowding = np.abs(np.diff(down, axis=0, prepend=down[:1]))
        return grain / (1 + (1.6 * crowding) ** 2)

    @cached_property
    def fine(self) -> np.ndarray:
        return self.grain(1 / 55)

    @cached_property
    def medium(self) -> np.ndarray:
        return self.grain(1 / 24)

    @cached_property
    def coarse(self) -> np.ndarray:
        return self.grain(1 / 8)

    @cached_property
    def patches(self) -> np.ndarray:
        """Large uneven areas of the land."""
        return self.noise.fractal(self.x, self.z, 260.0)


At = tuple[np.ndarray, np.ndarray]
Material = Callable[[Surface, At], np.ndarray]
MATERIALS: dict[str, Material] = {}

STONES = (
    (rgb(132, 128, 124), rgb(98, 94, 92)),
    (rgb(146, 126, 104), rgb(106, 86, 70)),
    (rgb(116, 120, 128), rgb(82, 86, 96)),
    (rgb(164, 124, 96), rgb(122, 84, 62)),
)
SOILS = (
    (rgb(134, 102, 72), rgb(98, 70, 48)),
    (rgb(152, 112, 76), rgb(116, 78, 52)),
    (rgb(120, 98, 78), rgb(86, 68, 54)),
)
CROPS = (
    (rgb(196, 172, 88), rgb(160, 132, 60)),
    (rgb(122, 152, 60), rgb(84, 116, 44)),
    (rgb(214, 196, 72), rgb(168, 160, 60)),
    (rgb(150, 158, 92), rgb(112, 118, 66)),
)
SNOW = rgb(240, 244, 250)
SAND = (rgb(208, 186, 146), rgb(180, 152, 112))


def _material(name: str) -> Callable[[Material], Material]:
    """Register the material of a class."""

    def register(material: Material) -> Material:
        MATERIALS[name] = material
        return material

    return register


def _gray(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, np.float32)[..., None]


@_material("mountain")
def _mountain(s: Surface, at: At) -> np.ndarray:
    light_stone, dark_stone = STONES[s.traits.stone]
    fine, medium, coarse = s.fine[at], s.medium[at], s.coarse[at]
    steep = 1 - s.normals[1][at]
    color = mix(dark_stone, light_stone, np.clip(0.5 + 0.22 * medium + 0.2 * fine, 0, 1))
    # Meadow and scrub climb the gentle slopes below the snow.
    line = min(s.traits.snow_line, 2200.0)
    low = 1 - s.height[at] / (0.62 * line) - 1.3 * steep + 0.10 * coarse
    scrub = s.light.style.grass[1] * 0.55
    color = mix(color, scrub, 0.8 * smoothstep(0.0, 0.35, low))
    white = (s.height[at] / line - 1) * 3 + 0.16 * coarse + 0.12 * medium - 1.2 * (steep - 0.3)
    return mix(color, SNOW, smoothstep(-0.05, 0.12, white))


@_material("hill")
def _hill(s: Surface, at: At) -> np.ndarray:
    grass = s.light.style.grass
    color = mix(grass[0], grass[2], np.clip(0.5 + 0.35 * s.patches[at], 0, 1))
    color = mix(color, SAND[1], 0.75 * s.traits.dryness)
    # Scrub in the hollows: dark dots.
    scrub = smoothstep(0.5, 1.1, s.medium[at] + 0.35 * s.fine[at] + 0.8 * s.hollow[at])
    color = mix(color * _gray(0.92 + 0.08 * s.coarse[at]), s.light.style.leaves[0], 0.75 * scrub)
    return color * 0.9


@_material("grass")
def _grass(s: Surface, at: At) -> np.ndarray:
    grass = s.light.style.grass
    blend = np.clip(0.5 + 0.3 * s.coarse[at] + 0.25 * s.patches[at], 0, 1)
    color = mix(grass[1], grass[0], blend)
    color = mix(color, grass[2], np.clip(0.35 * s.medium[at], 0, 0.7))
    return color * _gray(1.12 + 0.28 * s.fine[at] + 0.08 * s.medium[at]).clip(0.35, 2)


@_material("tree")
def _forest(s: Surface, at: At) -> np.ndarray:
    leaves = s.light.style.leaves
    fine, medium = s.fine[at], s.medium[at]
    kind = np.clip(0.5 + 0.5 * s.coarse[at], 0, 1)
    color = mix(leaves[0], leaves[1], kind)
    color = mix(color, leaves[2 if s.traits.stone % 2 else 3], np.clip(0.5 * medium, 0, 0.8))
    return color * _gray(np.clip(0.72 + 0.42 * fine + 0.2 * medium, 0.18, 1.7))


@_material("rock")
def _rock(s: Surface, at: At) -> np.ndarray:
    light_stone, dark_stone = STONES[s.traits.stone]
    fine, medium = s.fine[at], s.medium[at]
    color = mix(dark_stone, light_stone, np.clip(0.6 + 0.3 * medium + 0.15 * fine, 0, 1.2))
    cracks = smoothstep(0.35, 0.0, np.abs(medium + 0.4 * fine)) * 0.5
    return color * _gray(1.05 - cracks)


@_material("earth")
def _earth(s: Surface, at: At) -> np.ndarray:
    light_soil, dark_soil = SOILS[s.traits.soil]
    fine, medium, coarse = s.fine[at], s.medium[at], s.coarse[at]
    color = mix(dark_soil, light_soil, np.clip(0.55 + 0.3 * coarse + 0.2 * medium, 0, 1))
    pebbles = smoothstep(1.3, 1.8, fine) * 0.35
    return mix(color * _gray(1 + 0.16 * fine), rgb(170, 156, 138), pebbles)


@_material("land")
def _land(s: Surface, at: At) -> np.ndarray:
    color = mix(_earth(s, at), _grass(s, at), 0.45)
    return color * 0.95


@_material("sand")
def _sand(s: Surface, at: At) -> np.ndarray:
    fine, medium, coarse = s.fine[at], s.medium[at], s.coarse[at]
    color = mix(SAND[1], SAND[0], np.clip(0.65 + 0.22 * coarse + 0.12 * medium, 0, 1))
    return color * _gray(1 + 0.07 * fine + 0.03 * medium)


@_material("field")
def _field(s: Surface, at: At) -> np.ndarray:
    x, z = s.x[at], s.z[at]
    plot = field_plot(s.traits, x, z)
    light_crop = np.stack([crop[0] for crop in CROPS])[plot % len(CROPS)]
    dark_crop = np.stack([crop[1] for crop in CROPS])[plot % len(CROPS)]
    # Rows of crops, wide enough to be visible at their distance.
    width = np.exp2(np.ceil(np.log2(np.maximum(z * 0.022 / s.camera.focal, 0.5))))
    over = _along_and_over(s.traits, x, z)[1]
    rows = 0.5 + 0.5 * np.sin(over / width * (2 * np.pi))
    ripe = np.clip(0.25 + 0.55 * rows + 0.15 * s.fine[at], 0, 1)
    autumn = s.light.style.grass[0][0] > s.light.style.grass[0][1]
    color = mix(dark_crop, light_crop, ripe)
    return mix(color, rgb(176, 146, 84), 0.45) if autumn else color


def _along_and_over(traits: Traits, x: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    cos, sin = np.float32(np.cos(traits.furrows)), np.float32(np.sin(traits.furrows))
    return x * sin + z * cos, x * cos - z * sin


def _plots(traits: Traits, x: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return positions in units of plots: across the strips, and along them."""
    along, over = _along_and_over(traits, x, z)
    strips = over / traits.strip
    return strips, (along / traits.strip + 0.6 * np.floor(strips)) / 2.2


def field_plot(traits: Traits, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return the plot of each place, as a hashed number."""
    strip, plot = (np.floor(way).astype(np.int64) for way in _plots(traits, x, z))
    return ((strip * 73856093) ^ (plot * 19349663)) >> 3 & 1023


def plot_margin(traits: Traits, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return the distance of each place from the border of its plot, in plots."""
    strip, plot = (0.5 - np.abs(way % 1 - 0.5) for way in _plots(traits, x, z))
    return np.minimum(strip, 2.2 * plot)


@_material("road")
def _road(s: Surface, at: At) -> np.ndarray:
    asphalt = mix(rgb(92, 92, 96), rgb(120, 120, 122), np.clip(0.5 + 0.2 * s.coarse[at], 0, 1))
    asphalt = asphalt * _gray(1 + 0.06 * s.fine[at])
    if s.traits.line is None:
        return asphalt
    aside = np.abs(s.x[at] - s.traits.line(s.z[at]))
    pixel = s.z[at] / (s.camera.focal * s.camera.height)
    dashes = (s.z[at] % 9.0 < 5.0) | (s.z[at] > 120)
    marking = smoothstep(1.0, 0.2, aside / (0.12 + 0.7 * pixel)) * dashes
    return mix(asphalt, rgb(226, 222, 206), 0.85 * marking)


@_material("path")
def _path(s: Surface, at: At) -> np.ndarray:
    color = mix(rgb(168, 142, 108), rgb(204, 182, 146), np.clip(0.5 + 0.4 * s.coarse[at], 0, 1))
    return color * _gray(1 + 0.13 * s.fine[at] + 0.06 * s.medium[at])


@_material("waterfall")
def _waterfall(s: Surface, at: At) -> np.ndarray:
    rows = np.broadcast_to(s.camera.upward[:, None], s.x.shape)
    streaks = s.noise.band(s.x / s.z, rows * 0.12, 0.016, turn=False)[at]
    broad = s.noise.band(s.x / s.z, rows * 0.2, 0.06, turn=False)[at]
    foam = np.clip(0.66 + 0.24 * streaks + 0.14 * broad, 0, 1)
    return mix(rgb(122, 148, 164), rgb(250, 252, 255), foam) * 1.5


# Colors below the surface of water: deep and shallow.
DEPTHS = {
    "sea": (rgb(22, 74, 104), rgb(36, 116, 132)),
    "lake": (rgb(26, 62, 76), rgb(44, 98, 100)),
    "river": (rgb(58, 80, 66), rgb(92, 112, 86)),
    "water": (rgb(40, 60, 56), rgb(64, 84, 70)),
}


def deep_water(name: str) -> Material:
    """Return the material below the surface of a water class."""

    def material(s: Surface, at: At) -> np.ndarray:
        deep, shallow = DEPTHS[name]
        return mix(deep, shallow, np.clip(0.4 + 0.3 * s.coarse[at], 0, 1))

    return material


MATERIALS.update({name: deep_water(name) for name in DEPTHS})
